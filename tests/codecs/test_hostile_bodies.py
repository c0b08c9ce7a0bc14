"""Whatever a body is made of: a reason, never a wrong row and never a 500, in bounded memory."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.codecs.hostile_bodies import BODIES, HARM, MAX_BODY, MIB, PATHS, PROTOBUF, Hostile, decode
from tests.harness.client import RawClient, Response
from tests.harness.configured import configured
from tests.harness.loop import run
from tests.harness.replayed import ReplayedUpstream
from tests.proxy.serving import port_of, said
from tests.shared import ROOT

MOST_MIB: Final = 100 * MAX_BODY / MIB
"""What the reading of a body may take, in multiples of the largest; a value in a list takes a few dozen bytes for its two."""

# Acts on every row that can be read: what passes as it came has not been judged.
RULES: Final = """\
guardproxy: 1
model: m
owner: ops
rules:
  - {id: every-row, require: features.of_no_message is not missing, action: fallback, fallback: [{value: 7}]}
"""

JSON_LINE: Final = "Content-Type: application/json"
GOOD: Final[Mapping[str, tuple[bytes, str, bytes]]] = {
    "kserve-v1": (b'{"instances":[[1],[2]]}', JSON_LINE, b'{"predictions":[-1,-2]}'),
    "mlflow": (b'{"instances":[[1],[2]]}', JSON_LINE, b'{"predictions":[-1,-2]}'),
    "open-inference": (
        b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","data":[1,2]}]}',
        JSON_LINE,
        b'{"outputs":[{"name":"y","shape":[2],"datatype":"FP64","data":[-1,-2]}]}',
    ),
    "sagemaker": (b"1\n2\n", "Content-Type: text/csv", b"[-1,-2]"),
    "seldon": (b'{"data":{"ndarray":[[1],[2]]}}', JSON_LINE, b'{"data":{"ndarray":[[-1],[-2]]}}'),
    "openai": (
        b'{"model":"m","n":2,"stream":true,"messages":[{"role":"user","content":"x"}]}',
        JSON_LINE,
        b'{"choices":[{"index":0,"message":{"content":"a"}},{"index":1,"message":{"content":"b"}}]}',
    ),
}
"""For each protocol a request of two rows, its content type, and the answer to it."""

SHAPES: Final[Mapping[str, tuple[str, ...]]] = {
    "kserve-v1": ("error",),
    "mlflow": ("message",),
    "open-inference": ("error",),
    "sagemaker": ("message",),
    "seldon": ("status", "info"),
    "openai": ("error", "message"),
}
"""Where an error of each protocol has its sentence."""


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Every body decoded in another process: what was said, and the memory that it took."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.codecs.hostile_bodies", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    assert done.stderr == ""
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_has_its_reason_in_bounded_memory(name: str, measured: dict[str, Any]) -> None:
    found = measured[name]
    assert found["reason"] == BODIES[name].reason, found["said"]
    assert found["mib"] < MOST_MIB
    assert found["bytes"] <= MAX_BODY
    assert _is_sentence(found["said"])


def test_no_pickle_and_no_code_in_a_header_was_run(measured: dict[str, Any]) -> None:
    assert {"a pickle", "a pickle alone", "a header that is code"} <= measured.keys()
    assert not Path(HARM).exists()


@pytest.mark.parametrize("name", [name for name, hostile in BODIES.items() if hostile.cells is not None])
def test_what_is_odd_and_legal_is_read_exactly(name: str) -> None:
    found = decode(BODIES[name], BODIES[name].make())
    assert found["reason"] is None
    assert found["cells"] == BODIES[name].cells


def _is_sentence(text: str) -> bool:
    return text.isprintable() and text.isascii() and 0 < len(text) < 300 and "Error" not in text


def _bodies(protocol: str) -> Iterable[tuple[str, Hostile]]:
    """The bodies of a protocol that HTTP can carry: no header can say that one is a gRPC message."""
    return [(name, one) for name, one in BODIES.items() if one.protocol == protocol and name not in PROTOBUF]


def _few_bodies(protocol: str) -> Iterable[tuple[str, Hostile]]:
    """Three bodies for each reason and side: the others differ in how they are read, not in what is done about it."""
    seen: Counter[tuple[str | None, bool]] = Counter()
    for name, hostile in _bodies(protocol):
        seen[hostile.reason, hostile.response] += 1
        if seen[hostile.reason, hostile.response] <= 3:
            yield name, hostile


def _message(start: str, body: bytes, lines: Iterable[str]) -> bytes:
    head = "\r\n".join((start, *lines, f"Content-Length: {len(body)}", "", ""))
    return head.encode("latin-1") + body


class Answer(NamedTuple):
    """What came back for a body, the requests' bodies that the upstream got, and those two that were sent."""

    got: Response
    asked: list[bytes]
    request: bytes
    response: bytes


