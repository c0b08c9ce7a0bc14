"""The KServe SDK's InferenceRESTClient, V1 and V2."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.constants.constants import PredictorProtocol
from kserve.utils.numpy_codec import from_np_dtype

from tests.servers.clients.answering import answer, array

V1, V2 = PredictorProtocol.REST_V1.value, PredictorProtocol.REST_V2.value


def _with_client(protocol: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async def carried() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(carried())


def predict(url: str, *, model: str, instances: list[Any]) -> Any:
    """Return the dictionary that V1 answers."""
    return _with_client(V1, lambda client: client.infer(url, {"instances": instances}, model_name=model))


def infer(
    url: str, *, model: str, inputs: dict[str, dict[str, Any]], outputs: list[str], binary: bool
) -> Any:
    """Return what each output's array holds."""
    tensors = []
    for name, each in inputs.items():
        values = np.array(each["values"], dtype=each["dtype"]).reshape(each["shape"])
        tensor = InferInput(name, list(values.shape), from_np_dtype(values.dtype))
        tensor.set_data_from_numpy(values, binary_data=binary)
        tensors.append(tensor)
    request = InferRequest(model, tensors)
    result = _with_client(V2, lambda client: client.infer(url, request, model_name=model))
    held = {output.name: output.as_numpy() for output in result.outputs}
    return {name: array(held[name]) for name in outputs}


def tell(url: str, *, model: str) -> Any:
    """Return what the client learns about the server without a prediction."""

    async def ask(client: Any) -> Any:
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, model),
        }

    return _with_client(V2, ask)


if __name__ == "__main__":
    answer({"predict": predict, "infer": infer, "tell": tell})
