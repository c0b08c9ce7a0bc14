"""Two models for MLServer: a bare matrix, and a data frame."""

import numpy as np
import pandas as pd
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Matrix(MLModel):  # type: ignore[misc]
    """`x` of shape [n, 3] in; `y` its sums, `n` its whole sums, `label` a word for each."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        sums = x.sum(axis=1, keepdims=True)
        words = ["high" if value > 10 else "low" for value in sums.ravel()]
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                NumpyCodec.encode_output("y", sums),
                NumpyCodec.encode_output("n", sums.astype(np.int64)),
                StringCodec.encode_output("label", words, use_bytes=False),
            ],
        )


class Frame(MLModel):  # type: ignore[misc]
    """Columns `a` (number) and `kind` (text) in; `y`, twice `a` and missing where `a` is, and `label` out."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        frame = PandasCodec.decode_request(payload)
        answer = pd.DataFrame({"y": frame["a"] * 2, "label": frame["kind"].astype(object)})
        return PandasCodec.encode_response(self.name, answer, self.version, use_bytes=False)
