"""Entities in Redis: packed records in hashes of a bounded size.

Decides which entities a full shard forgets: those whose record is the oldest. Names of shards are left to `redis_keys`.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final

from guardproxy.stores.redis_keys import SHARD_BOUND, shard_key
from guardproxy.stores.redis_links import Reply
from guardproxy.stores.redis_topology import Ask
from guardproxy.stores.standing import Standing
from guardproxy.stores.statistics import MAX_ENTITY_RECORD

Asking = Callable[[Sequence[Ask]], Awaitable[list[Reply]]]

SHARDS_AT_ONCE: Final = 100
"""Most shards that one write of a push is about: neither the server nor this loop is kept for more than a millisecond or two."""


async def pull_records(
    ask: Asking, standing: Standing, model: str, entities: Sequence[bytes], shards: int
) -> list[bytes | None]:
    """Return the record of each entity; what is no record is None and counted."""
    places = defaultdict[bytes, list[int]](list)
    for place, entity in enumerate(entities):
        places[shard_key(model, entity, shards)].append(place)
    replies = await ask(
        [Ask(key, ("HMGET", key, *(entities[place] for place in some))) for key, some in places.items()]
    )
    found: list[bytes | None] = [None] * len(entities)
    for some, reply in zip(places.values(), replies, strict=True):
        for place, record in zip(some, reply if isinstance(reply, list) else (), strict=False):
            if not isinstance(record, bytes):
                continue
            if 4 <= len(record) <= MAX_ENTITY_RECORD:
                found[place] = record
            else:
                standing.skip(f"a record of an entity has {len(record)} bytes and was not read")
    return found


async def push_records(
    ask: Asking, standing: Standing, model: str, records: Mapping[bytes, bytes], keep_s: int, shards: int
) -> None:
    """Write records; of a shard with more than SHARD_BOUND the oldest are deleted and counted."""
    by_shard = defaultdict[bytes, list[tuple[bytes, bytes]]](list)
    for entity, record in records.items():
        by_shard[shard_key(model, entity, shards)].append((entity, record))
    keys = list(by_shard)
    for start in range(0, len(keys), SHARDS_AT_ONCE):
        asks = list[Ask]()
        some = keys[start : start + SHARDS_AT_ONCE]
        for key in some:
            pairs = _newest(by_shard[key])
            standing.evicted += len(by_shard[key]) - len(pairs)
            words = (word for pair in pairs for word in pair)
            asks.append(Ask(key, ("HSET", key, *words)))
            asks.append(Ask(key, ("EXPIRE", key, keep_s)))
        replies = await ask(asks)
        grown = [key for key, new in zip(some, replies[::2], strict=True) if isinstance(new, int) and new > 0]
        standing.evicted += await _trim(ask, grown)


async def _trim(ask: Asking, keys: Sequence[bytes]) -> int:
    """Delete the oldest entities of those shards that are too full; return how many."""
    sizes = await ask([Ask(key, ("HLEN", key)) for key in keys])
    full = [
        key for key, size in zip(keys, sizes, strict=True) if isinstance(size, int) and size > SHARD_BOUND
    ]
    asks = list[Ask]()
    for key, reply in zip(full, await ask([Ask(key, ("HGETALL", key)) for key in full]), strict=True):
        oldest = sorted((record[:4], entity) for entity, record in fields_of(reply))[:-SHARD_BOUND]
        if oldest:
            asks.append(Ask(key, ("HDEL", key, *(entity for _, entity in oldest))))
    return sum(reply for reply in await ask(asks) if isinstance(reply, int))


def _newest(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what of a push to one shard it would keep."""
    if len(pairs) <= SHARD_BOUND:
        return pairs
    return sorted(pairs, key=lambda pair: pair[1][:4])[-SHARD_BOUND:]


def fields_of(reply: Reply) -> Iterator[tuple[bytes, bytes]]:
    """Return the fields and values that HGETALL said."""
    words = [word for word in reply if isinstance(word, bytes)] if isinstance(reply, list) else []
    return zip(words[::2], words[1::2], strict=False)
