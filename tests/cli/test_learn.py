"""`guardproxy learn` and `guardproxy profile show`, as they are typed."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from guardproxy.cli.learn import learn
from guardproxy.cli.profile import profile
from guardproxy.profile.document import parse_profile
from guardproxy.profile.model import FieldKind, Profile


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["id,when,shop,price,hour,colour,demand"]
    for row in range(4_000):
        colour = ("red", "green", "blue")[int(rng.integers(3))]
        when = f"2024-{1 + row // 700:02d}-{1 + row // 25 % 28:02d}"
        cells = [row, when, rng.integers(40), f"{rng.lognormal():.4f}", row % 24, colour, rng.poisson(20)]
        lines.append(",".join(map(str, cells)))
    path = tmp_path / "sales.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(learn, [str(word) for word in words])


def learned(path: Path) -> Profile:
    found = parse_profile(path.read_text(), path.name)
    assert isinstance(found, Profile)
    return found


def test_a_profile_is_learned_and_shown(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "sales.profile.yaml"
    words = ("--model", "demand", "--target", "demand", "--time", "when", "--key", "shop", "--skip", "id")
    result = run(data, *words, "--out", out)
    assert result.exit_code == 0, result.output
    assert "4,000 rows, 3 features, 1 key, 1 output" in result.output
    assert "held-back rows" in result.output
    found = learned(out)
    assert list(found.features) == ["shop", "price", "hour", "colour"]
    assert found.keys == ("shop",)
    assert found.features["colour"].kind is FieldKind.CATEGORY
    assert found.provenance.file == "sales.csv"
    assert len(found.provenance.sha256) == 64
    assert str(tmp_path) not in out.read_text()

    shown = CliRunner().invoke(profile, ["show", str(out)])
    assert shown.exit_code == 0
    assert all(name in shown.output for name in ("price", "hour", "demand", "█"))
    assert max(map(len, shown.output.split("\n"))) <= 100
    as_json = json.loads(CliRunner().invoke(profile, ["show", str(out), "--format", "json"]).output)
    assert as_json["features"]["hour"]["high"] == 23.0


def test_the_same_data_give_the_same_profile_and_replace_the_old_one(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.yaml"
    run(data, "--model", "m", "--out", out)
    first = learned(out)
    result = run(data, "--model", "m", "--out", out)
    assert "Replaced" in result.output
    assert learned(out).features == first.features
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "demnd"), "did you mean 'demand'?"),
        (("--skip", "colr"), "did you mean 'colour'?"),
        (("--target", "price", "--key", "price"), "both --target and --key"),
        (("--alpha", "2"), "--alpha"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    data: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "p.yaml"
    result = run(data, "--model", "m", *words, "--out", out)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_bad_data_leave_the_old_profile_alone(tmp_path: Path) -> None:
    out = tmp_path / "p.yaml"
    out.write_text("mine")
    for text in ("", "a,b\n", "a,b\n1,2\n", "a,b\n1,2\n3\n"):
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        result = run(bad, "--model", "m", "--out", out)
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
    assert run(tmp_path / "none.csv", "--model", "m", "--out", out).exit_code == 2
    assert out.read_text() == "mine"


def test_the_data_are_never_replaced(data: Path) -> None:
    before = data.read_bytes()
    result = run(data, "--model", "m", "--out", data)
    assert result.exit_code == 2
    assert data.read_bytes() == before


def test_the_folder_of_a_profile_is_made(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "no" / "such" / "p.yaml"
    assert run(data, "--model", "m", "--out", out).exit_code == 0
    assert out.is_file()


def test_a_place_that_cannot_be_written_is_said_before_anything_is_read(data: Path, tmp_path: Path) -> None:
    result = run(tmp_path / "none.csv", "--model", "m", "--out", data / "p.yaml")
    assert result.exit_code == 2
    assert "its folder cannot be made" in result.output
    assert result.output.count("\n") == 1


def test_a_broken_profile_is_shown_with_its_problems(tmp_path: Path) -> None:
    broken = tmp_path / "p.yaml"
    broken.write_text("profile: 1\nmodel: m\nalpha: 0.001\nfeatures:\n  x: {kind: numbr}\n")
    result = CliRunner().invoke(profile, ["show", str(broken)])
    assert result.exit_code == 2
    assert f"{broken}:5:13" in result.output
    as_json = CliRunner().invoke(profile, ["show", str(broken), "--format", "json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.output)["problems"][0]["line"] == 5
    broken.write_bytes(b"\xff\xfe")
    assert CliRunner().invoke(profile, ["show", str(broken)]).exit_code == 2
    assert CliRunner().invoke(profile, ["show", str(tmp_path / "none")]).exit_code == 2
