"""Two models for the KServe SDK's model server: `python -m tests.servers.models.kserve_models --http_port N`."""

from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Matrix(Model):  # type: ignore[misc]
    """V2: `x` of shape [n, 3] in; `y` its sums, `n` its whole sums, `label` a word for each."""

    def __init__(self) -> None:
        super().__init__("matrix")
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        given = payload.inputs[0]
        sums = given.as_numpy().sum(axis=1, keepdims=True)
        columns = {
            "y": (given.datatype, sums),
            "n": ("INT64", sums.astype(np.int64)),
            "label": ("BYTES", np.where(sums > 10, "high", "low").astype(object)),
        }
        binary = given.parameters is not None and "binary_data_size" in given.parameters
        outputs = []
        for name, (datatype, values) in columns.items():
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=binary)
            outputs.append(output)
        return InferResponse(payload.id, "matrix", outputs)


class Rows(Model):  # type: ignore[misc]
    """V1: records with `a` in, records with `mean` and `lo` out; bare rows in, bare sums out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def predict(self, payload: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        instances = payload["instances"]
        if isinstance(instances[0], dict):
            return {"predictions": [{"mean": row["a"] * 2, "lo": row["a"] / 2} for row in instances]}
        return {"predictions": [sum(row) for row in instances]}


if __name__ == "__main__":
    ModelServer(enable_grpc=False).start([Matrix(), Rows("rows"), Rows("bare")])
