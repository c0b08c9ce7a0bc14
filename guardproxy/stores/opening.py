"""Which store of statistics an address names.

Decides it from the address alone; nothing is opened here. What each store does is left to `redis_statistics` and
`sqlite_statistics`.
"""

from pathlib import Path
from typing import Final

from guardproxy.stores.redis_statistics import RedisStatistics
from guardproxy.stores.redis_urls import read_address
from guardproxy.stores.sqlite_statistics import SqliteStatistics
from guardproxy.stores.statistics import StatisticsStore

SQLITE: Final = "sqlite:///"


def open_statistics(
    url: str | None, holds_path: Path, password: str | None, max_entities: int
) -> StatisticsStore:
    """Return the store that `url` names, not opened yet; without one a SQLite file beside the one of the holds.

    `password` goes before one in the address; about `max_entities` are remembered per model. Raises StoreError with a
    sentence for an address that names no store.
    """
    if url is None:
        return SqliteStatistics(holds_path.with_name(f"{holds_path.stem}-statistics.db"), max_entities)
    if url.startswith(SQLITE) and len(url) > len(SQLITE):
        return SqliteStatistics(Path(url.removeprefix(SQLITE)), max_entities)
    return RedisStatistics(read_address(url, password), max_entities)
