"""BentoML's own clients, of threads and of asyncio: each asks for /readyz and /schema.json before it predicts."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

# The library keeps files under the user's home, and tells its maker that it is used, unless told otherwise.
_home = tempfile.TemporaryDirectory(prefix="bentoml-client-home-")  # gone when the process ends
os.environ["BENTOML_HOME"] = _home.name
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import bentoml  # noqa: E402  # it reads its environment when it is imported
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from tests.servers.clients.answering import answer, array  # noqa: E402


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as a user holds them: `df` a data frame, `x` an array, `file` the path of a file."""
    made = {"df": pd.DataFrame, "x": np.array, "file": Path}
    return {name: made.get(name, lambda value: value)(value) for name, value in arguments.items()}


def _held(result: Any) -> Any:
    if isinstance(result, pd.DataFrame):
        return {"frame": result.to_dict(orient="list")}
    return {"array": array(result)} if isinstance(result, np.ndarray) else {"value": result}


def predict(url: str, *, endpoint: str, arguments: dict[str, Any], loop: bool = False) -> Any:
    """Return what the client's object holds. `loop`: with the client of asyncio."""
    given = _given(arguments)
    if loop:
        return _held(asyncio.run(_predict_in_loop(url, endpoint, given)))
    with bentoml.SyncHTTPClient(url, server_ready_timeout=30) as client:
        return _held(getattr(client, endpoint)(**given))


async def _predict_in_loop(url: str, endpoint: str, given: dict[str, Any]) -> Any:
    async with bentoml.AsyncHTTPClient(url, server_ready_timeout=30) as client:
        return await getattr(client, endpoint)(**given)


def tell(url: str) -> Any:
    """Return what the client learns about the server without a prediction."""
    with bentoml.SyncHTTPClient(url, server_ready_timeout=30) as client:
        return {"ready": client.is_ready(), "endpoints": sorted(client.endpoints)}


if __name__ == "__main__":
    answer({"predict": predict, "tell": tell})
