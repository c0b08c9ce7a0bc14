"""Fills a small disk with holds and checks what still works; run by test_full_disk in a process of its own."""

import asyncio
import resource
import sys
from pathlib import Path

from guardproxy.errors import StoreError
from guardproxy.holds import Approve, State
from guardproxy.stores import SqliteHoldStore, SqliteOptions, StoreFullError, apply_event, sweep
from guardproxy.stores.reserve import Reserve
from tests.holds.samples import SLA_S, START, make_hold

KIB = 1024


async def fill(store: SqliteHoldStore, most: int) -> tuple[list[str], StoreError]:
    """Add holds until the store refuses; return what it acknowledged and the refusal."""
    acknowledged: list[str] = []
    for number in range(most):
        try:
            await store.add([make_hold(number)])
        except StoreError as error:
            return acknowledged, error
        acknowledged.append(make_hold(number).id)
    raise AssertionError("the disk did not become full")


async def check_holds(store: SqliteHoldStore, acknowledged: list[str]) -> None:
    """What was acknowledged is there, and nothing else."""
    assert (await store.counts())[State.OPEN] == len(acknowledged)
    for hold_id in acknowledged:
        assert (await store.get(hold_id)).state is State.OPEN


async def on_a_full_disk(folder: Path) -> None:
    """The disk fills up to the last byte: no hold is acknowledged that is not stored, decisions use the reserve."""
    released: list[bool] = []
    release = Reserve.release

    def counted(self: Reserve) -> bool:
        released.append(True)
        return release(self)

    Reserve.release = counted  # type: ignore[method-assign]
    path = folder / "holds.db"
    options = SqliteOptions(low_water_bytes=0, reserve_bytes=256 * KIB)
    reserve = Reserve(path.with_name("holds.db.reserve"), options.reserve_bytes, options.low_water_bytes)
    store = SqliteHoldStore(path, options)
    await store.open()
    assert reserve.held()
    acknowledged, error = await fill(store, 5000)
    assert isinstance(error, StoreFullError), error
    assert "disk is full" in str(error)
    assert reserve.held(), "adding must not use up the reserve"
    assert not store.status().accepting
    await check_holds(store, acknowledged)
    for hold_id in acknowledged[:20]:
        await apply_event(store, hold_id, Approve("reviewer-a", note="x" * 1500), at=START, undo_s=0)
    expired = await sweep(store, START + SLA_S, 5, limit=20)
    assert len(expired) == 20
    assert released, "the reserve was expected to be needed here"
    await store.close()
    # Without the filler the store works again, after a restart and with a new reserve.
    (folder / "filler").unlink()
    store = SqliteHoldStore(path, options)
    await store.open()
    assert reserve.held()
    counts = await store.counts()
    assert (counts[State.APPROVED], counts[State.EXPIRED]) == (20, 20)
    await store.add([make_hold(9_999)])
    await store.close()


async def under_a_file_size_limit(folder: Path) -> None:
    """The kernel refuses to let the file grow: nothing is acknowledged that is not stored, nothing is damaged."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (400 * KIB, 400 * KIB))
    options = SqliteOptions(low_water_bytes=0, reserve_bytes=0)
    store = SqliteHoldStore(folder / "holds.db", options)
    await store.open()
    acknowledged, error = await fill(store, 5000)
    assert "holds.db" in str(error), error
    await check_holds(store, acknowledged)
    await store.close()
    store = SqliteHoldStore(folder / "holds.db", options)
    await store.open()
    await check_holds(store, acknowledged)
    await store.close()


if __name__ == "__main__":
    work = {"disk": on_a_full_disk, "limit": under_a_file_size_limit}[sys.argv[1]]
    place = Path(sys.argv[2])
    if sys.argv[1] == "disk":
        (place / "filler").write_bytes(b"\0" * 512 * KIB)
    asyncio.run(work(place))
    print("checked")
