"""The JSON Schema of rule files: the readers' own keys, every example valid, typical mistakes found."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from guardproxy.authoring import keys
from guardproxy.authoring.schema import rules_schema
from guardproxy.authoring.starter import starter
from guardproxy.decision import Action, Mode, Outcome, Scope, Severity, Verdict
from guardproxy.documents import parse_documents
from guardproxy.rules import load_rulesets
from guardproxy.rules.cases import EXPECT_KEYS, GIVEN_KEYS
from guardproxy.rules.checks import CHECK_KEYS, CHECK_PARTS
from guardproxy.rules.definitions import KPI_KEYS
from guardproxy.rules.exceptions import UNLESS_KEYS
from guardproxy.rules.limits import LIMIT_KEYS
from guardproxy.rules.reader import DEFAULT_KEYS, RULE_KEYS
from guardproxy.rules.remedies import HOLD_KEYS
from guardproxy.rules.scores import SCORE_KEYS
from guardproxy.rules.sheets import DOCUMENT_KEYS
from guardproxy.source import Node, Scalar, SequenceNode
from tests.shared import ROOT

SCHEMA = rules_schema()
DEFS = SCHEMA["$defs"]
VALIDATORS = (jsonschema.Draft202012Validator(SCHEMA), jsonschema.Draft7Validator(SCHEMA))
DOCUMENTED = re.findall(
    r"^```yaml\n(guardproxy:.*?)^```", (ROOT / "docs" / "rules.md").read_text(), re.MULTILINE | re.DOTALL
)
EXAMPLES = sorted((ROOT / "rules").glob("*.guard.yaml"))


def plain(node: Node) -> Any:
    """Return what an editor's YAML 1.2 reader would see."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return {key: plain(entry.value) for key, entry in node.entries.items()}


def faults(text: str) -> list[str]:
    """Return where and why a text is refused; both drafts must agree."""
    documents, problems = parse_documents(text, "a.guard.yaml")
    assert not [problem for problem in problems if problem.code != "E202"]
    told = [
        [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for one in documents for error in validator.iter_errors(plain(one))]
        for validator in VALIDATORS
    ]  # fmt: skip
    assert told[0] == told[1]
    return told[0]


def test_the_schema_is_a_schema_of_both_drafts() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_the_schema_has_exactly_the_readers_keys() -> None:
    tables = {
        "document": (SCHEMA, DOCUMENT_KEYS),
        "rule": (DEFS["rule"], RULE_KEYS),
        "defaults": (SCHEMA["properties"]["defaults"], DEFAULT_KEYS),
        "hold": (DEFS["hold"], HOLD_KEYS),
        "limits": (DEFS["limits"], LIMIT_KEYS),
        "score": (SCHEMA["properties"]["score"], SCORE_KEYS),
        "unless": (DEFS["rule"]["properties"]["unless"]["items"], UNLESS_KEYS),
        "kpi": (SCHEMA["properties"]["kpis"]["additionalProperties"], KPI_KEYS),
        "given": (DEFS["test"]["properties"]["given"], GIVEN_KEYS),
        "expect": (DEFS["test"]["properties"]["expect"], EXPECT_KEYS),
    }
    for name, (shape, known) in tables.items():
        assert tuple(shape["properties"]) == tuple(known), name
        assert shape["additionalProperties"] is False, name
    assert set(CHECK_KEYS) == set(DEFS) & set(CHECK_KEYS)
    assert set(CHECK_PARTS) | {"order", "require", "forbid"} == set(CHECK_KEYS)


@pytest.mark.parametrize("check", sorted(CHECK_PARTS))
def test_the_keys_of_a_check_are_those_that_its_reader_lists(check: str) -> None:
    """The reader names what it knows when it meets a key that is like none of them."""
    text = f"guardproxy: 1\nmodel: m\nrules:\n  - id: r\n    {check}: {{qqqqqqqq: 1}}\n"
    _, problems = load_rulesets({"a.guard.yaml": text})
    (told,) = [problem.help for problem in problems if problem.code == "E204"]
    assert told == f"allowed: {', '.join(CHECK_PARTS[check])}"
    assert tuple(DEFS[check]["properties"]) == CHECK_PARTS[check]


