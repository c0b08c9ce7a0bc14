"""Bodies that mean harm or are broken; `HOSTILE_MIB=16 python -m tests.codecs.hostile_bodies [NAME ...]` says what each one costs.

Those that may cost much are decoded in a process of their own, forked from one that has everything imported, so that the
memory they take is their own.
"""

import gzip
import io
import json
import os
import pickle
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import brotli
import numpy as np
import zstandard

from guardproxy.codecs import CodecOptions, decompress, make_codec
from guardproxy.codecs.grpc_tensors import GRPC
from guardproxy.errors import DecodeError
from guardproxy.message import Message

MIB: Final = 1024 * 1024
MAX_BODY: Final = int(os.environ.get("HOSTILE_MIB", "1")) * MIB
"""How large the large bodies are, and what is read at most; the default of a route's `max_body` is 16 MiB."""

JSON: Final = ("Content-Type: application/json",)
PATHS: Final = {
    "kserve-v1": "/v1/models/m:predict",
    "mlflow": "/invocations",
    "open-inference": "/v2/models/m/infer",
    "sagemaker": "/endpoints/m/invocations",
    "seldon": "/api/v1.0/predictions",
    "openai": "/v1/chat/completions",
}

UNDECODABLE: Final = "undecodable"
OPAQUE: Final = "opaque"
UNALIGNED: Final = "unaligned"


@dataclass(frozen=True)
class Hostile:
    """One body. `reason` says why it is unguarded; None where it can be read, and then `cells` are its rows' cells.

    `response` marks the body of a response to a request of two rows. `lines` are header lines beside the framing.
    """

    protocol: str
    make: Callable[[], bytes]
    reason: str | None = UNDECODABLE
    response: bool = False
    lines: tuple[str, ...] = JSON
    cells: Mapping[str, tuple[Any, ...]] | None = None

    def header(self, name: str) -> str | None:
        """Return the value of a header line; None without it."""
        found = [line.partition(":")[2].strip() for line in self.lines if line.lower().startswith(f"{name}:")]
        return found[0] if found else None


# ---------------------------------------------------------------------------------------------------------------- JSON

_COUNT: Final = 100_000
_KEYS: Final = MAX_BODY // 21


def _instances(text: str | bytes) -> Callable[[], bytes]:
    body = text.encode() if isinstance(text, str) else text
    return lambda: b'{"instances": %b}' % body


def _predictions(text: str) -> Callable[[], bytes]:
    return lambda: b'{"predictions": %b}' % text.encode()


def _tensor(**members: Any) -> Callable[[], bytes]:
    tensor = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, 2.5], **members}
    made = {name: value for name, value in tensor.items() if value is not None}
    return lambda: json.dumps({"inputs": [made]}).encode()


def _filled(before: str, piece: str, after: str, size: int = MAX_BODY) -> Callable[[], bytes]:
    count = (size - len(before) - len(after)) // len(piece.encode()) - 1
    return lambda: b"".join((before.encode(), piece.encode() * count, after.encode()))


