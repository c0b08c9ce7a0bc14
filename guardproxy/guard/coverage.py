"""How much of a ruleset its own tests have seen.

Decides what there is to see: each rule ok and violated, each `when` untrue, each exception applied and not applied.
Whether that is enough is left to the command.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from guardproxy.decision import Mode, Verdict
from guardproxy.guard.cases import CaseResult
from guardproxy.rules import Rule, Ruleset


class Want(NamedTuple):
    """One thing that tests should have seen of a rule: `ok`, `violated`, `skipped`, or an exception that `applied` or
    was `unused` on some row; `exception` is then its id.
    """

    rule: str
    what: str
    exception: str = ""

    def __str__(self) -> str:
        """Say that it was not seen."""
        return _SENTENCES[self.what].format(rule=self.rule, exception=self.exception)


_SENTENCES: Final = {
    "ok": "{rule} was never ok",
    "violated": "{rule} was never violated",
    "skipped": "{rule}: its `when` was always true",
    "applied": "{rule}: exception '{exception}' was never needed",
    "unused": "{rule}: exception '{exception}' held on every row",
}
_SEEN: Final = {Verdict.OK: "ok", Verdict.VIOLATED: "violated", Verdict.SKIPPED: "skipped"}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the wanted things were seen. `missing` are sentences about the rest, `lacking` the things themselves."""

    seen: int
    wanted: int
    missing: tuple[str, ...]
    lacking: tuple[Want, ...]

    @property
    def share(self) -> float:
        """The share that was seen, 1 where nothing is wanted."""
        return self.seen / self.wanted if self.wanted else 1.0


def coverage(ruleset: Ruleset, results: Sequence[CaseResult]) -> Coverage:
    """Compare what a ruleset's tests have seen with what there is to see. Rules that are off or built in do not count."""
    wanted = [want for rule in ruleset.rules for want in _wants(rule)]
    seen = set(_seen(results))
    lacking = tuple(want for want in wanted if want not in seen)
    return Coverage(len(wanted) - len(lacking), len(wanted), tuple(map(str, lacking)), lacking)


def _wants(rule: Rule) -> Iterator[Want]:
    if rule.built_in or rule.mode is Mode.OFF:
        return
    yield Want(rule.id, "ok")
    yield Want(rule.id, "violated")
    if rule.when:
        yield Want(rule.id, "skipped")
    for unless in rule.unless:
        yield Want(rule.id, "applied", unless.id)
        yield Want(rule.id, "unused", unless.id)


def _seen(results: Iterable[CaseResult]) -> Iterator[Want]:
    for row in (row for result in results for row in result.rows):
        for rule, verdict in row.verdicts.items():
            if rule in row.excepted:
                yield Want(rule, "applied", row.excepted[rule])
            elif verdict in _SEEN:
                yield Want(rule, _SEEN[verdict])
        for rule, exception in row.uncovered:
            yield Want(rule, "unused", exception)
