"""What every store of statistics promises: blobs by bucket, one writer per field, and small records by entity.

Decides the operations, their idempotence and their errors. What the blobs mean is left to `stats`, when they are written to
the proxy. Nothing here may be awaited by a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from guardproxy.errors import StoreError

ENTITY_ID_BYTES: Final = 8
MAX_BLOB: Final = 4 * 1024 * 1024
"""What a blob, a state or an event may have at most, in bytes: a larger one is refused, and left out where it is read."""
MAX_EVENTS: Final = 1_000
"""How many events of a model are kept; the oldest go."""
MAX_ENTITY_RECORD: Final = 60
"""What a record may have at most, in bytes: a hash of at most 64 bytes a value is kept packed by Redis."""


class StoreDownError(StoreError):
    """The store did not answer in time, or cannot be written; nothing is known of what was asked."""


class BucketKey(NamedTuple):
    """Names a bucket: `series` is `counts`, `moments` or `recent`; `version` the layout (8 hex digits); `resolution` its
    length in seconds; `bucket` the whole number floor(time / resolution)."""

    model: str
    series: str
    version: str
    resolution: int
    bucket: int


class BucketWrite(NamedTuple):
    """All that one writer has counted in a bucket so far. Writing it again, or again later with more, is harmless."""

    key: BucketKey
    writer: str
    blob: bytes
    keep_s: int


@dataclass(frozen=True, slots=True)
class StatisticsStatus:
    """How the store is doing: `problem` is empty while it answers; `since` is when it began to fail (Unix seconds).

    `skipped` counts values that were left out because they are nobody's statistics (another program's, too large), and
    `skipped_why` says of the last one what it was; `evicted` counts entities that were forgotten because there are too many.
    """

    backend: str
    problem: str = ""
    since: float | None = None
    calls: int = 0
    failures: int = 0
    skipped: int = 0
    skipped_why: str = ""
    evicted: int = 0


class StatisticsStore(Protocol):
    """Keeps statistics of all replicas. Every method but `status` raises StoreDownError when the store cannot do it."""

    async def open(self) -> None:
        """Make ready. Raises StoreError with a sentence for the operator only for what no waiting can mend (a bad address,
        a wrong password); a server that is away now is no reason not to start."""

    async def close(self) -> None:
        """Let go. A second call does nothing."""

    async def put(self, writes: Sequence[BucketWrite]) -> None:
        """Write blobs, each in place of what its writer wrote into that bucket before; safe to repeat."""

    async def read(self, keys: Sequence[BucketKey]) -> Sequence[Mapping[str, bytes]]:
        """Return the blobs of each bucket by writer; an empty mapping for a bucket that nobody wrote."""

    async def offset(self) -> float:
        """Return how many seconds the store's clock is ahead of this machine's: the median of the last nine measurements."""

    async def state(self, model: str, name: str) -> bytes | None:
        """Return a named state of a model, such as that of its drift detector, or None."""

    async def swap(self, model: str, name: str, expected: bytes | None, state: bytes, keep_s: int) -> bool:
        """Put a state in place of the one that is expected (None: there is none); False when it is another one."""

    async def report(self, model: str, event_id: str, event: bytes) -> bool:
        """Append an event, once per id whoever reports it; False when it was known. The newest 1,000 per model are kept."""

    async def events(self, model: str, limit: int = 100) -> Sequence[tuple[str, bytes]]:
        """Return a model's newest events with their ids, the newest first."""

    async def pull(self, model: str, entities: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return the record of each entity (ids of ENTITY_ID_BYTES), None where there is none. One round trip a node."""

    async def push(self, model: str, records: Mapping[bytes, bytes], keep_s: int) -> None:
        """Write records (at most MAX_ENTITY_RECORD bytes, Unix seconds u32 big-endian first) by entity; of more than the
        store keeps, those of the oldest time go."""

    def status(self) -> StatisticsStatus:
        """Say how the store is doing, without waiting for it."""


def check_blob(blob: bytes, what: str) -> None:
    """Raise ValueError when `blob` is larger than a store keeps."""
    if len(blob) > MAX_BLOB:
        raise ValueError(f"{what} has {len(blob)} bytes; at most {MAX_BLOB} are kept")


def check_records(records: Mapping[bytes, bytes]) -> None:
    """Raise ValueError when an entity's id or record has not the length that a store keeps."""
    for entity, record in records.items():
        if len(entity) != ENTITY_ID_BYTES:
            raise ValueError(f"the id of an entity has {len(entity)} bytes in place of {ENTITY_ID_BYTES}")
        if not 4 <= len(record) <= MAX_ENTITY_RECORD:
            raise ValueError(
                f"the record of an entity has {len(record)} bytes; 4 to {MAX_ENTITY_RECORD} are kept"
            )
