"""Random expressions, rows and names for the laws of the language."""

import functools
from collections.abc import Mapping

from hypothesis import strategies as st

from guardproxy.rules.language import NO_CONSTANT, Kind, OpenNames, Program, Ref, compile_expression
from guardproxy.rules.language.names import REQUEST_KINDS, Constant
from guardproxy.table import Cell

KINDS: Mapping[str, Kind] = {
    "features.n": Kind.NUMBER,
    "features.m": Kind.NUMBER,
    "output.y": Kind.NUMBER,
    "features.t": Kind.TEXT,
    "features.u": Kind.TEXT,
    "features.f": Kind.FLAG,
    "features.g": Kind.FLAG,
    "features.a": Kind.ANY,
    "features.b": Kind.ANY,
    "output.c": Kind.ANY,
    'features["odd name"]': Kind.ANY,
}

REFS: Mapping[str, Ref] = {
    **{spelled: Ref(*spelled.split(".")) for spelled in KINDS if '"' not in spelled},
    'features["odd name"]': Ref("features", "odd name"),
}

CONSTANTS: Mapping[Ref, Cell] = {
    Ref("profile", "output.y", "p99"): 900.0,
    Ref("profile", "output.y", "min"): -0.0,
    Ref("profile", "features.n", "p50"): None,
}


class KnownNames:
    """A small model with fields of every kind, a profile and lists."""

    lists: Mapping[str, frozenset[Cell]] = {
        "words": frozenset({"a", "B", "", "née"}),
        "codes": frozenset({1, 2.5, 2**53 + 1}),
        "mixed": frozenset({"a", 3.0, False}),
        "profile.features.t.values": frozenset({"a", "b"}),
    }

    def kind(self, ref: Ref) -> Kind | None:
        if ref.space == "profile":
            return Kind.NUMBER if ref in CONSTANTS or ref.stat == "values" else None
        if ref.space == "request":
            return REQUEST_KINDS.get(ref.name)
        return {REFS[spelled]: kind for spelled, kind in KINDS.items()}.get(ref)

    @property
    def kpis(self) -> Mapping[str, Program]:
        """Return KPIs of every kind; a later one may use those before it."""
        return _kpis()

    def candidates(self, space: str) -> tuple[str, ...]:
        if space == "request":
            return tuple(REQUEST_KINDS)
        if space == "profile":
            return ("output.y", "features.n")
        return tuple(ref.name for ref in REFS.values() if ref.space == space)

    def constant(self, ref: Ref) -> Constant:
        return CONSTANTS.get(ref, NO_CONSTANT)


KPIS: Mapping[str, tuple[str, Kind | None]] = {
    "ratio": ("features.n / output.y", Kind.NUMBER),
    "bare": ("features.a", Kind.NUMBER),
    "untold": ("if features.f then features.b else features.a", None),
    "exact": ("9007199254740993", Kind.NUMBER),
    "either": ("output.c ?? 9007199254740993", Kind.NUMBER),
    "both": ("kpi.ratio * 2 + kpi.bare", Kind.NUMBER),
    "word": ("lower(features.t)", None),
    "busy": ("kpi.both > 1 or features.g", Kind.FLAG),
    "relative": ("output.y - batch_mean(output.y)", Kind.NUMBER),
}


@functools.cache
def _kpis() -> Mapping[str, Program]:
    known: dict[str, Program] = {}

    class Earlier(KnownNames):
        @property
        def kpis(self) -> Mapping[str, Program]:
            return known

    for name, (text, want) in KPIS.items():
        program = compile_expression(text, Earlier(), want=want)
        assert isinstance(program, Program), program
        known[name] = program
    return known


class OpenKnownNames(OpenNames):
    """No profile, but the lists and KPIs of `KnownNames`."""

    def __init__(self) -> None:
        super().__init__(KnownNames.lists, _kpis())