async def _answers(
    protocol: str, policy: str, bodies: Iterable[tuple[str, Hostile]]
) -> tuple[dict[str, Answer], int]:
    """Send bodies of a protocol; return what came back by name, and how many faults the proxy had."""
    path = PATHS[protocol]
    route = {
        "path": path, "model": "m", "protocol": protocol, "on_failure": policy, "max_body": f"{MAX_BODY // 1024}KiB",
        "buffer": protocol == "openai",
    }  # fmt: skip
    found = {}
    async with (
        ReplayedUpstream() as upstream,
        configured(upstream.port, json.dumps([route]), RULES) as service,
    ):
        for name, hostile in bodies:
            request, content_type, answer = GOOD[protocol]
            lines, told = (content_type,), (JSON_LINE,)
            if hostile.response:
                answer, told = hostile.make(), hostile.lines
            else:
                request, lines = hostile.make(), hostile.lines
            upstream.response = _message("HTTP/1.1 200 OK", answer, told)
            upstream.requests.clear()
            client = await RawClient.connect(port_of(service), limit=1 << 20)
            got = await client.exchange(
                _message(f"POST {path} HTTP/1.1", request, ("Host: m", *lines)), b"POST"
            )
            found[name] = Answer(got, [seen.body for seen in upstream.requests], request, answer)
            await client.close()
        return found, service.plane.faults


@pytest.mark.parametrize("protocol", GOOD)
def test_an_open_route_passes_what_it_cannot_read_and_says_so(protocol: str) -> None:
    bodies = list(_few_bodies(protocol))
    found, faults = run(_answers(protocol, "open", bodies))
    assert faults == 0
    wrong = {}
    for name, hostile in bodies:
        got, asked, request, answer = found[name]
        if hostile.reason is None:
            if got.status not in (200, 503) or said(got, b"Reason") == "fault":
                wrong[name] = (got.status, said(got, b"Reason"))
            continue
        outcome = (
            got.status,
            said(got, b"Outcome"),
            said(got, b"Reason"),
            asked == [request],
            got.body == answer,
        )
        if outcome != (200, "unguarded", hostile.reason, True, True):
            wrong[name] = outcome
    assert not wrong


@pytest.mark.parametrize("protocol", GOOD)
def test_a_closed_route_refuses_what_it_cannot_read_in_its_protocols_shape(protocol: str) -> None:
    bodies = list(_bodies(protocol))
    found, faults = run(_answers(protocol, "closed", bodies))
    assert faults == 0
    wrong = {}
    for name, hostile in bodies:
        got, asked = found[name][:2]
        if hostile.reason is None:
            if got.status not in (200, 503) or said(got, b"Reason") == "fault":
                wrong[name] = (got.status, said(got, b"Reason"))
            continue
        sentence = json.loads(got.body) if got.status == 503 else None
        for key in SHAPES[protocol] if sentence is not None else ():
            sentence = sentence[key]
        outcome = (got.status, said(got, b"Reason"), len(asked), _is_sentence(str(sentence)))
        if outcome != (503, hostile.reason, int(hostile.response), True) or not got.get(b"Retry-After"):
            wrong[name] = outcome
    assert not wrong
