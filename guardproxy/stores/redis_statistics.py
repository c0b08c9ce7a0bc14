"""Statistics in Redis, shared by all replicas: plain commands on hashes, strings and one sorted set.

Decides what stands under each key and what a call does with a refusal. Names of keys are left to `redis_keys`, who serves
them to `redis_topology`, entities to `redis_entities`. A state is swapped by a script of one key: one round trip on any connection, so
that it follows a cluster's redirections like every other command (a WATCH would need a connection of its own and two).
"""

import os
import statistics
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Final, TypeVar

from redis.exceptions import RedisError, ResponseError

from guardproxy.errors import StoreError
from guardproxy.stores.names import plain_name, safe_name
from guardproxy.stores.patience import patience
from guardproxy.stores.redis_again import Again
from guardproxy.stores.redis_entities import fields_of, pull_records, push_records
from guardproxy.stores.redis_errors import HOPELESS, is_wrong_type, sentence
from guardproxy.stores.redis_keys import CLOCK, bucket_key, event_keys, shard_count, state_key
from guardproxy.stores.redis_links import Reply
from guardproxy.stores.redis_topology import Ask, make_topology
from guardproxy.stores.redis_urls import RedisAddress
from guardproxy.stores.standing import Clock, Standing
from guardproxy.stores.statistics import (
    MAX_BLOB,
    MAX_EVENTS,
    BucketKey,
    BucketWrite,
    StatisticsStatus,
    StoreDownError,
    check_blob,
    check_records,
)

T = TypeVar("T")

CALL_S: Final = 0.5
"""How long a call may take, connecting and finding the server included; then it is a StoreDownError."""
AT_ONCE: Final = 64
"""Most blobs that are written, or buckets that are read, in one go."""
EVENTS_KEEP_S: Final = 400 * 86_400
"""How long events stay after the last one."""
MAX_UNSURE: Final = 1_000
"""Of how many reports whose reply was lost this replica knows that they were its own; an older one reads as known."""
OFFSETS: Final = 9

_SWAP: Final = """\
local now = redis.call('GET', KEYS[1])
if (now == false and ARGV[1] == '0') or (now ~= false and ARGV[1] == '1' and now == ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
  return 1
end
return 0
"""


