"""The `tests:` of a rule file: what is given, and what must come of it.

Decides how a case is written. Running one takes a whole guard and is left to `guard`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from guardproxy.decision import Outcome, Verdict
from guardproxy.rules.context import Context
from guardproxy.rules.exceptions import day_meant
from guardproxy.rules.foreign import OUTCOMES, VERDICTS
from guardproxy.rules.language import REQUEST_KINDS, Kind, Program, Ref
from guardproxy.rules.language.nodes import Name
from guardproxy.rules.model import Case, CaseRow, Expected, Given
from guardproxy.rules.names import is_stat
from guardproxy.rules.written import plain_cell
from guardproxy.source import (
    Entry,
    MappingNode,
    Node,
    Place,
    Scalar,
    SequenceNode,
    did_you_mean,
    kind_of,
    likely,
)
from guardproxy.table import Cell

MAX_CASES: Final = 2_000
MAX_CASE_ROWS: Final = 1_000
GIVEN_KEYS: Final = ("features", "output", "previous", "history", "profile", "request", "recent", "rows")
ROW_KEYS: Final = ("features", "output", "previous", "history")
MAX_ANSWERS: Final = 1_000
"""Answers of an entity that a test may give; more would teach nothing."""
EXPECT_KEYS: Final = ("verdicts", "outcome", "value")

CLOSE: Final = 0.85
"""How alike a field that a test gives must be to one that a rule reads to be taken for a misspelling of it."""

MAX_GUESSES: Final = 500
"""Fields that no rule reads are compared with those that rules read, so many at most."""

_OUTCOMES: Final = {outcome.name.lower(): outcome for outcome in Outcome if outcome is not Outcome.UNGUARDED}
_VERDICTS: Final = {verdict.name.lower(): verdict for verdict in Verdict}


@dataclass(frozen=True, slots=True)
class Mention:
    """A rule that a case names, with its place: whether it exists is known once all files are read.

    With `recent`, `rule` is what a rolling function is spelled as, for which the case gives a value; with `space` it is
    the name of a field of that space, and `beside` are the others that its row gives.
    """

    rule: str
    place: Place
    recent: bool = False
    space: str = ""
    beside: frozenset[str] = frozenset()


def read_case(node: Node, context: Context) -> tuple[Case | None, list[Mention]]:
    """Read one case and the rules that it names."""
    with context.at(_name_of(node)):
        return _case(node, context)


def _name_of(node: Node) -> str:
    entry = node.entries.get("name") if isinstance(node, MappingNode) else None
    value = entry.value.value if entry is not None and isinstance(entry.value, Scalar) else None
    return f"test {value[:60]}" if isinstance(value, str) else "a test"


def _case(node: Node, context: Context) -> tuple[Case | None, list[Mention]]:
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
    given = _given(entries["given"].value, context, mentions) if "given" in entries else None
    if "expect" not in entries or given is None:
        return None, mentions
    expect = _expect(entries["expect"], len(given.rows), context, mentions)
    if name is None or len(context.reader.problems) > before:
        return None, mentions
    return Case(name, context.locus(entries["name"].value.place), given, expect), mentions


def _given(node: Node, context: Context, mentions: list[Mention]) -> Given | None:
    entries = context.mapping(node, "given", GIVEN_KEYS, misplaced=_loose_cells(node))
    if "rows" in entries:
        for key in ROW_KEYS:
            if key in entries:
                context.reader.report(
                    "E307", f"'{key}' stands beside 'rows'", entries[key].key, "put it into the rows"
                )
        rows = _rows(entries["rows"].value, context, mentions)
    else:
        rows = (_row(entries, context, mentions),)
    stats = _stats(entries["profile"].value, context) if "profile" in entries else {}
    request = _request(entries["request"].value, context) if "request" in entries else {}
    recent = _recent(entries["recent"].value, context, mentions) if "recent" in entries else {}
    return Given(rows, stats, request, recent) if rows else None


def _loose_cells(node: Node) -> dict[str, str]:
    """Say of values that stand in `given` itself where they belong: `output.demand: 3` and `demand: 3`."""
    found: dict[str, str] = {}
    for key, entry in node.entries.items() if isinstance(node, MappingNode) else ():
        space, dot, name = key.partition(".")
        shown = entry.value.raw[:20] if isinstance(entry.value, Scalar) else "..."
        if dot and space in ROW_KEYS:
            found[key] = f"write {space}: {{{name[:40]}: {shown}}}"
        elif key not in GIVEN_KEYS and isinstance(entry.value, Scalar) and likely(key, GIVEN_KEYS) is None:
            found[key] = (
                f"it belongs into features: {{{key[:40]}: {shown}}} or output: {{{key[:40]}: {shown}}}"
            )
    return found


def _loose_verdicts(node: Node) -> dict[str, str]:
    """Say of verdicts that stand in `expect` itself where they belong."""
    entries = node.entries.items() if isinstance(node, MappingNode) else ()
    return {
        key: f"write verdicts: {{{key[:40]}: {entry.value.value}}}"
        for key, entry in entries
        if isinstance(entry.value, Scalar) and entry.value.value in _VERDICTS and key not in EXPECT_KEYS
    }


def _rows(node: Node, context: Context, mentions: list[Mention]) -> tuple[CaseRow, ...]:
    items = context.reader.items(node, "given.rows")
    if isinstance(node, SequenceNode) and not 1 <= len(items) <= MAX_CASE_ROWS:
        context.reader.report("E307", f"given.rows must have 1 to {MAX_CASE_ROWS} rows", node.place)
        return ()
    return tuple(_row(context.mapping(item, "a row", ROW_KEYS), context, mentions) for item in items)


def _row(entries: Mapping[str, Entry], context: Context, mentions: list[Mention]) -> CaseRow:
    for space in ("features", "output"):
        node = entries[space].value if space in entries else None
        given = node.entries if isinstance(node, MappingNode) else {}
        names = frozenset(given)
        mentions += [Mention(name, one.key, space=space, beside=names) for name, one in given.items()]
    features = _cells(entries["features"].value, context, "features") if "features" in entries else {}
    output, previous = (
        _answer(entries[key].value, context, key) if key in entries else None
        for key in ("output", "previous")
    )
    history = _history(entries["history"].value, context) if "history" in entries else {}
    return CaseRow(features, output, previous, history)


def _history(node: Node, context: Context) -> Mapping[str, tuple[float, ...]]:
    """Read an entity's last answers by output; a list is of a model with one output."""
    if isinstance(node, MappingNode):
        named = {name: entry.value for name, entry in node.entries.items()}
    else:
        named = {_only_output(context): node}
    found: dict[str, tuple[float, ...]] = {}
    for name, listed in named.items():
        items = context.reader.items(listed, "history")
        if isinstance(listed, SequenceNode) and not 1 <= len(items) <= MAX_ANSWERS:
            message = f"history must hold 1 to {MAX_ANSWERS:,} answers"
            context.reader.report("E208", message, listed.place, "give the last ones, the oldest first")
            continue
        answers = [
            context.reader.number(item, "an answer of history", low=-1e300, high=1e300) for item in items
        ]
        found[name] = tuple(answer for answer in answers if answer is not None)
    return {name: answers for name, answers in found.items() if answers}


