"""Generated requests, plain and odd, and the law that holds for them: where guardproxy reads rows, and the server reads any,
they are the same rows.

Decides what the bodies look like. Which server is asked is left to the tests.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.csv_cells import MISSING
from guardproxy.errors import DecodeError
from guardproxy.message import Message
from tests.servers.processes import Client, Refused

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from guardproxy.table import Table

CELLS = (
    *("1", "-2", "1.5", "", "NA", "nan", "null", "None", "inf", "-inf", "+Infinity", "true", "FALSE", "tRue", " 1", "1\t", "1e5"),
    *("1e-400", ".5", "5.", ".", "-", "1_000", "0x1F", "007", "-0", "1e", "9007199254740993", "18446744073709551615"),
    *("x", "é", "\u00a01", "\x0b1", "1\x0c", '"1"', '"NA"', '""', '"a,b"', '"a""b"', '"a\nb"', ' "x"', '"x" ', 'a"b', "1\r", "1,5"),
)  # fmt: skip
"""Cells of CSV. Words for a missing number that pandas takes for text (`NAN`, ` NA`) are left out: as numbers they are missing."""
HEADS = ("a", "b", " a", "", '"a"', '"b,c"', "a.1", "Unnamed: 0")
BLANKS = ("\n", " \n", "\t\n", "\r\n", ",\n", '""\n')
VALUES = (
    "1",
    "2",
    "3.5",
    "-1",
    "null",
    "true",
    '"x"',
    "[1]",
    "[1,2]",
    "[]",
    '{"a":1}',
    "9007199254740993",
    "1.7",
    "300",
)
DATATYPES = ("FP64", "FP64", "FP32", "INT64", "UINT8", "BOOL", "BYTES")


BESIDE = ("scale", "beside", "more")
"""Arguments beside the rows."""


def csv_body(rng: random.Random) -> str:
    """Return CSV with a header."""
    width = rng.randint(1, 3)
    pools = [rng.sample(CELLS, rng.randint(1, 2)) for _ in range(width)]
    names = [rng.choice(HEADS) if rng.random() < 0.2 else "abc"[at] for at in range(width)]
    end = rng.choice(("\n", "\n", "\r\n"))
    body = ",".join(names) + end
    for _ in range(rng.randint(1, 4)):
        body += rng.choice(BLANKS) if rng.random() < 0.1 else ""
        body += ",".join(map(rng.choice, pools)) + end
    return body if rng.random() < 0.7 else body.rstrip("\r\n")


def _value(rng: random.Random) -> str:
    return rng.choice(VALUES) if rng.random() < 0.4 else str(rng.randint(1, 9))


def _array(rng: random.Random, length: int) -> str:
    return f"[{','.join(_value(rng) for _ in range(length))}]"


def _record(rng: random.Random, names: list[str]) -> str:
    return f"{{{','.join(f'{json.dumps(name)}:{_value(rng)}' for name in names)}}}"


def rows(rng: random.Random) -> str:
    """Return rows in any of their shapes, or something like it."""
    count, width, kind = rng.randint(0, 3), rng.randint(1, 3), rng.randrange(6)
    names = rng.sample("abc", width)
    if kind < 2:
        same = rng.random() < 0.5
        return (
            f"[{','.join(_record(rng, names if same else rng.sample('abc', width)) for _ in range(count))}]"
        )
    if kind == 2:
        return f"[{','.join(_array(rng, width if rng.random() < 0.9 else 2) for _ in range(count))}]"
    if kind == 3:
        return f"{{{','.join(f'{json.dumps(name)}:{_array(rng, count)}' for name in names)}}}"
    return _array(rng, count) if kind == 4 else _record(rng, names)


def without_vectors(rng: random.Random) -> str:
    """Return rows whose records have no vectors and no objects in them.

    Of a lone record with such pandas makes a row of each item, where other servers of the protocol have vectors; guardproxy
    reads the latter.
    """
    return rows(rng).replace("[1,2]", "[1]").replace(":[]", ":[1]").replace(':{"a":1}', ":1")


def split(rng: random.Random) -> str:
    """Return a frame in MLflow's split form."""
    count, width = rng.randint(0, 3), rng.randint(1, 3)
    members = [f'"data":[{",".join(_array(rng, width) for _ in range(count))}]']
    if rng.random() < 0.9:
        members.append(f'"columns":{json.dumps([rng.choice("abcd") for _ in range(width)])}')
    if rng.random() < 0.5:
        members.append(f'"index":{json.dumps(rng.sample(range(9), count))}')
    rng.shuffle(members)
    return f"{{{','.join(members)}}}"


def mlflow_body(rng: random.Random) -> str:
    """Return one of MLflow's forms, now and then beside another."""
    key = rng.choice(("dataframe_split", "dataframe_records", "instances", "inputs"))
    members = [f'"{key}":{split(rng) if key == "dataframe_split" else rows(rng)}']
    if rng.random() < 0.1:
        members.append(
            rng.choice(('"params":{"t":1}', '"inputs":[[1]]', '"input_data":[[1]]', '"other":[1]'))
        )
    rng.shuffle(members)
    return f"{{{','.join(members)}}}"


