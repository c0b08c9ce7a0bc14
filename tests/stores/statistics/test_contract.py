"""What holds on every backend: SQLite, one Redis, Sentinel and a cluster of three."""

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.stores.statistics import MAX_BLOB, MAX_EVENTS, BucketKey, BucketWrite, StatisticsStore
from tests.stores.statistics.backends import Backend, entity, fresh_model, key, record, with_stores

NAMES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["a}b", "{", "{}", ":", "m e1", "\ud800", "%7B", "\0", "sales/été", "*", "gp:{x}"]),
)


def test_a_bucket_has_what_each_writer_wrote_last(backend: Backend) -> None:
    where = key(fresh_model())

    async def work(one: StatisticsStore, two: StatisticsStore) -> None:
        await one.put([BucketWrite(where, "a", b"1", 60), BucketWrite(where, "b", b"\0\xff", 60)])
        await two.put([BucketWrite(where, "a", b"12", 60)])
        await two.put([BucketWrite(where, "a", b"12", 60)])
        assert await one.read([where, where._replace(bucket=101)]) == [{"a": b"12", "b": b"\0\xff"}, {}]

    with_stores(work, backend.store(), backend.store())


def test_every_part_of_a_key_tells_buckets_apart(backend: Backend) -> None:
    where = key(fresh_model())
    keys = [
        where,
        where._replace(model=where.model + "x"),
        where._replace(series="moments"),
        where._replace(series="recent"),
        where._replace(series="c"),
        where._replace(version="ffffffff"),
        where._replace(resolution=3_600),
        where._replace(bucket=-1),
    ]

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(one, "w", b"%d" % place, 60) for place, one in enumerate(keys)])
        assert await store.read(keys) == [{"w": b"%d" % place} for place in range(len(keys))]

    with_stores(work, backend.store())


def test_many_buckets_are_written_and_read_at_once(backend: Backend) -> None:
    model = fresh_model()
    keys = [key(model, bucket) for bucket in range(300)]

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(one, "w", bytes(500) + b"%d" % one.bucket, 60) for one in keys])
        assert [found["w"][500:] for found in await store.read(keys)] == [b"%d" % n for n in range(300)]
        await store.put([])
        assert await store.read([]) == []

    with_stores(work, backend.store())


def test_a_blob_too_large_is_left_out_and_counted(backend: Backend) -> None:
    where = key(fresh_model())

    async def work(store: StatisticsStore) -> None:
        await store.put([BucketWrite(where, "a", bytes(MAX_BLOB + 1), 60), BucketWrite(where, "b", b"1", 60)])
        assert await store.read([where]) == [{"b": b"1"}]
        assert store.status().skipped == 1
        assert str(MAX_BLOB) in store.status().skipped_why

    with_stores(work, backend.store())


def test_a_state_changes_only_from_what_is_expected(backend: Backend) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        assert await store.state(model, "drift") is None
        assert not await store.swap(model, "drift", b"", b"1", 60)
        assert await store.swap(model, "drift", None, b"", 60)
        assert not await store.swap(model, "drift", None, b"1", 60)
        assert await store.state(model, "drift") == b""
        assert await store.swap(model, "drift", b"", b"\xff\0", 60)
        assert not await store.swap(model, "drift", b"", b"2", 60)
        assert await store.state(model, "drift") == b"\xff\0"
        assert await store.state(model, "other") is None
        with pytest.raises(ValueError, match="at most"):
            await store.swap(model, "drift", None, bytes(MAX_BLOB + 1), 60)

    with_stores(work, backend.store())


def test_of_two_that_swap_at_once_exactly_one_wins(backend: Backend) -> None:
    model = fresh_model()

    async def work(one: StatisticsStore, two: StatisticsStore) -> None:
        now: bytes | None = None
        for turn in range(20):
            states = [b"one %d" % turn, b"two %d" % turn]
            won = await asyncio.gather(
                one.swap(model, "drift", now, states[0], 60), two.swap(model, "drift", now, states[1], 60)
            )
            assert sorted(won) == [False, True]
            now = states[won.index(True)]
            assert await one.state(model, "drift") == now

    with_stores(work, backend.store(), backend.store())


def test_an_event_is_appended_once_whoever_reports_it(backend: Backend) -> None:
    model = fresh_model()

    async def work(one: StatisticsStore, two: StatisticsStore) -> None:
        assert await one.events(model) == []
        new = [await store.report(model, f"x0/{n}", b"%d" % n) for n in range(5) for store in (one, two)]
        assert new == [True, False] * 5
        raced = await asyncio.gather(*(store.report(model, "raced", b"r") for store in (one, two, one, two)))
        assert sorted(raced) == [False, False, False, True]
        expected = [("raced", b"r"), *((f"x0/{n}", b"%d" % n) for n in (4, 3, 2, 1, 0))]
        assert list(await two.events(model)) == expected
        assert list(await two.events(model, 2)) == expected[:2]
        assert list(await two.events(model, 0)) == []

    with_stores(work, backend.store(), backend.store())


def test_the_newest_thousand_events_are_kept(backend: Backend) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        for number in range(MAX_EVENTS + 5):
            assert await store.report(model, str(number), b"%d" % number)
        kept = await store.events(model, 10 * MAX_EVENTS)
        assert [name for name, _ in kept] == [str(number) for number in range(MAX_EVENTS + 4, 4, -1)]
        assert not await store.report(model, "5", b"again")

    with_stores(work, backend.store())


