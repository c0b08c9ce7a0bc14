"""MLflow's ScoringServerClient; for CSV, which that client cannot send, the HTTP library under it."""

import json
from typing import Any

import numpy as np
import pandas as pd
import requests
from mlflow.deployments import PredictionsResponse
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from tests.servers.clients.answering import answer, array


def _client(address: str) -> Any:
    host, port = address.split(":")
    return ScoringServerClient(host, port)


def _held(response: Any) -> Any:
    """Return what the client's object holds, and its own data frame and array of that where it can make them."""
    held: dict[str, Any] = {"predictions": response["predictions"]}
    frame = response.get_predictions()
    held["frame"] = {str(name): frame[name].tolist() for name in frame}
    held["array"] = array(response.get_predictions("ndarray"))
    return held


def invoke(address: str, *, form: str, data: Any) -> Any:
    """Send `data` (columns by name; for `matrix` and `records` the rows) as the client sends such an object."""
    given = {"frame": pd.DataFrame, "matrix": np.array, "records": list, "text": json.dumps}[form](data)
    return _held(_client(address).invoke(given))


def csv(address: str, *, columns: dict[str, list[Any]]) -> Any:
    """Send the columns as CSV with a header."""
    text = pd.DataFrame(columns).to_csv(index=False)
    response = requests.post(
        f"http://{address}/invocations", data=text, headers={"Content-Type": "text/csv"}, timeout=30
    )
    if response.status_code != 200:
        raise RuntimeError(f"{response.status_code} {response.text}")
    return _held(PredictionsResponse.from_json(response.text))


def tell(address: str) -> Any:
    """Return what the client learns about the server without a prediction."""
    client = _client(address)
    client.ping()
    return {"version": client.get_version()}


if __name__ == "__main__":
    answer({"invoke": invoke, "csv": csv, "tell": tell})
