"""The commands of the page on statistics do what the page says, the example with Dask among them."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guardproxy.config import parse_config
from guardproxy.profile.document import parse_profile
from guardproxy.profile.model import Origin, Profile, Provenance
from guardproxy.recording import Options, Recorder
from tests.admin.served import SECRETS, serve
from tests.cli.run import Shell, child_environment
from tests.recording.samples import START, draft
from tests.shared import ROOT

PAGE = (ROOT / "docs" / "statistics.md").read_text()
PROFILE = "profiles/demand.profile.yaml"


def section(title: str) -> str:
    """Return a section of the page, with those below it."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def commands(text: str) -> list[list[str]]:
    """Return the commands of a text's blocks as words."""
    found = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in found for line in block.replace("\\\n", " ").splitlines()]


def by_example(words: list[str]) -> None:
    """Run an example of the page in a process of its own, as it would be run."""
    done = subprocess.run(
        [sys.executable, str(ROOT / words[1]), *words[2:]],
        env=child_environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def sales(folder: Path, name: str, start: int, *more: str) -> None:
    """Write 3,000 hours of sales; `more` are columns of the first two files only."""
    rng = np.random.default_rng(start)
    hours = np.arange(start, start + 3_000)
    stores = rng.integers(20, size=3_000)
    last_week = rng.gamma(6, 20, 3_000)
    columns = {
        "date": (np.datetime64("2025-01-01T00", "h") + hours).astype("datetime64[s]"),
        "store_id": [f"s{store}" for store in stores],
        "last_week": last_week,
        "demand": np.round(last_week * rng.normal(1, 0.1, 3_000)),
    }
    table = pa.table(
        {name: column for name, column in columns.items() if name in ("last_week", "demand", *more)}
    )
    pq.write_table(table, folder / name)


def read(folder: Path) -> Profile:
    found = parse_profile((folder / PROFILE).read_text(), PROFILE)
    assert isinstance(found, Profile)
    return found


def test_what_the_page_says_of_learning_works_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shell = Shell(monkeypatch, capsys)

    def ran(words: list[str]) -> str:
        done = shell(*words[1:])
        assert done.code == 0, f"{shlex.join(words)}\n{done.out}\n{done.err}"
        return done.out

    sales(tmp_path, "training-2025.parquet", 0, "date", "store_id")
    sales(tmp_path, "training-2026.parquet", 3_000, "date", "store_id")
    sales(tmp_path, "region-a.parquet", 0)
    sales(tmp_path, "region-b.parquet", 3_000)
    recorder = Recorder(Options(tmp_path / "recordings", low_water_bytes=0))
    rng = np.random.default_rng(1)
    for number in range(700):
        cells = {"last_week": rng.gamma(6, 20, 5).round(1).tolist()}
        one = draft(number, START + 60.0 * number, features=cells, predictions={"demand": cells["last_week"]})
        assert recorder.offer("demand", one.facts.at, loud=False, make=lambda one=one: one)
        recorder.flush(one.facts.at)
    recorder.close()

    told = commands(section("Learn what is normal"))
    assert len(told) == 9
    for words in told[:2]:
        ran(words)
    learned = read(tmp_path)
    assert (learned.rows, list(learned.features), learned.keys) == (
        6_000,
        ["store_id", "last_week"],
        ("store_id",),
    )

    for words in told[2:5]:
        ran(words)
    merged = read(tmp_path)
    assert merged.rows == 6_000
    assert merged.features["last_week"].maximum == learned.features["last_week"].maximum
    assert "to be merged with others" in ran(["guardproxy", "profile", "show", "a.part"])

    # Dask's workers learn the same parts, so the profile is the same but for what it says of its files.
    assert told[5][:2] == ["python", "examples/learn_with_dask.py"]
    by_example(told[5])
    by_dask = read(tmp_path)
    assert by_dask.provenance.file == "00000-region-a.part, 00001-region-b.part"
    nowhere = replace(merged, provenance=Provenance(), version="")
    assert replace(by_dask, provenance=Provenance(), version="") == nowhere
    one_process = [
        "guardproxy",
        "learn",
        "region-a.parquet",
        "region-b.parquet",
        *told[2][3:7],
        "--out",
        PROFILE,
    ]
    ran(one_process)
    field, other = read(tmp_path).features["last_week"], by_dask.features["last_week"]
    assert (field.minimum, field.maximum, field.distinct) == (other.minimum, other.maximum, other.distinct)
    assert field.percentile(50) == other.percentile(50)

    assert "it would have flagged" in ran(told[6])
    assert not read(tmp_path).acts
    assert "nobody has approved it" in ran(told[7])
    ran(told[8])
    assert (read(tmp_path).source, read(tmp_path).acts) == (Origin.TRAFFIC, True)


def test_the_settings_and_the_rules_of_the_page_are_read_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings, rules = re.findall(
        r"^```yaml\n(.*?)^```", section("Statistics that replicas share"), re.MULTILINE | re.DOTALL
    )
    whole = f"upstream: http://127.0.0.1:9000\n{settings}"
    config, problems = parse_config(whole, "guardproxy.yaml", tmp_path, {})
    assert not problems
    assert (config.bucket_s, config.drift_cooldown_s, len(config.webhooks)) == (60.0, 21_600.0, 1)
    (tmp_path / "demand.guard.yaml").write_text(f"guardproxy: 1\nmodel: demand\nowner: ops\n{rules}")
    done = Shell(monkeypatch, capsys)("rules", "check", str(tmp_path / "demand.guard.yaml"))
    assert done.code == 0
    assert "3 rules" in done.out
    assert "warning" not in done.out + done.err


def test_the_drift_commands_of_the_page_ask_a_running_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = commands(section("Drift"))
    assert len(told) == 2
    with serve(tmp_path) as served:
        known = {"GUARDPROXY_ADMIN_URL": served.url, "GUARDPROXY_TOKEN": SECRETS["viewer-a"]}
        listed = Shell(monkeypatch, capsys)(*told[0][1:], environment=known)
        assert (listed.code, "drift, alarm raised" in listed.out) == (1, True)
        other = [word.replace("demand", "other") for word in told[1][1:]]
        assert json.loads(Shell(monkeypatch, capsys)(*other, environment=known).out)["models"]
