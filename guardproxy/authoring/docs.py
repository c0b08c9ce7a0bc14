"""`rules docs`: a model's rules as a page for experts and auditors.

Decides what a page holds and in which order; how it looks is left to the two forms, Markdown and HTML. Everything on it
comes from the compiled rules, so it cannot say what they do not do.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from guardproxy.authoring.english import Words, reading
from guardproxy.authoring.markup import MARKDOWN, Markup
from guardproxy.authoring.sentences import (
    exception_sentence,
    facts,
    in_force,
    limit_sentence,
    rule_sentence,
    share,
)
from guardproxy.authoring.wording import cell, listed, member, number
from guardproxy.decision import Mode
from guardproxy.rules import Case, CaseRow, Expected, Given, Rule, Ruleset
from guardproxy.rules.definitions import kpi_rule_id
from guardproxy.rules.language.flaws import FlawError
from guardproxy.rules.language.nodes import Call, Node, children
from guardproxy.rules.language.nodes import Path as PathNode
from guardproxy.rules.language.parser import parse
from guardproxy.rules.model import Kpi
from guardproxy.table import Cell

LIST_SHOWN: Final = 50
CELLS_SHOWN: Final = 12
EXAMPLES_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class Page:
    """A model's page: `file` is a name for it, without its ending; `text` the page itself."""

    file: str
    text: str


def page(ruleset: Ruleset, markup: Markup = MARKDOWN) -> Page:
    """Write the page of one model."""
    words = words_of(ruleset)
    parts = [*_head(ruleset, markup)]
    own = [rule for rule in ruleset.rules if not rule.built_in]
    built_in = [rule for rule in ruleset.rules if rule.built_in]
    for title, rules in (("Rules", own), ("Rules that every model has", built_in)):
        if rules:
            parts.append(markup.heading(2, title))
        for rule in rules:
            parts += _rule(rule, ruleset, words, markup)
    parts += _kpis(ruleset.kpis, ruleset, words, markup)
    parts += _lists(ruleset.lists, markup)
    return Page(file_name(ruleset.model), markup.page(f"Rules of {ruleset.model}", parts))


def words_of(ruleset: Ruleset) -> Words:
    """Return how a model's names are read."""
    percents = frozenset(kpi.name for kpi in ruleset.kpis if kpi.unit == "%")
    return Words({kpi.name: kpi.title for kpi in ruleset.kpis}, percents)


def file_name(model: str) -> str:
    """Return a file name for a model's page: letters, digits, dots, dashes; never a path."""
    safe = "".join(char if char.isalnum() or char in "._-" else "-" for char in model)[:100]
    return safe.strip(".") or "model"


def _head(ruleset: Ruleset, markup: Markup) -> list[str]:
    own = [rule for rule in ruleset.rules if not rule.built_in]
    by_mode = {mode: sum(rule.mode is mode for rule in own) for mode in Mode}
    counted = listed([f"{count} {_MODE_WORDS[mode]}" for mode, count in by_mode.items() if count])
    owners = sorted({rule.owner for rule in own if rule.owner})
    told = [
        ("Model", ruleset.model),
        ("Ruleset", ruleset.fingerprint),
        ("Rules", f"{len(own)} in files ({counted})" if own else "none in files"),
        ("Tests", str(len(ruleset.cases))),
    ]
    told += [("Owners", listed(owners))] if owners else []
    told += [("Limit", limit_sentence(limit, of_model=True)) for limit in ruleset.limits]
    return [markup.heading(1, f"Rules of {ruleset.model}"), markup.facts(told)]


_MODE_WORDS: Final[Mapping[Mode, str]] = {
    Mode.ENFORCE: "enforced",
    Mode.CANARY: "as canaries",
    Mode.SHADOW: "in shadow",
    Mode.OFF: "switched off",
}


def _rule(rule: Rule, ruleset: Ruleset, words: Words, markup: Markup) -> list[str]:
    parts = [markup.heading(3, rule.title or rule.id.replace("-", " ").capitalize(), rule.id)]
    lead, said = in_force(rule), rule_sentence(rule, words)
    parts.append(markup.sentence(lead + said[0].lower() + said[1:] if lead else said))
    if rule.unless:
        parts.append(markup.items([exception_sentence(one, words) for one in rule.unless]))
    parts.append(markup.facts([*facts(rule), *_source(rule)]))
    examples = [
        (case, index)
        for case in ruleset.cases
        for index, expected in enumerate(case.expect)
        if rule.id in expected.verdicts
    ]
    if examples:
        read = _fields_read(rule, ruleset.kpis)
        shown = [_example(case, index, rule, words, read) for case, index in examples[:EXAMPLES_SHOWN]]
        if len(examples) > EXAMPLES_SHOWN:
            shown.append(f"... and {len(examples) - EXAMPLES_SHOWN} more tests")
        parts += [markup.label("Examples, from its tests"), markup.items(shown)]
    return parts


def _source(rule: Rule) -> list[tuple[str, str]]:
    return [] if rule.built_in else [("Written in", f"{rule.place.file}, line {rule.place.line}")]


