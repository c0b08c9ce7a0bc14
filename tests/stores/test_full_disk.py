"""A full disk: no hold is acknowledged that is not stored, decisions still work, and room makes it work again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = "2m"


def run(what: str, folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Run the check in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    command = [*before, sys.executable, "-m", "tests.stores.full_disk", what, str(folder)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=90, check=False)


def small_disk(folder: Path) -> list[str] | None:
    """How to run a command with a tmpfs of SIZE at `folder`; None where nobody may mount one."""
    mount = f'mount -t tmpfs -o size={SIZE} tmpfs "{folder}" && exec "$@"'
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        command = [*unshare, "sh", "-c", mount, "sh"]
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], capture_output=True, check=False).returncode
        ):
            return command
    return None


def test_on_a_full_disk_nothing_is_acknowledged_in_vain_and_decisions_still_work(tmp_path: Path) -> None:
    before = small_disk(tmp_path)
    if before is None:
        sentence = "no small file system can be mounted here (needs unshare with mount rights)"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    result = run("disk", tmp_path, *before)
    assert result.stdout == "checked\n", result.stdout + result.stderr


def test_when_the_file_cannot_grow_nothing_is_acknowledged_in_vain(tmp_path: Path) -> None:
    result = run("limit", tmp_path)
    assert result.stdout == "checked\n", result.stdout + result.stderr