def _only_output(context: Context) -> str:
    return context.outputs[0] if context.outputs is not None and len(context.outputs) == 1 else "prediction"


def _answer(node: Node, context: Context, what: str) -> Mapping[str, Cell]:
    """Read predictions by output; a scalar is the prediction of a model with one output."""
    if isinstance(node, MappingNode):
        return _cells(node, context, what)
    return {_only_output(context): _cell(node, context, what)}


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
            inner = next(iter(entry.value.entries), "p99") if isinstance(entry.value, MappingNode) else "p99"
            context.reader.report(
                "E204", message, entry.key, f"write for example {name[:60]}.{inner[:20]}: 3"
            )
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
            if name == "weekday" and isinstance(entry.value, Scalar) and isinstance(entry.value.value, str):
                advice = "write 0 for Monday to 6 for Sunday"
                context.reader.report(
                    "E206", f"{what} must be a whole number, not text", entry.value.place, advice
                )
                continue
            found[name] = context.reader.integer(entry.value, what, high=23 if name == "hour" else 6)
        else:
            found[name] = text = context.reader.text(entry.value, what)
            if name == "date" and text is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                advice = day_meant(text) or "write it as YYYY-MM-DD, such as 2026-03-31"
                context.reader.report(
                    "E206", f"{what} must be a day, not {text[:40]}", entry.value.place, advice
                )
    return found


