"""A BentoML service whose endpoints take named arguments of every kind: `python -m bentoml serve MODULE:Meters`."""

from pathlib import Path

import bentoml
import numpy as np
import pandas as pd


@bentoml.service(workers=1)  # type: ignore[untyped-decorator]
class Meters:
    """`a` and `b` in, in many shapes; their sum out, scaled by `scale` where an endpoint takes that."""

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, df: pd.DataFrame, scale: float = 1.0) -> pd.DataFrame:
        """Return a frame for a frame: the client sends and reads records."""
        total = (df["a"] + df["b"]) * scale
        return pd.DataFrame({"mean": total, "lo": total / 2, "label": [f"row {n}" for n in range(len(df))]})

    @bentoml.api  # type: ignore[untyped-decorator]
    def listed(self, df: pd.DataFrame) -> list[float]:
        """Return a bare list for a frame."""
        return (df["a"] + df["b"]).tolist()  # type: ignore[no-any-return]

    @bentoml.api  # type: ignore[untyped-decorator]
    def columns(self, a: list[float], b: list[float]) -> dict[str, list[float]]:
        """Return columns for columns."""
        total = np.array(a) + np.array(b)
        return {"mean": total.tolist(), "lo": (total / 2).tolist()}

    @bentoml.api  # type: ignore[untyped-decorator]
    def array(self, x: np.ndarray) -> np.ndarray:
        """Return the sums of a matrix's rows."""
        return x.sum(axis=1)

    @bentoml.api  # type: ignore[untyped-decorator]
    def shares(self, x: np.ndarray) -> np.ndarray:
        """Return what share each column has in its row."""
        return x / x.sum(axis=1, keepdims=True)

    @bentoml.api  # type: ignore[untyped-decorator]
    def scalars(self, a: float, b: float, kind: str = "plain") -> float:
        """Return a bare number for plain values."""
        return a + b

    @bentoml.api  # type: ignore[untyped-decorator]
    def record(self, a: float, b: float) -> dict[str, float]:
        """Return one record for plain values."""
        return {"mean": a + b, "lo": (a + b) / 2}

    @bentoml.api  # type: ignore[untyped-decorator]
    def sizes(self, file: Path, times: list[float]) -> list[float]:
        """Return a file's size so many times; the client sends a form of several parts."""
        return [file.stat().st_size * each for each in times]
