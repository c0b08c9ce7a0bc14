"""The `tests:` of a rule file: what is given, and what must come of it.

Decides how a case is written. Running one takes a whole guard and is left to `guard`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guardproxy.decision import Outcome, Verdict
from guardproxy.rules.context import Context, plain_cell
from guardproxy.rules.language import REQUEST_KINDS, Kind
from guardproxy.rules.model import Case, CaseRow, Expected, Given
from guardproxy.rules.names import is_stat
from guardproxy.source import Entry, MappingNode, Node, Place, Scalar, SequenceNode, did_you_mean, kind_of
from guardproxy.table import Cell

MAX_CASES: Final = 2_000
MAX_CASE_ROWS: Final = 1_000
GIVEN_KEYS: Final = ("features", "output", "previous", "profile", "request", "rows")
ROW_KEYS: Final = ("features", "output", "previous")
EXPECT_KEYS: Final = ("verdicts", "outcome", "value")

_OUTCOMES: Final = {outcome.name.lower(): outcome for outcome in Outcome if outcome is not Outcome.UNGUARDED}
_VERDICTS: Final = {verdict.name.lower(): verdict for verdict in Verdict}


@dataclass(frozen=True, slots=True)
class Mention:
    """A rule that a case names, with its place: whether it exists is known once all files are read."""

    rule: str
    place: Place


def read_case(node: Node, context: Context) -> tuple[Case | None, list[Mention]]:
    """Read one case and the rules that it names."""
    entries = context.mapping(
        node, "a test", ("name", "given", "expect"), required=("name", "given", "expect")
    )
    mentions: list[Mention] = []
    before = len(context.reader.problems)
    name = (
        context.reader.text(entries["name"].value, "name of a test", max_length=200)
        if "name" in entries
        else None
    )
    given = _given(entries["given"].value, context) if "given" in entries else None
    if "expect" not in entries or given is None:
        return None, mentions
    expect = _expect(entries["expect"], len(given.rows), context, mentions)
    if name is None or len(context.reader.problems) > before:
        return None, mentions
    return Case(name, context.locus(entries["name"].value.place), given, expect), mentions


def _given(node: Node, context: Context) -> Given | None:
    entries = context.mapping(node, "given", GIVEN_KEYS)
    if "rows" in entries:
        for key in ROW_KEYS:
            if key in entries:
                context.reader.report(
                    "E307", f"'{key}' stands beside 'rows'", entries[key].key, "put it into the rows"
                )
        rows = _rows(entries["rows"].value, context)
    else:
        rows = (_row(entries, context),)
    stats = _stats(entries["profile"].value, context) if "profile" in entries else {}
    request = _request(entries["request"].value, context) if "request" in entries else {}
    return Given(rows, stats, request) if rows else None


def _rows(node: Node, context: Context) -> tuple[CaseRow, ...]:
    items = context.reader.items(node, "given.rows")
    if isinstance(node, SequenceNode) and not 1 <= len(items) <= MAX_CASE_ROWS:
        context.reader.report("E307", f"given.rows must have 1 to {MAX_CASE_ROWS} rows", node.place)
        return ()
    return tuple(_row(context.mapping(item, "a row", ROW_KEYS), context) for item in items)


def _row(entries: Mapping[str, Entry], context: Context) -> CaseRow:
    features = _cells(entries["features"].value, context, "features") if "features" in entries else {}
    output, previous = (
        _answer(entries[key].value, context, key) if key in entries else None
        for key in ("output", "previous")
    )
    return CaseRow(features, output, previous)


def _answer(node: Node, context: Context, what: str) -> Mapping[str, Cell]:
    """Read predictions by output; a scalar is the prediction of a model with one output."""
    if isinstance(node, MappingNode):
        return _cells(node, context, what)
    only = context.outputs[0] if context.outputs is not None and len(context.outputs) == 1 else "prediction"
    return {only: _cell(node, context, what)}


def _cells(node: Node, context: Context, what: str) -> dict[str, Cell]:
    entries = context.reader.anything(node, what)
    return {name: _cell(entry.value, context, f"{what}.{name}") for name, entry in entries.items()}


def _cell(node: Node, context: Context, what: str) -> Cell:
    good, cell = plain_cell(node)
    if not good:
        context.reader.report("E206", f"{what} must be one value, not {kind_of(node)}", node.place)
    return cell  # type: ignore[return-value]


def _stats(node: Node, context: Context) -> Mapping[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for name, entry in context.reader.anything(node, "given.profile").items():
        field, _, stat = name.rpartition(".")
        if not field or not is_stat(stat):
            message = f"'{name}' is no statistic of a profile"
            context.reader.report("E204", message, entry.key, "write for example output.demand.p99")
            continue
        value = context.reader.number(entry.value, f"given.profile.{name}")
        if value is not None:
            found[field.removeprefix("features."), stat] = value
    return found


def _request(node: Node, context: Context) -> Mapping[str, Cell]:
    entries = context.mapping(node, "given.request", tuple(REQUEST_KINDS))
    found: dict[str, Cell] = {}
    for name, entry in entries.items():
        what = f"given.request.{name}"
        if REQUEST_KINDS[name] is Kind.NUMBER:
            found[name] = context.reader.integer(entry.value, what, high=23 if name == "hour" else 6)
        else:
            found[name] = context.reader.text(entry.value, what)
    return found


def _expect(entry: Entry, rows: int, context: Context, mentions: list[Mention]) -> tuple[Expected, ...]:
    """Read what is expected: a list has one entry per row, a mapping holds for every row."""
    node = entry.value
    if isinstance(node, SequenceNode):
        if len(node.items) != rows:
            message = f"expect has {len(node.items)} entries for {rows} rows"
            context.reader.report(
                "E307", message, entry.key, "one entry per row, or one mapping for all of them"
            )
        return tuple(_expected(item, context, mentions) for item in node.items)
    return (_expected(node, context, mentions),) * rows


def _expected(node: Node, context: Context, mentions: list[Mention]) -> Expected:
    entries = context.mapping(node, "expect", EXPECT_KEYS)
    if isinstance(node, MappingNode) and not node.entries:
        context.reader.report(
            "E307", "the test expects nothing", node.place, f"give {', '.join(EXPECT_KEYS)}"
        )
    outcome = (
        context.reader.choice(entries["outcome"].value, "outcome", _OUTCOMES)
        if "outcome" in entries
        else None
    )
    verdicts: dict[str, Verdict] = {}
    if "verdicts" in entries:
        for rule, said in context.reader.anything(entries["verdicts"].value, "expect.verdicts").items():
            mentions.append(Mention(rule, said.key))
            verdict = context.reader.choice(said.value, f"verdict of '{rule}'", _VERDICTS)
            if verdict is not None:
                verdicts[rule] = verdict
    value = _value(entries["value"].value, context) if "value" in entries else None
    return Expected(verdicts, outcome, value)


def _value(node: Node, context: Context) -> Mapping[str, Cell]:
    if isinstance(node, Scalar) and node.value is None:
        context.reader.report("E206", "expect.value must be a value or a mapping, not nothing", node.place)
        return {}
    return _answer(node, context, "expect.value")


def check_mentions(mentions: list[Mention], known: list[str], context: Context) -> None:
    """Report the rules that cases name and that no file of the model has."""
    for mention in mentions:
        if mention.rule not in known:
            message = f"there is no rule '{mention.rule}'"
            context.reader.report("E306", message, mention.place, did_you_mean(mention.rule, known))
