"""The first configuration for a server that was looked at, with the signatures of its models beside it.

Decides its wording, its ports, and that nothing a server says becomes more than a value: names are quoted where YAML wants it,
files have names of plain letters. Whether the text is a good configuration is checked by the caller, before it is written.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from guardproxy.authoring.scalars import is_plain
from guardproxy.codecs.signature import Column, Signature
from guardproxy.discovery.sighting import Model, Route, Sighting, shown

FOLDER: Final = "signatures"
MAX_SHOWN: Final = 6
"""Inputs or outputs that a comment names."""

_PORTS: Final = ((8080, 8081, 8082), (8090, 8091, 8092))
"""The ports of the data plane, the admin plane and gRPC; the second ones where the server itself is at the first, or near."""
_TAKEN: Final = range(8080, 8090)

_PLAIN: Final = re.compile(r"[A-Za-z/.]")
"""How a text begins that nobody takes for a number: 007 is seven to some."""

_GRPC_PORTS: Final[Mapping[str, int]] = {"triton": 8001, "mlserver": 8081, "kserve": 8081}

_HEAD: Final = """\
# guardproxy.yaml for {said} at {upstream}, a first draft by `guardproxy init`.
#
# It can be served as it stands: predictions that are no finite numbers are counted and warned of, and all traffic passes
# unchanged. What makes it guard, one step at a time:
#
#   1. Learn what normal looks like, from the data that the model was trained on:
#        guardproxy learn training.csv --model {model} --target COLUMN --out {file}.profile.yaml
#      and give the model's routes the lines
#        profile: {file}.profile.yaml
#        outputs: [COLUMN]                # so that rules find the answer under the name of that column
#   2. Say what a sane answer is:
#        guardproxy rules new {model}
#      {rules_step}
#   3. Turn it on: new rules only watch. When they are right, let them act:
#        guardproxy rules promote RULE --to 'canary 20%'
#   4. After every change:
#        guardproxy config check {out}
#      and, the first time, with clients pointed at the address of `listen`:
#        guardproxy serve --config {out}

listen: 127.0.0.1:{listen}
admin: {{listen: "127.0.0.1:{admin}"}}     # the console, the metrics and the health checks
store: sqlite:///guardproxy.db        # where held predictions wait for a person
{rules}
upstream: {upstream}       # what no route matches passes through to here
{grpc}"""
_FAILURE: Final = """
# on_failure: what a client gets when an answer cannot be judged. open: the server's own answer, marked `unguarded`;
# closed: a 503 in the protocol's own shape.
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """A configuration's text, and the texts of the signature files by their path relative to it."""

    text: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator said: the server's address with its port, and of the files: `out` is the configuration's name,
    the others are paths relative to it.

    `rules` is written as it is where `has_rules` says that it is there, else as a comment. `signature` is a file of the
    operator's own, for the one model.
    """

    upstream: str
    port: int
    out: str = "guardproxy.yaml"
    rules: str = "rules/"
    has_rules: bool = False
    signature: str = ""


def draft(sighting: Sighting, wishes: Wishes) -> Draft:
    """Write the first configuration for what was seen, and the signature files it names."""
    names = file_names([model.name for model in sighting.models])
    files = {
        f"{FOLDER}/{names[model.name]}.json": signature_text(model.name, model.signature)
        for model in sighting.models
        if model.signature is not None and not wishes.signature
    }
    signatures = {
        model.name: wishes.signature or f"{FOLDER}/{names[model.name]}.json"
        for model in sighting.models
        if model.signature is not None or wishes.signature
    }
    routes = "\n".join(_routes(sighting, signatures))
    return Draft(_head(sighting, wishes, names) + routes + "\n", files)


def file_names(models: Sequence[str]) -> dict[str, str]:
    """Return a file's name, without an ending, for each model: letters, digits, `.`, `_` and `-`, each name once."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for model in models:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model)[:80].strip(".-") or "model"
        name, number = plain, 2
        # Some file systems do not tell capitals apart.
        while name.lower() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.lower())
        names[model] = name
    return names


def signature_text(model: str, signature: Signature) -> str:
    """Write a signature as V2 model metadata, one input or output a line."""
    sides = (
        f'  "{side}": [\n' + ",\n".join(f"    {json.dumps(_as_v2(column))}" for column in columns) + "\n  ]"
        for side, columns in (("inputs", signature.inputs), ("outputs", signature.outputs))
    )
    return f'{{\n  "name": {json.dumps(model)},\n' + ",\n".join(sides) + "\n}\n"


def _as_v2(column: Column) -> dict[str, Any]:
    return {"name": column.name, "datatype": column.datatype, "shape": [-1, column.width or -1]}


