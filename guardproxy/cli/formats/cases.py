"""A rule file's test as a report sees it.

Decides what a report needs of one. Running it is left to `guard.cases`, each form to its own module.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """A test's place, name and outcome; `differences` are sentences, and empty when it passed."""

    file: str
    line: int
    name: str
    passed: bool
    differences: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What a report says of a test that failed."""
        return f"{self.name}: " + ("; ".join(self.differences) or "failed")


def case_of(result: Mapping[str, Any]) -> Case:
    """Return a test from its form in `rules test --format json`."""
    return Case(
        str(result["file"]),
        int(result["line"]),
        str(result["name"]),
        bool(result["passed"]),
        tuple(str(each) for each in result.get("differences", ())),
    )
