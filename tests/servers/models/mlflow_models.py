"""Saves the models that MLflow serves: `python -m tests.servers.models.mlflow_models FOLDER`."""

import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

OUTPUTS = {
    "ndarray": lambda a, b: (a + b).to_numpy(),
    "list": lambda a, b: (a + b).tolist(),
    "integers": lambda a, b: (a + b).astype(np.int64).to_numpy() + 2**60,
    "float32": lambda a, b: (a + b).to_numpy().astype(np.float32) / np.float32(3),
    "unnamed": lambda a, b: a + b,
    "series": lambda a, b: (a + b).rename("mean"),
    "frame": lambda a, b: pd.DataFrame(
        {"mean": a + b, "lo": a - b, "label": [f"row {n}" for n in range(len(a))]}
    ),
    "dict": lambda a, b: {"mean": (a + b).to_numpy(), "lo": (a - b).to_numpy()},
}


class Shapes(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Columns `a`, `b` and `out` in; their sum out, in the shape that the first row's `out` asks for."""

    # Without type hints: MLflow would make a signature of them.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Return the predictions. A bare matrix has no names; its columns are `a` and `b`."""
        frame = pd.DataFrame(model_input).rename(columns={0: "a", 1: "b"})
        shape = str(frame["out"].iloc[0]) if "out" in frame else "ndarray"
        return OUTPUTS[shape](frame["a"].astype(float), frame["b"].astype(float))


def save(folder: Path) -> None:
    """Save `shapes`, and `proba`, a classifier of scikit-learn that answers a probability for each of three classes."""
    mlflow.pyfunc.save_model(folder / "shapes", python_model=Shapes(), pip_requirements=[])
    values = np.linspace(0.0, 1.0, 30)
    classes = np.repeat([0, 1, 2], 10)
    frame = pd.DataFrame({"a": values, "b": values**2})
    mlflow.sklearn.save_model(
        LogisticRegression().fit(frame, classes), folder / "proba", pyfunc_predict_fn="predict_proba",
        pip_requirements=[],
    )  # fmt: skip


if __name__ == "__main__":
    save(Path(sys.argv[1]))
