"""A recorder that is killed loses nothing that it had flushed, and the next one finishes its files."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

from guardproxy.recording import Skipped
from guardproxy.recording.segments import Folder
from tests.recording.samples import START, read

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 8


def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    seeded = Random(5)
    said: set[str] = set()
    for turn in range(ROUNDS):
        command = [
            sys.executable,
            "-m",
            "tests.recording.writer",
            str(tmp_path),
            str(turn * 100_000),
            "90000",
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(seeded.randint(1, 150)):
                said.add(process.stdout.readline().decode().strip())
            os.kill(process.pid, signal.SIGKILL)
            said.update(process.stdout.read().decode().split())
        assert process.returncode == -signal.SIGKILL
    skipped = Skipped()
    found = [record.id for record in read(tmp_path, skipped=skipped)]
    assert said <= set(found)
    assert len(found) == len(set(found))
    assert len(found) - len(said) <= ROUNDS, "at most the write that was under way"
    assert set(skipped) <= {"torn"}
    assert any(path.suffix == ".part" for path in tmp_path.iterdir())
    Folder(tmp_path, 1 << 30, 86_400.0, 0).sweep(START)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]
    assert [record.id for record in read(tmp_path)] == found
