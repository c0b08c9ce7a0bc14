"""A container as SageMaker runs them: `python -m tests.servers.models.sagemaker_container PORT`.

It reads and writes CSV, JSON, JSON lines and NPY by Content-Type and Accept as the scikit-learn container does, says in a
header which path it was called by, and answers an endpoint's path too, so that a client can call it with nothing between.
"""

import io
import json
import sys
from typing import Any

import numpy as np
from aiohttp import web

CALLED_BY = "x-Amzn-Invoked-Production-Variant"
"""The client shows this header; the service writes the variant's name there."""

JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/jsonl")


def _matrix(body: bytes, content_type: str) -> np.ndarray:
    if content_type == "text/csv":
        return np.genfromtxt(io.BytesIO(body), delimiter=",", ndmin=2)
    if content_type == "application/x-npy":
        return np.load(io.BytesIO(body), allow_pickle=False)  # type: ignore[no-any-return]
    if content_type in JSON_LINES:
        return _rows([json.loads(line) for line in body.splitlines()])
    if content_type == "application/json":
        return _rows(json.loads(body))
    raise ValueError(f"content type {content_type} is not supported by this model")


def _rows(given: Any) -> np.ndarray:
    rows = given["instances"] if isinstance(given, dict) else given
    rows = [row["features"] if isinstance(row, dict) else row for row in rows]
    return np.array(rows, dtype=np.float64)


def _written(sums: np.ndarray, accept: str) -> tuple[bytes, str]:
    if accept == "text/csv":
        return "".join(f"{value!r}\n" for value in sums.tolist()).encode(), accept
    if accept == "application/x-npy":
        buffer = io.BytesIO()
        np.save(buffer, sums)
        return buffer.getvalue(), accept
    if accept in JSON_LINES:
        return "".join(json.dumps({"score": value}) + "\n" for value in sums.tolist()).encode(), accept
    return json.dumps(sums.tolist()).encode(), "application/json"


async def invocations(request: web.Request) -> web.Response:
    """Return the sums of the rows. Whatever goes wrong is a 500 of text, as the container has it."""
    accept = request.headers.get("Accept", "application/json")
    try:
        matrix = _matrix(await request.read(), request.headers.get("Content-Type", ""))
        body, written = _written(matrix.sum(axis=1), accept)
    except (ValueError, KeyError) as error:
        return web.Response(status=500, text=f"{type(error).__name__}: {error}\n")
    headers = {"Content-Type": written, CALLED_BY: request.path}
    return web.Response(body=body, headers=headers)


async def ping(_request: web.Request) -> web.Response:
    return web.Response()


def serve(port: int) -> None:
    """Serve until the process is told to end."""
    app = web.Application()
    app.router.add_get("/ping", ping)
    app.router.add_post("/invocations", invocations)
    app.router.add_post("/endpoints/{name}/invocations", invocations)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
