"""Every exchange that was captured between real clients and real model servers, through a whole guardproxy.

What no rule acts on passes byte for byte; what a rule replaces differs in that row only. The rows are read here by the
standard library and numpy, never by the codecs that are tested.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import brotli
import numpy as np
import pytest
import zstandard

from benchmarks import plain_json
from tests.codecs.exchanges import Captured, Exchange, exchanges, header, undone
from tests.codecs.test_captures import FOLDERS, GOLDEN
from tests.harness.client import RawClient, Response
from tests.harness.configured import configured
from tests.harness.loop import run
from tests.harness.replayed import ReplayedUpstream, request_changes, response_changes
from tests.proxy.serving import port_of, said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guardproxy.service import Service

EXCHANGES: Final = 132
PREDICTIONS: Final = 68

PROTOCOLS: Final = {
    "/v1/models/{model}:predict": "kserve-v1",
    "/v2/models/{model}/infer": "open-inference",
    "/v2/models/{model}/versions/{version}/infer": "open-inference",
    "/invocations": "mlflow",
}

SHADOW: Final = """\
guardproxy: 1
model: m
owner: ops
defaults: {mode: shadow}
rules:
  - {id: refused, require: features.of_no_message is not missing, action: reject}
  - {id: kept, require: output.of_no_message is not missing, action: hold, hold: {sla: 1h, meanwhile: withhold, on_expiry: reject}}
  - {id: put-in-its-place, require: output.of_no_message is not missing, action: fallback, fallback: [{value: 0}]}
"""


# ------------------------------------------------------------------------------------------- how a response is spelled

_TAGS: Final = (b"etag", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"last-modified")


def _with_body(answer: Captured, body: bytes, *lines: bytes) -> Captured:
    """The same response with another body, of a told length."""
    kept = [
        line
        for line in answer.lines
        if not line.lower().startswith((b"content-length:", b"transfer-encoding:", b"content-encoding:"))
    ]
    return replace(answer, lines=(*kept, *lines, b"Content-Length: %d" % len(body)), framed=body, body=body)


def _chunked(answer: Captured) -> Captured:
    """The same response in chunks of seven bytes, without a reason phrase, its header names in lower case."""
    cuts = [answer.body[at : at + 7] for at in range(0, len(answer.body), 7)]
    lines = tuple(
        b":".join((line.partition(b":")[0].lower(), line.partition(b":")[2]))
        for line in answer.lines
        if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))
    )
    return Captured(
        b"%b " % answer.start[:12],
        (*lines, b"transfer-encoding: chunked"),
        b"".join(b"%X\r\n%b\r\n" % (len(cut), cut) for cut in cuts) + b"0\r\n\r\n",
        answer.body,
    )


def _tagged(answer: Captured) -> Captured:
    """The same response with all that its server may say about its exact bytes."""
    body = answer.body
    sha = base64.b64encode(hashlib.sha256(body).digest())
    return _with_body(
        answer,
        body,
        *(line for line in answer.lines if line.lower().startswith(b"content-encoding:")),
        b'ETag: "abc"',
        b"content-md5: " + base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()),
        b"Digest: sha-256=" + sha,
        b"Content-Digest: sha-256=:" + sha + b":",
        b"Repr-Digest: sha-256=:" + sha + b":",
        b"Last-Modified: Mon, 23 Nov 2026 07:45:06 GMT",
    )


SPELLINGS: Final[Mapping[str, Callable[[Captured], Captured]]] = {
    "as captured": lambda answer: answer,
    "gzip": lambda answer: _with_body(answer, gzip.compress(answer.content), b"content-encoding: gzip"),
    "deflate": lambda answer: _with_body(answer, zlib.compress(answer.content), b"Content-Encoding: deflate"),
    "br": lambda answer: _with_body(answer, brotli.compress(answer.content), b"Content-Encoding: br"),
    "zstd": lambda answer: _with_body(answer, zstandard.compress(answer.content), b"content-encoding: ZSTD"),
    "chunked": _chunked,
    "tagged": _tagged,
}


# ------------------------------------------------------------------------------------------------- byte for byte

ROUTES: Final = {
    "unguarded": "[]",
    "guarded": json.dumps(
        [
            {"path": path, "model": "m", "protocol": protocol, "on_failure": "open"}
            for path, protocol in PROTOCOLS.items()
        ]
    ),
    "all guarded": json.dumps(
        [
            {"path": "/v1/*", "model": "m", "protocol": "kserve-v1", "on_failure": "open"},
            {"path": "/invocations", "model": "m", "protocol": "mlflow", "on_failure": "open"},
            {"path": "/*", "model": "m", "protocol": "open-inference", "on_failure": "open"},
        ]
    ),
}


async def _replay(
    service: Service, upstream: ReplayedUpstream, exchange: Exchange, answer: Captured
) -> Response:
    upstream.response = answer.raw
    client = await RawClient.connect(port_of(service))
    got = await client.exchange(exchange.request.raw, exchange.method)
    await client.close()
    return got


@pytest.mark.parametrize("routes", ROUTES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_captured_exchange_passes_byte_for_byte(routes: str, spelling: str) -> None:
    assert len(exchanges()) == EXCHANGES
    changes: dict[str, list[str]] = {}
    outcomes: Counter[str | None] = Counter()

    async def scenario() -> None:
        async with (
            ReplayedUpstream() as upstream,
            configured(upstream.port, ROUTES[routes], SHADOW) as service,
        ):
            for number, exchange in enumerate(exchanges().values()):
                upstream.piece = (None, 1 if spelling == "as captured" else 17, 53)[number % 3]
                answer = SPELLINGS[spelling](exchange.response)
                got = await _replay(service, upstream, exchange, answer)
                outcomes[said(got, b"Outcome")] += 1
                guarded = said(got, b"Decision") is not None
                wrong = request_changes(exchange.request, upstream.requests[-1], guarded=guarded)
                wrong += response_changes(answer, got)
                if wrong:
                    changes[exchange.name] = wrong
            assert len(upstream.requests) == EXCHANGES
            assert service.plane.faults == 0

    run(scenario())
    assert not changes
    answered = sum(count for outcome, count in outcomes.items() if outcome is not None)
    assert answered == {"unguarded": 0, "guarded": PREDICTIONS - 1, "all guarded": PREDICTIONS}[routes]


# ------------------------------------------------------------------------------------------------- row 0, and only it

NOT_REPLACED: Final = {
    "mlflow/out_ragged#0": "the predictions are not all of the same length",
    "mlflow/out_scalar#0": "one value for two rows",
    "oip_v2_mlserver/repo_index#0": "no prediction: the list of the server's models",
}
"""What carries no row that could be replaced, and why."""

ALIKE: Final = {"oip_v2_mlserver/infer_gzip_response#0": tuple(range(0, 400, 2))}
"""Where other rows are the same as row 0 in all they hold, a rule that replaces it replaces them too."""

UNSEEN: Final = frozenset({"mlflow/in_parquet#0"})
"""Where the request's rows cannot be seen, the rows that no rule acts on are unguarded: the strongest outcome."""