def _head(sighting: Sighting, wishes: Wishes, names: Mapping[str, str]) -> str:
    first = sighting.models[0].name if sighting.models else "NAME"
    listen, admin, _ = _PORTS[wishes.port in _TAKEN]
    return _HEAD.format(
        said=shown(sighting.said),
        upstream=_scalar(wishes.upstream),
        model=shlex.quote(first),
        file=names.get(first, "NAME"),
        out=shlex.quote(_line(wishes.out)),
        listen=listen,
        admin=admin,
        rules=f"rules: {_scalar(wishes.rules)}"
        if wishes.has_rules
        else f"# rules: {_line(_scalar(wishes.rules))}",
        grpc=_grpc(sighting, wishes),
        rules_step="and write your own rules beside the first ones."
        if wishes.has_rules
        else "and take the # away before `rules:` below.",
    )


def _grpc(sighting: Sighting, wishes: Wishes) -> str:
    """Return the line for a server's gRPC port, which HTTP cannot tell: a comment with the usual one."""
    port = _GRPC_PORTS.get(sighting.kind)
    if port is None:
        return ""
    host = urlsplit(wishes.upstream).hostname or "127.0.0.1"
    listen, upstream = (
        f"127.0.0.1:{_PORTS[wishes.port in _TAKEN][2]}",
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
    )
    line = f"# grpc: {{listen: {_quoted(listen)}, upstream: {_quoted(upstream)}}}"
    return f"{line}   # the same models and rules by gRPC, if it is at that port\n"


def _routes(sighting: Sighting, signatures: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the routes, those of one model together; without an active one they are all comments."""
    active = any(route.active for route in sighting.routes)
    yield _FAILURE.rstrip() if sighting.routes else ""
    yield "routes:" if active else "# routes:"
    before = Route("", "", "")
    for route in sighting.routes:
        if route.model != before.model:
            yield from [""] if before.model else []
            yield from _about(next((model for model in sighting.models if model.name == route.model), None))
        lines = _route(route, signatures.get(route.model, ""))
        remark = route.remark if (route.model, route.remark) != (before.model, before.remark) else ""
        yield from lines if route.active else _commented(remark, lines)
        before = route
    if sighting.left_out or sighting.notes:
        yield ""
    for left in sighting.left_out:
        yield f"  # No route for {shown(left.name)}: {_line(left.why)}."
    for note in sighting.notes:
        yield f"  # {_line(note)}."


def _about(model: Model | None) -> Iterator[str]:
    if model is None:
        return
    note = f" ({_line(model.note)})" if model.note else ""
    signature = model.signature
    if signature is not None or note:
        told = "" if signature is None else f": {_columns(signature.inputs)} -> {_columns(signature.outputs)}"
        yield f"  # {shown(model.name)}{note}{told}"


def _columns(columns: Sequence[Column]) -> str:
    if not columns:
        return "(not told)"
    told = [f"{shown(each.name)} {each.datatype}{_times(each.width)}" for each in columns[:MAX_SHOWN]]
    more = [f"{len(columns) - MAX_SHOWN} more"] if len(columns) > MAX_SHOWN else []
    return ", ".join([*told, *more])


def _times(width: int) -> str:
    return "" if width == 1 else f"[{width or '?'}]"


def _route(route: Route, signature: str) -> list[str]:
    entries = {
        "path": _scalar(route.path),
        "model": _scalar(route.model),
        "protocol": route.protocol,
        "upstream_path": _scalar(route.upstream_path) if route.upstream_path else "",
        "signature": _scalar(signature) if signature else "",
        "batch_axis": ""
        if route.batch_axis
        else "none             # its tensors have no axis that counts rows: a message is a row",
        "request": _pointer(route.request_rows) if route.protocol == "json" else "",
        "response": _pointer(route.response_rows) if route.protocol == "json" else "",
        "on_failure": "open",
    }
    lines = [f"    {key}: {value}" for key, value in entries.items() if value]
    return ["  - " + lines[0].lstrip(), *lines[1:]]


def _pointer(pointer: str | None) -> str:
    return "{rows: " + ("/FILL-IN" if pointer is None else _quoted(pointer)) + "}"


def _commented(remark: str, lines: Sequence[str]) -> Iterator[str]:
    if remark:
        yield f"  # {_line(remark)}:"
    yield from (f"  # {line[2:]}" for line in lines)


def _scalar(value: str) -> str:
    """Write a text as a YAML value in a block: plain where every reader of YAML takes it for the same."""
    return value if _PLAIN.match(value) and is_plain(value) else _quoted(value)


def _quoted(value: str) -> str:
    escaped = (char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in value)
    return f'"{"".join(escaped)}"'


def _line(value: str) -> str:
    """Return what may stand in a comment."""
    return "".join(char if char.isprintable() else "?" for char in value)
