"""A killed process loses nothing that it acknowledged, and leaves nothing half-written."""

import multiprocessing
import os
import random
import signal
import sqlite3
from pathlib import Path

from tests.stores.writer import GROUP, write_until_killed

ROUNDS = 50


def read_acknowledgements(pipe: int, process: multiprocessing.process.BaseProcess, lines: int) -> list[str]:
    """Read until `lines` were acknowledged, kill the writer in mid-flight, and return all that it had said."""
    said = b""
    while said.count(b"\n") < lines:
        said += os.read(pipe, 65536)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    while part := os.read(pipe, 65536):
        said += part
    return said.decode().split("\n")[:-1]


def test_nothing_acknowledged_is_lost_in_fifty_kills(tmp_path: Path) -> None:
    path = str(tmp_path / "holds.db")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores.writer"])
    seeded = random.Random(7)
    acknowledged: dict[str, int] = {}
    for turn in range(ROUNDS):
        read_end, write_end = os.pipe()
        # The descriptor travels with the process object, and the parent's copy must go for the pipe to end.
        process = context.Process(
            target=_child, args=(path, multiprocessing.connection.Connection(os.dup(write_end)), turn)
        )
        process.start()
        os.close(write_end)
        for line in read_acknowledgements(read_end, process, seeded.randint(1, 60)):
            hold_id, rev = line.split()
            acknowledged[hold_id] = max(int(rev), acknowledged.get(hold_id, 0))
        os.close(read_end)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        check(path, acknowledged)
    assert len(acknowledged) > ROUNDS


def check(path: str, acknowledged: dict[str, int]) -> None:
    """Compare the file with what was acknowledged."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        stored = dict(connection.execute("SELECT id, rev FROM holds").fetchall())
        lost = {hold_id for hold_id, rev in acknowledged.items() if stored.get(hold_id, 0) < rev}
        assert not lost
        assert len(stored) % GROUP == 0, "a group was stored in part"
        entries = dict(
            connection.execute("SELECT hold_id, max(rev) FROM entries GROUP BY hold_id").fetchall()
        )
        assert entries == stored, "a change and its history must come together"
        counted = connection.execute("SELECT sum(n) FROM totals").fetchone()[0]
        assert counted == len(stored)
    finally:
        connection.close()


def _child(path: str, pipe: "multiprocessing.connection.Connection[bytes, bytes]", turn: int) -> None:
    write_until_killed(path, pipe.fileno(), turn * 10_000)
