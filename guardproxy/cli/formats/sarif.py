"""SARIF 2.1.0, which code scanning reads: every code with its page, every problem with its place.

Decides how codes become SARIF's rules, and what makes two problems the same from one run to the next. What is wrong is left
to who found it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from guardproxy import __version__
from guardproxy.cli.formats.cases import Case
from guardproxy.source import Problem, clean

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FAILED_TEST: Final = "failed-test"

_LEVELS: Final = {"error": "error", "warning": "warning", "note": "note"}
_LEVEL_OF_CODE: Final = {"W": "warning", "N": "note"}
_UNNAMED: Final = "A mistake in operator text."
_TEST_TEXT: Final = "A test in a rule file failed."


def problem_log(problems: Sequence[Problem], codes: Mapping[str, str]) -> dict[str, Any]:
    """Return a log of problems; `codes` says what each code means."""
    used = sorted({one.code for one in problems})
    rules = [_rule(code, codes.get(code, _UNNAMED)) for code in used]
    results = [_result(one, used.index(one.code)) for one in problems]
    return _log(rules, results)


def test_log(cases: Sequence[Case]) -> dict[str, Any]:
    """Return a log of the tests that failed."""
    failed = [case for case in cases if not case.passed]
    results = [
        {
            "ruleId": FAILED_TEST,
            "ruleIndex": 0,
            "level": "error",
            "message": {"text": clean(case.message)},
            "locations": [_location(case.file, {"startLine": max(1, case.line)})],
        }
        for case in failed
    ]
    return _log([_rule(FAILED_TEST, _TEST_TEXT)] if failed else [], results)


def _log(rules: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
    driver = {"name": "guardproxy", "semanticVersion": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str, text: str) -> dict[str, Any]:
    more = f"Run `guardproxy explain {code}` for an example and its repair." if code != FAILED_TEST else text
    return {
        "id": code,
        "shortDescription": {"text": text.partition(". ")[0].rstrip(".") + "."},
        "fullDescription": {"text": text},
        "help": {"text": more},
        "defaultConfiguration": {"level": _LEVEL_OF_CODE.get(code[:1], "error")},
    }


def _result(problem: Problem, index: int) -> dict[str, Any]:
    said = [problem.message + (f" ({problem.where})" if problem.where else "")]
    said += [f"{word}: {text}" for word, text in (("help", problem.help), ("note", problem.note)) if text]
    region = {
        "startLine": max(1, problem.line),
        "startColumn": max(1, problem.column),
        "endColumn": max(1, problem.column) + max(1, problem.length),
    }
    return {
        "ruleId": problem.code,
        "ruleIndex": index,
        "level": _LEVELS.get(problem.severity, "note"),
        "message": {"text": "\n".join(map(clean, said))},
        "locations": [_location(problem.file, region)],
        "partialFingerprints": {"mistake/v1": _fingerprint(problem)},
    }


def _location(file: str, region: Mapping[str, int]) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(file)}, "region": dict(region)}}


def _uri(file: str) -> str:
    """Return a file's name as a URI reference: relative to where the command ran, unless it is absolute."""
    path = PurePath(file)
    written = quote(path.as_posix().encode("utf-8", "replace"), safe="/")
    return f"file://{written}" if path.is_absolute() else written


def _fingerprint(problem: Problem) -> str:
    """Tell a mistake from others whatever line it has moved to."""
    named = f"{problem.code}\0{problem.file}\0{problem.where}\0{problem.message}"
    return hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()[:32]
