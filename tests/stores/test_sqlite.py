"""The embedded store: one transaction per acknowledgement, one winner per race, bounds that refuse, errors in words."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from guardproxy.decision import Severity
from guardproxy.errors import ConflictError, NotFoundError, StoreError
from guardproxy.holds import Approve, Expire, Override, Reject, State, Undo, entry_for, settle
from guardproxy.stores import (
    CursorError,
    HoldFilter,
    Order,
    SqliteHoldStore,
    SqliteOptions,
    StoreFullError,
    apply_event,
    sweep,
)
from guardproxy.stores import schema as tables
from guardproxy.stores import sqlite as sqlite_store
from tests.holds.samples import SLA_S, START, make_hold

T = TypeVar("T")
SMALL = SqliteOptions(reserve_bytes=0, low_water_bytes=0)


def with_store(
    path: Path, work: Callable[[SqliteHoldStore], Coroutine[Any, Any, T]], options: SqliteOptions = SMALL
) -> T:
    """Run `work` on an open store at `path`."""

    async def run() -> T:
        store = SqliteHoldStore(path, options)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def outcome(work: Awaitable[object]) -> str:
    """`ok`, or the name of the error."""
    try:
        await work
    except (ConflictError, StoreError, NotFoundError) as error:
        return type(error).__name__
    return "ok"


def test_a_hold_is_there_after_the_store_was_closed_and_opened_again(tmp_path: Path) -> None:
    hold = make_hold()
    with_store(tmp_path / "a.db", lambda store: store.add([hold]))
    assert with_store(tmp_path / "a.db", lambda store: store.get(hold.id)) == hold
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600


def test_an_unknown_id_is_not_found(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        for hold_id in ("x", "1; DROP TABLE holds", "%", "\ud800", "a" * 10_000, ""):
            assert await outcome(store.get(hold_id)) == "NotFoundError"
        assert await outcome(store.events("x")) == "NotFoundError"
        missing = settle(make_hold(), Approve("reviewer-a"), at=START, undo_s=0)
        entry = entry_for(make_hold(), missing, Approve("reviewer-a"), at=START)
        assert await outcome(store.swap(missing, expected_rev=1, entry=entry)) == "NotFoundError"

    with_store(tmp_path / "a.db", work)


def test_of_several_holds_all_are_stored_or_none(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(1)])
        assert await outcome(store.add([make_hold(2), make_hold(1), make_hold(3)])) == "ConflictError"
        assert (await store.counts())[State.OPEN] == 1
        # A neighbour in the same transaction is not drawn in.
        results = await asyncio.gather(
            outcome(store.add([make_hold(4), make_hold(1)])), outcome(store.add([make_hold(5)]))
        )
        assert list(results) == ["ConflictError", "ok"]
        assert [hold.id for hold in (await store.list()).holds] == ["hld_000001", "hld_000005"]

    with_store(tmp_path / "a.db", work)


def test_of_two_rivals_exactly_one_decides(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        holds = [make_hold(number) for number in range(40)]
        await store.add(holds)
        for hold in holds:
            results = await asyncio.gather(
                outcome(apply_event(store, hold.id, Approve("reviewer-a"), at=START, undo_s=5)),
                outcome(apply_event(store, hold.id, Reject("reviewer-b"), at=START, undo_s=5)),
                outcome(apply_event(store, hold.id, Expire(), at=START + SLA_S, undo_s=5)),
            )
            assert sorted(results) == ["ConflictError", "ConflictError", "ok"]
            entries = await store.events(hold.id)
            assert [entry.rev for entry in entries] == [1, 2]

    with_store(tmp_path / "a.db", work)


def test_two_processes_worth_of_stores_share_one_file_without_a_double_decision(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        other = SqliteHoldStore(tmp_path / "a.db", SMALL)
        await other.open()
        await store.add([make_hold(number) for number in range(30)])
        for number in range(30):
            hold_id = make_hold(number).id
            results = await asyncio.gather(
                outcome(apply_event(store, hold_id, Approve("reviewer-a"), at=START, undo_s=0)),
                outcome(apply_event(other, hold_id, Reject("reviewer-b"), at=START, undo_s=0)),
            )
            assert sorted(results) == ["ConflictError", "ok"]
            assert await store.get(hold_id) == await other.get(hold_id)
        await other.close()

    with_store(tmp_path / "a.db", work)


def test_a_swap_from_an_outdated_revision_changes_nothing(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        before = make_hold()
        await store.add([before])
        first = await apply_event(store, before.id, Approve("reviewer-a"), at=START, undo_s=5)
        late = settle(before, Reject("reviewer-b"), at=START, undo_s=5)
        entry = entry_for(before, late, Reject("reviewer-b"), at=START)
        with pytest.raises(ConflictError, match="revision 2"):
            await store.swap(late, expected_rev=1, entry=entry)
        assert await store.get(before.id) == first
        assert len(await store.events(before.id)) == 2
        with pytest.raises(ConflictError, match="revision 2 now, not 1"):
            await apply_event(store, before.id, Undo("reviewer-a"), at=START, undo_s=5, expected_rev=1)
        with pytest.raises(ValueError, match="raise the revision by one"):
            await store.swap(replace(late, rev=7), expected_rev=1, entry=entry)

    with_store(tmp_path / "a.db", work)


def test_the_database_itself_refuses_to_change_a_final_hold_or_its_history(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold()])
        await apply_event(store, make_hold().id, Approve("reviewer-a"), at=START, undo_s=0)

    with_store(tmp_path / "a.db", work)
    connection = sqlite3.connect(tmp_path / "a.db")
    with pytest.raises(sqlite3.IntegrityError, match="never changes"):
        connection.execute("UPDATE holds SET state = 'open', due_at = 1")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE entries SET by = 'nobody'")
    connection.close()


def test_a_cancelled_task_leaves_its_holds_whole_and_the_store_working(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        tasks = [
            asyncio.ensure_future(store.add([make_hold(2 * n), make_hold(2 * n + 1)])) for n in range(50)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stored = {hold.id for hold in (await store.list(limit=500)).holds}
        for number in range(50):
            pair = {make_hold(2 * number).id, make_hold(2 * number + 1).id}
            assert pair <= stored or not pair & stored
            if number % 2:
                assert pair <= stored, "an acknowledged hold is missing"

    with_store(tmp_path / "a.db", work)


def test_many_waiting_adds_share_a_transaction(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> int:
        seen: list[str] = []
        await store._worker.read(lambda connection: connection.set_trace_callback(seen.append))
        await asyncio.gather(*(store.add([make_hold(number)]) for number in range(200)))
        return sum(statement == "COMMIT" for statement in seen)

    assert 1 <= with_store(tmp_path / "a.db", work) < 50


def test_beyond_the_bound_of_open_holds_adding_is_refused_until_some_are_decided(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(1), make_hold(2)])
        with pytest.raises(StoreFullError, match="at most 3"):
            await store.add([make_hold(3), make_hold(4)])
        await store.add([make_hold(3)])
        assert not store.status().accepting
        assert "3 holds are open" in store.status().problem
        await apply_event(store, make_hold(1).id, Approve("reviewer-a"), at=START, undo_s=0)
        assert store.status().accepting
        await store.add([make_hold(4)])

    with_store(tmp_path / "a.db", work, replace(SMALL, max_open=3))


def test_beyond_the_bound_of_the_file_adding_is_refused_and_deciding_is_not(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        number = 0
        while number < 1000 and await outcome(store.add([make_hold(number)])) == "ok":
            number += 1
        assert 20 < number < 1000
        with pytest.raises(StoreFullError, match="bound of 256KiB"):
            await store.add([make_hold(number)])
        await apply_event(store, make_hold(0).id, Approve("reviewer-a"), at=START, undo_s=0)

    with_store(tmp_path / "a.db", work, replace(SMALL, max_bytes=256 * 1024))


def test_below_the_low_water_mark_adding_is_refused_and_deciding_is_not(tmp_path: Path) -> None:
    with_store(tmp_path / "a.db", lambda store: store.add([make_hold(1)]))

    async def work(store: SqliteHoldStore) -> None:
        with pytest.raises(StoreFullError, match="new holds are refused, decisions still work"):
            await store.add([make_hold(2)])
        assert not store.status().accepting
        await apply_event(store, make_hold(1).id, Approve("reviewer-a"), at=START, undo_s=0)
        assert await outcome(store.get(make_hold(2).id)) == "NotFoundError"

    with_store(tmp_path / "a.db", work, replace(SMALL, low_water_bytes=2**60))


def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> list[str]:
        return await asyncio.gather(*(outcome(store.add([make_hold(number)])) for number in range(100)))

    results = with_store(tmp_path / "a.db", work, replace(SMALL, max_waiting=10))
    assert "StoreError" in results
    assert results.count("ok") >= 10


def test_a_closed_store_refuses_and_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    async def work() -> None:
        store = SqliteHoldStore(tmp_path / "a.db", SMALL)
        with pytest.raises(StoreError, match="not open"):
            await store.add([make_hold()])
        await store.open()
        with pytest.raises(StoreError, match="already open"):
            await store.open()
        adding = [asyncio.ensure_future(store.add([make_hold(number)])) for number in range(20)]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*adding)
        await store.close()
        with pytest.raises(StoreError, match="not open"):
            await store.get("x")
        assert not store.status().accepting
        await store.open()
        assert (await store.counts())[State.OPEN] == 20
        await store.close()

    asyncio.run(work())


def test_the_order_of_work_is_severest_first_then_what_is_due_soonest(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add(
            [
                make_hold(1, severity=Severity.LOW, sla_s=10.0),
                make_hold(2, severity=Severity.CRITICAL, sla_s=500.0),
                make_hold(3, severity=Severity.CRITICAL, sla_s=100.0),
                make_hold(4, severity=Severity.HIGH),
            ]
        )
        ids = [hold.id[-1] for hold in (await store.list(HoldFilter((State.OPEN,)))).holds]
        assert ids == ["3", "2", "4", "1"]

    with_store(tmp_path / "a.db", work)


@pytest.mark.parametrize("order", Order)
def test_paging_gives_every_hold_once_in_every_order(tmp_path: Path, order: Order) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add(
            [
                make_hold(n, at=START + n % 3, severity=Severity(1 + n % 4), sla_s=float(50 + n % 2))
                for n in range(57)
            ]
        )
        seen: list[str] = []
        page = await store.list(order=order, limit=10)
        while True:
            seen += [hold.id for hold in page.holds]
            if page.cursor is None:
                break
            page = await store.list(order=order, limit=10, cursor=page.cursor)
        assert len(seen) == len(set(seen)) == 57
        assert seen == [hold.id for hold in (await store.list(order=order, limit=500)).holds]

    with_store(tmp_path / "a.db", work)


def test_a_cursor_that_was_not_given_is_refused(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(1), make_hold(2)])
        given = (await store.list(limit=1)).cursor
        assert given is not None
        with pytest.raises(CursorError):
            await store.list(order=Order.RECENT, cursor=given)
        for cursor in ("x", "", "W10", "é", "A" * 5000, "WyJwcmlvcml0eSIsIngiLCJ5IiwieiJd", "W1tbW1tb"):
            with pytest.raises(CursorError):
                await store.list(cursor=cursor)

    with_store(tmp_path / "a.db", work)


def test_filters_narrow_listing_and_counts(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(1, queue="a"), make_hold(2, queue="b"), make_hold(3, queue="b")])
        await apply_event(store, make_hold(3).id, Approve("reviewer-a"), at=START, undo_s=0)
        assert [hold.id[-1] for hold in (await store.list(HoldFilter(queue="b"))).holds] == ["2", "3"]
        assert [hold.id[-1] for hold in (await store.list(HoldFilter((State.APPROVED,)))).holds] == ["3"]
        assert (await store.list(HoldFilter(model="other"))).holds == ()
        counts = await store.counts(HoldFilter(queue="b"))
        assert (counts[State.OPEN], counts[State.APPROVED], counts[State.EXPIRED]) == (1, 1, 0)
        assert (await store.counts())[State.OPEN] == 2
        assert (await store.counts(HoldFilter(queue="\ud800")))[State.OPEN] == 0

    with_store(tmp_path / "a.db", work)


def test_a_sweep_commits_and_expires_what_is_due_and_nothing_else(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(1), make_hold(2), make_hold(3, sla_s=5000.0), make_hold(4, sla_s=5000.0)])
        await apply_event(store, make_hold(2).id, Override("reviewer-a", {"demand": 5}), at=START, undo_s=10)
        await apply_event(store, make_hold(3).id, Reject("reviewer-a"), at=START + SLA_S, undo_s=10)
        assert await sweep(store, START + 9, 10) == []
        settled = await sweep(store, START + SLA_S, 10)
        assert {hold.id[-1]: hold.state for hold in settled} == {"1": State.EXPIRED, "2": State.OVERRIDDEN}
        assert [entry.by for entry in await store.events(make_hold(2).id)] == [
            "guard",
            "reviewer-a",
            "policy",
        ]
        assert await sweep(store, START + SLA_S, 10) == []
        assert (await store.get(make_hold(4).id)).state is State.OPEN

    with_store(tmp_path / "a.db", work)


def test_concurrent_sweeps_settle_each_hold_once(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(number) for number in range(250)])
        swept = await asyncio.gather(*(sweep(store, START + SLA_S, 5) for _ in range(3)))
        ids = [hold.id for settled in swept for hold in settled]
        assert len(ids) == len(set(ids))
        assert (await store.counts())[State.EXPIRED] == 250
        assert len(await store.due(START + SLA_S)) == 0

    with_store(tmp_path / "a.db", work)


def test_a_sweep_stops_at_its_limit_and_goes_on_next_time(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(number) for number in range(130)])
        assert len(await sweep(store, START + SLA_S, 5, limit=120)) == 120
        assert len(await sweep(store, START + SLA_S, 5, limit=120)) == 10

    with_store(tmp_path / "a.db", work)


def test_purging_deletes_old_final_holds_with_their_history_and_keeps_the_rest(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        await store.add([make_hold(1), make_hold(2), make_hold(3)])
        await apply_event(store, make_hold(1).id, Approve("reviewer-a"), at=START, undo_s=0)
        await apply_event(store, make_hold(2).id, Approve("reviewer-a"), at=START + 100, undo_s=0)
        assert await store.purge(START + 50) == 1
        assert await outcome(store.events(make_hold(1).id)) == "NotFoundError"
        counts = await store.counts()
        assert (counts[State.APPROVED], counts[State.OPEN]) == (1, 1)

    with_store(tmp_path / "a.db", work)


def test_a_lone_surrogate_in_a_name_or_note_is_stored(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        hold = make_hold(features={"a\ud800": "\udfff\x00"})
        await store.add([hold])
        after = await apply_event(store, hold.id, Approve("reviewer-a", "", "n\ud800"), at=START, undo_s=0)
        assert (await store.get(hold.id)) == after
        assert (await store.events(hold.id))[1].note == "n?"

    with_store(tmp_path / "a.db", work)


def broken(tmp_path: Path, name: str) -> Path:
    """A file that is not a store."""
    path = tmp_path / "a.db"
    if name == "text":
        path.write_text("this is not a database at all " * 100)
    elif name == "foreign":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE users (id)")
        connection.close()
    elif name == "newer":
        with_store(path, lambda store: store.counts())
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    elif name == "damaged":
        with_store(path, lambda store: store.add([make_hold(n) for n in range(100)]))
        image = bytearray(path.read_bytes())
        image[4096 * 3 : 4096 * 5] = b"\xff" * 8192
        path.write_bytes(image)
    elif name == "directory":
        path.mkdir()
    else:
        path = tmp_path / "nowhere" / "a.db"
    return path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("text", "is not a database"),
        ("foreign", "another program's database"),
        ("newer", "written by a newer guardproxy"),
        ("damaged", "is damaged"),
        ("directory", "directory"),
        ("missing folder", "does not exist; create it"),
    ],
)
def test_a_file_that_is_no_store_is_refused_with_a_sentence(tmp_path: Path, name: str, sentence: str) -> None:
    path = broken(tmp_path, name)
    with pytest.raises(StoreError, match=sentence) as caught:
        with_store(path, lambda store: store.counts())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_locked_file_is_reported_and_works_again_when_the_lock_is_gone(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> None:
        rival = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        rival.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            await store.add([make_hold(1)])
        assert "locked" in store.status().problem
        assert not store.status().accepting
        await sweep(store, START, 5)
        assert not store.status().accepting, "the lock is still there"
        rival.execute("ROLLBACK")
        rival.close()
        await sweep(store, START, 5)
        assert store.status().accepting, "nobody has to add a hold to find out"
        await store.add([make_hold(1)])

    with_store(tmp_path / "a.db", work, replace(SMALL, lock_timeout_s=0.05))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_the_thread_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        store = SqliteHoldStore(tmp_path / "a.db", SMALL)
        await store.open()

        def fault(*_: object) -> None:
            raise SystemExit

        monkeypatch.setattr(store._worker, "_write", fault)
        adding = [asyncio.ensure_future(outcome(store.add([make_hold(number)]))) for number in range(300)]
        results = [*await asyncio.gather(*adding), await outcome(store.get("x"))]
        assert set(results) == {"StoreError"}
        assert not store.status().accepting
        thread = store._worker._thread
        assert thread is not None
        await asyncio.to_thread(thread.join)

    asyncio.run(asyncio.wait_for(work(), 10))


def test_a_damaged_document_is_reported_by_its_id(tmp_path: Path) -> None:
    with_store(tmp_path / "a.db", lambda store: store.add([make_hold(1)]))
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("UPDATE holds SET document = '{}'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="hld_000001 cannot be read"):
        with_store(tmp_path / "a.db", lambda store: store.get("hld_000001"))


def test_migrations_bring_an_older_file_up_to_date_and_keep_its_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_store(tmp_path / "a.db", lambda store: store.add([make_hold(1)]))
    steps = (*tables.KIND.steps, ("ALTER TABLE holds ADD COLUMN extra TEXT",))
    monkeypatch.setattr(sqlite_store, "KIND", tables.KIND._replace(steps=steps))
    assert with_store(tmp_path / "a.db", lambda store: store.get("hld_000001")) == make_hold(1)
    connection = sqlite3.connect(tmp_path / "a.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
    assert "extra" in [row[1] for row in connection.execute("PRAGMA table_info(holds)")]
    connection.close()


def test_commits_are_synchronous_and_the_journal_is_a_wal(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> list[object]:
        return await store._worker.read(
            lambda connection: [
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]
        )

    assert with_store(tmp_path / "a.db", work) == ["wal", 2]


def test_listing_the_queue_reads_an_index_and_sorts_nothing(tmp_path: Path) -> None:
    async def work(store: SqliteHoldStore) -> str:
        seen: list[str] = []
        await store._worker.read(lambda connection: connection.set_trace_callback(seen.append))
        await store.list(HoldFilter((State.OPEN, State.DECIDING)))
        query = next(statement for statement in seen if statement.startswith("SELECT id, document"))
        rows = await store._worker.read(
            lambda connection: connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        )
        return " ".join(str(row) for row in rows)

    plan = with_store(tmp_path / "a.db", work)
    assert "holds_open_priority" in plan
    assert "TEMP B-TREE" not in plan
