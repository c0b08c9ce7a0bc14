"""tritonclient over gRPC: the client of threads and the client of asyncio."""

import asyncio
from typing import Any

import numpy as np
import tritonclient.grpc as plain
import tritonclient.grpc.aio as aio
from tritonclient.utils import np_to_triton_dtype

from tests.servers.clients.answering import answer, array


def infer(
    address: str,
    *,
    model: str,
    inputs: dict[str, dict[str, Any]],
    outputs: list[str],
    compression: str | None = None,
    loop: bool = False,
) -> Any:
    """Return what each output's array holds. `loop`: with the client of asyncio."""
    tensors = []
    for name, each in inputs.items():
        values = np.array(each["values"], dtype=each["dtype"]).reshape(each["shape"])
        tensor = plain.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    arguments = {
        "model_name": model,
        "inputs": tensors,
        "outputs": [plain.InferRequestedOutput(name) for name in outputs],
        "compression_algorithm": compression,
    }
    result = asyncio.run(_infer_in_loop(address, arguments)) if loop else _infer(address, arguments)
    return {name: array(result.as_numpy(name)) for name in outputs}


def _infer(address: str, arguments: dict[str, Any]) -> Any:
    with plain.InferenceServerClient(address) as client:
        return client.infer(**arguments)


async def _infer_in_loop(address: str, arguments: dict[str, Any]) -> Any:
    async with aio.InferenceServerClient(address) as client:
        return await client.infer(**arguments)


def stream(address: str, *, model: str, inputs: dict[str, dict[str, Any]], outputs: list[str]) -> Any:
    """Return what the answers of one request on a ModelStreamInfer stream hold."""

    async def ask() -> Any:
        name, each = next(iter(inputs.items()))
        values = np.array(each["values"], dtype=each["dtype"]).reshape(each["shape"])
        tensor = plain.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values)

        async def requests() -> Any:
            yield {"model_name": model, "inputs": [tensor]}

        held = []
        async with aio.InferenceServerClient(address) as client:
            async for result, error in client.stream_infer(requests()):
                if error is not None:
                    raise error
                held.append({output: array(result.as_numpy(output)) for output in outputs})
        return held

    return asyncio.run(ask())


def tell(address: str, *, model: str) -> Any:
    """Return what the client learns about the server without a prediction."""
    with plain.InferenceServerClient(address) as client:
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "server": client.get_server_metadata(as_json=True),
            "model": client.get_model_metadata(model, as_json=True),
        }


def metadata(address: str, *, model: str) -> Any:
    """Return a model's metadata; the client raises for a model that is not there."""
    with plain.InferenceServerClient(address) as client:
        return client.get_model_metadata(model, as_json=True)


if __name__ == "__main__":
    answer({"infer": infer, "stream": stream, "tell": tell, "metadata": metadata})