class RedisStatistics:
    """A `StatisticsStore` in Redis 6.2 or newer, or Valkey: one server, Sentinel or Cluster."""

    def __init__(
        self, address: RedisAddress, max_entities: int = 1_000_000, clock: Clock = time.time
    ) -> None:
        self._address = address
        self._shards = shard_count(max_entities)
        self._clock = clock
        self._standing = Standing(address.kind.value, clock)
        self._topology = make_topology(address)
        self._again = Again()
        self._changes = 0
        self._offsets = deque[float](maxlen=OFFSETS)
        # Says of an event that this replica appended it, so that a lost reply does not hide it from its webhook.
        self._token = os.urandom(8)
        self._unsure = deque[tuple[str, str]](maxlen=MAX_UNSURE)
        self._told = deque[tuple[str, str]](maxlen=MAX_UNSURE)

    async def open(self) -> None:
        """Try the server. Raises StoreError for a password or a permission it refuses; one that is away is no reason."""
        try:
            await self.offset()
        except StoreDownError as error:
            if isinstance(error.__cause__, HOPELESS):
                raise StoreError(str(error)) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._topology.close()

    def status(self) -> StatisticsStatus:
        """Say how the store is doing."""
        return self._standing.status()

    async def put(self, writes: Sequence[BucketWrite]) -> None:
        """Write blobs; see `StatisticsStore.put`. A bucket that holds another program's value is left out and counted.

        After another server took over, what was acknowledged shortly before is written again (see `redis_again`).
        """
        await self._call(self._put(writes))

    async def read(self, keys: Sequence[BucketKey]) -> Sequence[Mapping[str, bytes]]:
        """Return blobs by writer; see `StatisticsStore.read`. What is no blob is left out and counted."""
        return await self._call(self._read(keys))

    async def offset(self) -> float:
        """Return how far the server's clock is ahead; see `StatisticsStore.offset`."""
        return await self._call(self._offset())

    async def state(self, model: str, name: str) -> bytes | None:
        """Return a named state; see `StatisticsStore.state`."""
        return await self._call(self._state(state_key(model, name)))

    async def swap(self, model: str, name: str, expected: bytes | None, state: bytes, keep_s: int) -> bool:
        """Compare and set; see `StatisticsStore.swap`. False too, and counted, where another program's value stands."""
        check_blob(state, "a state")
        key, had = state_key(model, name), b"0" if expected is None else b"1"
        command = ("EVAL", _SWAP, 1, key, had, expected or b"", state, keep_s)
        (reply,) = await self._call(self._ask([Ask(key, command)]))
        return reply == 1

    async def report(self, model: str, event_id: str, event: bytes) -> bool:
        """Append an event once per id; see `StatisticsStore.report`. After a lost reply, the replica whose event it was hears
        True when it reports it again."""
        check_blob(event, "an event")
        name = (model, event_id)
        try:
            new = await self._call(self._report(model, event_id, event))
        except StoreDownError:
            if name not in self._unsure and name not in self._told:
                self._unsure.append(name)
            raise
        if new:
            self._told.append(name)
        return new

    async def events(self, model: str, limit: int = 100) -> Sequence[tuple[str, bytes]]:
        """Return the newest events first; see `StatisticsStore.events`."""
        return await self._call(self._events(model, max(0, min(limit, MAX_EVENTS))))

    async def pull(self, model: str, entities: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the record of each entity; see `StatisticsStore.pull`."""
        return await self._call(pull_records(self._ask, self._standing, model, entities, self._shards))

    async def push(self, model: str, records: Mapping[bytes, bytes], keep_s: int) -> None:
        """Write records by entity; see `StatisticsStore.push`."""
        check_records(records)
        await self._call(push_records(self._ask, self._standing, model, records, keep_s, self._shards))

    async def _put(self, writes: Sequence[BucketWrite]) -> None:
        await self._write(writes)
        if self._changes != self._topology.changes:
            changes = self._topology.changes
            await self._write(self._again.writes())
            await self._write(writes)
            self._changes = changes
        self._again.acknowledged(writes, time.monotonic())

    async def _write(self, writes: Sequence[BucketWrite]) -> None:
        for some in _slices(writes):
            asks = list[Ask]()
            for write in some:
                if len(write.blob) > MAX_BLOB:
                    self._standing.skip(f"a blob of more than {MAX_BLOB} bytes was not written")
                    continue
                key = bucket_key(write.key)
                asks.append(Ask(key, ("HSET", key, safe_name(write.writer), write.blob)))
                asks.append(Ask(key, ("EXPIRE", key, write.keep_s)))
            await self._ask(asks)

    async def _read(self, keys: Sequence[BucketKey]) -> list[Mapping[str, bytes]]:
        found = list[Mapping[str, bytes]]()
        for some in _slices(keys):
            names = [bucket_key(key) for key in some]
            replies = await self._ask([Ask(name, ("HGETALL", name)) for name in names])
            found.extend(dict(self._blobs(reply)) for reply in replies)
        return found

    def _blobs(self, reply: Reply) -> Iterator[tuple[str, bytes]]:
        for writer, blob in fields_of(reply):
            if len(blob) > MAX_BLOB:
                self._standing.skip(f"a blob of more than {MAX_BLOB} bytes was not read")
                continue
            yield plain_name(writer.decode("utf-8", "replace")), blob

    async def _offset(self) -> float:
        before = self._clock()
        (reply,) = await self._ask([Ask(CLOCK, ("TIME",))])
        after = self._clock()
        match reply:
            case [bytes(seconds), bytes(micros)] if seconds.isdigit() and micros.isdigit():
                self._offsets.append(int(seconds) + int(micros) / 1e6 - (before + after) / 2)
            case _:
                raise ResponseError("TIME gave no time")
        return statistics.median(self._offsets)

    async def _state(self, key: bytes) -> bytes | None:
        (reply,) = await self._ask([Ask(key, ("GET", key))])
        if not isinstance(reply, bytes):
            return None
        if len(reply) > MAX_BLOB:
            self._standing.skip(f"a state of more than {MAX_BLOB} bytes was not read")
            return None
        return reply

    async def _report(self, model: str, event_id: str, event: bytes) -> bool:
        order, events = event_keys(model)
        field = safe_name(event_id)
        commands = (
            # The id first: an event that has no place in the order would never be forgotten.
            ("ZADD", order, "NX", repr(self._clock()), field),
            ("HSETNX", events, field, self._token + event),
            ("EXPIRE", order, EVENTS_KEEP_S),
            ("EXPIRE", events, EVENTS_KEEP_S),
            ("ZCARD", order),
        )
        _, new, _, _, number = await self._ask([Ask(order, command) for command in commands])
        if isinstance(number, int) and number > MAX_EVENTS:
            await self._forget_events(order, events)
        if (model, event_id) not in self._unsure:
            return (
                new != 0
            )  # None: the key is somebody else's; an alarm told twice is better than one told never
        if new == 0:
            (stored,) = await self._ask([Ask(events, ("HGET", events, field))])
            new = int(isinstance(stored, bytes) and stored.startswith(self._token))
        self._unsure.remove((model, event_id))
        return new == 1

    async def _forget_events(self, order: bytes, events: bytes) -> None:
        (old,) = await self._ask([Ask(order, ("ZRANGE", order, 0, -MAX_EVENTS - 1))])
        ids = [field for field in old if isinstance(field, bytes)] if isinstance(old, list) else []
        if ids:
            await self._ask([Ask(events, ("HDEL", events, *ids)), Ask(order, ("ZREM", order, *ids))])

    async def _events(self, model: str, limit: int) -> list[tuple[str, bytes]]:
        order, events = event_keys(model)
        if not limit:
            return []
        (reply,) = await self._ask([Ask(order, ("ZREVRANGE", order, 0, limit - 1))])
        ids = [field for field in reply if isinstance(field, bytes)] if isinstance(reply, list) else []
        if not ids:
            return []
        (stored,) = await self._ask([Ask(events, ("HMGET", events, *ids))])
        return [
            (plain_name(field.decode("utf-8", "replace")), event[len(self._token) :])
            for field, event in zip(ids, stored if isinstance(stored, list) else (), strict=False)
            if isinstance(event, bytes) and len(event) <= MAX_BLOB + len(self._token)
        ]

    async def _ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask; what another program's value refuses is None and counted, any other refusal is raised."""
        replies = await self._topology.run(asks) if asks else []
        for place, reply in enumerate(replies):
            if not isinstance(reply, ResponseError):
                continue
            if not is_wrong_type(reply):
                raise reply
            self._standing.skip(
                f"the key {asks[place].key.decode('utf-8', 'replace')} holds what is not guardproxy's"
            )
            replies[place] = None
        return replies

    async def _call(self, work: Coroutine[object, object, T]) -> T:
        try:
            async with patience(CALL_S):
                result = await work
        except (RedisError, OSError) as error:
            problem = f"Redis at {self._shown()} {sentence(error)}"
            self._standing.failed(problem)
            raise StoreDownError(problem) from error
        self._standing.succeeded()
        return result

    def _shown(self) -> str:
        return ", ".join(f"{server.host}:{server.port}" for server in self._address.servers)


def _slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), AT_ONCE):
        yield values[start : start + AT_ONCE]
