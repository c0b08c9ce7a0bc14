"""A whole guardproxy in the test's own loop, in front of a recording upstream."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from guardproxy.config import Address, Config, RouteConfig
from guardproxy.decision import FailureMode, FailurePolicy, Reason
from guardproxy.proxy.load import load
from guardproxy.service import Service, running
from tests.harness.client import RawClient, Response

PATH = "/v2/models/demand/infer"

RULES = """\
guardproxy: 1
model: demand
owner: ops
rules:
  - id: not-negative
    range: {field: output.demand, min: 0}
    action: fallback
    fallback: [previous, {value: 5}]
  - id: too-much
    require: output.demand < 1000
    action: hold
    hold: {meanwhile: fallback, sla: 1h}
    fallback: [previous, {value: 7}]
  - id: withheld
    forbid: output.demand == 777
    action: hold
    hold: {meanwhile: withhold, sla: 1h, on_expiry: reject}
  - id: unit-error
    range: {field: features.x, max: 1000}
    action: reject
    message: "x is {features.x:.0f}"
"""


@asynccontextmanager
async def serving(
    upstream_port: int,
    *,
    rules: str = RULES,
    failure: str | Mapping[str, str] = "open",
    protocol: str = "open-inference",
    config: Config | None = None,
    folder: Path | None = None,
    clock: Callable[[], float] = time.time,
    **route: Any,
) -> AsyncIterator[Service]:
    """Run guardproxy with one guarded route; everything else passes through.

    The rules of `folder` are served where it is given, else `rules` from a directory of its own.
    """
    with TemporaryDirectory() as own:
        base = Path(own)
        if folder is None:
            (base / "a.guard.yaml").write_text(rules)
        upstream = f"http://127.0.0.1:{upstream_port}"
        item = RouteConfig(
            **{"path": PATH, "model": "demand", "protocol": protocol, "key": ("store",), **route},
            on_failure=policy_of(failure),
        )
        config = replace(
            config or Config(),
            listen=Address("127.0.0.1", 0),
            admin=Address("127.0.0.1", 0),
            auth="none",
            store=base / "holds.db",
            rules=folder or base,
            upstream=upstream,
            routes=(item,),
            drain_s=1.0,
        )
        loaded = load(config)
        assert not loaded.errors, loaded.errors
        async with running(config, loaded, None, clock=clock) as service:
            yield service


def policy_of(failure: str | Mapping[str, str]) -> FailurePolicy:
    """Return a route's policy: one mode, or the modes by reason with `default` among them."""
    modes = {"default": failure} if isinstance(failure, str) else dict(failure)
    default = FailureMode(modes.pop("default"))
    return FailurePolicy(default, {Reason(reason): FailureMode(mode) for reason, mode in modes.items()})


def port_of(service: Service) -> int:
    """Return the data plane's port."""
    assert service.server is not None
    return service.server.port


def infer(xs: Sequence[float], store: str = "s1") -> bytes:
    """Return an Open Inference request body with a feature `x` and a key `store`."""
    rows = len(xs)
    return json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [rows], "datatype": "FP64", "data": list(xs)},
                {"name": "store", "shape": [rows], "datatype": "BYTES", "data": [store] * rows},
            ]
        }
    ).encode()


def demand(values: Sequence[float]) -> bytes:
    """Return an Open Inference response body, spaced as no JSON library spaces it."""
    data = " ,".join(repr(float(value)) for value in values)
    return (
        b'{ "model_name":"demand","outputs":[{"name":"demand","shape":[%d],"datatype":"FP64","data":[%s] }]}\n'
        % (
            len(values),
            data.encode(),
        )
    )


def request(body: bytes, *lines: bytes, path: str = PATH, method: bytes = b"POST") -> bytes:
    """Return a whole request."""
    head = [
        b"%s %s HTTP/1.1" % (method, path.encode()),
        b"Host: model.test",
        b"Content-Type: application/json",
        *lines,
    ]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body)]) + b"\r\n\r\n" + body


async def ask(
    service: Service, body: bytes, *lines: bytes, path: str = PATH, method: bytes = b"POST"
) -> Response:
    """Send one request over a connection of its own."""
    client = await RawClient.connect(port_of(service))
    response = await client.exchange(request(body, *lines, path=path, method=method), method)
    await client.close()
    return response


def said(response: Response, name: bytes) -> str | None:
    """Return a decision header."""
    value = response.get(b"Guardproxy-" + name)
    return None if value is None else value.decode()


def reasons(service: Service) -> dict[str, int]:
    """Return how many exchanges were unguarded or refused for each reason so far."""
    journal = service.plane.routes[0].journal
    journal.flush()
    return dict(journal.windows.totals().reasons)