REPLACED: Final = [name for name in GOLDEN if name not in NOT_REPLACED]

_WIDTHS: Final = {
    "FP64": "<f8", "FP32": "<f4", "FP16": "<f2", "INT64": "<i8", "INT32": "<i4", "INT16": "<i2", "INT8": "i1",
    "UINT64": "<u8", "UINT32": "<u4", "UINT16": "<u2", "UINT8": "u1", "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """The cells of one prediction, one per row. `at` is where the value of a row stands in the JSON document, `raw` where
    in the body; `datatype` is a tensor's."""

    cells: list[Any]
    at: Callable[[int], list[str | int]] | None = None
    raw: tuple[int, int] | None = None
    datatype: str = ""


def _head_of(lines: Sequence[bytes], body: bytes) -> int:
    told = header(list(lines), "inference-header-content-length")
    return len(body) if told is None else int(told)


def read_predictions(lines: Sequence[bytes], body: bytes) -> dict[str, Column]:
    """The predictions of a response, by nothing of ours: the JSON library, and numpy for what follows the JSON."""
    head = _head_of(lines, body)
    document = json.loads(body[:head])
    if "outputs" in document:
        columns, end = _tensors(document["outputs"], body, head)
        assert end == len(body)
        return columns
    assert head == len(body)
    rows = document["predictions"]
    if isinstance(rows, dict):
        return {
            name: Column(cells, lambda row, name=name: ["predictions", name, row])  # type: ignore[misc]
            for name, cells in rows.items()
        }
    if isinstance(rows[0], dict):
        return {
            name: Column([row[name] for row in rows], lambda row, name=name: ["predictions", row, name])  # type: ignore[misc]
            for name in rows[0]
        }
    return {"prediction": Column(rows, lambda row: ["predictions", row])}


def _tensors(outputs: list[Any], body: bytes, at: int) -> tuple[dict[str, Column], int]:
    columns = {}
    for position, output in enumerate(outputs):
        rows, datatype = output["shape"][0], output["datatype"]
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is not None:
            cells = np.frombuffer(body[at : at + size], _WIDTHS[datatype]).reshape(rows, -1).tolist()
            column = Column([_one(row) for row in cells], raw=(at, size), datatype=datatype)
            at += size
        else:
            width = len(output["data"]) // rows
            cells = [output["data"][row * width : (row + 1) * width] for row in range(rows)]

            def place(row: int, position: int = position, width: int = width) -> list[str | int]:
                return ["outputs", position, "data", *range(row * width, (row + 1) * width)]

            column = Column([_one(row) for row in cells], place, datatype=datatype)
        columns[output["name"]] = column
    return columns, at


def _one(row: list[Any]) -> Any:
    return row[0] if len(row) == 1 else row


def substitute(column: Column) -> Any:
    """Another value of a column's own type, one that a careless way through a float would not leave as it is."""
    cell = column.cells[0]
    if isinstance(cell, list):
        return [0.1, *[0.25] * (len(cell) - 1)]
    if isinstance(cell, str):
        return 'é"\\😀'
    if column.datatype.startswith(("INT", "UINT")):
        return 2**53 + 3
    if isinstance(cell, int):
        return 12
    return 1 / 3 if column.datatype == "FP32" else 0.1


def condition(name: str, columns: Mapping[str, Column]) -> str:
    """Pick row 0 by its features; by its predictions where no feature is to be seen."""
    sent = GOLDEN[name][0]
    if isinstance(sent, str):
        cells, scope = {name: column.cells[0] for name, column in columns.items()}, "output"
    else:
        cells, scope = {name: values[0] for name, values in sent.items()}, "features"
    return " and ".join(
        f"{scope}[{json.dumps(name)}] == {json.dumps(cell)}"
        for name, cell in cells.items()
        if cell is not None
    )


def rule(name: str, columns: Mapping[str, Column]) -> str:
    """A rule file that replaces row 0 of one exchange; each has a model and a route of its own."""
    values = {field: substitute(column) for field, column in columns.items()}
    only = {
        "id": "row-0",
        "forbid": condition(name, columns),
        "action": "fallback",
        "fallback": [{"value": values}],
        "on_unknown": "ignore",
    }
    return json.dumps({"guardproxy": 1, "model": name, "owner": "ops", "rules": [only]}, ensure_ascii=False)


@pytest.fixture(scope="module")
def replaced() -> dict[str, dict[str, tuple[Captured, Response]]]:
    """What each exchange's client got with row 0 replaced, by how its response was spelled."""
    found: dict[str, dict[str, tuple[Captured, Response]]] = {}
    files = []
    routes = []
    for number, name in enumerate(REPLACED):
        exchange = exchanges()[name]
        files.append(rule(name, read_predictions(exchange.response.lines, exchange.response.content)))
        protocol = "mlflow" if exchange.target == "/invocations" else FOLDERS[name.partition("/")[0]]
        path = f"/{number}{exchange.target}"
        routes.append({"path": path, "model": name, "protocol": protocol, "on_failure": "open"})

    async def scenario() -> None:
        async with (
            ReplayedUpstream() as upstream,
            configured(upstream.port, json.dumps(routes), "\n---\n".join(files)) as service,
        ):
            for number, name in enumerate(REPLACED):
                exchange = exchanges()[name]
                start = exchange.request.start.replace(b" /", b" /%d/" % number, 1)
                moved = replace(exchange, request=replace(exchange.request, start=start))
                found[name] = {}
                for spelling, spelled in SPELLINGS.items():
                    answer = spelled(exchange.response)
                    found[name][spelling] = (answer, await _replay(service, upstream, moved, answer))

    run(scenario())
    return found


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_row_is_all_that_differs(
    name: str, spelling: str, replaced: dict[str, dict[str, tuple[Captured, Response]]]
) -> None:
    response = exchanges()[name].response
    columns = read_predictions(response.lines, response.content)
    rows = ALIKE.get(name, (0,))
    answer, got = replaced[name][spelling]
    assert said(got, b"Outcome") == ("replaced" if name not in UNSEEN else "unguarded")
    counts = dict(part.split("=") for part in (said(got, b"Rows") or "").split(", "))
    assert int(counts["replaced"]) == len(rows)
    assert sum(map(int, counts.values())) == len(next(iter(columns.values())).cells)
    _check_head(answer, got)
    after = undone(got.body, header(got.lines, "content-encoding"))
    _check_cells(columns, read_predictions(got.lines, after), rows)
    _check_bytes(response, got.lines, after, rows, columns)


def _check_head(answer: Captured, got: Response) -> None:
    """All lines are the server's, but for those that tell of the body: they are made right, or gone."""
    telling = (b"content-length", b"inference-header-content-length", *_TAGS)

    def kept(lines: Sequence[bytes]) -> tuple[bytes, ...]:
        return tuple(line for line in lines if line.partition(b":")[0].lower() not in telling)

    changes = response_changes(
        replace(answer, lines=kept(answer.lines)), replace(got, lines=list(kept(got.lines)))
    )
    assert changes == ["the response's body"]
    assert header(got.lines, "content-length") == str(len(got.body))
    assert header(got.lines, "etag") is None
    assert header(got.lines, "last-modified") is None
    sha = base64.b64encode(hashlib.sha256(got.body).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(got.body, usedforsecurity=False).digest()).decode()
    assert header(got.lines, "digest") in (None, f"sha-256={sha}")
    assert header(got.lines, "content-digest") in (None, f"sha-256=:{sha}:")
    assert header(got.lines, "repr-digest") in (None, f"sha-256=:{sha}:")
    assert header(got.lines, "content-md5") in (None, md5)


def _check_cells(before: Mapping[str, Column], after: Mapping[str, Column], rows: Sequence[int]) -> None:
    assert list(before) == list(after)
    for field, column in before.items():
        new = substitute(column)
        if column.datatype == "FP32":
            # As text the fewest digits that mean this float32, in binary just these four bytes.
            new = float(np.float32(new)) if column.raw is not None else float(str(np.float32(new)))
        assert len(after[field].cells) == len(column.cells)
        for row, (old, cell) in enumerate(zip(column.cells, after[field].cells, strict=True)):
            wanted = new if row in rows else old
            assert repr(cell) == repr(wanted), (field, row)


def _check_bytes(
    response: Captured,
    lines: Sequence[bytes],
    after: bytes,
    rows: Sequence[int],
    columns: Mapping[str, Column],
) -> None:
    """No byte outside of the replaced values is another one, but for the digits of a size that changed."""
    before = response.content
    old_head, new_head = _head_of(response.lines, before), _head_of(lines, after)
    document = plain_json.read(before[:old_head].decode())
    spans = set()
    for column in columns.values():
        if column.at is not None:
            for row in rows:
                spans |= {node.start for node in _nodes(document, column.at(row))}
    assert _places_of_changes(before[:old_head].decode(), after[:new_head].decode()) <= spans
    old, new = bytearray(before[old_head:]), bytearray(after[new_head:])
    assert len(old) == len(new)
    for column in columns.values():
        if column.raw is not None:
            start, size = column.raw
            width = size // len(column.cells)
            for row in rows:
                at = start - old_head + row * width
                old[at : at + width] = new[at : at + width] = b""
    assert old == new


def _nodes(document: plain_json.Node, path: Sequence[str | int]) -> list[plain_json.Node]:
    """The scalars at a path; of a tensor the last steps are the places of a row's values among its flat data."""
    if path[0] == "outputs":
        flat = list(document["outputs"][int(path[1])]["data"].leaves())
        return [flat[int(at)] for at in path[3:]]
    node = document
    for step in path:
        node = node[step]
    return list(node.leaves())


def _places_of_changes(before: str, after: str) -> set[int]:
    """Where, in the old text, the pieces of two JSON texts are not the same; both must have as many."""
    old, new = plain_json.pieces(before), plain_json.pieces(after)
    assert len(old) == len(new)
    at, found = 0, set()
    for number, (one, other) in enumerate(zip(old, new, strict=True)):
        if one != other:
            assert number % 2, "the space between two tokens"
            found.add(at)
        at += len(one)
    return found


def test_what_has_no_row_to_replace_passes_byte_for_byte() -> None:
    always = '{"guardproxy": 1, "model": "m", "owner": "ops", "rules": [{"id": "all", "require": "output.of_no_message is not missing", "action": "fallback", "fallback": [{"value": 0}]}]}'
    changes: dict[str, list[str]] = {}

    async def scenario() -> None:
        async with (
            ReplayedUpstream() as upstream,
            configured(upstream.port, ROUTES["all guarded"], always) as service,
        ):
            for name in NOT_REPLACED:
                exchange = exchanges()[name]
                got = await _replay(service, upstream, exchange, exchange.response)
                assert said(got, b"Outcome") == "unguarded"
                changes[name] = response_changes(exchange.response, got)

    run(scenario())
    assert changes == {name: [] for name in NOT_REPLACED}
    assert len(REPLACED) + len(NOT_REPLACED) == PREDICTIONS