def kserve_body(rng: random.Random) -> str:
    """Return a request of the V1 protocol, now and then with the members of a CloudEvent."""
    made, other = without_vectors(rng), without_vectors(rng)
    members = [f'"{rng.choice(("instances", "instances", "inputs"))}":{made}']
    if rng.random() < 0.2:
        event = [f'"{name}":"x"' for name in ("time", "type", "source", "id", "specversion")]
        event.append(f'"data":{{"instances":{other}}}' if rng.random() < 0.8 else '"data":[[7]]')
        members = [*members[rng.randint(0, 1) :], *event]
    return f"{{{','.join(members)}}}"


def bentoml_body(rng: random.Random, argument: str) -> str:
    """Return named arguments, now and then one that the endpoint does not have."""
    members = [f'"{argument}":{without_vectors(rng)}']
    if rng.random() < 0.4:
        # A lone record is not told from other arguments that are objects or arrays.
        more = '"scale":2' if members[0].endswith("}") else f'"more":{rows(rng)}'
        members.append(rng.choice(('"scale":2', '"beside":5', more)))
    rng.shuffle(members)
    return f"{{{','.join(members)}}}"


def tensors_body(rng: random.Random, content_type: str = "") -> str:
    """Return V2 tensors in JSON, whose shapes and types need not fit."""
    count, width = rng.randint(1, 3), 1 if rng.random() < 0.6 else rng.randint(1, 3)
    made = []
    # Several texts in a row are read by some servers without a look at the shape, and nested ones are cut short.
    datatypes = DATATYPES if width == 1 else DATATYPES[:-1]
    for name in "ab"[: rng.randint(1, 2) if content_type == "pd" else 1]:
        datatype = rng.choice(datatypes)
        pool = {"BYTES": ('"x"', '"yz"'), "BOOL": ("true", "false")}.get(
            datatype, ("1", "2.0", "1.7", "300", "-1", "1e39")
        )
        cells = [rng.choice(pool if rng.random() < 0.3 else pool[:2]) for _ in range(count * width)]
        data = ",".join(cells)
        if datatype != "BYTES" and rng.random() < 0.2:
            data = ",".join(f"[{','.join(cells[at : at + width])}]" for at in range(0, count * width, width))
        shape = [count] if width == 1 and rng.random() < 0.4 else [count, width]
        made.append(
            f'{{"name":"{name}","shape":{json.dumps(shape)},"datatype":"{datatype}","data":[{data}]}}'
        )
    parameters = f'"parameters":{{"content_type":"{content_type}"}},' if content_type else ""
    return f'{{{parameters}"inputs":[{",".join(made)}]}}'


def compared(
    client: Client,
    call: str,
    protocol: str,
    bodies: Iterator[str],
    media: str = "application/json",
    **arguments: Any,
) -> Counter[str]:
    """Count how many bodies are read alike, refused by guardproxy, and refused by the server alone.

    Raises AssertionError for one whose rows the server reads as others.
    """
    codec = make_codec(protocol, CodecOptions())
    counted: Counter[str] = Counter()
    for body in bodies:
        try:
            table = codec.decode_request(Message(body.encode(), media))
        except DecodeError:
            counted["refused"] += 1
            continue
        try:
            held = client(call, body=body, **arguments)
        except Refused:
            counted["theirs"] += 1
            continue
        assert is_same(table, held), (
            f"{body!r} is {held}, and not {[table.record(at) for at in range(table.rows)]}"
        )
        counted["same"] += 1
    return counted


def is_same(table: Table, held: Any) -> bool:
    """Tell whether a table has the rows that a server holds."""
    given, names = held["rows"], held["columns"]
    if table.rows != len(given):
        return False
    if not given:
        return True
    # What stands beside the rows belongs to each of them here, and is an argument of its own there.
    order = [name for name in table.fields if name.partition("[")[0] not in BESIDE or name in (names or ())]
    if names is not None and not (len(names) == 1 and order[0] == "f0"):
        if {name.partition("[")[0] for name in order} != set(names):
            return False
        order = [name for one in names for name in table.fields if name.partition("[")[0] == one]
    # A column of lists is several fields, and a list is a row of a bare matrix.
    flat = [
        [
            cell
            for item in row
            for cell in (item if isinstance(item, list) and len(order) != len(row) else [item])
        ]
        for row in given
    ]
    return all(
        len(row) == len(order)
        and all(is_alike(table.column(name)[at], cell) for name, cell in zip(order, row, strict=True))
        for at, row in enumerate(flat)
    )


def is_alike(ours: Any, theirs: Any) -> bool:
    """Tell whether a cell says what the server holds. Numpy makes texts of the numbers and words that stand among texts."""
    if isinstance(theirs, list):
        if len(theirs) == 1 and not isinstance(ours, tuple):
            return is_alike(ours, theirs[0]) or isinstance(ours, str)
        return isinstance(ours, str) or (
            isinstance(ours, tuple) and len(ours) == len(theirs) and all(map(is_alike, ours, theirs))
        )
    missing = ours is None or ours != ours
    if missing or theirs is None:
        return missing and (theirs is None or theirs in MISSING)
    if isinstance(theirs, str):
        return (
            ours == theirs
            or str(ours) == theirs
            or (isinstance(ours, str) and ours[:1] in "{[")
            or _number(theirs) == ours
        )
    return not isinstance(ours, (str, tuple)) and (ours == theirs or math.isclose(ours, theirs, rel_tol=1e-7))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def generated(make: Callable[[random.Random], str], rng: random.Random, count: int) -> Iterator[str]:
    """Yield so many bodies."""
    return (make(rng) for _ in range(count))
