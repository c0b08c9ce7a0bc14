"""The breakers of all models at run time: looked at after every flush, told about, set again by an operator.

Decides who hears of a change: the log and the webhooks. When a limit is exceeded is left to `stats.breaker`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from guardproxy.proxy.webhooks import Webhooks
from guardproxy.stats import Breaker, Change

log = structlog.get_logger("guardproxy.breaker")

MAX_RECENT: Final = 50


class Breakers:
    """The breaker of each model; `recent` holds the last changes, newest last."""

    def __init__(
        self, by_model: Mapping[str, Breaker], webhooks: Webhooks, clock: Callable[[], float]
    ) -> None:
        self.by_model = by_model
        self.recent: list[Change] = []
        self.now = clock
        self._webhooks = webhooks

    def look(self) -> None:
        """Compare what was counted with the limits, now."""
        now = self.now()
        for breaker in self.by_model.values():
            self.tell(breaker.look(now))

    def rearm(self, model: str, rule: str, by: str) -> bool | None:
        """Let a demoted rule act again; False when it is not demoted, None when there is no such rule with a limit."""
        breaker = self.by_model.get(model)
        if breaker is None or rule not in breaker.watched:
            return None
        change = breaker.rearm(rule, self.now())
        if change is None:
            return False
        self.tell([change], by=by)
        return True

    def tell(self, changes: Sequence[Change], by: str = "") -> None:
        """Log changes and send them to the webhooks."""
        for change in changes:
            said = _said(change)
            if change.tripped:
                log.warning("breaker.tripped", **said)
            else:
                log.info("breaker.rearmed", by=by, **said)
            self._webhooks.tell(
                "breaker",
                {
                    "state": "tripped" if change.tripped else "rearmed",
                    "at": change.at,
                    **said,
                    **({"by": by} if by else {}),
                },
            )
        self.recent = [*self.recent, *changes][-MAX_RECENT:]

    def tripped(self) -> list[dict[str, Any]]:
        """Return every demoted rule, in words."""
        return [
            {
                "model": model,
                "rule": rule,
                "since": state.at,
                "action": state.limit.action.name.lower(),
                "share": state.share,
                "limit": state.limit.share,
                "window_s": state.limit.window_s,
                "rows": state.rows,
                "by": "model" if state.by_model else "rule",
            }
            for model, breaker in self.by_model.items()
            for rule, state in breaker.tripped.items()
        ]


def _said(change: Change) -> dict[str, Any]:
    return {
        "model": change.model,
        "rule": change.rule,
        "cause": change.cause,
        "action": change.limit.action.name.lower(),
        "share": round(change.share, 4),
        "rows": change.rows,
        "limit": change.limit.share,
        "window_s": change.limit.window_s,
        "text": change.text,
    }
