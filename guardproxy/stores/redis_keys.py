"""The names of keys in Redis, and which shard an entity is in.

Decides that all counters of a model share one slot of a cluster and that its entities spread over all slots (what stands in
braces says the slot). What stands under a key is left to `redis_statistics`.
"""

from typing import Final
from zlib import crc32

from guardproxy.stores.names import safe_name
from guardproxy.stores.statistics import BucketKey

PREFIX: Final = "gp:"
CLOCK: Final = b"gp:clock"
"""No key; its slot says which server of a cluster is asked for the time, the same one by all replicas."""
SHARD_FILL: Final = 100
"""How many entities a shard has on average when a model has as many as are kept."""
SHARD_BOUND: Final = 120
"""Most entities of a shard: below the 128 fields up to which Redis keeps a hash packed. In all at most a fifth more than
`max_entities` are kept; of exactly that many, one in a thousand is forgotten because its shard is full."""

_SERIES: Final = {"counts": "c", "moments": "q", "recent": "r"}


def bucket_key(key: BucketKey) -> bytes:
    """Return the key of a bucket: a hash of blobs by writer."""
    series = _SERIES.get(key.series) or f"x-{safe_name(key.series)}"
    return f"{_model(key.model)}:{series}:{safe_name(key.version)}:{key.resolution}:{key.bucket}".encode()


def state_key(model: str, name: str) -> bytes:
    """Return the key of a named state: a string."""
    return f"{_model(model)}:state:{safe_name(name)}".encode()


def event_keys(model: str) -> tuple[bytes, bytes]:
    """Return the keys of a model's events: ids by time (a sorted set) and events by id (a hash)."""
    return f"{_model(model)}:events".encode(), f"{_model(model)}:event".encode()


def shard_count(max_entities: int) -> int:
    """Return how many shards a model's entities have. Another count is another place: it forgets what was known."""
    return max(1, -(-max_entities // SHARD_FILL))


def shard_key(model: str, entity: bytes, shards: int) -> bytes:
    """Return the key of the shard that an entity is in: a hash of records by id."""
    return f"{PREFIX}{{{safe_name(model)}:e{crc32(entity) % shards}}}:{shards}".encode()


def _model(model: str) -> str:
    return f"{PREFIX}{{{safe_name(model)}}}"