def _kserve(make: Callable[[], bytes], reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("kserve-v1", make, reason, **more)


def _answer(make: Callable[[], bytes], reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("kserve-v1", make, reason, response=True, **more)


def _mlflow(text: str, reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("mlflow", text.encode, reason, **more)


def _v2(make: Callable[[], bytes], reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("open-inference", make, reason, **more)


def _raw(text: str | bytes) -> Callable[[], bytes]:
    return lambda: text.encode() if isinstance(text, str) else text


TEXTS: Final[Mapping[str, Hostile]] = {
    "nothing": _kserve(_raw("")),
    "white space": _kserve(_raw(" \r\n\t ")),
    "null": _kserve(_raw("null")),
    "a number": _kserve(_raw("1")),
    "a list": _kserve(_raw("[[1]]")),
    "two documents": _kserve(_raw('{"instances":[[1]]}{"instances":[[2]]}')),
    "something behind": _kserve(_raw('{"instances":[[1]]} x')),
    "a NUL behind": _kserve(_raw(b'{"instances":[[1]]}\0')),
    "a NUL before": _kserve(_raw(b'\0{"instances":[[1]]}')),
    "a comment": _kserve(_raw('{"instances":[[1]]/* [[2]] */}')),
    "a comma too many": _kserve(_raw('{"instances":[[1],]}')),
    "single quotes": _kserve(_raw("{'instances':[[1]]}")),
    "a bare key": _kserve(_raw("{instances:[[1]]}")),
    "cut": _kserve(_raw('{"instances":[[1')),
    "cut in an escape": _kserve(_raw('{"instances":["\\u00')),
    "html": _kserve(_raw("<html>no</html>")),
    "a byte order mark": _kserve(_raw(b'\xef\xbb\xbf{"instances":[[1]]}')),
    "utf-16": _kserve(_raw('{"instances":[[1]]}'.encode("utf-16"))),
    "utf-32": _kserve(_raw('{"instances":[[1]]}'.encode("utf-32"))),
    "utf-16 without a mark": _kserve(_raw('{"instances":[[1]]}'.encode("utf-16-le"))),
    "latin-1": _kserve(_instances('[["é"]]'.encode("latin-1"))),
    "an overlong character": _kserve(_instances(b'[["\xc0\x80"]]')),
    "half a character": _kserve(_instances(b'[["\xe2\x82"]]')),
    "a surrogate in UTF-8": _kserve(_instances(b'[["\xed\xa0\x80"]]')),
    "invalid UTF-8 beside the rows": _kserve(_raw(b'{"instances":[[1]],"x":"\xff"}')),
    "invalid UTF-8 in a key": _kserve(_raw(b'{"instances":[[1]],"\xff":1}')),
    "half a pair of surrogates": _kserve(_instances(r'[["\ud83d"]]')),
    "the other half": _kserve(_instances(r'[["\ude00"]]')),
    "two halves in the wrong order": _kserve(_instances(r'[["\ude00\ud83d"]]')),
    "half a pair in a key": _kserve(_instances(r'[{"\ud83d": 1}]')),
    "half a pair beside the rows": _kserve(_raw(r'{"instances":[[1]],"x":"\ud83d"}')),
    "a raw line break in a text": _kserve(_instances('[["a\nb"]]')),
    "a raw NUL in a text": _kserve(_instances(b'[["a\0b"]]')),
    "a bad escape": _kserve(_instances(r'[["\x41"]]')),
}

NUMBERS: Final[Mapping[str, Hostile]] = {
    "1e400": _kserve(_instances("[[1e400]]")),
    "-1e400": _kserve(_instances("[[-1e400]]")),
    "1e400 beside the rows": _kserve(_raw('{"instances":[[1]],"x":1e400}')),
    "an exponent of 20 digits": _kserve(_instances("[[1e99999999999999999999]]")),
    "a negative exponent of 20 digits": _kserve(
        _instances("[[1e-99999999999999999999]]"), None, cells={"f0": (0.0,)}
    ),
    "400 digits": _kserve(_instances(f"[[{'9' * 400}]]")),
    "5,000 digits": _kserve(_instances(f"[[{'9' * 5_000}]]")),
    "5,000 digits after the point": _kserve(_instances(f"[[0.{'3' * 5_000}]]"), None, cells={"f0": (1 / 3,)}),
    "a million digits": _kserve(lambda: b'{"instances": [[%b]]}' % (b"1" * 1_000_000)),
    "2**53 + 1": _kserve(_instances(f"[[{2**53 + 1}]]"), None, cells={"f0": (2**53 + 1,)}),
    "2**63": _kserve(_instances(f"[[{2**63}]]"), None, cells={"f0": (2**63,)}),
    "2**64": _kserve(_instances(f"[[{2**64}]]"), None, cells={"f0": (2**64,)}),
    "-2**63 - 1": _kserve(_instances(f"[[{-(2**63) - 1}]]"), None, cells={"f0": (-(2**63) - 1,)}),
    "2**63 among a thousand": _kserve(
        lambda: json.dumps({"instances": [[at + 0.5] for at in range(1_000)] + [[2**63]]}).encode(),
        None,
        cells={"f0": (*(at + 0.5 for at in range(1_000)), 2**63)},
    ),
    "a leading zero": _kserve(_instances("[[01]]")),
    "a plus": _kserve(_instances("[[+1]]")),
    "a bare point": _kserve(_instances("[[.5]]")),
    "nothing after the point": _kserve(_instances("[[1.]]")),
    "hexadecimal": _kserve(_instances("[[0x10]]")),
    "underscores": _kserve(_instances("[[1_000]]")),
    "arabic digits": _kserve(_instances("[[١]]")),
    "nan in lower case": _kserve(_instances("[[nan]]")),
    "-NaN": _kserve(_instances("[[-NaN]]")),
    "+Infinity": _kserve(_instances("[[+Infinity]]")),
    "Infinity and 1e400": _kserve(_instances("[[Infinity], [1e400]]")),
}

DOUBLED: Final[Mapping[str, Hostile]] = {
    "rows twice": _kserve(_raw('{"instances":[[1]],"instances":[[2]]}')),
    "rows twice, once escaped": _kserve(_raw(r'{"instances":[[1]],"\u0069nstances":[[2]]}')),
    "rows of both names": _kserve(_raw('{"instances":[[1]],"inputs":[[2]]}')),
    "a cell twice": _kserve(_instances('[{"a":1,"a":2}]')),
    "a cell twice, once escaped": _kserve(_instances(r'[{"a":1,"\u0061":2}]')),
    "a cell twice in row 900 of 1,000": _kserve(
        lambda: (
            b'{"instances": [%b]}'
            % b",".join(b'{"a":1,"a":2}' if at == 900 else b'{"a":1}' for at in range(1_000))
        )
    ),
    "a column twice": _kserve(_raw('{"inputs":{"a":[1],"a":[2]}}')),
    "a key with a NUL twice": _kserve(_instances(r'[{"a\u0000b":1,"a\u0000b":2}]')),
    "predictions twice": _answer(_raw('{"predictions":[1,2],"predictions":[3,4]}')),
    "a predicted cell twice": _answer(_predictions('[{"a":1,"a":2},{"a":3}]')),
    "two of MLflow's keys": _mlflow('{"instances":[[1]],"inputs":[[2]]}'),
    "two others of MLflow's keys": _mlflow(
        '{"dataframe_split":{"data":[[1]]},"dataframe_records":[{"a":2}]}'
    ),
    "MLflow's columns twice": _mlflow('{"dataframe_split":{"columns":["a"],"columns":["b"],"data":[[1]]}}'),
    "MLflow's data twice": _mlflow('{"dataframe_split":{"columns":["a"],"data":[[1]],"data":[[2]]}}'),
    "MLflow's column names twice": _mlflow('{"dataframe_split":{"columns":["a","a"],"data":[[1,2]]}}'),
    "a tensor's data twice": _v2(
        _raw('{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1],"data":[2]}]}')
    ),
    "a tensor's shape twice": _v2(
        _raw('{"inputs":[{"name":"x","shape":[1],"shape":[2],"datatype":"FP64","data":[1]}]}')
    ),
    "two tensors of yes rows": _v2(
        _raw(
            '{"inputs":[{"name":"a","shape":[true],"datatype":"FP64","data":[1]},{"name":"b","shape":[true],"datatype":"FP64","data":[2]}]}'
        )
    ),
    "two tensors of 1.0 rows": _v2(
        _raw(
            '{"inputs":[{"name":"a","shape":[1.0],"datatype":"FP64","data":[1]},{"name":"b","shape":[1.0],"datatype":"FP64","data":[2]}]}'
        )
    ),
    "a tensor twice": _v2(
        _raw(
            '{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]},{"name":"x","shape":[1],"datatype":"FP64","data":[2]}]}'
        )
    ),
    "inputs twice": _v2(
        _raw(
            '{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}],"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[2]}]}'
        )
    ),
}

SHAPES: Final[Mapping[str, Hostile]] = {
    "fewer values than the shape": _v2(_tensor(shape=[3])),
    "more values than the shape": _v2(_tensor(shape=[1])),
    "a negative size": _v2(_tensor(shape=[-2])),
    "two negative sizes": _v2(_tensor(shape=[-1, -2])),
    "a size that is no whole number": _v2(_tensor(shape=[2.0])),
    "a size that is yes": _v2(_tensor(shape=[True, 2])),
    "a size that is text": _v2(_tensor(shape=["2"])),
    "no size": _v2(_tensor(shape=[])),
    "a shape that is a number": _v2(_tensor(shape=2)),
    "sizes whose product is 2**64 + 2": _v2(_tensor(shape=[2**64 + 2])),
    "sizes whose product overflows to 2": _v2(_tensor(shape=[2**63 + 1, 2])),
    "sizes of 2**32 each": _v2(_tensor(shape=[2**32, 2**32])),
    "sizes of 10**18": _v2(_tensor(shape=[10**18])),
    "sizes of 10**18 and 0": _v2(_tensor(shape=[10**18, 0], data=[])),
    "a thousand axes": _v2(_tensor(shape=[1] * 999 + [2])),
    "300,000 axes": _v2(
        lambda: json.dumps(
            {"inputs": [{"name": "x", "shape": [9] * 300_000, "datatype": "FP64", "data": [1]}]}
        ).encode()
    ),
    "no rows": _v2(_tensor(shape=[0])),
    "ragged": _v2(_tensor(shape=[2, 2], data=[[1, 2], [3]])),
    "nested deeper than its shape": _v2(_tensor(data=[[[1]], [[2]]])),
    "data that are an object": _v2(_tensor(data={"0": 1, "1": 2})),
    "data that are text": _v2(_tensor(data="12")),
    "no data": _v2(_tensor(data=None)),
    "no name": _v2(_tensor(name=None)),
    "no datatype": _v2(_tensor(datatype=None)),
    "an object among the data": _v2(_tensor(data=[1, {"a": 2}])),
    "tensors of different lengths": _v2(
        _raw(
            '{"inputs":[{"name":"a","shape":[1],"datatype":"FP64","data":[1]},{"name":"b","shape":[2],"datatype":"FP64","data":[1,2]}]}'
        )
    ),
    "shared memory": _v2(
        _tensor(data=None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 16}), OPAQUE
    ),
    "an image": _v2(_tensor(shape=[1, 2, 2, 3], data=[0.5] * 12), OPAQUE),
    "rows of different lengths": _kserve(_instances("[[1,2],[3]]")),
    "rows of different kinds": _kserve(_instances('[[1],{"a":2}]')),
    "empty rows": _kserve(_instances("[[],[]]")),
    "rows that are null": _kserve(_instances("null")),
    "rows that are text": _kserve(_instances('"[[1]]"')),
    "columns of different lengths": _kserve(_raw('{"inputs":{"a":[1,2],"b":[3]}}')),
    "columns that are no lists": _kserve(_raw('{"inputs":{"a":[1,2],"b":3}}')),
    "more values than MLflow's columns": _mlflow('{"dataframe_split":{"columns":["a"],"data":[[1,2]]}}'),
    "MLflow's columns that are numbers": _mlflow('{"dataframe_split":{"columns":[1],"data":[[1]]}}'),
    "MLflow's split without data": _mlflow('{"dataframe_split":{"columns":["a"]}}'),
    "MLflow's records that are lists": _mlflow('{"dataframe_records":[[1]]}'),
    "none of MLflow's keys": _mlflow('{"rows":[[1]]}'),
    "predictions for other rows": _answer(_predictions("[1,2,3]"), UNALIGNED),
    "no predictions": _answer(_predictions("[]"), UNALIGNED),
    "ragged predictions": _answer(_predictions("[[1],[1,2]]"), UNALIGNED),
    "predictions of different kinds": _answer(_predictions('[1,{"a":2}]'), UNALIGNED),
    "one prediction for two rows": _answer(_predictions("1"), UNALIGNED),
    "an answer without predictions": _answer(_raw('{"result":[1,2]}')),
    "an answer that is nothing": _answer(_raw("")),
    "an answer that is a page": _answer(_raw("<html></html>"), lines=("Content-Type: text/html",)),
    "an answer that is cut": _answer(_raw('{"predictions":[1,')),
    "an answer with a byte order mark": _answer(_raw(b'\xef\xbb\xbf{"predictions":[1,2]}')),
    "an answer of 1e400": _answer(_predictions("[1e400,2]")),
    "an answer with half a pair of surrogates": _answer(_predictions(r'["\ud83d","a"]')),
}

LARGE: Final[Mapping[str, Hostile]] = {
    f"{_COUNT:,} brackets": _kserve(_raw("[" * _COUNT)),
    f"{_COUNT:,} braces": _kserve(_raw('{"a":' * _COUNT)),
    f"{_COUNT:,} brackets that close": _kserve(_raw('{"instances":' + "[" * _COUNT + "]" * _COUNT + "}")),
    f"{_COUNT:,} braces that close": _kserve(_instances("[" + '{"a":' * _COUNT + "1" + "}" * _COUNT + "]")),
    f"{_COUNT:,} brackets beside the rows": _kserve(
        _raw('{"instances":[[1]],"x":' + "[" * _COUNT + "]" * _COUNT + "}")
    ),
    f"{_COUNT:,} brackets in an answer": _answer(_predictions("[" * _COUNT + "]" * _COUNT)),
    "all of brackets": _kserve(_filled("", "[", "")),
    "all of brackets that close": _kserve(_filled('{"instances":[', "[],", "[]]}")),
    "all of numbers": _kserve(_filled('{"instances":[', "[1],", "[1]]}")),
    "all of one row": _kserve(_filled('{"instances":[[', "1,", "1]]}"), OPAQUE),
    "all of texts": _kserve(_filled('{"instances":[[', '"",', '""]]}'), OPAQUE),
    "all of one text": _kserve(_filled('{"instances":[["', "x", '"]]}'), None),
    "all of escapes": _kserve(_filled('{"instances":[["', "\\u0041", '"]]}'), None),
    "all of quotes": _kserve(_filled("", '"', "")),
    "all of spaces": _kserve(_filled('{"instances":[[1]]', " ", "}"), None, cells={"f0": (1,)}),
    "all of zeros": _kserve(_filled('{"instances":[[0.', "0", "]]}"), None, cells={"f0": (0.0,)}),
    "all of empty objects": _kserve(_filled('{"instances":[', "{},", "{}]}")),
    "all of keys beside the rows": _kserve(
        lambda: json.dumps({"instances": [[1]], "x": {f"k{at}": at for at in range(_KEYS)}}).encode(),
        None,
        cells={"f0": (1,)},
    ),
    "all of keys in a row": _kserve(
        lambda: json.dumps({"instances": [{f"k{at}": at for at in range(_KEYS)}]}).encode(), OPAQUE
    ),
    "all of one key": _kserve(_filled('{"instances":[{', '"a":1,', '"a":2}]}')),
    "all of colons": _kserve(_filled('{"instances":[["', '\\":', '"]]}'), None),
    "records that share no key": _kserve(
        lambda: json.dumps({"instances": [{f"k{at}": at} for at in range(20_000)]}).encode(), OPAQUE
    ),
    "100,001 rows": _kserve(_instances("[" + ",".join(["[1]"] * 100_001) + "]")),
    "100,000 empty records": _kserve(_instances("[" + ",".join(["{}"] * 100_000) + "]"), None, cells={}),
    "a tensor of 300,000 rows": _v2(
        lambda: json.dumps(
            {"inputs": [{"name": "x", "shape": [300_000], "datatype": "FP64", "data": [1] * 300_000}]}
        ).encode()
    ),
    "11,000 tensors": _v2(
        lambda: (
            b'{"inputs":[%b]}'
            % b",".join(
                b'{"name":"x%d","shape":[1],"datatype":"INT8","data":[1]}' % at for at in range(11_000)
            )
        ),
        OPAQUE,
    ),
    "100,000 tensors that are nothing": _v2(_raw('{"inputs":[' + ",".join(["{}"] * 100_000) + "]}")),
    "all of an answer": _answer(_filled('{"predictions":[', "1,", "1]}"), UNALIGNED),
    "all of an answer's text": _answer(_filled('{"predictions":["", "', "x", '"]}'), None),
    "all of an answer's keys": _answer(
        lambda: json.dumps({"predictions": [{f"k{at}": at for at in range(_KEYS)}, {}]}).encode(), OPAQUE
    ),
}


# ----------------------------------------------------------------------------------------------------- content codings

_GOOD: Final = b'{"instances": [[1]]}'


def _bomb(wbits: int, size: int = 64 * MIB) -> bytes:
    """Sixty-four megabytes of spaces before a document, compressed a thousandfold: the same block over and over."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    spaces, times = b" " * (MIB // 2), 2 * size // MIB
    block = press.compress(spaces) + press.flush(zlib.Z_FULL_FLUSH)
    raw = block * times + press.compress(_GOOD) + press.flush()
    plain = spaces * times + _GOOD
    if wbits == 31:
        sums = zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")
        return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + raw + sums
    return raw if wbits < 0 else b"\x78\xda" + raw + zlib.adler32(plain).to_bytes(4, "big")


def _coded(coding: str, make: Callable[[], bytes], reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return _kserve(make, reason, lines=(*JSON, f"Content-Encoding: {coding}"), **more)


CODED: Final[Mapping[str, Hostile]] = {
    "a gzip bomb": _coded("gzip", lambda: _bomb(31)),
    "a deflate bomb": _coded("deflate", lambda: _bomb(15)),
    "a raw deflate bomb": _coded("deflate", lambda: _bomb(-15)),
    "a gzip of half a megabyte of spaces": _coded(
        "gzip", lambda: _bomb(31, MIB // 2), None, cells={"f0": (1,)}
    ),
    "a gzip bomb in a gzip": _coded("gzip", lambda: gzip.compress(_bomb(31))),
    "a gzip that is cut": _coded("gzip", lambda: gzip.compress(_GOOD)[:-9]),
    "a gzip without its sum": _coded("gzip", lambda: gzip.compress(_GOOD)[:-8]),
    "a gzip with another sum": _coded("gzip", lambda: gzip.compress(_GOOD)[:-8] + bytes(8)),
    "a gzip and something": _coded("gzip", lambda: gzip.compress(_GOOD) + b"x"),
    "a gzip and zeros": _coded("gzip", lambda: gzip.compress(_GOOD) + bytes(512)),
    "a gzip and half another": _coded("gzip", lambda: gzip.compress(b" ") + gzip.compress(_GOOD)[:-5]),
    "two gzips": _coded(
        "gzip", lambda: gzip.compress(b'{"instances": ') + gzip.compress(b"[[1]]}"), None, cells={"f0": (1,)}
    ),
    "a thousand gzips": _coded("gzip", lambda: gzip.compress(b" ") * 1_000 + gzip.compress(_GOOD)),
    "a gzip that is none": _coded("gzip", lambda: _GOOD),
    "a gzip that is nothing": _coded("gzip", lambda: b""),
    "a gzip of nothing": _coded("gzip", lambda: gzip.compress(b"")),
    "a deflate that is cut": _coded("deflate", lambda: zlib.compress(_GOOD)[:-1]),
    "a deflate and something": _coded("deflate", lambda: zlib.compress(_GOOD) + b"x"),
    "a deflate that is none": _coded("deflate", lambda: _GOOD),
    "an unknown coding": _coded("compress", lambda: _GOOD),
    "two codings": _coded(
        "gzip, gzip", lambda: gzip.compress(gzip.compress(_GOOD)), None, cells={"f0": (1,)}
    ),
    "three codings": _coded("gzip, gzip, gzip", lambda: gzip.compress(gzip.compress(gzip.compress(_GOOD)))),
    "two codings in the wrong order": _coded("br, gzip", lambda: brotli.compress(gzip.compress(_GOOD))),
    "a brotli bomb": _coded("br", lambda: brotli.compress(b" " * 64 * MIB + _GOOD, quality=5)),
    "a brotli bomb in a gzip": _coded(
        "br, gzip", lambda: gzip.compress(brotli.compress(b" " * 64 * MIB + _GOOD, quality=5))
    ),
    "a brotli that is cut": _coded("br", lambda: brotli.compress(_GOOD)[:-1]),
    "a brotli and something": _coded("br", lambda: brotli.compress(_GOOD) + b"x"),
    "a brotli that is none": _coded("br", lambda: _GOOD),
    "a brotli with a large window": _coded("br", lambda: b"\x11" + brotli.compress(_GOOD)),
    "a zstd bomb": _coded("zstd", lambda: zstandard.compress(b" " * 64 * MIB + _GOOD)),
    "a zstd bomb that does not tell its size": _coded(
        "zstd",
        lambda: zstandard.ZstdCompressor(write_content_size=False).compress(b" " * 64 * MIB + _GOOD),
    ),
    "a zstd that is cut": _coded("zstd", lambda: zstandard.compress(_GOOD)[:-1]),
    "a zstd and something": _coded("zstd", lambda: zstandard.compress(_GOOD) + b"x"),
    "a zstd that is none": _coded("zstd", lambda: _GOOD),
    "a zstd with another sum": _coded(
        "zstd", lambda: zstandard.ZstdCompressor(write_checksum=True).compress(_GOOD)[:-4] + bytes(4)
    ),
    "a zstd that asks for 2 GiB": _coded(
        "zstd", lambda: b"\x28\xb5\x2f\xfd\0\xa8" + struct.pack("<I", len(_GOOD) << 3 | 1)[:3] + _GOOD
    ),
    "a zstd that asks for 1 MiB": _coded(
        "zstd",
        lambda: b"\x28\xb5\x2f\xfd\0\x50" + struct.pack("<I", len(_GOOD) << 3 | 1)[:3] + _GOOD,
        None,
        cells={"f0": (1,)},
    ),
    "a thousand zstd frames": _coded(
        "zstd", lambda: zstandard.compress(b"") * 1_000 + zstandard.compress(_GOOD)
    ),
    "a zstd that says a size of 2**60": _coded(
        "zstd", lambda: b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**60) + b"\x01\x00\x00"
    ),
    "a coding of a long name": _coded("x" * 8_000, lambda: _GOOD),
    "a coding that is no name": _coded("gzip\tgzip", lambda: gzip.compress(_GOOD)),
    "an answer that is a gzip bomb": Hostile(
        "kserve-v1", lambda: _bomb(31), response=True, lines=(*JSON, "Content-Encoding: gzip")
    ),
    "an answer that is a cut gzip": Hostile(
        "kserve-v1",
        lambda: gzip.compress(b'{"predictions":[1,2]}')[:-3],
        response=True,
        lines=(*JSON, "Content-Encoding: gzip"),
    ),
    "an answer of an unknown coding": Hostile(
        "kserve-v1", lambda: b'{"predictions":[1,2]}', response=True, lines=(*JSON, "Content-Encoding: exi")
    ),
}


# ----------------------------------------------------------------------------------------- the binary tensor extension

OCTETS: Final = ("Content-Type: application/octet-stream",)


def binary(
    inputs: Any,
    tail: bytes,
    *,
    length: object = None,
    key: str = "inputs",
    more: Mapping[str, Any] | None = None,
) -> tuple[Callable[[], bytes], tuple[str, ...]]:
    """Return a V2 message of a JSON head and a binary tail, and its header lines; `length` is told of the head."""
    head = json.dumps({key: inputs, **(more or {})}, separators=(",", ":")).encode()
    told = len(head) if length is None else length
    return lambda: head + tail, (*OCTETS, f"Inference-Header-Content-Length: {told}")


def _segment(datatype: str, shape: list[Any], size: Any, name: str = "x", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": size},
        **more,
    }


def _binary(
    inputs: Any, tail: bytes, reason: str | None = UNDECODABLE, cells: Any = None, **more: Any
) -> Hostile:
    make, lines = binary(inputs, tail, **more)
    return Hostile("open-inference", make, reason, lines=lines, cells=cells)


def _binary_answer(outputs: Any, tail: bytes, reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    make, lines = binary(outputs, tail, key="outputs", **more)
    return Hostile("open-inference", make, reason, response=True, lines=lines)


def _bytes(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


_PAIR: Final = struct.pack("<2d", 1.5, 2.5)
_FP64: Final = _segment("FP64", [2], 16)

BINARY: Final[Mapping[str, Hostile]] = {
    "a head longer than the body": _binary([_FP64], _PAIR, length=10_000),
    "a head of all of the body": _binary([_FP64], _PAIR, length=92 + 16),
    "a head of half of itself": _binary([_FP64], _PAIR, length=40),
    "a head of -1": _binary([_FP64], _PAIR, length=-1),
    "a head of +1": _binary([_FP64], _PAIR, length="+1"),
    "a head of no number": _binary([_FP64], _PAIR, length="x"),
    "a head of 1e2": _binary([_FP64], _PAIR, length="1e2"),
    "a head of 4,000 digits": _binary([_FP64], _PAIR, length="9" * 4_000),
    "a head of arabic digits": _binary([_FP64], _PAIR, length="\xb2"),
    "a head of nothing at all": _binary([_FP64], _PAIR, length=""),
    "a raw binary request": _binary([_FP64], _PAIR, OPAQUE, length=0),
    "a tail shorter than its sizes": _binary([_FP64], _PAIR[:-1]),
    "a tail longer than its sizes": _binary([_FP64], _PAIR + b"\0"),
    "a tail that is not there": _binary([_FP64], b""),
    "a size below the shape's": _binary([_segment("FP64", [2], 8)], _PAIR[:8]),
    "a size above the shape's": _binary([_segment("FP64", [2], 24)], _PAIR + bytes(8)),
    "a size of -16": _binary([_segment("FP64", [2], -16)], _PAIR),
    "sizes that add up by a negative one": _binary(
        [_segment("FP64", [4], 32), _segment("FP64", [2], -16, "y")], _PAIR
    ),
    "a size of 2**64 + 16": _binary([_segment("FP64", [2], 2**64 + 16)], _PAIR),
    "a size of 16.0": _binary([_segment("FP64", [2], 16.0)], _PAIR),
    "a size of text": _binary([_segment("FP64", [2], "16")], _PAIR),
    "a size that is yes": _binary([_segment("INT8", [1], size=True)], b"\1"),
    "a size that is null": _binary([_segment("FP64", [2], None)], _PAIR),
    "a size and data": _binary([{**_FP64, "data": [1.5, 2.5]}], _PAIR),
    "a size of a datatype that is none": _binary([_segment("FP99", [2], 16)], _PAIR),
    "a size told twice": Hostile(
        "open-inference",
        lambda: (
            b'{"inputs":[{"name":"x","shape":[2],"datatype":"FP64","parameters":{"binary_data_size":8,"binary_data_size":16}}]}'
            + _PAIR
        ),
        lines=(*OCTETS, "Inference-Header-Content-Length: 113"),
    ),
    "binary sizes of 2**32 each": _binary([_segment("INT8", [2**32, 2**32], 0)], b""),
    "binary sizes that overflow to 2": _binary([_segment("FP64", [2**63 + 1, 2], 16)], _PAIR),
    "a negative binary size of the shape": _binary([_segment("FP64", [-2], 16)], _PAIR),
    "10**18 rows of nothing": _binary([_segment("FP64", [10**18, 0], 0)], b""),
    "10**9 empty texts": _binary([_segment("BYTES", [10**9], 0)], b""),
    "a text longer than the tensor": _binary([_segment("BYTES", [1], 8)], b"\xff\xff\xff\xffabcd"),
    "a text longer by one": _binary([_segment("BYTES", [1], 8)], b"\5\0\0\0abcd"),
    "a text shorter by one": _binary([_segment("BYTES", [1], 8)], b"\3\0\0\0abcd"),
    "fewer texts than the shape": _binary([_segment("BYTES", [3], 10)], _bytes(b"a", b"b")),
    "more texts than the shape": _binary([_segment("BYTES", [1], 10)], _bytes(b"a", b"b")),
    "half a length of a text": _binary([_segment("BYTES", [2], 7)], _bytes(b"a") + b"\1\0"),
    "a text that reaches into the next tensor": _binary(
        [_segment("BYTES", [1], 5), _segment("BYTES", [1], 5, "y")], b"\6\0\0\0a" + _bytes(b"b")
    ),
    "a head with a byte order mark": Hostile(
        "open-inference",
        lambda: b"\xef\xbb\xbf" + binary([_FP64], _PAIR)[0](),
        lines=(*OCTETS, f"Inference-Header-Content-Length: {len(binary([_FP64], b'')[0]()) + 3}"),
    ),
    "a head that is no JSON": Hostile(
        "open-inference", lambda: b"x" * 20 + _PAIR, lines=(*OCTETS, "Inference-Header-Content-Length: 20")
    ),
    "100,001 rows of one byte": _binary([_segment("INT8", [100_001], 100_001)], bytes(100_001)),
    "all of one row's bytes": _binary(
        [_segment("INT8", [1, MAX_BODY - 1_000], MAX_BODY - 1_000)], bytes(MAX_BODY - 1_000), OPAQUE
    ),
    "all of empty texts": _binary(
        [_segment("BYTES", [MAX_BODY // 5], MAX_BODY // 5 * 4)], bytes(MAX_BODY // 5 * 4)
    ),
    "shared memory in a binary message": _binary(
        [_FP64, {"name": "y", "shape": [2], "datatype": "FP64", "parameters": {"shared_memory_region": "r"}}],
        _PAIR,
        OPAQUE,
    ),
    "an answer's tail that is cut": _binary_answer([_FP64], _PAIR[:-1]),
    "an answer's head of -1": _binary_answer([_FP64], _PAIR, length=-1),
    "an answer's text longer than its tensor": _binary_answer(
        [_segment("BYTES", [2], 10)], b"\xff\0\0\0a" + _bytes(b"b")
    ),
    "an answer of 10**18 rows": _binary_answer([_segment("FP64", [10**18], 16)], _PAIR),
}


# ------------------------------------------------------------------------------------------------------ CSV, JSON lines


def _csv(text: str | bytes, reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    body = text.encode() if isinstance(text, str) else text
    return Hostile("sagemaker", lambda: body, reason, **{"lines": ("Content-Type: text/csv",), **more})


def _named_csv(text: str, reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("mlflow", text.encode, reason, lines=("Content-Type: text/csv",), **more)


def _lines(make: Callable[[], bytes], reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("sagemaker", make, reason, lines=("Content-Type: application/jsonlines",), **more)


CSV: Final[Mapping[str, Hostile]] = {
    "a quote that does not end": _csv('1,"2\n3,4\n'),
    "a quote in a bare cell": _csv('1,2"3\n'),
    "a quote before a bare cell's end": _csv('1,2"\n'),
    "text behind a quote": _csv('"1"2,3\n'),
    "a space before a quote": _csv('1, "2,3"\n'),
    "a NUL in a cell": _csv("1,2\0\n3,4\n"),
    "a carriage return alone": _csv("1,2\r3,4"),
    "a line shorter than the first": _csv("1,2\n3\n"),
    "a line longer than the first": _csv("1\n2,3\n"),
    "a byte order mark in CSV": _csv("\ufeff1,2\n"),
    "UTF-16 in CSV": _csv("1,2\n".encode("utf-16")),
    "invalid UTF-8 in CSV": _csv(b"1,\xff\n"),
    "another charset": _csv(
        "1,é\n".encode("latin-1"), OPAQUE, lines=("Content-Type: text/csv; charset=latin-1",)
    ),
    "UTF-7": _csv("1,+AOk-\n", OPAQUE, lines=("Content-Type: text/csv; charset=utf-7",)),
    "two charsets": _csv("1,2\n", OPAQUE, lines=("Content-Type: text/csv; charset=utf-8; charset=utf-16",)),
    "1e400 in CSV": _csv("1,1e400\n"),
    "5,000 digits in CSV": _csv("1," + "9" * 5_000 + "\n"),
    "a million digits in CSV": Hostile(
        "sagemaker", lambda: b"1" * 1_000_000, lines=("Content-Type: text/csv",)
    ),
    "2**63 in CSV": _csv(f"{2**63}\n", None, cells={"f0": (2**63,)}),
    "a formula": _csv("=1+1,@x\n", None, cells={"f0": ("=1+1",), "f1": ("@x",)}),
    "400,000 columns": _csv("1," * 400_000 + "1\n", OPAQUE),
    "250,000 quoted columns": _csv('"1",' * 250_000 + "1\n", OPAQUE),
    "400,000 columns after a narrow line": _csv("1\n" + "1," * 400_000 + "1\n", OPAQUE),
    "100,001 lines": _csv("1\n" * 100_001),
    "all of line breaks": _csv("\n" * MAX_BODY),
    "all of carriage returns": _csv("\r" * MAX_BODY),
    "all of commas": _csv("," * MAX_BODY, OPAQUE),
    "all of double quotes": _csv('"' * (MAX_BODY - 1)),
    "all of pairs of double quotes": _csv('"' * MAX_BODY, None),
    "all of one bare cell": _csv("x" * MAX_BODY, None),
    "all of one quoted cell": _csv('"' + "x," * (MAX_BODY // 2 - 1) + '"', OPAQUE),
    "all of quoted line breaks": _csv('"' + "\n" * (MAX_BODY - 2) + '"', UNDECODABLE),
    "all of spaces in CSV": _csv(" " * MAX_BODY, None, cells={}),
    "columns' names twice": _named_csv("a,a\n1,2\n"),
    "more cells than names": _named_csv("a\n1,2\n"),
    "no line of names": _named_csv(""),
    "a quote in a name that does not end": _named_csv('"a,b\n1,2\n'),
    "an answer of other lines": _csv("1\n2\n3\n", UNALIGNED, response=True),
    "an answer with a quote that does not end": _csv('1\n"2\n', response=True),
    "an answer of lines of different length": _csv("1\n2,3\n", UNALIGNED, response=True),
    "a cut line": _lines(_raw('{"a":1}\n{"a":')),
    "a line that is no JSON": _lines(_raw('{"a":1}\nx\n')),
    "two values in a line": _lines(_raw('{"a":1}{"a":2}\n')),
    "a value over two lines": _lines(_raw('{"a":\n1}\n')),
    "lines of different kinds": _lines(_raw('{"a":1}\n[2]\n')),
    "a line with a key twice": _lines(_raw('{"a":1,"a":2}\n')),
    "a line that closes the array": _lines(_raw("[1]\n],[[2]\n")),
    "a line with a comma": _lines(_raw("[1],\n[2]\n")),
    "a line with 1e400": _lines(_raw('{"a":1e400}\n')),
    "a line with half a pair": _lines(_raw('{"a":"\\ud83d"}\n')),
    "lines with a byte order mark": _lines(_raw(b'\xef\xbb\xbf{"a":1}\n')),
    "no lines": _lines(_raw(""), None, cells={}),
    "100,001 JSON lines": _lines(_raw("[1]\n" * 100_001)),
    "a line of 100,000 brackets": _lines(_raw("[" * _COUNT + "]" * _COUNT + "\n")),
    "all of empty lines": _lines(_filled("", "\n", "")),
    "all of one line": _lines(_filled('["', "x", '"]'), None),
    "lines that share no key": _lines(
        lambda: b"".join(b'{"k%d":%d}\n' % (at, at) for at in range(20_000)), OPAQUE
    ),
    "a quote that does not end in a line": _lines(_raw('{"a":"\n"}\n')),
}


# ----------------------------------------------------------------------------------------------------------------- NPY


def _npy(
    header: str | bytes, data: bytes = _PAIR, *, version: int = 1, told: int | None = None
) -> Callable[[], bytes]:
    text = header.encode() if isinstance(header, str) else header
    length = len(text) if told is None else told
    size = struct.pack("<H" if version == 1 else "<I", length)
    return lambda: b"\x93NUMPY" + bytes((version, 0)) + size + text + data


def _array(
    descr: str = "'<f8'", shape: str = "(2,)", order: str = "False", data: bytes = _PAIR, **more: Any
) -> Callable[[], bytes]:
    return _npy(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n", data, **more)


class _Harm:
    """What a pickle does when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (HARM,)


HARM: Final = "/tmp/guardproxy-a-pickle-was-loaded"  # noqa: S108 (nothing is ever written there)


def _pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([_Harm(), 1.0], dtype=object), allow_pickle=True)
    return stream.getvalue()


def _saved(make: Callable[[], bytes], reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("sagemaker", make, reason, lines=("Content-Type: application/x-npy",), **more)


NPY: Final[Mapping[str, Hostile]] = {
    "a pickle": _saved(_pickled),
    "a pickle in a part": _saved(_array("[('a', '<f8'), ('b', '|O')]")),
    "a pickle alone": _saved(lambda: pickle.dumps(_Harm())),
    "a header that is code": _saved(_npy(f"__import__('os').mkdir('{HARM}')\n")),
    "a header that makes a list": _saved(_npy("{'descr': '<f8', 'fortran_order': False, 'shape': [2]}\n")),
    "a header that computes": _saved(_array(shape="(1+1,)")),
    "a header of a power": _saved(_array(shape="(9**9**9,)")),
    "a header of 60,000 brackets": _saved(_npy("(" * 60_000)),
    "a header of 9,000 brackets": _saved(_npy("(" * 9_000 + ")" * 999)),
    "a header of 4,000 minus signs": _saved(_array(shape="(" + "-" * 4_000 + "2,)")),
    "a header of 4,000 digits": _saved(_array(shape=f"({'9' * 4_000},)")),
    "a header longer than the body": _saved(_array(told=60_000)),
    "a header of 4 GiB": _saved(_array(version=2, told=2**32 - 1)),
    "a header of nothing": _saved(_npy("")),
    "a header with a key twice": _saved(
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'shape': (1,)}\n")
    ),
    "a header with another key": _saved(
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'x': 1}\n")
    ),
    "a header without a shape": _saved(_npy("{'descr': '<f8', 'fortran_order': False}\n")),
    "version 9": _saved(_array(version=9)),
    "version 0": _saved(_array(version=0)),
    "a cut array": _saved(_array(data=_PAIR[:-1])),
    "an array and something": _saved(_array(data=_PAIR + b"x")),
    "an array that is none": _saved(_raw("1,2")),
    "a negative shape": _saved(_array(shape="(-2,)")),
    "a shape of two negatives": _saved(_array(shape="(-1, -2)")),
    "a shape of 2**64 + 2": _saved(_array(shape=f"({2**64 + 2},)")),
    "a shape that overflows to 2": _saved(_array(shape=f"({2**63 + 1}, 2)")),
    "a shape of 10**18 by 0": _saved(_array(shape=f"({10**18}, 0)", data=b"")),
    "a shape of yes": _saved(_array(shape="(True, 2)")),
    "a shape of 2.0": _saved(_array(shape="(2.0,)")),
    "a thousand sizes": _saved(_array(shape=f"({'1, ' * 999}2)"), OPAQUE),
    "an order that is 0": _saved(_array(order="0")),
    "an image in NPY": _saved(_array(shape="(1, 2, 1)"), OPAQUE),
    "an unknown type": _saved(_array("'<q9'")),
    "a type of no size": _saved(_array("'<f0'"), OPAQUE),
    "a type of 10**7": _saved(_array("'<S10000000'")),
    "a type of code": _saved(_array("'<f8; import os'")),
    "complex numbers": _saved(_array("'<c16'", "(1,)"), OPAQUE),
    "times": _saved(_array("'<M8[ns]'"), OPAQUE),
    "parts of one name": _saved(_array("[('a', '<f8'), ('a', '<f8')]", "(1,)")),
    "parts in parts": _saved(_array("[('a', [('b', '<f8')])]"), OPAQUE),
    "a text with no character": _saved(_array("'<U1'", "(1,)", data=b"\xff\xff\xff\xff")),
    "a yes of 2": _saved(_array("'|b1'", "(1,)", data=b"\2")),
    "100,001 rows in NPY": _saved(_array("'|i1'", "(100001,)", data=bytes(100_001))),
    "a million columns in NPY": _saved(_array("'|i1'", "(1, 1000000)", data=bytes(1_000_000)), OPAQUE),
    "100,001 texts of nothing": _saved(_array("'|S1'", "(100001,)", data=bytes(100_001))),
    "a million rows and an answer": _saved(
        _array("'|i1'", "(1000000,)", data=bytes(1_000_000)), UNDECODABLE, response=True
    ),
    "an answer that is a pickle": _saved(_pickled, response=True),
}


# --------------------------------------------------------------------------------------------------- forms and streams


def _form(
    text: str, reason: str | None = UNDECODABLE, kind: str = "application/x-www-form-urlencoded"
) -> Hostile:
    return Hostile("seldon", text.encode, reason, lines=(f"Content-Type: {kind}",))


def _multipart(*parts: str, reason: str | None = UNDECODABLE, end: str = "--b--\r\n") -> Hostile:
    body = "".join(f"--b\r\nContent-Disposition: form-data; name={part}\r\n" for part in parts) + end
    return _form(body, reason, "multipart/form-data; boundary=b")


_DOCUMENT: Final = "%7B%22data%22:%7B%22ndarray%22:[[1]]%7D%7D"
_PLAIN: Final = '{"data":{"ndarray":[[1]]}}'

FORMS: Final[Mapping[str, Hostile]] = {
    "two documents in a form": _form(f"json={_DOCUMENT}&json={_DOCUMENT}"),
    "two documents in a form, one name escaped": _form(f"json={_DOCUMENT}&%6Ason={_DOCUMENT}"),
    "no document in a form": _form("x=1"),
    "an empty form": _form(""),
    "an empty document": _form("json="),
    "a bad escape in a form": _form(f"json={_DOCUMENT}%zz"),
    "half an escape": _form(f"json={_DOCUMENT}%2"),
    "a document that is cut": _form("json=%7B%22data%22"),
    "a document in another charset": _form(
        f"json={_DOCUMENT}", kind="application/x-www-form-urlencoded; charset=utf-16"
    ),
    "escaped invalid UTF-8": _form("json=%7B%22data%22:%7B%22ndarray%22:[[%22%ff%22]]%7D%7D"),
    "raw UTF-8 in a form": _form(f"json={_DOCUMENT}é"),
    "a semicolon between fields": _form(f"x=1;json={_DOCUMENT}"),
    "a million fields": _form(f"json={_DOCUMENT}" + "&" * 1_000_000),
    "100,000 escaped brackets": _form("json=" + "%5B" * _COUNT),
    "all of escapes in a form": Hostile(
        "seldon",
        lambda: b"json=" + b"%20" * (MAX_BODY // 3 - 2),
        lines=("Content-Type: application/x-www-form-urlencoded",),
    ),
    "two documents in parts": _multipart(f"json\r\n\r\n{_PLAIN}\r\n", f"json\r\n\r\n{_PLAIN}\r\n"),
    "two names of a document": _multipart(f"json\r\n\r\n{_PLAIN}\r\n", f"data\r\n\r\n{_PLAIN}\r\n"),
    "a part that does not end": _multipart(f"json\r\n\r\n{_PLAIN}\r\n", reason=OPAQUE, end=""),
    "a file beside the document": _multipart(
        f"json\r\n\r\n{_PLAIN}\r\n", 'x; filename="a"\r\n\r\nx\r\n', reason=OPAQUE
    ),
    "a coded part": _multipart(
        f"json\r\nContent-Transfer-Encoding: base64\r\n\r\n{_PLAIN}\r\n", reason=OPAQUE
    ),
    "parts without a boundary": _form(_PLAIN, OPAQUE, "multipart/form-data"),
    "parts with two boundaries": _form(_PLAIN, OPAQUE, "multipart/form-data; boundary=a; boundary=b"),
    "20,000 parts": _multipart(*["x\r\n\r\n1\r\n"] * 20_000, reason=OPAQUE),
    "a shape that Seldon's values do not have": Hostile(
        "seldon", _raw('{"data":{"tensor":{"shape":[2,2],"values":[1,2,3]}}}')
    ),
    "a negative shape of Seldon's values": Hostile(
        "seldon", _raw('{"data":{"tensor":{"shape":[-1,-3],"values":[1,2,3]}}}')
    ),
    "Seldon's shape of 2**64 + 3": Hostile(
        "seldon", _raw('{"data":{"tensor":{"shape":[18446744073709551619],"values":[1,2,3]}}}')
    ),
    "Seldon's two forms of data": Hostile(
        "seldon", _raw('{"data":{"ndarray":[[1]],"tensor":{"shape":[1],"values":[2]}}}')
    ),
    "Seldon's data twice": Hostile("seldon", _raw('{"data":{"ndarray":[[1]]},"data":{"ndarray":[[2]]}}')),
    "Seldon's names for other columns": Hostile("seldon", _raw('{"data":{"names":["a"],"ndarray":[[1,2]]}}')),
    "Seldon's names twice": Hostile("seldon", _raw('{"data":{"names":["a","a"],"ndarray":[[1,2]]}}')),
}


def _stream(*events: str, reason: str | None = UNDECODABLE) -> Hostile:
    body = "".join(f"data: {event}\n\n" for event in events)
    return Hostile("openai", body.encode, reason, response=True, lines=("Content-Type: text/event-stream",))


_FIRST: Final = (
    '{"choices":[{"index":0,"delta":{"role":"assistant","content":"a"}},{"index":1,"delta":{"content":"b"}}]}'
)

STREAMS: Final[Mapping[str, Hostile]] = {
    "a stream of nothing": Hostile(
        "openai", _raw(""), response=True, lines=("Content-Type: text/event-stream",)
    ),
    "a stream that is cut in an event": Hostile(
        "openai",
        f"data: {_FIRST}\n\ndata: {{".encode,
        response=True,
        lines=("Content-Type: text/event-stream",),
    ),
    "a stream of no JSON": _stream("hello"),
    "a stream of lists": _stream("[1]"),
    "an event with choices twice": _stream(f'{_FIRST[:-1]},"choices":[]}}'),
    "an event with a text twice": _stream('{"choices":[{"index":0,"delta":{"content":"a","content":"b"}}]}'),
    "an event with choices that are no list": _stream('{"choices":{}}'),
    "an event with an index of text": _stream('{"choices":[{"index":"0","delta":{"content":"a"}}]}'),
    "an event with an index of 2**70": _stream(
        f'{{"choices":[{{"index":{2**70},"delta":{{"content":"a"}}}},{{"index":0,"delta":{{"content":"a"}}}}]}}',
        reason=UNALIGNED,
    ),
    "an event with half a pair": _stream('{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}'),
    "an event of 100,000 brackets": _stream("[" * _COUNT + "]" * _COUNT),
    "a stream for one row": _stream('{"choices":[{"index":0,"delta":{"content":"a"}}]}', reason=UNALIGNED),
    "100,001 events": _stream(*["{}"] * 100_001),
    "all of empty events": Hostile(
        "openai", _filled("", "data:\n\n", ""), response=True, lines=("Content-Type: text/event-stream",)
    ),
    "all of comments": Hostile(
        "openai", _filled("", ":x\n", ""), response=True, lines=("Content-Type: text/event-stream",)
    ),
    "all of one event": Hostile(
        "openai", _filled("data: ", "x", "\n\n"), response=True, lines=("Content-Type: text/event-stream",)
    ),
    "all of the lines of one event": Hostile(
        "openai", _filled("", "data: \n", "\n"), response=True, lines=("Content-Type: text/event-stream",)
    ),
    "all of texts in pieces": Hostile(
        "openai",
        _filled("", f"data: {_FIRST}\n\n", "data: [DONE]\n\n", MIB),
        None,
        response=True,
        lines=("Content-Type: text/event-stream",),
    ),
}


# ------------------------------------------------------------------------------------------------------------- protobuf


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes((*made, value))


def _bytes_field(number: int, data: bytes, told: int | None = None) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data) if told is None else told) + data


