"""Whatever a rule file is made of: sentences with places, in bounded memory, and never an exception."""

import json
import subprocess
import sys
from typing import Any

import pytest

from guardproxy.rules import CODES
from tests.rules.hostile_files import FILES, FINE
from tests.shared import ROOT

# Thirty times the largest file that is read at all.
MOST_MIB = 120


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Every file read in a process of its own: what was said, and the memory that it took."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.rules.hostile_files", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    assert done.stderr == ""
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_told_about_with_places_and_in_bounded_memory(
    name: str, measured: dict[str, Any]
) -> None:
    found = measured[name]
    assert "died" not in found
    assert found["mib"] < MOST_MIB
    errors = [one for one in found["problems"] if one["severity"] == "error"]
    assert bool(errors) is (name not in FINE)
    for one in found["problems"]:
        assert one["code"] in CODES
        assert one["line"] >= 1
        assert one["column"] >= 1
        assert one["message"].isprintable()
        assert 0 < len(one["message"]) < 500
        assert "Traceback" not in one["message"]
        assert "Error" not in one["message"]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("billion-laughs", "E203", "aliases"),
        ("alias-of-itself", "E203", "itself"),
        ("200,000-brackets", "E203", "nested"),
        ("200,000-brackets-in-an-expression", "E101", "2,000"),
        ("10-MB", "E203", "4 MiB"),
        ("python-tags", "E203", "tag"),
        ("kpis-that-double", "E102", "operations"),
        ("regex-bomb", "E140", "RE2"),
        ("number-of-5,000-digits", "E101", "5,000"),
        ("binary", "E200", "UTF-8"),
        ("utf-16", "E200", "UTF-16"),
        ("prometheus", "E217", "Prometheus"),
        ("4-MB-of-documents", "E203", "documents"),
        ("4-MB-of-one-key", "E203", "more than 200 problems"),
    ],
)
def test_what_is_wrong_with_a_hostile_file_is_named(
    name: str, code: str, said: str, measured: dict[str, Any]
) -> None:
    assert [one for one in measured[name]["problems"] if one["code"] == code and said in one["message"]]


def test_nothing_that_a_file_says_is_run_or_fetched(measured: dict[str, Any]) -> None:
    (tag,) = [one for one in measured["python-tags"]["problems"] if one["code"] == "E203"]
    assert "python/object" in tag["message"]
    errors = [one for one in measured["schema-of-elsewhere"]["problems"] if one["severity"] == "error"]
    # A refused connection would say so: the reference is not followed at all.
    assert errors
    assert not [
        one for one in errors if "refused" in one["message"].lower() or "connect" in one["message"].lower()
    ]
