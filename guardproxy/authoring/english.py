"""Expressions in plain English, for experts and auditors.

Decides the words. Walks the tree of an expression, so that what is read aloud is what is evaluated; a name that stands
where a yes or no is asked for is read as one. Which sentence a rule makes of it is left to `sentences`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from guardproxy.authoring.opposites import opposite, turned
from guardproxy.authoring.wording import (
    AMOUNT,
    CLAUSES,
    DAY,
    NOUNS,
    Phrases,
    amount,
    cell,
    date,
    listed,
    member,
    ordinal,
    spaced,
    window_words,
)
from guardproxy.rules.language.flaws import FlawError
from guardproxy.rules.language.nodes import (
    Arithmetic,
    Call,
    Coalesce,
    Compare,
    If,
    IsMissing,
    Items,
    KpiValue,
    Literal,
    Logic,
    Name,
    Negate,
    Node,
    Not,
    Path,
    Within,
)
from guardproxy.rules.language.parser import parse
from guardproxy.rules.language.spelling import spelled

SHOWN: Final = 12
"""Longer lists of values are cut, and say how many there are."""

_COMPARED: Final[Mapping[str, str]] = {
    "<": "below",
    "<=": "at most",
    ">": "above",
    ">=": "at least",
    "==": "",
    "!=": "not",
}
_STATS: Final[Mapping[str, str]] = {
    "min": "smallest",
    "max": "largest",
    "mean": "average",
    "std": "standard deviation",
    "p50": "median",
    "values": "known values",
}
_DATED: Final[Mapping[str, str]] = {
    "<": "before",
    "<=": "on or before",
    ">": "after",
    ">=": "on or after",
    "==": "on",
    "!=": "not on",
}
_REQUEST: Final[Mapping[str, str]] = {
    "hour": "the hour of the request (UTC)",
    "weekday": "the weekday of the request (0 is Monday)",
    "date": "the date of the request",
    "caller": "the caller",
    "model_version": "the version of the model",
}


def reading(text: str, words: "Words") -> str:
    """Return an expression as a noun or a clause; one that cannot be read stands as it was written."""
    try:
        tree = parse(text)
    except FlawError:
        return text
    return words.clause(tree) if _is_clause(tree) else words.noun(tree)


def condition(text: str, words: "Words") -> str:
    """Return an expression that is a yes or no as a clause."""
    try:
        return words.clause(parse(text))
    except FlawError:
        return text


def broken(text: str, words: "Words") -> str:
    """Return the clause that is true where a required expression is false."""
    try:
        return words.clause(opposite(parse(text)))
    except FlawError:
        return f"it is not so that {text}"


@dataclass(frozen=True, slots=True)
class Words:
    """How the names of one model are read: KPIs by their titles, those in `percents` as shares."""

    kpis: Mapping[str, str] = field(default_factory=dict)
    percents: frozenset[str] = frozenset()

    def clause(self, node: Node) -> str:
        """Return a node as a clause that is true or false."""
        match node:
            case Logic():
                return self._logic(node)
            case Not():
                return self._not(node.operand)
            case Compare():
                return self._compare(node)
            case Within():
                return f"{self.noun(node.operand)} is {self._within(node)}"
            case IsMissing():
                return f"{self.noun(node.operand)} is {'given' if node.negated else 'missing'}"
            case If():
                yes, no = self.clause(node.yes), self.clause(node.no)
                return f"{self._grouped(yes)} (where {self.clause(node.condition)}), otherwise {self._grouped(no)}"
            case Call() if node.function in CLAUSES:
                return self._call(node, CLAUSES)
            case Literal():
                return "it is so" if node.value is True else "it is not so"
            case _:
                return f"{self.noun(node)} is “yes”"

    def noun(self, node: Node) -> str:
        """Return a node as a thing that has a value."""
        match node:
            case Literal() | Path() | Name() | KpiValue() | Items():
                return self._leaf(node)
            case Arithmetic():
                return self._arithmetic(node)
            case Negate():
                return f"minus {self._inner(node.operand)}"
            case If():
                yes, no = self.noun(node.yes), self.noun(node.no)
                return f"({yes} if {self.clause(node.condition)}, otherwise {no})"
            case Coalesce():
                first, *rest = (self.noun(one) for one in node.operands)
                return f"{first} (or {', else '.join(rest)}, where that is missing)"
            case Call() if node.function in NOUNS:
                return self._call(node, NOUNS)
            case _:
                return f"whether {self.clause(node)}"

    def field(self, space: str, name: str) -> str:
        """Return a column as a noun."""
        return self._path((space, name))

    def _leaf(self, node: Literal | Path | Name | KpiValue | Items) -> str:
        match node:
            case Literal():
                return self._literal(node)
            case Path():
                return self._path(node.segments)
            case Name():
                return self._name(node)
            case KpiValue():
                return self._path(("kpi", node.name))
            case Items():
                return self._items(node.items)

    def _name(self, node: Name) -> str:
        aggregate = node.aggregate
        if aggregate is None:
            try:
                return self.noun(parse(spelled(node.ref)))
            except FlawError:
                return str(node.ref)
        window = "" if aggregate.window_s is None else f"{aggregate.window_s:g}s"
        inner = aggregate.argument.tree
        spoken = self.clause(inner) if aggregate.function.endswith(("share", "count")) else self.noun(inner)
        return NOUNS[aggregate.function]([spoken, window_words(window)])

    def _path(self, segments: tuple[str, ...]) -> str:
        space, *rest = segments
        name = spaced(rest[0]) if rest else spaced(space)
        match space:
            case "features" if rest:
                return f"the {name}"
            case "output" if rest:
                return "the prediction" if rest[0] == "prediction" else f"the predicted {name}"
            case "previous" if rest:
                return "the last good prediction" if rest[0] == "prediction" else f"the last good {name}"
            case "kpi" if rest:
                return f"the KPI “{self.kpis.get(rest[0]) or name}”"
            case "lists" if rest:
                return f"the list “{rest[0]}”"
            case "request" if rest:
                return _REQUEST.get(rest[0], f"the {name} of the request")
            case "profile" if rest:
                # A fallback's `profile.p50` is about the prediction itself.
                return _learned(rest if len(rest) > 1 else ("the prediction", rest[0]))
            case _:
                return f"the list “{'.'.join(segments)}”"

    def _literal(self, node: Literal) -> str:
        if node.written and AMOUNT.fullmatch(node.written):
            return amount(node.written)
        return cell(node.value)

    def _items(self, items: Sequence[Node]) -> str:
        shown = [
            member(item.value)
            if isinstance(item, Literal) and not AMOUNT.fullmatch(item.written)
            else self.noun(item)
            for item in items[:SHOWN]
        ]
        if len(items) > SHOWN:
            return f"{', '.join(shown)} and {len(items) - SHOWN} more"
        return listed(shown, "or")

    def _within(self, node: Within) -> str:
        if isinstance(node.items, Items):
            if len(node.items.items) == 1:
                return f"{'not ' if node.negated else ''}{self.noun(node.items.items[0])}"
            return f"{'none' if node.negated else 'one'} of {self._items(node.items.items)}"
        named = self.noun(node.items)
        joint = "in" if named.startswith("the list") else "one of"
        return f"{'not ' if node.negated else ''}{joint} {named}"

    def _compare(self, node: Compare) -> str:
        if len(node.operators) == 2 and set(node.operators) <= {"<", "<="}:
            low, middle, high = node.operands
            if node.operators == ("<=", "<="):
                return f"{self.noun(middle)} is between {self.noun(low)} and {self.noun(high)}"
            above = "at least" if node.operators[0] == "<=" else "above"
            return (
                f"{self.noun(middle)} is {above} {self.noun(low)} and {self._than(node.operators[1], high)}"
            )
        if len(node.operators) == 1 and isinstance(node.operands[0], Literal):
            node = node if isinstance(node.operands[1], Literal) else turned(node)
        if len(node.operators) == 1 and _is_date(node):
            day = str(getattr(node.operands[1], "value", ""))
            return f"{self.noun(node.operands[0])} is {_DATED[node.operators[0]]} {date(day)}"
        pairs = [
            f"{self.noun(left)} is {self._than(operator, self._in_unit(left, right))}"
            for left, operator, right in zip(node.operands, node.operators, node.operands[1:], strict=False)
        ]
        return listed(pairs)

    def _in_unit(self, left: Node, right: Node) -> Node:
        """Read a number that is compared with a KPI in per cent as such."""
        of_kpi = isinstance(left, Path) and left.segments[0] == "kpi" and left.segments[-1] in self.percents
        if (
            of_kpi
            and isinstance(right, Literal)
            and isinstance(right.value, float)
            and "%" not in right.written
        ):
            return replace(right, written=f"{right.value * 100:.10g}%")
        return right

    def _than(self, operator: str, right: Node) -> str:
        if isinstance(right, Literal) and isinstance(right.value, bool) and operator in {"==", "!="}:
            return "“yes”" if right.value is (operator == "==") else "“no”"
        joint = " equal to" if operator in {"==", "!="} and not isinstance(right, Literal) else ""
        return f"{_COMPARED[operator]}{joint} {self.noun(right)}".strip()

    def _logic(self, node: Logic) -> str:
        return f" {node.operator} ".join(self._demands(node))

    def _demands(self, node: Logic) -> list[str]:
        """Return the clauses that are joined; two demands on one thing are one: "is at least 4% and below 9%"."""
        parts: list[str] = []
        subject = ""
        for operand in node.operands:
            spoken, several = self._demand(operand)
            single = isinstance(operand, (IsMissing, Within)) or (
                isinstance(operand, Compare) and len(operand.operators) == 1
            )
            about = spoken.partition(" is ")[0] if single else ""
            if about and about == subject:
                parts[-1] += f" {node.operator} " + spoken.removeprefix(f"{about} is ")
            else:
                parts.append(f"({spoken})" if several else spoken)
            subject = about
        return parts

    def _demand(self, node: Node) -> tuple[str, bool]:
        """Return a clause, and whether it must stand in parentheses beside others; `and` on one thing binds by itself."""
        if not isinstance(node, Logic):
            return self.clause(node), isinstance(node, If)
        parts = self._demands(node)
        return f" {node.operator} ".join(parts), node.operator == "or" or len(parts) > 1

    def _not(self, operand: Node) -> str:
        if isinstance(operand, (Path, Name, KpiValue)):
            return f"{self.noun(operand)} is “no”"
        other = opposite(operand)
        if isinstance(other, Not):
            return f"it is not so that {self._grouped(self.clause(operand))}"
        return self._grouped(self.clause(other)) if isinstance(other, Logic) else self.clause(other)

    def _grouped(self, spoken: str) -> str:
        return f"({spoken})" if " and " in spoken or " or " in spoken else spoken

    def _arithmetic(self, node: Arithmetic) -> str:
        spoken = self._inner(node.operands[0])
        for index, (operator, operand) in enumerate(zip(node.operators, node.operands[1:], strict=True)):
            first = node.operands[0]
            share = index == 0 and isinstance(first, Literal) and first.written.endswith("%")
            word = {"+": "plus", "-": "minus", "*": "of" if share else "times", "/": "divided by"}[operator]
            spoken = f"{spoken} {word} {self._inner(operand)}"
        return spoken

    def _inner(self, node: Node) -> str:
        spoken = self.noun(node)
        return f"({spoken})" if isinstance(node, Arithmetic) else spoken

    def _call(self, node: Call, phrases: "Phrases") -> str:
        asks = node.function.startswith(("batch_", "recent_")) and node.function.endswith(("share", "count"))
        spoken = [
            self.clause(argument) if asks and index == 0 else self.noun(argument)
            for index, argument in enumerate(node.arguments)
        ]
        return phrases[node.function](spoken)


def _learned(rest: Sequence[str]) -> str:
    """Read a statistic of the profile; the field may itself be `output.NAME`."""
    *path, stat = rest
    name = spaced(path[-1])
    kind = _STATS.get(stat, f"{ordinal(stat)} percentile")
    return f"the {kind} {'' if stat in {'min', 'max', 'mean'} else 'of '}{name} in the training data"


def _is_date(node: Compare) -> bool:
    left, right = node.operands
    named = isinstance(left, Path) and left.segments == ("request", "date")
    return (
        named
        and isinstance(right, Literal)
        and isinstance(right.value, str)
        and bool(DAY.fullmatch(right.value))
    )


def _is_clause(node: Node) -> bool:
    if isinstance(node, (Logic, Not, Compare, Within, IsMissing)):
        return True
    return isinstance(node, Call) and node.function in CLAUSES
