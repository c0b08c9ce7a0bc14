"""Which store of statistics an address names.

Decides it from the address alone; nothing is opened here. What each store does is left to `redis_statistics` and
`sqlite_statistics`.
"""

from pathlib import Path
from typing import Final

from guardproxy.stores.redis_urls import read_address
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import StatisticsStore

SQLITE: Final = "sqlite:///"


def sqlite_file(url: str) -> str | None:
    """Return the path of the file that `sqlite:///FILE` names, None for any other address."""
    return url.removeprefix(SQLITE) or None if url.startswith(SQLITE) else None


def open_statistics(
    url: str | None, holds_path: Path, password: str | None, max_entities: int
) -> StatisticsStore:
    """Return the store that `url` names, not opened yet; without one a SQLite file beside the one of the holds.

    `password` goes before one in the address; about `max_entities` are remembered per model. Raises StoreError with a
    sentence for an address that names no store.
    """
    if url is None:
        return SqliteStatistics(holds_path.with_name(f"{holds_path.stem}-statistics.db"), max_entities)
    file = sqlite_file(url)
    if file is not None:
        return SqliteStatistics(Path(file), max_entities)
    # Loaded where it is used: without Redis a start need not wait for its client.
    from guardproxy.stores.redis_statistics import RedisStatistics

    return RedisStatistics(read_address(url, password), max_entities)