def test_the_words_are_those_of_the_language() -> None:
    rule = DEFS["rule"]["properties"]
    assert rule["severity"]["enum"] == [one.name.lower() for one in Severity]
    assert rule["action"]["enum"] == [one.name.lower() for one in Action]
    assert rule["scope"]["enum"] == [one.value for one in Scope]
    expect = DEFS["test"]["properties"]["expect"]["properties"]
    assert expect["verdicts"]["additionalProperties"]["enum"] == [one.name.lower() for one in Verdict]
    assert set(expect["outcome"]["enum"]) == {
        one.name.lower() for one in Outcome if one is not Outcome.UNGUARDED
    }
    assert len(rule["mode"]["examples"]) == len(Mode)


def test_every_key_has_a_description_and_none_is_left_over() -> None:
    used: set[str] = set()

    def walk(shape: Any) -> None:
        if isinstance(shape, dict):
            for key, each in shape.get("properties", {}).items():
                if (isinstance(each, dict) and "type" in each) or "$ref" in each:
                    assert each.get("description"), key
                    used.add(each["description"])
            for each in shape.values():
                walk(each)

    walk(SCHEMA)
    assert set(keys.DESCRIPTIONS.values()) - used == set()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("text", DOCUMENTED)
def test_the_yaml_of_the_rules_page_satisfies_the_schema(text: str) -> None:
    assert faults(text) == []


def test_a_new_file_is_valid() -> None:
    assert faults(starter("demand", schema="s", file="f")) == []


GOOD = """\
guardproxy: 1
model: m
rules:
  - id: a
    range: {field: output.a, max: 1}
    mode: shadow
    action: hold
    hold: {queue: q, sla: 4h, meanwhile: fallback}
    fallback: [previous, {value: 0}]
tests:
  - name: t
    given: {output: {a: 2}}
    expect: {verdicts: {a: violated}, outcome: allowed}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("    mode: shadow", "    mod: shadow", "rules/0"),
        ("mode: shadow", "mode: shaddow", "rules/0/mode"),
        ("mode: shadow", "mode: canary", "rules/0/mode"),
        ("mode: shadow", "mode: canary 20", "rules/0/mode"),
        ("mode: shadow", "severity: hi", "rules/0/severity"),
        ("action: hold", "action: block", "rules/0/action"),
        ("max: 1", "maximum: 1", "rules/0/range"),
        ("sla: 4h", "sla: 4 hours", "rules/0/hold/sla"),
        ("sla: 4h", "sla: 4", "rules/0/hold/sla"),
        ("meanwhile: fallback", "meanwhile: wait", "rules/0/hold/meanwhile"),
        ("{value: 0}", "{values: 0}", "rules/0/fallback/1"),
        ("previous", "last", "rules/0/fallback/0"),
        ("id: a", "id: A b", "rules/0/id"),
        ("id: a\n    range", "range", "rules/0"),
        ("model: m", "modle: m", ""),
        ("guardproxy: 1", "guardproxy: 2", "guardproxy"),
        ("{a: violated}", "{a: broken}", "tests/0/expect/verdicts/a"),
        ("outcome: allowed", "outcome: pass", "tests/0/expect/outcome"),
        ("{output: {a: 2}}", "{outputs: {a: 2}}", "tests/0/given"),
        ("    mode: shadow", "    unless: [{id: x, when: output.a > 1}]", "rules/0/unless/0"),
        ("model: m", "model: m\nlimits: {hold: 10%}", "limits/hold"),
        ("model: m", "model: m\nkpis: {k: {title: t}}", "kpis/k"),
    ],
)
def test_a_typical_mistake_is_found_where_it_is(right: str, wrong: str, place: str) -> None:
    assert faults(GOOD) == []
    assert right in GOOD
    found = faults(GOOD.replace(right, wrong, 1))
    assert found
    assert all(each.startswith(f"{place}:") for each in found), found
