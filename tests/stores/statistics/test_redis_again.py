"""What is written again after another server took over: the last writes, and only them."""

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.stats.rollup import SUM
from guardproxy.stores.redis_again import AGAIN_S, MAX_AGAIN, Again
from guardproxy.stores.statistics import BucketWrite
from tests.stores.statistics.backends import key


def test_of_each_bucket_and_writer_the_last_write_is_kept_for_its_time() -> None:
    again = Again()
    for second in range(40):
        write = BucketWrite(key("demand", second // 10), "w", b"%d" % second, 60)
        again.acknowledged([write, write._replace(writer="v")], float(second))
    kept = {(write.key.bucket, write.writer): write.blob for write in again.writes()}
    assert kept == {(bucket, who): b"%d" % (10 * bucket + 9) for bucket in range(4) for who in "vw"}
    again.acknowledged([], 19 + AGAIN_S + 0.5)
    assert {write.key.bucket for write in again.writes()} == {2, 3}
    again.acknowledged([], 1_000.0)
    assert again.writes() == []


def test_at_the_bound_the_oldest_are_let_go() -> None:
    again = Again()
    again.acknowledged([BucketWrite(key("demand", n), "w", b"", 60) for n in range(MAX_AGAIN + 10)], 0.0)
    assert [write.key.bucket for write in again.writes()] == list(range(10, MAX_AGAIN + 10))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("vw"), st.integers(0, 20)), max_size=40))
def test_what_is_kept_is_what_was_written_last(turns: list[tuple[int, str, int]]) -> None:
    again, now, last = Again(), 0.0, dict[tuple[int, str], tuple[float, bytes]]()
    for number, (bucket, writer, wait) in enumerate(turns):
        now += wait
        blob = b"%d" % number
        again.acknowledged([BucketWrite(key("demand", bucket), writer, blob, 60)], now)
        last[bucket, writer] = (now, blob)
    kept = {(write.key.bucket, write.writer): write.blob for write in again.writes()}
    assert kept == {name: blob for name, (at, blob) in last.items() if at >= now - AGAIN_S}


def test_a_sum_is_not_written_again_since_another_replica_may_have_a_newer_one() -> None:
    again = Again()
    own = BucketWrite(key("demand", 1), "w", b"1", 60)
    again.acknowledged([own._replace(writer=SUM), own], 0.0)
    assert again.writes() == [own]
