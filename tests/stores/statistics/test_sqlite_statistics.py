"""Statistics in a file: what expires, what survives a kill, what a damaged or foreign file says."""

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from guardproxy.errors import StoreError
from guardproxy.stores.opening import open_statistics
from guardproxy.stores.sqlite_schema import VERSION
from guardproxy.stores.sqlite_statistics import PURGE_S, SqliteStatistics
from guardproxy.stores.statistics import BucketWrite, StatisticsStore, StoreDownError
from tests.stores.statistics.backends import entity, key, record, with_stores
from tests.stores.statistics.writer import write_until_killed

START = 1_700_000_000.0
T = TypeVar("T")


def test_without_an_address_the_file_stands_beside_the_holds(tmp_path: Path) -> None:
    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(key("demand"), "w", b"1", 60)])

    with_stores(work, open_statistics(None, tmp_path / "guardproxy.db", None, 100))
    path = tmp_path / "guardproxy-statistics.db"
    assert path.stat().st_mode & 0o777 == 0o600

    async def again(store: StatisticsStore) -> None:
        assert await store.read([key("demand")]) == [{"w": b"1"}]

    with_stores(again, open_statistics(f"sqlite:///{path}", tmp_path / "other.db", None, 100))


def test_what_has_expired_is_not_there_and_is_deleted(tmp_path: Path) -> None:
    now = [START]

    async def work(store: StatisticsStore) -> None:
        await store.put(
            [BucketWrite(key("demand"), "short", b"1", 10), BucketWrite(key("demand"), "long", b"1", 900)]
        )
        await store.swap("demand", "s", None, b"1", 10)
        await store.push("demand", {entity(1): record(1)}, 10)
        now[0] = START + 9
        assert await store.read([key("demand")]) == [{"short": b"1", "long": b"1"}]
        assert await store.state("demand", "s") == b"1"
        assert await store.pull("demand", [entity(1)]) == [record(1)]
        now[0] = START + 11
        assert await store.read([key("demand")]) == [{"long": b"1"}]
        assert await store.state("demand", "s") is None
        assert await store.pull("demand", [entity(1)]) == [None]
        assert await store.swap("demand", "s", None, b"2", 10)
        now[0] = START + PURGE_S + 20
        await store.put([])

    with_stores(work, SqliteStatistics(tmp_path / "a.db", clock=lambda: now[0]))
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("SELECT writer FROM buckets").fetchall() == [("long",)]
    assert connection.execute(
        "SELECT (SELECT count(*) FROM states), (SELECT count(*) FROM entities)"
    ).fetchone() == (0, 0)
    assert connection.execute("SELECT sum(n) FROM totals").fetchone() == (0,)
    connection.close()


def test_a_write_again_lives_on_from_then(tmp_path: Path) -> None:
    now = [START]

    async def work(store: StatisticsStore) -> None:
        for turn in range(4):
            now[0] = START + 8 * turn
            await store.put([BucketWrite(key("demand"), "w", b"%d" % turn, 10)])
            await store.push("demand", {entity(1): record(turn)}, 10)
        assert await store.read([key("demand")]) == [{"w": b"3"}]
        assert await store.pull("demand", [entity(1)]) == [record(3)]

    with_stores(work, SqliteStatistics(tmp_path / "a.db", clock=lambda: now[0]))


