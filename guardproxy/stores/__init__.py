"""Where state outlives a request.

Decides how holds are kept and that each changes exactly once. What a hold may become is left to `holds`.
"""

from guardproxy.stores.acts import apply_event, sweep
from guardproxy.stores.contract import (
    ALL_HOLDS,
    MAX_LIMIT,
    CursorError,
    HoldFilter,
    HoldStore,
    Order,
    Page,
    StoreFullError,
    StoreStatus,
)
from guardproxy.stores.sqlite import SqliteHoldStore, SqliteOptions

__all__ = [
    "ALL_HOLDS",
    "MAX_LIMIT",
    "CursorError",
    "HoldFilter",
    "HoldStore",
    "Order",
    "Page",
    "SqliteHoldStore",
    "SqliteOptions",
    "StoreFullError",
    "StoreStatus",
    "apply_event",
    "sweep",
]