def _recent(node: Node, context: Context, mentions: list[Mention]) -> Mapping[str, Cell]:
    """Read what rolling functions give, by the call as the rules spell it."""
    found: dict[str, Cell] = {}
    if (
        isinstance(node, MappingNode)
        and node.flow
        and any("(" in key and ")" not in key for key in node.entries)
    ):
        message = "a comma inside { } ends the name of a rolling function"
        advice = 'quote it, as in {"recent_mean(output.x, 1h)": 3}'
        context.reader.report("E204", message, node.place, advice)
        return {}
    for text, entry in context.reader.anything(node, "given.recent").items():
        made = context.compile(text)
        if not isinstance(made, Program):
            context.reader.report(made[0].code, made[0].message, entry.key, made[0].help)
            continue
        spelled = [ref.name for ref in made.refs if ref.space == "recent"]
        if len(made.refs) != 1 or not spelled or not isinstance(made.tree, Name):
            message = f"'{text[:60]}' is no rolling function"
            advice = "write the call as the rule does, such as recent_share(output.demand == 0, 1h)"
            context.reader.report("E204", message, entry.key, advice)
            continue
        value = context.reader.number(entry.value, "what a rolling function gives")
        mentions.append(Mention(spelled[0], entry.key, recent=True))
        if value is not None:
            found[spelled[0]] = value
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
    entries = context.mapping(node, "expect", EXPECT_KEYS, misplaced=_loose_verdicts(node))
    if isinstance(node, MappingNode) and not node.entries:
        context.reader.report(
            "E307", "the test expects nothing", node.place, f"give {', '.join(EXPECT_KEYS)}"
        )
    outcome = (
        context.reader.choice(entries["outcome"].value, "outcome", _OUTCOMES, foreign=OUTCOMES)
        if "outcome" in entries
        else None
    )
    verdicts: dict[str, Verdict] = {}
    if "verdicts" in entries:
        for rule, said in context.reader.anything(entries["verdicts"].value, "expect.verdicts").items():
            mentions.append(Mention(rule, said.key))
            verdict = context.reader.choice(said.value, f"verdict of '{rule}'", _VERDICTS, foreign=VERDICTS)
            if verdict is not None:
                verdicts[rule] = verdict
    value = _value(entries["value"].value, context) if "value" in entries else None
    return Expected(verdicts, outcome, value)


def _value(node: Node, context: Context) -> Mapping[str, Cell]:
    if isinstance(node, Scalar) and node.value is None:
        context.reader.report("E206", "expect.value must be a value or a mapping, not nothing", node.place)
        return {}
    return _answer(node, context, "expect.value")


def check_mentions(mentions: list[Mention], known: list[str], recents: list[str], context: Context) -> None:
    """Report the rules that cases name and that no file of the model has, and the values that no rule reads."""
    for mention in mentions:
        if mention.space:
            continue
        if mention.recent and mention.rule not in recents:
            message = f"no rule reads {mention.rule}"
            advice = did_you_mean(mention.rule, recents)
            context.reader.report("W412", message, mention.place, advice, "warning")
        elif not mention.recent and mention.rule not in known:
            message = f"there is no rule '{mention.rule}'"
            context.reader.report("E306", message, mention.place, did_you_mean(mention.rule, known))


def check_fields(mentions: Iterable[tuple[Mention, Context]], read: set[Ref]) -> None:
    """Warn of a value of a field that no rule reads, when a rule reads one of almost that name which the row lacks."""
    names = {
        space: sorted(ref.name for ref in read if ref.space == space) for space in ("features", "output")
    }
    known = {(space, name) for space, found in names.items() for name in found}
    seen: set[tuple[str, str]] = set()
    for mention, context in mentions:
        named = (mention.space, mention.rule)
        if not mention.space or named in known or named in seen:
            continue
        if len(seen) >= MAX_GUESSES:
            return
        seen.add(named)
        meant = likely(mention.rule, names[mention.space], closeness=CLOSE)
        if meant is not None and meant not in mention.beside:
            message = f"no rule reads {mention.space}.{mention.rule[:60]}"
            context.reader.report("W412", message, mention.place, f"did you mean '{meant}'?", "warning")
