"""What the readers of model servers make of a request's body: `python -m tests.servers.clients.reading` in a server's environment.

Each call takes a body and returns its rows as the model would get them: `columns`, where they have names, and `rows`.
"""

import io
import json
import math
from types import SimpleNamespace
from typing import Any

from tests.servers.clients.answering import answer


def mlflow_csv(body: str) -> Any:
    """Return the frame that MLflow's scoring server makes of CSV."""
    from mlflow.pyfunc.scoring_server import parse_csv_input

    return _frame(parse_csv_input(io.StringIO(body)))


def mlflow_json(body: str) -> Any:
    """Return what MLflow's scoring server hands to a model without a signature."""
    from mlflow.pyfunc.scoring_server import _parse_json_data

    return _any(_parse_json_data(body.encode(), SimpleNamespace(), None).data)


def mlserver(body: str, codec: str) -> Any:
    """Return what MLServer's codec for a whole request makes of V2 tensors in JSON."""
    import orjson
    from mlserver.codecs import NumpyRequestCodec, PandasCodec
    from mlserver.codecs.utils import decode_inference_request
    from mlserver.types import InferenceRequest

    request = InferenceRequest(**orjson.loads(body))
    decode_inference_request(request)
    return _any({"np": NumpyRequestCodec, "pd": PandasCodec}[codec].decode_request(request))


def kserve_v1(body: str) -> Any:
    """Return what KServe's own servers hand to a model of the V1 protocol."""
    from kserve.model_repository import ModelRepository
    from kserve.protocol.dataplane import DataPlane
    from kserve.utils.utils import get_predict_input

    return _any(get_predict_input(DataPlane(ModelRepository()).decode(body.encode(), {})[0]))


def kserve_v2(body: str) -> Any:
    """Return what KServe's own servers hand to a model of the V2 protocol."""
    import orjson
    from kserve.protocol.infer_type import InferRequest
    from kserve.protocol.rest.v2_datamodels import InferenceRequest
    from kserve.utils.utils import get_predict_input

    request = InferenceRequest.model_validate(orjson.loads(body))
    return _any(get_predict_input(InferRequest.from_inference_request(request, "m")))


def bentoml(body: str, argument: str) -> Any:
    """Return what BentoML hands to an endpoint with a frame `df`, or an array `x`, and a number `scale`."""
    import numpy as np
    import pandas as pd
    from _bentoml_sdk.io_models import IODescriptor

    def framed(df: pd.DataFrame, scale: float = 1.0) -> float:
        return 0.0

    def arrayed(x: np.ndarray, scale: float = 1.0) -> float:
        return 0.0

    made = IODescriptor.from_input({"df": framed, "x": arrayed}[argument])
    return _any(getattr(made.model_validate_json(body), argument))


def _any(value: Any) -> Any:
    if hasattr(value, "iloc"):
        return _frame(value)
    if isinstance(value, dict):
        columns = [column if isinstance(column, list) else [column] for column in map(_cell, value.values())]
        return {"columns": list(value), "rows": [list(row) for row in zip(*columns, strict=True)]}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        import pandas as pd

        return _frame(pd.DataFrame(value))
    if not isinstance(value, list):
        raise TypeError("not an array of rows")
    return {"columns": None, "rows": [_cell(row) if isinstance(row, list) else [_cell(row)] for row in value]}


def _frame(frame: Any) -> Any:
    columns = [[_cell(value) for value in frame.iloc[:, at].tolist()] for at in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(len(frame))]
    return {"columns": None if names == [str(at) for at in range(len(names))] else names, "rows": rows}


def _cell(value: Any) -> Any:
    """Return a value as JSON has it, None where it is missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_cell(item) for item in value]
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, bytes):
        return value.decode()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return None if not isinstance(value, float) or math.isnan(value) else value


if __name__ == "__main__":
    calls = (mlflow_csv, mlflow_json, mlserver, kserve_v1, kserve_v2, bentoml)
    answer({call.__name__: call for call in calls})
