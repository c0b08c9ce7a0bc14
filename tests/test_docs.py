"""What is documented is run, and what is public is documented."""

import csv
import json
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guardproxy.cli import _COMMANDS
from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.config.keys import KEYS, ROUTE_KEYS, WEBHOOK_KEYS
from guardproxy.config.sections import NESTED_KEYS
from guardproxy.decision import Action, Mode, Outcome, Reason, Severity, Verdict
from guardproxy.guard import Guard
from guardproxy.guard.screen import screen_request, screen_response
from guardproxy.message import Message
from guardproxy.proxy.facts import facts_at
from guardproxy.recording import Draft, Options, Recorder, is_loud
from guardproxy.rules import default_ruleset, load_rulesets
from guardproxy.rules.checks import CHECK_KEYS
from guardproxy.rules.language.aggregates import AGGREGATES
from guardproxy.rules.language.functions import FUNCTIONS
from guardproxy.rules.reader import RULE_KEYS
from guardproxy.rules.sheets import DOCUMENT_KEYS
from tests.shared import ROOT

README = (ROOT / "README.md").read_text()
RULES = (ROOT / "docs" / "rules.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
TOOLS = (ROOT / "docs" / "rule-tools.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    parts = re.split(r"^```(.*)\n", text, flags=re.MULTILINE)
    return [parts[i + 1] for i in range(1, len(parts) - 1, 4) if parts[i] == language]


def test_the_readmes_walk_works_as_written(tmp_path: Path) -> None:
    """Learn, show, check, test and check the configuration, with the README's own files and commands."""
    generator = random.Random(3)
    with (tmp_path / "training.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["store_id", "last_week", "promo_depth", "demand"])
        for _ in range(3_000):
            base = generator.gammavariate(6, 20)
            writer.writerow(
                [f"s{generator.randrange(20)}", round(base, 1), generator.random(), round(base * 1.1, 1)]
            )
    (tmp_path / "rules").mkdir()
    rule_file, config = blocks(README, "yaml")
    (tmp_path / "rules" / "demand.guard.yaml").write_text(rule_file)
    (tmp_path / "guardproxy.yaml").write_text(config)
    commands = [
        line
        for block in blocks(README, "sh")
        for line in block.splitlines()
        if line.startswith("guardproxy ")
    ]
    ran = [line for line in commands if line.split()[1] in {"learn", "profile", "rules", "config"}]
    assert len(ran) == 8
    record_a_day(tmp_path / "recordings", "churn")
    for line in ran:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(line, comments=True)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def record_a_day(folder: Path, model: str) -> None:
    """Record what a guard without rule files made of a day's requests for a model."""
    guard = Guard(model, make_codec("kserve-v1", CodecOptions()), default_ruleset(model))
    recorder = Recorder(Options(folder))
    generator, now = random.Random(5), time.time()
    for number in range(1_440):
        at = now - 86_400 + 60 * number
        sold = round(generator.gammavariate(6, 20), 1)
        request = Message(json.dumps({"instances": [{"store": "s1", "last_week": sold}]}).encode())
        answer = -5.0 if number % 100 == 0 else round(sold * 1.1, 1)
        screening = screen_request(guard, request, facts_at(at))
        screened = screen_response(guard, screening, Message(json.dumps({"predictions": [answer]}).encode()))
        decision, predictions = screened
        recorder.offer(
            model,
            at,
            is_loud(decision),
            lambda d=decision, p=predictions, s=screening, n=number: Draft(
                f"dec_{n:08x}", s.facts, d, s.table, p, {}, identity=b"%d" % n
            ),
        )
        recorder.flush(at)
    recorder.close()


def test_the_way_from_an_idea_to_an_enforced_rule_works_as_written(tmp_path: Path) -> None:
    """Run every command of the page on rule tools, in order, in an empty directory with a day of recorded traffic."""
    record_a_day(tmp_path / "recordings", "demand")
    (tmp_path / "row.json").write_text('{"features": {"store": "s1"}, "output": {"prediction": -5}}')
    commands = [line for block in blocks(TOOLS, "sh") for line in block.splitlines()]
    assert len(commands) >= 14
    for line in commands:
        # The page compares with what was there before the rule was promoted: that differs.
        expected = 1 if " diff " in line else 0
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(line)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"
        if " new " in line:
            shutil.copytree(tmp_path / "rules", tmp_path / "before")
    promoted = (tmp_path / "rules" / "demand.guard.yaml").read_text()
    assert "mode: enforce" in promoted
    assert list((tmp_path / "pages").iterdir())


def test_the_readmes_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    wanted = {word for block in blocks(README, "sh") for word in re.findall(r"make (\w+)", block)}
    assert wanted >= {"demo", "test"}
    assert all(f"\n{target}:" in makefile for target in wanted)


def test_the_error_that_the_readme_shows_is_the_error_that_is_printed(tmp_path: Path) -> None:
    (shown,) = (block for block in blocks(README, "") if block.startswith("error["))
    rule_file = blocks(README, "yaml")[0]
    lines = rule_file.splitlines()
    lines[10] = "    require: output.demnd <= 3 * profile.output.demand.p99"
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "demand.guard.yaml").write_text("\n".join(lines) + "\n")
    (tmp_path / "guardproxy.yaml").write_text(
        "upstream: http://127.0.0.1:9\nrules: rules/\nroutes: [{path: /a, model: demand-forecast, on_failure: open, outputs: [demand]}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "guardproxy", "config", "check"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert shown.strip() in done.stderr


@pytest.mark.parametrize("text", blocks(RULES, "yaml"))
def test_the_yaml_of_the_rules_page_is_valid(text: str) -> None:
    if text.startswith("tests:"):
        text = (
            "guardproxy: 1\nmodel: m\nowner: o\nrules:\n  - {id: not-negative, range: {field: output.demand, min: 0}, action: clamp}\n"
            + text
        )
    _, problems = load_rulesets(
        {"a.guard.yaml": text}, outputs={"m": ("demand",), "demand-forecast": ("demand",)}
    )
    assert not [p for p in problems if p.severity == "error"], problems


def test_every_key_word_and_function_of_rules_is_documented() -> None:
    words = [*DOCUMENT_KEYS, *RULE_KEYS, *CHECK_KEYS, *FUNCTIONS, *AGGREGATES]
    words += [m.name.lower() for m in (*Action, *Severity, *Verdict)] + [m.value for m in Mode]
    words += [m.name.lower() for m in Outcome if m is not Outcome.UNGUARDED]
    assert [word for word in words if not any(f"`{word}{end}" in RULES for end in "`(: ")] == []


def test_every_key_reason_and_metric_is_documented() -> None:
    files = ("metrics.py", "rule_metrics.py", "statistics_metrics.py")
    source = "".join((ROOT / "guardproxy" / "proxy" / file).read_text() for file in files)
    metrics = re.findall(r'\b_?(counter|gauge|histogram)\(\s*"([a-z_]+)"', source)
    assert len(metrics) > 15
    words = [*KEYS, *ROUTE_KEYS, *WEBHOOK_KEYS, *(key for keys in NESTED_KEYS.values() for key in keys)]
    words += [*(reason.value for reason in Reason)]
    words += [f"guardproxy_{name}{'_total' if kind == 'counter' else ''}" for kind, name in metrics]
    assert [word for word in words if f"`{word}`" not in OPERATIONS] == []


def test_every_command_says_what_it_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "guardproxy", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    for name, (_, _, text) in _COMMANDS.items():
        assert name in done.stdout
        assert text in done.stdout


def test_usage_mistakes_exit_with_2_and_say_so() -> None:
    for arguments in (["nonsense"], ["serve", "--config", "missing.yaml"], ["learn"], ["explain", "E999"]):
        done = subprocess.run(
            [sys.executable, "-m", "guardproxy", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, arguments
        assert done.stderr
        assert "Traceback" not in done.stderr