def _example(case: Case, index: int, rule: Rule, words: Words, read: AbstractSet[tuple[str, str]]) -> str:
    expected = case.expect[index]
    row = case.given.rows[min(index, len(case.given.rows) - 1)]
    verdict = expected.verdicts[rule.id].name.lower()
    given = _given(row, case.given, words, read)
    return f"{case.name}: {given + ' ' if given else ''}The rule is {_VERDICTS[verdict]}{_outcome(expected)}."


_VERDICTS: Final[Mapping[str, str]] = {
    "ok": "kept",
    "violated": "broken",
    "unknown": "neither kept nor broken: something is missing",
    "error": "in error",
    "skipped": "not asked",
}


def _outcome(expected: Expected) -> str:
    return (
        ""
        if expected.outcome is None
        else f"; by all rules together the row is {expected.outcome.name.lower()}"
    )


def _given(row: CaseRow, given: Given, words: Words, read: AbstractSet[tuple[str, str]]) -> str:
    """Tell of the values that the rule reads; of all cells where that cannot be said."""
    spaces = (("features", row.features), ("output", row.output), ("previous", row.previous))
    cells = [(space, name, value) for space, held in spaces for name, value in (held or {}).items()]
    chosen = [each for each in cells if each[:2] in read] or cells
    told = [f"{words.field(space, name)} {_cell(value)}" for space, name, value in chosen]
    told += [
        f"{words.field('request', name)} {_cell(value)}"
        for name, value in given.request.items()
        if ("request", name) in read
    ]
    told += [
        f"{reading(f'profile.{name}.{stat}', words)} {_cell(value)}"
        for (name, stat), value in given.stats.items()
        if ("profile", f"{name}.{stat}") in read
    ]
    if ("recent", "") in read:
        told += [f"{reading(call, words)} {_cell(value)}" for call, value in given.recent.items()]
    if not told:
        return ""
    if len(told) > CELLS_SHOWN:
        told = [*told[:CELLS_SHOWN], "..."]
    return f"With {', '.join(told)}."


def _fields_read(rule: Rule, kpis: Sequence[Kpi]) -> set[tuple[str, str]]:
    """Return the fields, as space and name, that a rule's check, `when` and exceptions read, also through KPIs."""
    found = {(named.space, named.name) for named in rule.check.fields}
    known = {kpi.name: kpi.expr for kpi in kpis}
    waiting = [rule.check.wants, rule.when, *(one.when for one in rule.unless)]
    while waiting:
        for space, name in _paths(waiting.pop()):
            if space == "kpi":
                waiting.append(known.pop(name, ""))
            found.add((space, name))
    return found


def _paths(text: str) -> Iterator[tuple[str, str]]:
    try:
        waiting: list[Node] = [parse(text)] if text else []
    except FlawError:
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, PathNode) and len(node.segments) > 1:
            whole = node.segments[0] == "profile"
            yield node.segments[0], ".".join(node.segments[1:]) if whole else node.segments[1]
        elif isinstance(node, Call) and node.function.startswith("recent_"):
            yield "recent", ""
        waiting += children(node)


def _cell(value: Cell) -> str:
    told = cell(value)
    return told if len(told) <= 120 else f"{told[:119]}…"


def _kpis(kpis: Sequence[Kpi], ruleset: Ruleset, words: Words, markup: Markup) -> list[str]:
    if not kpis:
        return []
    parts = [markup.heading(2, "KPIs")]
    for kpi in kpis:
        parts.append(markup.heading(3, kpi.title or kpi.name, f"kpi.{kpi.name}"))
        parts.append(
            markup.sentence(f"It is {reading(kpi.expr, words)}{f', in {kpi.unit}' if kpi.unit else ''}.")
        )
        told = [("Expected", _expected(kpi))] if kpi.low is not None or kpi.high is not None else []
        told += [("Owner", kpi.owner)] if kpi.owner else []
        rule = ruleset.rule(kpi_rule_id(kpi.name))
        told += [("Watched by", f"the rule {rule.id}, {_MODE_WORDS[rule.mode]}")] if rule is not None else []
        parts.append(markup.facts(told))
    return parts


def _expected(kpi: Kpi) -> str:
    shown = share if kpi.unit == "%" else number
    if kpi.low is not None and kpi.high is not None:
        return f"between {shown(kpi.low)} and {shown(kpi.high)}"
    return f"at least {shown(kpi.low)}" if kpi.low is not None else f"at most {shown(kpi.high or 0.0)}"


def _lists(lists: Mapping[str, frozenset[Cell]], markup: Markup) -> list[str]:
    # What a profile knows of a field's values stands among the lists as well; it has a dotted name.
    named = {name: values for name, values in lists.items() if "." not in name}
    if not named:
        return []
    parts = [markup.heading(2, "Lists")]
    for name, values in sorted(named.items()):
        ordered = sorted(member(value) for value in values)
        shown = ", ".join(ordered[:LIST_SHOWN])
        more = f" and {len(ordered) - LIST_SHOWN:,} more" if len(ordered) > LIST_SHOWN else ""
        parts += [
            markup.heading(3, name, f"lists.{name}"),
            markup.sentence(f"{len(ordered):,} values: {shown}{more}."),
        ]
    return parts
