"""The route table: every spelling that an upstream might take for a guarded path is guarded or refused."""

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.proxy.routes import AMBIGUOUS, RouteTable

TABLE: RouteTable[str] = RouteTable(
    [
        ("/v2/models/demand/infer", "demand"),
        ("/v2/models/demand/versions/{version}/infer", "version"),
        ("/v1/models/price:predict", "price"),
        ("/all/*", "all"),
    ]
)


@pytest.mark.parametrize(
    ("target", "route"),
    [
        (b"/v2/models/demand/infer", "demand"),
        (b"/v2/models/demand/infer?x=1", "demand"),
        (b"/v2/models/demand/versions/3/infer", "version"),
        (b"/v1/models/price:predict", "price"),
        (b"/all/of/it", "all"),
        (b"/v2/models/other/infer", None),
        (b"/v2/models/demand/versions/3/4/infer", None),
        (b"/metrics", None),
        (b"*", None),
    ],
)
def test_a_path_finds_its_route(target: bytes, route: str | None) -> None:
    assert TABLE.match(target) == route


SPELLINGS = [
    lambda path, i: path[:i] + "/" + path[i:] if path[i : i + 1] == "/" or path[i - 1 : i] == "/" else path,
    lambda path, i: (
        path[:i] + quote(path[i], safe="").replace(path[i], f"%{ord(path[i]):02x}") + path[i + 1 :]
    ),
    lambda path, i: path[:i] + f"%25{ord(path[i]):02X}" + path[i + 1 :],
    lambda path, i: path[:i] + path[i].upper() + path[i + 1 :],
    lambda path, i: path[:i] + "/." + path[i:] if path[i] == "/" else path,
    lambda path, i: path[:i] + "/x/.." + path[i:] if path[i] == "/" else path,
    lambda path, i: path[:i] + ";a=b" + path[i:] if path[i] == "/" and i else path,
    lambda path, i: path[:i] + "\\" + path[i + 1 :] if path[i] == "/" else path,
    lambda path, i: path + "/",
    lambda path, i: path + "%00",
    lambda path, i: path + "%20",
    lambda path, i: path + ".",
]


@settings(max_examples=400)
@given(
    st.sampled_from(
        ["/v2/models/demand/infer", "/v2/models/demand/versions/7/infer", "/v1/models/price:predict"]
    ),
    st.lists(st.tuples(st.sampled_from(SPELLINGS), st.integers(0, 60)), min_size=1, max_size=2),
)
def test_another_spelling_is_never_an_unguarded_path(path: str, changes: list[tuple[object, int]]) -> None:
    for change, at in changes:
        path = change(path, at % len(path))  # type: ignore[operator]
    if path.startswith("/"):  # the wire refuses any other
        assert TABLE.match(path.encode()) is not None


def test_a_suspect_path_that_is_nobodys_passes() -> None:
    assert TABLE.match(b"/static//logo%20big.png") is None
    assert TABLE.match(b"/v2//models/demand/infer") is AMBIGUOUS
