"""The files that the demo writes are those a user would write."""

import csv
import hashlib
import stat
from pathlib import Path

import pytest

from guardproxy.admin.tokens import Role, read_tokens
from guardproxy.config import parse_config
from guardproxy.demo import workspace
from guardproxy.demo.dataset import Dataset
from guardproxy.demo.errors import DemoError
from guardproxy.demo.workspace import Workspace, config_text, learn_arguments, make_workspace


@pytest.fixture
def made(tmp_path: Path, real_data: Dataset) -> Workspace:
    """A workspace with a few days of data."""
    return make_workspace(tmp_path / "demo", real_data.days_from(265, 10))


def test_training_and_production_are_written_beside_each_other(made: Workspace) -> None:
    for path, first in ((made.training, "2013-09-30"), (made.production, "2013-10-01")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["time"].startswith(first)


def test_the_configuration_is_one_that_guardproxy_reads(made: Workspace) -> None:
    text = config_text(made, model_port=9001, port=9002, admin_port=9003)
    config, problems = parse_config(text, "guardproxy.yaml", made.root, {})
    assert not problems
    assert (config.listen.port, config.admin.port, config.upstream) == (9002, 9003, "http://127.0.0.1:9001")
    assert config.bucket_s == 3_600, "five weeks in a minute are no drift"
    (route,) = config.routes
    assert route.profile == made.profile
    assert config.rules == made.rules
    assert config.tokens_file == made.tokens
    assert route.outputs == ("departures", "p10", "p90")


def test_the_token_opens_the_console_and_only_its_digest_is_written(made: Workspace) -> None:
    text = made.tokens.read_text(encoding="utf-8")
    book, problems = read_tokens(text, "tokens.yaml")
    assert not problems
    assert made.token not in text
    token = book.find(made.token)
    assert token is not None
    assert token.role is Role.OPERATOR
    assert token.sha256 == hashlib.sha256(made.token.encode()).hexdigest()
    assert stat.S_IMODE(made.tokens.stat().st_mode) == 0o600


def test_two_runs_have_two_tokens(tmp_path: Path, made: Workspace, real_data: Dataset) -> None:
    assert make_workspace(tmp_path / "other", real_data.days_from(265, 10)).token != made.token


def test_the_rules_are_those_of_the_repository(made: Workspace) -> None:
    assert (made.rules / "departures.guard.yaml").read_bytes() == workspace.rule_file().read_bytes()


def test_the_profile_is_learned_as_a_user_would(made: Workspace) -> None:
    words = learn_arguments(made)
    assert words[:2] == ["learn", str(made.training)]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options["--model"] == options["--target"] == "departures"
    assert options["--out"] == str(made.profile)


def test_missing_rules_are_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "_RULE_PLACES", (tmp_path / "a", tmp_path / "b"))
    with pytest.raises(DemoError, match=r"departures\.guard\.yaml is not there"):
        workspace.rule_file()


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path: Path, real_data: Dataset) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DemoError, match="cannot be written"):
        make_workspace(tmp_path / "file" / "below", real_data.days_from(0, 1))
