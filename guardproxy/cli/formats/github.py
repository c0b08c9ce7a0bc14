"""GitHub's workflow commands: a line for each problem, shown beside the line of the pull request that it is about.

Decides how a problem and a failed test become commands, and that no text in them can be one. What is wrong is left to who found
it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from guardproxy.cli.formats.cases import Case
from guardproxy.source import Problem, clean

_COMMANDS: Final = {"error": "error", "warning": "warning"}


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """Return one workflow command for each problem."""
    return [
        _command(
            _COMMANDS.get(one.severity, "notice"),
            one.file,
            one.line,
            one.code,
            _sentences(one),
            col=one.column,
            endColumn=one.column + max(1, one.length),
        )
        for one in problems
    ]


def test_lines(cases: Sequence[Case]) -> list[str]:
    """Return one workflow command for each test that failed, and one that counts them."""
    failed = [case for case in cases if not case.passed]
    lines = [_command("error", case.file, case.line, "a rule's test failed", case.message) for case in failed]
    said = f"{len(cases) - len(failed)} tests passed, {len(failed)} failed"
    return [*lines, f"::notice title=guardproxy rules test::{_data(said)}"]


def _sentences(problem: Problem) -> str:
    where = f" ({problem.where})" if problem.where else ""
    parts = [problem.message + where]
    parts += [f"{word}: {text}" for word, text in (("help", problem.help), ("note", problem.note)) if text]
    return "\n".join(parts)


def _command(command: str, file: str, line: int, title: str, text: str, **columns: int) -> str:
    places = {"file": file, "line": line, "endLine": line, **columns, "title": title}
    written = ",".join(f"{key}={_property(str(value))}" for key, value in places.items())
    return f"::{command} {written}::{_data(text)}"


def _data(text: str) -> str:
    """Escape a command's text: a line break would end it, and what follows would be a command of a stranger's."""
    # Only the breaks made here are kept; every other control character becomes a sign.
    lines = "\n".join(map(clean, text.split("\n")))
    return lines.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
