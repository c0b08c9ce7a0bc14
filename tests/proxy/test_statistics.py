"""The keeper of the statistics: replicas share one view, whatever happens to them or to the store between."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guardproxy.proxy.store_breaker import LONGEST_WAIT_S, StoreBreaker
from guardproxy.stats.counts import unpack
from guardproxy.stats.rollup import DAY_S, HOUR_S, SUM
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import BucketKey, BucketWrite, StatisticsStore, StoreDownError
from guardproxy.table import Cell
from tests.harness.loop import run
from tests.proxy.keeping import MIDNIGHT, Clock, LossyStore, replica, stretch
from tests.stats.counted import profile, sample
from tests.stats.test_ledger import rolling

ROW: dict[str, Cell] = {"x": 1.5, "kind": "fish"}


@asynccontextmanager
async def kept(folder: Path, clock: Clock) -> AsyncIterator[LossyStore]:
    """Open a SQLite file that several replicas share."""
    store = SqliteStatistics(folder / "statistics.db", clock=clock)
    await store.open()
    try:
        yield LossyStore(store)
    finally:
        await store.close()


def test_replicas_see_each_others_rows_at_the_next_beat(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one, two = replica(store, clock, "0000000a"), replica(store, clock, "0000000b")
            one.model.add([sample(clock.now, [ROW] * 3, [1.0, 2.0, 3.0])])
            two.model.add([sample(clock.now, [ROW] * 2)])
            await one.beat()
            await two.beat()
            clock.now += 3
            await one.beat()
            assert [one.rows(name) for name in ("1h", "24h", "7d")] == [5, 5, 5]
            assert (one.rows(), two.rows()) == (5, 5)
            counted = one.model.snapshot.windows["1h"]
            span = one.model.layout.span("kind")
            assert span is not None
            assert dict(zip(span.cells.names, counted.counts[span.part].tolist(), strict=True))["fish"] == 5
            assert (counted.moments["output.demand"].n, counted.moments["output.demand"].mean) == (3, 2.0)
            assert one.model.snapshot.since == MIDNIGHT

    run(scenario())


def test_a_bucket_closes_after_its_end_and_the_grace_and_is_the_same_for_all(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one, two = replica(store, clock, "0000000a"), replica(store, clock, "0000000b")
            for second in range(0, 200, 20):
                clock.now = MIDNIGHT + second
                one.model.add([sample(clock.now, [ROW])])
                two.model.add([sample(clock.now, [ROW] * 2)])
                await one.beat()
                await two.beat()
            minute = int(MIDNIGHT // 60)
            clock.now = MIDNIGHT + 69.9
            fresh = replica(store, clock, "0000000c")
            await fresh.beat(3)
            assert fresh.closed() == []
            clock.now = MIDNIGHT + 70
            await fresh.beat()
            assert fresh.closed() == [(minute, 9)]
            clock.now = MIDNIGHT + 200
            for each in (one, two, fresh):
                await each.beat()
                assert each.closed() == [(minute, 9), (minute + 1, 9), (minute + 2, 9)]
                assert each.closed(minute) == [(minute + 1, 9), (minute + 2, 9)]

    run(scenario())


def test_a_row_that_comes_after_its_bucket_closed_still_shows_in_the_windows(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            one.model.add([sample(clock.now, [ROW])])
            await one.beat()
            clock.now += 600
            await one.beat()
            one.model.add([sample(MIDNIGHT, [ROW])])
            await one.beat()
            assert one.rows() == 2

    run(scenario())


def test_a_new_process_reads_back_what_the_windows_need(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock, "0000000a")
            for hour in range(30):
                clock.now = MIDNIGHT + hour * HOUR_S + 1_800
                one.model.add([sample(clock.now, [ROW])])
                await one.beat()
                clock.now = MIDNIGHT + (hour + 1) * HOUR_S + 15
                await one.beat()
            two = replica(store, clock, "0000000b")
            await two.beat(3)
            assert {name: two.rows(name) for name in ("1h", "24h", "7d")} == {"1h": 1, "24h": 24, "7d": 30}
            assert {name: one.rows(name) for name in ("1h", "24h", "7d")} == {"1h": 1, "24h": 24, "7d": 30}
            assert two.model.snapshot.since == MIDNIGHT

    run(scenario())


def test_any_replica_sums_up_hours_and_days_and_all_write_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one, two = replica(store, clock, "0000000a"), replica(store, clock, "0000000b")
            for minute in range(0, 1_440, 30):
                clock.now = MIDNIGHT + minute * 60
                one.model.add([sample(clock.now, [ROW] * 2, [1.0, 4.0])])
                two.model.add([sample(clock.now, [ROW], [0.1])])
                await one.beat()
                await two.beat()
            clock.now = MIDNIGHT + DAY_S + 11
            await one.beat()
            hour = await stretch(store, one.model, HOUR_S, int(MIDNIGHT // HOUR_S))
            day = await stretch(store, one.model, DAY_S, int(MIDNIGHT // DAY_S))
            await two.beat(2)
            assert await stretch(store, one.model, HOUR_S, int(MIDNIGHT // HOUR_S)) == hour
            clock.now += 120
            await two.beat(3)
            assert await stretch(store, one.model, DAY_S, int(MIDNIGHT // DAY_S)) == day
            outcomes = one.model.layout.outcomes
            assert list(hour) == list(day) == [SUM]
            assert unpack(hour[SUM], one.model.layout.size)[outcomes].sum() == 6
            assert unpack(day[SUM], one.model.layout.size)[outcomes].sum() == 144

    run(scenario())


def test_a_sum_is_not_made_smaller_when_its_minutes_have_expired(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock, "0000000a")
            one.model.add([sample(clock.now, [ROW] * 5)])
            await one.beat()
            clock.now = MIDNIGHT + HOUR_S + 15
            await one.beat()
            whole = await stretch(store, one.model, HOUR_S, int(MIDNIGHT // HOUR_S))
            clock.now = MIDNIGHT + 4 * HOUR_S
            one.model.add([sample(MIDNIGHT + 60, [ROW])])
            await one.beat(2)
            assert await stretch(store, one.model, HOUR_S, int(MIDNIGHT // HOUR_S)) == whole

    run(scenario())


@pytest.mark.parametrize("done", [False, True], ids=["lost", "reply lost"])
def test_an_outage_costs_no_row_and_counts_none_twice(tmp_path: Path, done: bool) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one, two = replica(store, clock, "0000000a"), replica(store, clock, "0000000b")
            for second in range(0, 400, 4):
                store.down, store.done = 90 <= second < 250, done
                clock.now = MIDNIGHT + second
                one.model.add([sample(clock.now, [ROW])])
                two.model.add([sample(clock.now, [ROW] * 2)])
                await one.beat()
                await two.beat()
            clock.now += 3
            await one.beat()
            status = one.keeper.status()
            assert (one.rows(), status.waiting_rows, status.lost_rows, status.outages) == (300, 0, 0, 1)
            assert dict(one.closed())[int(MIDNIGHT // 60) + 2] == 45

    run(scenario())


def test_while_the_store_is_away_it_is_left_alone_ever_longer(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            await one.beat()
            store.down = True
            store.calls.clear()
            tries = []
            for second in range(1, 101):
                clock.now = MIDNIGHT + second
                before = len(store.calls)
                await one.beat()
                assert len(store.calls) - before <= 1, "the first call that fails is the last of its beat"
                if len(store.calls) > before:
                    tries.append(second)
            assert tries == [1, 2, 4, 8, 16, 32, 62, 92]
            status = one.keeper.status()
            assert (status.problem, status.down_since) == ("the store is away", MIDNIGHT + 1)
            assert one.keeper.breaker.down_s() == 99
            store.down = False
            clock.now += LONGEST_WAIT_S
            await one.beat()
            assert one.keeper.status().problem == ""

    run(scenario())


def test_no_bucket_closes_right_after_an_outage_while_other_replicas_may_still_write(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            await one.beat(3)
            one.model.add([sample(clock.now, [ROW])])
            store.down = True
            clock.now += 30
            await one.beat()
            store.down = False
            clock.now += 50
            await one.beat()
            assert one.closed() == []
            clock.now += 36
            await one.beat()
            assert [rows for _, rows in one.closed()] == [1]

    run(scenario())


def test_after_an_outage_all_see_what_the_last_to_come_back_has_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            stores = [LossyStore(store.store) for _ in range(2)]
            one, two = (
                replica(each, clock, writer)
                for each, writer in zip(stores, ("0000000a", "0000000b"), strict=True)
            )
            for second in range(0, 900, 5):
                clock.now = MIDNIGHT + second
                for place, each in enumerate((one, two)):
                    # The second one comes back twenty seconds after the first.
                    stores[place].down = 120 <= second < 480 + 20 * place
                    each.model.add([sample(clock.now, [ROW])])
                    await each.beat()
            clock.now += 5
            for each in (one, two):
                await each.beat()
            assert (
                one.closed() == two.closed() == [(int(MIDNIGHT // 60) + minute, 24) for minute in range(14)]
            )

    run(scenario())


def test_a_store_that_has_lost_everything_gets_what_is_still_known(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            one.model.add([sample(clock.now + minute * 60, [ROW]) for minute in range(5)])
            clock.now += 300
            await one.beat()
            store.down = True
            await one.beat()
            store.down, store.store = False, SqliteStatistics(tmp_path / "empty.db", clock=clock)
            await store.store.open()
            clock.now += 2
            await one.beat(3)
            two = replica(store, clock, "0000000b")
            await two.beat(2)
            assert two.rows() == 5
            await store.store.close()

    run(scenario())


def test_a_store_that_is_emptied_while_it_answers_gets_what_is_still_known(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            one.model.add([sample(clock.now + minute * 60, [ROW]) for minute in range(5)])
            clock.now += 300
            await one.beat()
            store.store = SqliteStatistics(tmp_path / "empty.db", clock=clock)
            await store.store.open()
            one.model.add([sample(clock.now, [ROW])])
            for _ in range(5):
                clock.now += 20
                await one.beat()
            two = replica(store, clock, "0000000b")
            await two.beat(2)
            assert (one.rows(), two.rows()) == (6, 6)
            assert (one.keeper.losses, one.keeper.faults, one.keeper.breaker.outages) == (1, 0, 0)
            await store.store.close()

    run(scenario())


def test_a_store_that_forgets_again_and_again_is_not_written_whole_at_every_beat(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            for number in range(10):
                one.model.add([sample(clock.now, [ROW])])
                await one.beat()
                await store.store.close()
                store.store = SqliteStatistics(tmp_path / f"empty-{number}.db", clock=clock)
                await store.store.open()
                clock.now += 4
                await one.beat()
            assert one.keeper.losses == 2
            await store.store.close()

    run(scenario())


def test_clocks_that_differ_put_the_rows_of_one_moment_into_one_bucket(tmp_path: Path) -> None:
    class Ahead(LossyStore):
        """A store whose clock is four seconds ahead of the replica's."""

        offset_s = 4.0

        def __getattr__(self, name: str) -> Any:
            async def offset() -> float:
                return self.offset_s

            return offset if name == "offset" else super().__getattr__(name)

    async def scenario() -> None:
        clock = Clock(MIDNIGHT + 58)
        late = Clock(MIDNIGHT + 54)
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock, "0000000a")
            two = replica(Ahead(store.store), late, "0000000b")
            await two.beat()
            for _ in range(4):
                one.model.add([sample(clock.now, [ROW])])
                two.model.add([sample(late.now, [ROW])])
                clock.now += 1
                late.now += 1
            await one.beat()
            await two.beat()
            clock.now, late.now = MIDNIGHT + 200, MIDNIGHT + 196
            await one.beat()
            await two.beat()
            minute = int(MIDNIGHT // 60)
            assert one.closed() == two.closed() == [(minute, 4), (minute + 1, 4)]

    run(scenario())


def test_another_programs_bytes_are_left_out_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            key = BucketKey("demand", "counts", one.model.layout.version, 60, int(MIDNIGHT // 60))
            await store.put([BucketWrite(key, "ffffffff", b"nonsense", 60)])
            one.model.add([sample(clock.now, [ROW])])
            await one.beat()
            assert (one.rows(), one.model.damaged) == (1, 1)

    run(scenario())


def test_a_beat_that_fails_ends_no_other(tmp_path: Path) -> None:
    class Broken:
        """Something that fails."""

        async def beat(self, store: StatisticsStore, now: float) -> None:
            raise RuntimeError("nobody thought of that")

    class Told:
        """Something that is told the time."""

        times: list[float] = []  # noqa: RUF012

        async def beat(self, store: StatisticsStore, now: float) -> None:
            self.times.append(now)

    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            one.keeper.beats += [Broken(), Told()]
            await one.beat()
            assert (Told.times, one.keeper.status().faults) == ([MIDNIGHT], 1)
            assert one.keeper.status().broken == ("RuntimeError in Broken",)
            one.keeper.beats.pop(0)
            await one.beat()
            assert one.keeper.status().broken == ()

    run(scenario())


def test_a_beat_that_the_store_refuses_opens_no_breaker(tmp_path: Path) -> None:
    class Forbidden:
        """Something that uses a command which this user may not."""

        async def beat(self, store: StatisticsStore, now: float) -> None:
            raise StoreDownError("no permission to run EVAL")

    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock)
            one.keeper.beats.append(Forbidden())
            for _ in range(3):
                clock.now += 1
                one.model.add([sample(clock.now, [ROW])])
                await one.beat()
            status = one.keeper.status()
            assert (status.outages, status.waiting_rows, status.faults) == (0, 0, 3)

    run(scenario())


def test_rolling_functions_are_known_once_warm_and_unknown_when_the_snapshot_is_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            recents = rolling("recent_mean(output.demand, 5m)")
            one = replica(store, clock, "0000000a", recents=recents)
            two = replica(store, clock, "0000000b", recents=recents)
            (spelling,) = [each.spelling for each in recents.each]
            assert dict(one.model.recent(clock.now)) == {}
            for minute in range(6):
                clock.now = MIDNIGHT + 60 * minute + 30
                one.model.add([sample(clock.now, [ROW], [float(minute)])])
                two.model.add([sample(clock.now, [ROW], [float(minute)])])
                await one.beat()
                await two.beat()
                known = dict(one.model.recent(clock.now))
                assert bool(known) is (minute >= 5), (minute, known)
            clock.now += 3
            await one.beat()
            assert dict(one.model.recent(clock.now)) == {spelling: pytest.approx(np.mean([0, 1, 2, 3, 4, 5]))}
            assert one.model.stale_reads == 0
            assert dict(one.model.recent(clock.now + 181)) == {}
            assert one.model.stale_reads == 1

    run(scenario())


def test_a_new_profile_loses_no_hour_of_a_rolling_function(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            recents = rolling("recent_count(output.demand > 0, 6h)")
            old = replica(store, clock, "0000000a", recents=recents)
            old.model.add([sample(clock.now + 60 * minute, [ROW], [1.0]) for minute in range(60)])
            await old.beat()
            # The old process ends before the hour is over: nobody else counts by its profile.
            clock.now += HOUR_S + 20
            new = replica(store, clock, "0000000b", recents=recents, learned=profile(version="0000beef"))
            for minute in range(62, 6 * 60, 3):
                clock.now = MIDNIGHT + 60.0 * minute
                await new.beat()
            # By now the store has the hour alone, and no minute of it.
            clock.now = MIDNIGHT + 6 * HOUR_S + 30
            newest = replica(store, clock, "0000000c", recents=recents, learned=profile(version="0000beef"))
            await newest.beat(8)
            for each in (new, newest):
                assert list(each.model.rolling.values(clock.now).values()) == [60.0]
            assert newest.rows("24h") == 0

    run(scenario())


def test_a_clock_that_is_set_back_ends_the_wait_for_the_store() -> None:
    clock = Clock(1_000.0)
    breaker = StoreBreaker(clock)
    breaker.failed("away")
    assert not breaker.may_try()
    clock.now = 400.0
    assert breaker.may_try()


@pytest.mark.parametrize("bucket_s", [1.0, 8.0, 300.0, 3_600.0])
def test_buckets_of_any_length_that_divides_an_hour_do(tmp_path: Path, bucket_s: float) -> None:
    def moments() -> Iterator[float]:
        yield from (MIDNIGHT + second for second in range(0, 7_200, 300))

    async def scenario() -> None:
        clock = Clock()
        async with kept(tmp_path, clock) as store:
            one = replica(store, clock, "0000000a", bucket_s=bucket_s, grace_s=0.0)
            closed: dict[int, int] = {}
            for moment in (*moments(), MIDNIGHT + 7_200 + bucket_s):
                clock.now = moment
                if moment < MIDNIGHT + 7_200:
                    one.model.add([sample(moment, [ROW])])
                await one.beat()
                closed |= one.closed(max(closed, default=-1))
            two = replica(store, clock, "0000000b", bucket_s=bucket_s, grace_s=0.0)
            await two.beat(12)
            # The window may begin one bucket early.
            least = sum(moment >= clock.now - HOUR_S for moment in moments())
            most = sum(moment >= clock.now - HOUR_S - max(bucket_s, 60.0) for moment in moments())
            for each in (one, two):
                assert least <= each.rows() <= most
                assert [each.rows("24h"), each.rows("7d")] == [24, 24]
            assert sum(closed.values()) == 24

    run(scenario())
