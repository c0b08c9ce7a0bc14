"""JUnit's XML, which most build servers read: a suite per file, a case per problem or test.

Decides that only errors and failed tests fail a build. What is wrong is left to who found it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from guardproxy.cli.formats.cases import Case
from guardproxy.source import Problem, clean, render_all

# What XML 1.0 cannot hold even when it is escaped.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def problem_document(problems: Sequence[Problem], texts: Mapping[str, str]) -> str:
    """Return a report in which every file is a suite: a failure for each error, a passed case for one without.

    Warnings and notes do not fail a build; they stand in the suite's output.
    """
    root = ET.Element("testsuites", name="guardproxy check")
    by_file: dict[str, list[tuple[Problem, str]]] = {file: [] for file in texts}
    for one, drawing in zip(problems, render_all(problems, texts), strict=True):
        by_file.setdefault(one.file, []).append((one, drawing))
    for file in sorted(by_file):
        errors = [(one, drawing) for one, drawing in by_file[file] if one.severity == "error"]
        suite = _suite(root, file, max(1, len(errors)), len(errors))
        for one, drawing in errors:
            case = _case(suite, f"{one.code} at {one.line}:{one.column}", file, one.line)
            _failure(case, one.code, one.message, drawing)
        if not errors:
            _case(suite, "the file is valid", file, 1)
        others = [drawing for one, drawing in by_file[file] if one.severity != "error"]
        if others:
            ET.SubElement(suite, "system-out").text = _safe("\n\n".join(others))
    return _document(root)


def test_document(cases: Iterable[Case]) -> str:
    """Return a report in which every rule file is a suite and every one of its tests a case."""
    root = ET.Element("testsuites", name="guardproxy rules test")
    by_file: dict[str, list[Case]] = {}
    for case in cases:
        by_file.setdefault(case.file, []).append(case)
    for file, own in by_file.items():
        suite = _suite(root, file, len(own), sum(not case.passed for case in own))
        for case in own:
            element = _case(suite, case.name, file, case.line)
            if not case.passed:
                _failure(element, "failed", case.message, "\n".join(case.differences))
    return _document(root)


def _suite(root: ET.Element, file: str, tests: int, failures: int) -> ET.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": "0", "skipped": "0"}
    return ET.SubElement(root, "testsuite", {"name": _safe(file), **counts})


def _case(suite: ET.Element, name: str, file: str, line: int) -> ET.Element:
    place = {"classname": _safe(file), "file": _safe(file), "line": str(line), "time": "0"}
    return ET.SubElement(suite, "testcase", {"name": _safe(name), **place})


def _failure(case: ET.Element, kind: str, message: str, text: str) -> None:
    ET.SubElement(case, "failure", type=kind, message=_safe(message)).text = _safe(text)


def _document(root: ET.Element) -> str:
    for key in ("tests", "failures"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")


def _safe(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", "\n".join(map(clean, text.split("\n"))))