NUMBERS = st.sampled_from(
    [
        *(0.0, -0.0, 1.0, -1.0, 2.5, 0.1, 0.125, 3.0, -7.25, 1e-308, 5e-324, 1e308, 1.7976931348623157e308),
        *(float("inf"), float("-inf"), float("nan"), None, 0, 1, 7, -3),
        *(2**53, 2**53 + 1, -(2**53) - 1, 2.0**53, 2**63, 10**400, -(10**400), 900, 900.0),
    ]
)
TEXTS = st.sampled_from(
    ["a", "b", "B", "", "née", "Straße", "İ", "\x00", "\ud800", "12", "x" * 300, '"', "\\", None]
)
FLAGS = st.sampled_from([True, False, None])
ANYTHING = st.one_of(NUMBERS, TEXTS, FLAGS, st.just((0.1, None, 0.9)), st.floats(), st.text(max_size=5))

_MOSTLY = {Kind.NUMBER: NUMBERS, Kind.TEXT: TEXTS, Kind.FLAG: FLAGS, Kind.ANY: ANYTHING}


def _cell(kind: Kind) -> st.SearchStrategy[Cell]:
    """A cell of this kind, now and then of another."""
    return st.integers(0, 11).flatmap(lambda luck: ANYTHING if luck == 0 else _MOSTLY[kind])


ROWS = st.fixed_dictionaries({REFS[spelled]: _cell(kind) for spelled, kind in KINDS.items()})

SPECIAL_ROWS = st.lists(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, 900.0, float("inf"), float("-inf"), None]),
    min_size=len(REFS),
    max_size=len(REFS),
).map(lambda cells: dict(zip(REFS.values(), cells, strict=True)))

_NAMES_OF = {
    kind: st.sampled_from([name for name, own in KINDS.items() if own in (kind, Kind.ANY)])
    for kind in (Kind.NUMBER, Kind.TEXT, Kind.FLAG)
}
_NUMBER_LITERALS = st.sampled_from(
    [
        "0",
        "1",
        "2.5",
        "30%",
        "15m",
        "1e308",
        "4.5e-3",
        "250_000",
        "9007199254740993",
        "-9007199254740993",
        "-1",
        "900",
    ]
)
_TEXT_LITERALS = st.sampled_from(['"a"', '"B"', '""', '"n\\u00e9e"', '"b"', '"\\ud800"'])
_NUMBER_LISTS = st.sampled_from(
    [
        "[1, 2.5, 900]",
        "[9007199254740993, -1]",
        "codes",
        "lists.codes",
        "mixed",
        "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]",
    ]
)
_TEXT_LISTS = st.sampled_from(['["a", "b"]', "words", "mixed", "profile.features.t.values"])
_PATTERNS = st.sampled_from(['"a"', '"^[ab]$"', '"."', '"\\\\d+"'])
_SIGNS = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])


def expressions(kind: Kind, depth: int = 3, *, over_rows: bool = False) -> st.SearchStrategy[str]:
    """Expressions that give this kind, as text; everything compound stands in parentheses.

    With `over_rows` functions over rows, and KPIs that use them, stand among the names.
    """
    if depth == 0:
        return _leaves(kind, over_rows)
    compound = {Kind.NUMBER: _numbers, Kind.TEXT: _texts, Kind.FLAG: _flags}[kind](depth - 1, over_rows)
    inner = expressions(kind, depth - 1, over_rows=over_rows)
    flag = expressions(Kind.FLAG, depth - 1, over_rows=over_rows)
    choice = st.builds("(if {} then {} else {})".format, flag, inner, inner)
    first = st.builds("({} ?? {})".format, inner, inner) | st.builds(
        "coalesce({}, {}, {})".format, inner, inner, inner
    )
    return st.one_of(_leaves(kind, over_rows), compound, compound, choice, first)


_KPIS_OF = {
    Kind.NUMBER: ("kpi.ratio", "kpi.bare", "kpi.untold", "kpi.exact", "kpi.either", "kpi.both"),
    Kind.TEXT: ("kpi.word", "kpi.untold"),
    Kind.FLAG: ("kpi.busy", "kpi.untold"),
}