def _grpc_input(shape: Sequence[int] = (2,), *more: bytes, datatype: str = "FP64", name: str = "x") -> bytes:
    sizes = b"".join(_varint(size & (2**64 - 1)) for size in shape)
    parts = (
        _bytes_field(1, name.encode()),
        _bytes_field(2, datatype.encode()),
        _bytes_field(3, sizes),
        *more,
    )
    return _bytes_field(5, b"".join(parts))


def _grpc(message: bytes, reason: str | None = UNDECODABLE, **more: Any) -> Hostile:
    return Hostile("open-inference", lambda: message, reason, lines=(f"Content-Type: {GRPC}",), **more)


_MODEL: Final = _bytes_field(1, b"m")
_RAW: Final = _bytes_field(7, _PAIR)

PROTOBUF: Final[Mapping[str, Hostile]] = {
    "a message of nothing": _grpc(b""),
    "a message that is JSON": _grpc(b'{"inputs":[]}'),
    "a varint that does not end": _grpc(_MODEL + b"\xff" * 9),
    "a varint of eleven bytes": _grpc(_MODEL + b"\xff" * 11 + b"\1"),
    "a field longer than its message": _grpc(_MODEL + _bytes_field(5, b"x", 1_000)),
    "a field of 2**63 bytes": _grpc(_MODEL + _bytes_field(5, b"x", 2**63)),
    "a tensor longer than its message": _grpc(_MODEL + _bytes_field(5, _bytes_field(1, b"x", 99)) + _RAW),
    "field number 0": _grpc(_MODEL + b"\2\0"),
    "wire type 7": _grpc(_MODEL + b"\x2f\0"),
    "100,000 groups": _grpc(_MODEL + b"\x33" * _COUNT),
    "a group that does not end": _grpc(_MODEL + b"\xa3\x06"),
    "an end without a group": _grpc(_MODEL + b"\xa4\x06"),
    "a name that is no UTF-8": _grpc(
        _MODEL + _bytes_field(5, _bytes_field(1, b"\xff") + _bytes_field(2, b"FP64")) + _RAW
    ),
    "a tensor of another wire type": _grpc(_MODEL + b"\x28\1" + _RAW),
    "raw contents of another size": _grpc(_MODEL + _grpc_input((3,)) + _RAW),
    "raw contents without a tensor": _grpc(_MODEL + _RAW),
    "two raw contents for one tensor": _grpc(_MODEL + _grpc_input() + _RAW + _RAW),
    "raw and typed contents": _grpc(
        _MODEL + _grpc_input((2,), _bytes_field(5, _bytes_field(7, _PAIR))) + _RAW
    ),
    "typed contents of another size": _grpc(
        _MODEL + _grpc_input((3,), _bytes_field(5, _bytes_field(7, _PAIR)))
    ),
    "typed contents of another type": _grpc(
        _MODEL + _grpc_input((2,), _bytes_field(5, _bytes_field(6, bytes(8))))
    ),
    "packed numbers that are cut": _grpc(
        _MODEL + _grpc_input((2,), _bytes_field(5, _bytes_field(7, _PAIR[:-1])))
    ),
    "a negative shape in protobuf": _grpc(_MODEL + _grpc_input((-2,)) + _RAW),
    "a shape of 2**62 by 4": _grpc(_MODEL + _grpc_input((2**62, 4)) + _RAW),
    "a shape of 2**63 - 1 and 0": _grpc(_MODEL + _grpc_input((2**63 - 1, 0)) + _bytes_field(7, b"")),
    "a text longer than its raw contents": _grpc(
        _MODEL + _grpc_input((1,), datatype="BYTES") + _bytes_field(7, b"\xff\xff\xff\xffab")
    ),
    "two tensors of one name": _grpc(_MODEL + _grpc_input() + _grpc_input() + _RAW + _RAW),
    "100,000 empty tensors": _grpc(_MODEL + _bytes_field(5, b"") * _COUNT),
    "all of zeros in protobuf": Hostile(
        "open-inference", lambda: bytes(MAX_BODY), lines=(f"Content-Type: {GRPC}",)
    ),
    "all of raw contents": Hostile(
        "open-inference",
        lambda: _MODEL + _bytes_field(7, b"") * (MAX_BODY // 2 - 8),
        lines=(f"Content-Type: {GRPC}",),
    ),
}

BODIES: Final[Mapping[str, Hostile]] = {
    **TEXTS,
    **NUMBERS,
    **DOUBLED,
    **SHAPES,
    **LARGE,
    **CODED,
    **BINARY,
    **CSV,
    **NPY,
    **FORMS,
    **STREAMS,
    **PROTOBUF,
}


# ------------------------------------------------------------------------------------------------------------ measuring


def decode(hostile: Hostile, body: bytes) -> dict[str, Any]:
    """Decode a body as the proxy does; return the reason of its refusal, or its first cells."""
    codec = make_codec(hostile.protocol, CodecOptions())
    content_type, length = hostile.header("content-type"), hostile.header("inference-header-content-length")
    told = (
        None
        if length is None
        else int(length)
        if length.isascii() and length.isdecimal() and len(length) < 20
        else -1
    )
    try:
        plain = decompress(body, hostile.header("content-encoding") or "", max_bytes=MAX_BODY)
        message = Message(plain, content_type, json_length=told)
        table = codec.decode_response(message, 2) if hostile.response else codec.decode_request(message)
    except DecodeError as error:
        return {"reason": error.reason, "said": str(error)}
    cells = {name: table.column(name) for name in table.fields[:100]}
    return {"reason": None, "said": repr(table), "cells": cells}


def measure(name: str) -> dict[str, Any]:
    """Decode a body: what was said, the milliseconds of the processor and the MiB that it took."""
    hostile = BODIES[name]
    body = hostile.make()
    before, start = _peak(), time.process_time()
    said = decode(hostile, body)
    cost = {"ms": (time.process_time() - start) * 1000, "mib": _peak() - before, "bytes": len(body)}
    said.pop("cells", None)
    return {"name": name, **cost, **said}


def measure_apart(name: str) -> dict[str, Any]:
    """Do the same in a forked process, where the memory that it takes is its own."""
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(receive)
        with os.fdopen(send, "w") as pipe:
            json.dump(measure(name), pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        written = pipe.read()
    _, status = os.waitpid(process, 0)
    if status or not written:
        return {"name": name, "ms": 0.0, "mib": 0.0, "bytes": 0, "reason": "died", "said": str(status)}
    found: dict[str, Any] = json.loads(written)
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


COSTLY: Final = frozenset(
    name
    for name in BODIES
    if name in LARGE or name in CODED or name in NPY or "all of" in name or "00" in name
)


def _main(names: list[str]) -> None:
    for name in names or list(BODIES):
        # A process for each takes longer than most of them.
        found = measure_apart(name) if name in COSTLY else measure(name)
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps(found) + "\n")
        else:
            right = " " if found["reason"] == BODIES[name].reason else "!"
            sys.stdout.write(
                f"{right}{found['ms']:8.1f} ms {found['mib']:6.1f} MiB  {name}: {found['reason']} ({found['said'][:90]})\n"
            )


if __name__ == "__main__":
    _main([each for each in sys.argv[1:] if not each.startswith("--")])
