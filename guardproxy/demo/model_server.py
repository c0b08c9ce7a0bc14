"""The demo's model server: one model on the Open Inference Protocol (JSON), and a switch that makes it talk nonsense.

Decides how the protocol is spoken: health, metadata, `infer`, errors as `{"error": ...}`. It knows nothing of
guardproxy. `/demo/...` is no part of the protocol: the demo uses it directly, never through the proxy, to switch the
nonsense on and to ask how often the model was called.

    python -m guardproxy.demo.model_server --data training.csv --port 0

It prints `ready PORT` once it serves, and ends when its standard input is closed, so it cannot outlive the demo.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
from aiohttp import web

from guardproxy.demo.dataset import FEATURES, read_csv
from guardproxy.demo.errors import DemoError
from guardproxy.demo.model import OUTPUTS, Floats, Forecaster, train
from guardproxy.demo.nonsense import KINDS, spoil

MODEL: Final = "departures"
VERSION: Final = "1"
MAX_BODY: Final = 16 * 1024 * 1024
MAX_ROWS: Final = 100_000


@dataclass(slots=True)
class Served:
    """The model with what the demo has asked of it: rows to spoil by kind, and a count of `infer` calls."""

    forecaster: Forecaster
    nonsense: dict[int, str] = field(default_factory=dict)
    calls: int = 0


class BadRequestError(Exception):
    """A request that the protocol does not allow; the message is for the client."""


SERVED: Final = web.AppKey("served", Served)


def make_app(forecaster: Forecaster) -> web.Application:
    """Return the model server around a trained model."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_protocol_errors])
    app[SERVED] = Served(forecaster)
    model = f"/v2/models/{MODEL}"
    app.add_routes(
        [
            web.get("/v2", _server_metadata),
            web.get("/v2/health/live", _healthy),
            web.get("/v2/health/ready", _healthy),
            web.get(model, _model_metadata),
            web.get(f"{model}/ready", _healthy),
            web.post(f"{model}/infer", _infer),
            web.get("/demo/calls", _calls),
            web.post("/demo/nonsense", _nonsense),
        ]
    )
    return app


def read_inputs(document: object) -> tuple[dict[str, list[Any]], int]:
    """Return the columns of an inference request and its number of rows. Raises BadRequestError."""
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise BadRequestError("'inputs' must be a list of tensors")
    columns: dict[str, list[Any]] = {}
    lengths = set()
    for tensor in inputs:
        name, data = _tensor(tensor)
        columns[name] = data
        lengths.add(len(data))
    if len(lengths) > 1:
        raise BadRequestError(f"all inputs must have the same number of rows, found {sorted(lengths)}")
    rows = lengths.pop()
    if not 1 <= rows <= MAX_ROWS:
        raise BadRequestError(f"a request may have 1 to {MAX_ROWS} rows, not {rows}")
    return columns, rows


def write_answer(answers: Mapping[str, Floats], rows: int, request_id: object) -> bytes:
    """Write an inference response. The same answers always give the same bytes; NaN is the bare token."""
    document: dict[str, object] = {"model_name": MODEL, "model_version": VERSION}
    if isinstance(request_id, str):
        document["id"] = request_id
    document["outputs"] = [
        {"name": name, "shape": [rows, 1], "datatype": "FP64", "data": answers[name].tolist()}
        for name in OUTPUTS
    ]
    return (json.dumps(document) + "\n").encode()


def _tensor(tensor: object) -> tuple[str, list[Any]]:
    if not isinstance(tensor, dict) or tensor.get("name") not in FEATURES:
        raise BadRequestError(f"every input needs one of these names: {', '.join(FEATURES)}")
    name, data, shape = str(tensor["name"]), tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list) or shape not in ([len(data)], [len(data), 1]):
        raise BadRequestError(f"input {name!r}: 'shape' must be [rows] or [rows, 1] and fit 'data'")
    wanted: tuple[type, ...] = (str,) if name == "airport" else (int, float)
    if any(cell is not None and (isinstance(cell, bool) or not isinstance(cell, wanted)) for cell in data):
        raise BadRequestError(f"input {name!r}: 'data' holds something that is no {wanted[-1].__name__}")
    return name, data if name == "airport" else [None if cell is None else float(cell) for cell in data]


@web.middleware
async def _protocol_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except BadRequestError as error:
        return _error(400, str(error))
    except web.HTTPException as error:
        return _error(error.status, f"{error.reason}: {request.method} {request.path}")
    return answer


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


async def _document(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is not JSON") from error


async def _infer(request: web.Request) -> web.Response:
    served = request.app[SERVED]
    document = await _document(request)
    columns, rows = read_inputs(document)
    served.calls += 1
    answers = served.forecaster.predict(columns, rows)
    body = write_answer(spoil(answers, rows, served.nonsense), rows, document.get("id"))
    return web.Response(body=body, content_type="application/json")


async def _healthy(_request: web.Request) -> web.Response:
    return web.Response()


async def _server_metadata(_request: web.Request) -> web.Response:
    return web.json_response({"name": "guardproxy demo model server", "version": VERSION, "extensions": []})


async def _model_metadata(_request: web.Request) -> web.Response:
    inputs = [
        {"name": name, "datatype": "BYTES" if name == "airport" else "FP64", "shape": [-1, 1]}
        for name in FEATURES
    ]
    outputs = [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in OUTPUTS]
    return web.json_response(
        {
            "name": MODEL,
            "versions": [VERSION],
            "platform": "scikit-learn",
            "inputs": inputs,
            "outputs": outputs,
        }
    )


async def _calls(request: web.Request) -> web.Response:
    return web.json_response({"infer": request.app[SERVED].calls})


async def _nonsense(request: web.Request) -> web.Response:
    document = await _document(request)
    wanted = document.get("rows") if isinstance(document, dict) else None
    if not isinstance(wanted, dict) or not all(
        row.isdecimal() and kind in KINDS for row, kind in wanted.items()
    ):
        raise BadRequestError(f"'rows' must map row numbers to one of: {', '.join(KINDS)}")
    request.app[SERVED].nonsense = {int(row): kind for row, kind in wanted.items()}
    return web.json_response({"rows": wanted})


async def serve(app: web.Application, port: int) -> None:
    """Serve on the loopback until the standard input ends or a signal asks to stop."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        click.echo(f"ready {runner.addresses[0][1]}")
        await _stopped()
    finally:
        await runner.cleanup()


async def _stopped() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        ended = asyncio.create_task(reader.read())
        asked = asyncio.create_task(stop.wait())
        _, waiting = await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    finally:
        transport.close()


@click.command()
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True)
def main(data: Path, port: int) -> None:
    """Train the demo's model on DATA and serve it."""
    try:
        forecaster = train(read_csv(data))
    except DemoError as error:
        raise click.ClickException(str(error)) from error
    asyncio.run(serve(make_app(forecaster), port))


if __name__ == "__main__":
    main()
