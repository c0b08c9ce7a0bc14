"""What rules may know of a request beside its rows, from the moment it arrived.

Decides that rules see UTC. Callers come with the protocols that carry them.
"""

from datetime import UTC, datetime
from functools import lru_cache

from guardproxy.decision import RequestFacts


def facts_at(at: float, version: str | None = None) -> RequestFacts:
    """Return what rules may know of a request that arrived at `at` (Unix seconds), in UTC; `version` is the model's."""
    hour, weekday, date = _calendar(int(at // 3600))
    return RequestFacts(at, hour, weekday, date, None, version)


@lru_cache(maxsize=64)
def _calendar(hours: int) -> tuple[int, int, str]:
    moment = datetime.fromtimestamp(hours * 3600, UTC)
    return moment.hour, moment.weekday(), moment.date().isoformat()