def aggregates() -> st.SearchStrategy[str]:
    """Calls of functions over rows."""
    number, flag = expressions(Kind.NUMBER, 1), expressions(Kind.FLAG, 1)
    windows = st.sampled_from(["15m", "1h", "60m", "7d"])
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from(["batch_mean", "batch_min", "batch_max"]), number),
        st.builds("{}({})".format, st.sampled_from(["batch_share", "batch_count"]), flag),
        st.builds(
            "{}({}, {})".format, st.sampled_from(["recent_mean", "recent_p50", "recent_p99"]), number, windows
        ),
        st.builds("{}({}, {})".format, st.sampled_from(["recent_share", "recent_count"]), flag, windows),
    )


def _leaves(kind: Kind, over_rows: bool) -> st.SearchStrategy[str]:
    literals = {
        Kind.NUMBER: _NUMBER_LITERALS,
        Kind.TEXT: _TEXT_LITERALS,
        Kind.FLAG: st.sampled_from(["true", "false"]),
    }
    names = _NAMES_OF[kind]
    if kind is Kind.NUMBER:
        names = names | st.sampled_from(
            ["profile.output.y.p99", "profile.output.y.min", "profile.features.n.p50"]
        )
    found = st.one_of(names, names, literals[kind], st.sampled_from(_KPIS_OF[kind]))
    return found | aggregates() | st.just("kpi.relative") if over_rows and kind is Kind.NUMBER else found


def _numbers(depth: int, over_rows: bool) -> st.SearchStrategy[str]:
    number = expressions(Kind.NUMBER, depth, over_rows=over_rows)
    text = expressions(Kind.TEXT, 0)
    return st.one_of(
        st.builds("({} {} {})".format, number, st.sampled_from("+-*/"), number),
        st.builds("({} {s} {} {s} {})".format, number, number, number, s=st.sampled_from(["/", "-"])),
        st.builds("(-{})".format, number),
        st.builds("{}({})".format, st.sampled_from(["abs", "sqrt", "log", "exp", "round"]), number),
        st.builds("round({}, {})".format, number, st.integers(0, 12)),
        st.builds("{}({}, {}, {})".format, st.sampled_from(["min", "max"]), number, number, number),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), number, number),
        st.builds("clamp({}, features.n, {})".format, number, number),
        st.builds("length({})".format, text),
    )


def _texts(depth: int, over_rows: bool) -> st.SearchStrategy[str]:
    return st.builds("lower({})".format, expressions(Kind.TEXT, depth, over_rows=over_rows))


def _flags(depth: int, over_rows: bool) -> st.SearchStrategy[str]:
    number, text, flag = (
        expressions(kind, depth, over_rows=over_rows) for kind in (Kind.NUMBER, Kind.TEXT, Kind.FLAG)
    )
    anything = st.one_of(number, text, flag)
    word = st.sampled_from(["and", "or"])
    negation = st.sampled_from(["", "not "])
    return st.one_of(
        st.builds("({} {} {})".format, number, _SIGNS, number),
        st.builds("({} {} {})".format, text, _SIGNS, text),
        st.builds("({} {} {} {} {})".format, number, _SIGNS, number, _SIGNS, number),
        st.builds("({} {} {} {} {})".format, text, _SIGNS, text, _SIGNS, text),
        st.builds("({} {} {})".format, flag, st.sampled_from(["==", "!="]), flag),
        st.builds("({} {} {})".format, flag, word, flag),
        st.builds("({} {w} {} {w} {})".format, flag, flag, flag, w=word),
        st.builds("(not {})".format, flag),
        st.builds("({} is {}missing)".format, anything, negation),
        st.builds("({} {}in {})".format, number, negation, _NUMBER_LISTS),
        st.builds("({} {}in {})".format, text, negation, _TEXT_LISTS),
        st.builds("({} in mixed)".format, flag),
        st.builds("contains({}, {})".format, text, text),
        st.builds("starts_with({}, {})".format, text, text),
        st.builds("matches({}, {})".format, text, _PATTERNS),
    )
