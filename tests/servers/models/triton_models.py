"""Models for Triton, bound by pytriton: `python -m tests.servers.models.triton_models HTTP_PORT GRPC_PORT METRICS_PORT`."""

import os
import sys
import sysconfig
from pathlib import Path

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig


@batch  # type: ignore[untyped-decorator]
def matrix(x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the sums of the rows, their whole sums, and a word for each."""
    sums = x.sum(axis=1, keepdims=True)
    words = np.where(sums > 10, b"high", "lów".encode()).astype(object)
    return {"y": sums, "n": np.nan_to_num(sums).astype(np.int64), "label": words}


@batch  # type: ignore[untyped-decorator]
def columns(a: np.ndarray, kind: np.ndarray) -> dict[str, np.ndarray]:
    """Return twice `a`, and both bounds of it as one tensor of two columns."""
    return {"y": a * 2, "bounds": np.concatenate([a, a * 3], axis=1).astype(np.float32)}


def single(requests: list[object]) -> list[dict[str, np.ndarray]]:
    """Return the sum of one row; this model has no batch axis."""
    return [{"y": np.array([request["x"].sum()])} for request in requests]  # type: ignore[index]


def serve(http: int, grpc: int, metrics: int) -> None:
    """Serve until the process is told to end."""
    # The server runs a Python of its own; the library must be that of the standard library it will find.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    config = TritonConfig(
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        http_address="127.0.0.1",
        grpc_address="127.0.0.1",
    )
    batched = ModelConfig(batching=True, max_batch_size=512)
    # The client asks for the repository's index and for shared memory, which pytriton keeps for itself unless told not to.
    security = TritonSecurityConfig(restricted_endpoints=[])
    with Triton(config=config, workspace=Path("workspace"), security_config=security) as triton:
        for name, dtype in (("matrix", np.float64), ("matrix32", np.float32)):
            triton.bind(
                name, matrix, [Tensor((3,), dtype, "x")],
                [Tensor((1,), dtype, "y"), Tensor((1,), np.int64, "n"), Tensor((1,), bytes, "label")],
                config=batched,
            )  # fmt: skip
        triton.bind(
            "columns", columns, [Tensor((1,), np.float64, "a"), Tensor((1,), bytes, "kind")],
            [Tensor((1,), np.float64, "y"), Tensor((2,), np.float32, "bounds")], config=batched,
        )  # fmt: skip
        triton.bind(
            "single", single, [Tensor((3,), np.float64, "x")], [Tensor((1,), np.float64, "y")],
            config=ModelConfig(batching=False),
        )  # fmt: skip
        triton.serve()


if __name__ == "__main__":
    serve(*(int(port) for port in sys.argv[1:]))
