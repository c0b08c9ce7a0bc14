"""A pair whose environment is missing is never passed over in silence."""

from pathlib import Path

import pytest

from tests.servers import processes


@pytest.mark.parametrize(
    ("ci", "optional", "outcome"),
    [
        ("", True, pytest.skip.Exception),
        ("true", True, pytest.fail.Exception),
        ("", False, pytest.fail.Exception),
        ("true", False, pytest.fail.Exception),
    ],
)
def test_a_missing_environment_is_a_skip_only_for_the_light_pair_off_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, optional: bool, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(processes, "ENVIRONMENTS", tmp_path)
    with pytest.raises(outcome, match="there is no environment for mlserver"):
        processes.python_of("mlserver", optional=optional)


def test_a_process_that_ends_early_fails_with_its_last_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo the disk is full; exit 3"]
    with processes.Running(command, tmp_path) as running, pytest.raises(AssertionError, match="disk is full"):
        running.hear("ready")
