"""MLServer's own encoder of data frames, over HTTP, and over gRPC in typed contents."""

import urllib.error
import urllib.request
from typing import Any

import grpc
import pandas as pd
from mlserver.codecs import PandasCodec
from mlserver.grpc import converters, dataplane_pb2_grpc
from mlserver.types import InferenceResponse

from tests.servers.clients.answering import answer


def infer(url: str, *, model: str, columns: dict[str, list[Any]]) -> Any:
    """Return the columns of the data frame that the answer decodes to."""
    frame = pd.DataFrame(columns)
    request = PandasCodec.encode_request(frame, use_bytes=False)
    call = urllib.request.Request(
        f"{url}/v2/models/{model}/infer",
        data=request.model_dump_json(exclude_none=True).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(call, timeout=30) as response:
            body = response.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{error.code} {error.read().decode()}") from error
    return _held(InferenceResponse.model_validate_json(body))


def infer_grpc(address: str, *, model: str, columns: dict[str, list[Any]]) -> Any:
    """Return the columns of the data frame that the answer over gRPC decodes to."""
    request = PandasCodec.encode_request(pd.DataFrame(columns), use_bytes=True)
    message = converters.ModelInferRequestConverter.from_types(request, model_name=model)
    with grpc.insecure_channel(address) as channel:
        answered = dataplane_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=30)
    return _held(converters.ModelInferResponseConverter.to_types(answered))


def _held(response: InferenceResponse) -> Any:
    answered = PandasCodec.decode_response(response)
    return {
        name: [value.decode() if isinstance(value, bytes) else value for value in answered[name].tolist()]
        for name in answered
    }


if __name__ == "__main__":
    answer({"infer": infer, "infer_grpc": infer_grpc})
