"""tritonclient over HTTP: the client of threads and the client of asyncio."""

import asyncio
import os
from typing import Any

import numpy as np
import tritonclient.http as plain
import tritonclient.http.aio as aio
from tritonclient.utils import np_to_triton_dtype, shared_memory

from tests.servers.clients.answering import answer, array


def _infer_arguments(
    model: str,
    inputs: dict[str, dict[str, Any]],
    outputs: list[str],
    binary_in: bool | list[str],
    binary_out: bool | list[str],
    compression: str | None,
    compressed_answer: str | None,
    classes: int,
    headers: dict[str, str] | None,
) -> dict[str, Any]:
    tensors = []
    for name, each in inputs.items():
        values = np.array(each["values"], dtype=each["dtype"]).reshape(each["shape"])
        tensor = plain.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        tensor.set_data_from_numpy(values, binary_data=_chosen(name, binary_in))
        tensors.append(tensor)
    return {
        "model_name": model,
        "inputs": tensors,
        "outputs": [
            plain.InferRequestedOutput(name, binary_data=_chosen(name, binary_out), class_count=classes)
            for name in outputs
        ],
        "request_compression_algorithm": compression,
        "response_compression_algorithm": compressed_answer,
        "headers": headers,
    }


def _chosen(name: str, binary: bool | list[str]) -> bool:
    return name in binary if isinstance(binary, list) else binary


def infer(
    address: str,
    *,
    model: str,
    inputs: dict[str, dict[str, Any]],
    outputs: list[str],
    binary_in: bool | list[str] = True,
    binary_out: bool | list[str] = True,
    compression: str | None = None,
    compressed_answer: str | None = None,
    classes: int = 0,
    headers: dict[str, str] | None = None,
    loop: bool = False,
) -> Any:
    """Return what each output's array holds. `loop`: with the client of asyncio; binary tensors all, none, or by name."""
    arguments = _infer_arguments(
        model, inputs, outputs, binary_in, binary_out, compression, compressed_answer, classes, headers
    )
    result = asyncio.run(_infer_in_loop(address, arguments)) if loop else _infer(address, arguments)
    return {name: array(result.as_numpy(name)) for name in outputs}


def _infer(address: str, arguments: dict[str, Any]) -> Any:
    with plain.InferenceServerClient(address) as client:
        return client.infer(**arguments)


async def _infer_in_loop(address: str, arguments: dict[str, Any]) -> Any:
    async with aio.InferenceServerClient(address) as client:
        return await client.infer(**arguments)


def infer_shared(address: str, *, model: str, inputs: dict[str, dict[str, Any]], outputs: list[str]) -> Any:
    """Return what each output's array holds; the inputs lie in shared memory, so that no message carries them."""
    name, each = next(iter(inputs.items()))
    values = np.array(each["values"], dtype=each["dtype"]).reshape(each["shape"])
    region = shared_memory.create_shared_memory_region("guarded", f"/guarded-{os.getpid()}", values.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [values])
        with plain.InferenceServerClient(address) as client:
            client.register_system_shared_memory("guarded", f"/guarded-{os.getpid()}", values.nbytes)
            try:
                tensor = plain.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
                tensor.set_shared_memory("guarded", values.nbytes)
                wanted = [plain.InferRequestedOutput(output) for output in outputs]
                result = client.infer(model, [tensor], outputs=wanted)
            finally:
                client.unregister_system_shared_memory("guarded")
        return {output: array(result.as_numpy(output)) for output in outputs}
    finally:
        shared_memory.destroy_shared_memory_region(region)


def tell(address: str, *, model: str) -> Any:
    """Return what the client learns about the server without a prediction."""
    with plain.InferenceServerClient(address) as client:
        return {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready(model),
            "server": client.get_server_metadata(),
            "model": client.get_model_metadata(model),
        }


def index(address: str) -> Any:
    """Return the server's models; the client asks with a POST that has no body."""
    with plain.InferenceServerClient(address) as client:
        return client.get_model_repository_index()


def metadata(address: str, *, model: str) -> Any:
    """Return a model's metadata; the client raises for a model that is not there."""
    with plain.InferenceServerClient(address) as client:
        return client.get_model_metadata(model)


if __name__ == "__main__":
    answer({"infer": infer, "infer_shared": infer_shared, "tell": tell, "metadata": metadata, "index": index})