def test_the_bound_on_entities_holds_for_two_processes_that_share_the_file(tmp_path: Path) -> None:
    async def work(one: StatisticsStore, two: StatisticsStore) -> None:
        for start in range(0, 60, 10):
            store = one if start % 20 else two
            await store.push("demand", {entity(n): record(n) for n in range(start, start + 10)}, 60)
        found = await one.pull("demand", [entity(n) for n in range(60)])
        assert found == [None] * 35 + [record(n) for n in range(35, 60)]
        assert one.status().evicted + two.status().evicted == 35

    with_stores(work, *(SqliteStatistics(tmp_path / "a.db", max_entities=25) for _ in range(2)))


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores.statistics.writer"])
    for turn in range(5):
        read_end, write_end = os.pipe()
        process = context.Process(
            target=_child, args=(path, multiprocessing.connection.Connection(os.dup(write_end)), turn)
        )
        process.start()
        os.close(write_end)
        said = b""
        while said.count(b"\n") < 20 + turn * 7:
            said += os.read(read_end, 65536)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        while part := os.read(read_end, 65536):
            said += part
        os.close(read_end)
        process.join()
        acknowledged = int(said.split(b"\n")[-2])

        async def work(store: StatisticsStore, turn: int = turn, acknowledged: int = acknowledged) -> None:
            (found,) = await store.read([key("demand")])
            assert int(found[f"writer-{turn}"]) >= acknowledged

        with_stores(work, SqliteStatistics(Path(path)))


def _child(path: str, pipe: "multiprocessing.connection.Connection[bytes, bytes]", turn: int) -> None:
    write_until_killed(path, pipe.fileno(), f"writer-{turn}")


async def refusal(path: Path) -> str:
    """Return the sentence that opening a file ends in."""
    with pytest.raises(StoreError) as caught:
        await SqliteStatistics(path).open()
    return str(caught.value)


def test_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    async def work(store: StatisticsStore) -> None:
        await store.push("demand", {entity(n): record(n) for n in range(2_000)}, 60)

    with_stores(work, SqliteStatistics(tmp_path / "a.db"))
    content = bytearray((tmp_path / "a.db").read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xff" * 4096 * 9
    (tmp_path / "a.db").write_bytes(content)
    (tmp_path / "b.db").write_bytes(b"no database at all" * 300)
    assert "a.db is damaged" in asyncio.run(refusal(tmp_path / "a.db"))
    assert "is not a database" in asyncio.run(refusal(tmp_path / "b.db"))


def test_a_file_of_another_program_or_release_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with_stores(lambda store: store.put([]), SqliteStatistics(tmp_path / "b.db"))
    with sqlite3.connect(tmp_path / "b.db") as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    assert "another program's database" in asyncio.run(refusal(tmp_path / "a.db"))
    assert "written by a newer guardproxy" in asyncio.run(refusal(tmp_path / "b.db"))
    assert "does not exist; create it first" in asyncio.run(refusal(tmp_path / "nowhere" / "c.db"))


def test_a_locked_file_is_a_sentence_and_the_next_write_works(tmp_path: Path) -> None:
    async def work(store: StatisticsStore) -> None:
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreDownError, match="locked by another process"):
            await store.put([BucketWrite(key("demand"), "w", b"1", 60)])
        assert await store.read([key("demand")]) == [{}]
        other.execute("ROLLBACK")
        other.close()
        await store.put([BucketWrite(key("demand"), "w", b"1", 60)])
        assert store.status().failures == 1

    with_stores(work, SqliteStatistics(tmp_path / "a.db"))


def test_a_store_that_is_closed_says_so(tmp_path: Path) -> None:
    async def work(store: StatisticsStore) -> None:
        await store.close()
        with pytest.raises(StoreDownError, match="is not open"):
            await store.read([key("demand")])

    with_stores(work, SqliteStatistics(tmp_path / "a.db"))


class GivesUp(SqliteStatistics):
    """A store that gives up its first call, which is done all the same."""

    given_up = False

    async def _call(self, work: Awaitable[T]) -> T:
        done = await super()._call(work)
        if not self.given_up:
            self.given_up = True
            raise StoreDownError("the disk was slow")
        return done


def test_an_event_whose_report_was_given_up_is_news_to_whoever_reports_it_again(tmp_path: Path) -> None:
    async def work(store: StatisticsStore) -> None:
        with pytest.raises(StoreDownError):
            await store.report("demand", "drift 7", b"{}")
        assert [await store.report("demand", "drift 7", b"{}") for _ in range(2)] == [True, False]
        assert await store.events("demand") == [("drift 7", b"{}")]

    with_stores(work, GivesUp(tmp_path / "a.db"))