def test_an_entity_has_the_record_that_was_pushed_last(backend: Backend) -> None:
    model = fresh_model()

    async def work(one: StatisticsStore, two: StatisticsStore) -> None:
        await one.push(model, {entity(n): record(n) for n in range(300)}, 60)
        await two.push(model, {entity(7): record(1_000, 4)}, 60)
        await two.push(model, {}, 60)
        wanted = [entity(7), entity(999), entity(8), entity(7)]
        assert await one.pull(model, wanted) == [record(1_000, 4), None, record(8), record(1_000, 4)]
        assert await one.pull(fresh_model(), wanted) == [None] * 4
        assert await one.pull(model, []) == []

    with_stores(work, backend.store(), backend.store())


def test_of_more_entities_than_are_kept_the_oldest_go(backend: Backend) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        for start in range(0, 400, 40):
            await store.push(model, {entity(n): record(n) for n in range(start, start + 40)}, 60)
        kept = [found is not None for found in await store.pull(model, [entity(n) for n in range(400)])]
        assert all(kept[-100:])
        assert sum(kept) <= 120
        assert kept == sorted(kept)
        assert store.status().evicted == 400 - sum(kept)

    with_stores(work, backend.store(max_entities=100))


def test_a_single_push_of_more_than_is_kept_keeps_the_newest(backend: Backend) -> None:
    model = fresh_model()

    async def work(store: StatisticsStore) -> None:
        await store.push(model, {entity(n): record(5_000 - n) for n in range(5_000)}, 60)
        kept = [found is not None for found in await store.pull(model, [entity(n) for n in range(5_000)])]
        assert all(kept[:100])
        assert sum(kept) <= 120
        assert store.status().evicted == 5_000 - sum(kept)

    with_stores(work, backend.store(max_entities=100))


@pytest.mark.parametrize("records", [{b"short": record(1)}, {entity(1): bytes(61)}, {entity(1): b"123"}])
def test_a_record_of_another_length_is_refused(backend: Backend, records: dict[bytes, bytes]) -> None:
    async def work(store: StatisticsStore) -> None:
        with pytest.raises(ValueError, match="bytes"):
            await store.push(fresh_model(), records, 60)

    with_stores(work, backend.store())


def test_the_offset_tells_a_clock_that_is_wrong(backend: Backend) -> None:
    async def work(store: StatisticsStore) -> None:
        offsets = [await store.offset() for _ in range(12)]
        assert abs(offsets[-1] - (0 if backend.name == "sqlite" else 7_000)) < 5

    with_stores(work, backend.store(clock=lambda: time.time() - 7_000))


def test_the_status_counts_calls_and_a_second_close_does_nothing(backend: Backend) -> None:
    store = backend.store()

    async def work(store: StatisticsStore) -> None:
        before = store.status()
        await store.state("demand", "drift")
        await store.read([key("demand")])
        assert store.status() == replace(before, calls=before.calls + 2)
        assert (before.problem, before.since, before.failures) == ("", None, 0)
        assert before.backend in (backend.name, "redis")
        await store.close()

    with_stores(work, store)


@settings(max_examples=25)
@given(
    models=st.sets(NAMES, min_size=2, max_size=4),
    writers=st.sets(NAMES, min_size=1, max_size=3),
    data=st.data(),
)
def test_names_of_any_characters_stay_apart(
    backend: Backend, models: set[str], writers: set[str], data: st.DataObject
) -> None:
    root = fresh_model()
    one, two = (BucketKey(root + name, "counts", "00000000", 60, 1) for name in sorted(models)[:2])
    event_id = data.draw(NAMES)

    async def work(store: StatisticsStore) -> None:
        await store.put(
            [BucketWrite(one, writer, writer.encode("utf-8", "replace"), 60) for writer in writers]
        )
        await store.push(one.model, {entity(1): record(1)}, 60)
        await store.swap(one.model, event_id, None, b"1", 60)
        await store.report(one.model, event_id, b"event")
        assert await store.read([one, two]) == [
            {writer: writer.encode("utf-8", "replace") for writer in writers},
            {},
        ]
        assert await store.pull(two.model, [entity(1)]) == [None]
        assert (await store.state(one.model, event_id), await store.state(two.model, event_id)) == (
            b"1",
            None,
        )
        assert (await store.events(one.model), await store.events(two.model)) == ([(event_id, b"event")], [])

    with_stores(work, backend.store())


@settings(max_examples=15)
@given(
    turns=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 9), st.integers(1, 3)),
        max_size=20,
    )
)
def test_whatever_is_repeated_each_writer_counts_once(
    backend: Backend, turns: list[tuple[str, int, int, int]]
) -> None:
    model = fresh_model()
    totals: dict[tuple[int, str], int] = {}

    async def work(store: StatisticsStore) -> None:
        for writer, bucket, rows, times in turns:
            totals[bucket, writer] = totals.get((bucket, writer), 0) + rows
            write = BucketWrite(key(model, bucket), writer, b"%d" % totals[bucket, writer], 60)
            for _ in range(times):
                await store.put([write])
        found = await store.read([key(model, bucket) for bucket in range(3)])
        read = {(bucket, who): int(blob) for bucket, blobs in enumerate(found) for who, blob in blobs.items()}
        assert read == totals

    with_stores(work, backend.store())
