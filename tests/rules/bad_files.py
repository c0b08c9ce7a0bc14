"""The rule files under `bad/`: each begins with comments that say which problems it has, and where.

    # expect: E204 9:5 8 unknown key 'seveirty' in rule 'demand-jump' | help: did you mean 'severity'?
    # outputs: two = low, high

Code, line, column, the caret's width, the sentence, and behind ` | help: ` the help. A file may expect several; it expects all
of its problems. After a sentence was changed on purpose, `python -m tests.rules.bad_files` writes what is said now, to
be read in the diff before it is committed.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from guardproxy.documents import decode
from guardproxy.rules import load_rulesets
from guardproxy.source import Problem
from tests.rules.build import PROFILE

FOLDER = Path(__file__).parent / "bad"
TODAY = date(2026, 11, 25)

_EXPECT = re.compile(
    r"(?P<code>[ENW][0-9]{3}) (?P<line>[0-9]+):(?P<column>[0-9]+) (?P<length>[0-9]+) (?P<said>.*)"
)


@dataclass(frozen=True)
class Expected:
    """One problem that a file must have."""

    code: str
    line: int
    column: int
    length: int
    message: str
    help: str


def names() -> list[str]:
    """Return the names of the files, without their ending."""
    return sorted(path.name.removesuffix(".guard.yaml") for path in FOLDER.glob("*.guard.yaml"))


def read(name: str, change: Callable[[bytes], bytes] = bytes) -> tuple[str, list[Problem]]:
    """Return a file's text and the problems found in it, after a `change` of its bytes; nothing is left out."""
    data = change((FOLDER / f"{name}.guard.yaml").read_bytes())
    text, problems = decode(data, f"{name}.guard.yaml")
    if not problems:
        texts = {f"{name}.guard.yaml": text}
        outputs = _outputs(text.replace("\r", ""))
        _, problems = load_rulesets(texts, profiles={"demand": PROFILE}, outputs=outputs, today=TODAY)
    return text, problems


def expected(text: str) -> list[Expected]:
    """Return the problems that a file says it has, in the order of their places."""
    found = []
    for line in _comments(text, "expect"):
        match = _EXPECT.fullmatch(line)
        assert match, f"this is no expectation: {line}"
        message, _, help_ = match["said"].partition(" | help: ")
        numbers = (int(match[part]) for part in ("line", "column", "length"))
        found.append(Expected(match["code"], *numbers, message, help_))
    return sorted(found, key=_order)


def said(problems: list[Problem]) -> list[Expected]:
    """Return problems in the form of expectations."""
    found = [Expected(p.code, p.line, p.column, p.length, p.message, p.help) for p in problems]
    return sorted(found, key=_order)


def _order(one: Expected) -> tuple[int, int, str, str]:
    return one.line, one.column, one.code, one.message


def _comments(text: str, key: str) -> list[str]:
    start = f"# {key}: "
    return [line.removeprefix(start) for line in text.split("\n") if line.startswith(start)]


def _outputs(text: str) -> Mapping[str, tuple[str, ...]]:
    pairs = (line.partition(" = ") for line in _comments(text, "outputs"))
    return {model: tuple(names.split(", ")) for model, _, names in pairs}


def _write(name: str) -> None:
    """Write the expectations of a file: what is said of it now."""
    path = FOLDER / f"{name}.guard.yaml"
    body = "".join(
        line
        for line in path.read_bytes().decode().splitlines(keepends=True)
        if not line.startswith("# expect: ")
    )
    # The lines of the expectations move what stands below them, so their number comes first.
    path.write_bytes(body.encode())
    count = len(read(name)[1])
    path.write_bytes(("# expect: \n" * count + body).encode())
    lines = [
        f"# expect: {one.code} {one.line}:{one.column} {one.length} {one.message}"
        + (f" | help: {one.help}" if one.help else "")
        for one in said(read(name)[1])
    ]
    path.write_bytes(("".join(f"{line}\n" for line in lines) + body).encode())


if __name__ == "__main__":
    for each in sys.argv[1:] or names():
        _write(each)
