"""A real admin plane on loopback, in a thread with a loop of its own, so that a test can be a plain client."""

import asyncio
import http.client
import json
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from guardproxy.admin import AdminServices, Alert, Role, Token, TokenBook, make_app
from guardproxy.admin.tokens import digest_of
from guardproxy.holds import Hold
from guardproxy.stores import SqliteHoldStore, SqliteOptions
from guardproxy.table import Cell
from tests.holds.samples import START

T = TypeVar("T")

SECRETS = {
    "viewer-a": "viewer-secret",
    "reviewer-a": "reviewer-secret",
    "reviewer-b": "second-secret",
    "operator-a": "operator-secret",
}
BOOK = TokenBook(
    (
        Token("viewer-a", Role.VIEWER, digest_of(SECRETS["viewer-a"])),
        Token("reviewer-a", Role.REVIEWER, digest_of(SECRETS["reviewer-a"])),
        Token("reviewer-b", Role.REVIEWER, digest_of(SECRETS["reviewer-b"])),
        Token("operator-a", Role.OPERATOR, digest_of(SECRETS["operator-a"])),
    )
)
SMALL = SqliteOptions(reserve_bytes=0, low_water_bytes=0)
RULES: list[dict[str, Any]] = [
    {
        "rule": "demand-is-plausible", "model": "bike-demand", "mode": "enforce", "action": "hold", "severity": "high",
        "owner": "forecasting", "why": "Nobody hires more bikes than there are.", "file": "rules/bike.guard.yaml",
        "line": 12, "canary": None,
        "demoted": {"since": START, "action": "hold", "share": 0.4, "limit": 0.1, "window_s": 300.0, "rows": 900, "by": "rule"},
        "verdicts": {"ok": 9_410, "violated": 611, "unknown": 3, "error": 0},
    },
    {
        "rule": "humidity-was-learned", "model": "bike-demand", "mode": "shadow", "action": "warn", "severity": "low",
        "owner": "", "why": "", "verdicts": {"unknown": 7},
    },
    {
        "rule": "too-many-zeros", "model": "bike-demand", "mode": "enforce", "action": "warn", "severity": "medium",
        "window": {"state": "firing", "since": START, "firing_since": START, "for_s": 900.0, "message": "41% are <b>zero</b>"},
    },
    {
        "rule": "mean-moved", "model": "bike-demand", "mode": "enforce", "action": "warn", "severity": "medium",
        "window": {"state": "violated", "since": START, "firing_since": None, "for_s": 900.0, "message": "mean of 7"},
    },
    {
        "rule": "p99-moved", "model": "bike-demand", "mode": "enforce", "action": "warn", "severity": "medium",
        "window": {"state": "unknown", "since": None, "firing_since": None, "for_s": 0.0, "message": "warming up: it needs 1h of traffic"},
    },
]  # fmt: skip
WINDOWS = {
    "since": "2026-05-28T20:26:40Z",
    "models": [
        {
            "model": "bike-demand",
            "rows": 10_024,
            "outcomes": {"allowed": 9_380, "warned": 120, "replaced": 480, "held": 40, "rejected": 4},
            "fields": [
                {"field": "temperature", "count": 10_024, "missing": 12, "outside": 3, "mean": 14.21, "min": -7.5, "max": 38.0},
                {"field": "humidity", "count": 10_024, "missing": 0, "outside": 22, "mean": 0.628, "min": 0.0, "max": 1.0},
            ],
        }
    ],
}  # fmt: skip


def _cells(learned: list[float], hour: list[float] | None, day: list[float]) -> list[dict[str, Any]]:
    names = [
        "-7.5 to 4",
        "4 to 9",
        "9 to 14",
        "14 to 19",
        "19 to 26",
        "26 to 38",
        "below",
        "above",
        "missing",
        "type",
    ]
    return [
        {"cell": name, "learned": one, "low": max(one * 0.9 - 0.002, 0.0), "high": one * 1.1 + 0.002, "outside": hour is not None and abs(hour[at] - one) > 0.02, "1h": None if hour is None else hour[at], "24h": day[at]}
        for at, (name, one) in enumerate(zip(names, learned, strict=True))
    ]  # fmt: skip


_EVEN = [0.17, 0.17, 0.16, 0.17, 0.16, 0.16, 0.0001, 0.0001, 0.01, 0.0001]
SIGNALS: dict[str, Any] = {
    "models": [
        {
            "model": "bike-demand", "state": "alarm", "sentence": "temperature of bike-demand has moved up", "profile": "5de3f22a",
            "profile_state": "approved", "rows": {"1h": 812, "24h": 10_024}, "age_s": 1.2,
            "fields": [
                {
                    "field": "humidity", "state": "quiet", "sentence": "", "ordered": 6, "specials": 4,
                    "rows": {"1h": 812, "24h": 10_024}, "cells": _cells(_EVEN, _EVEN, _EVEN),
                },
                {
                    "field": "temperature", "state": "alarm",
                    "sentence": "moved up: 41 % of rows lie above 26, 16 % before (since 14:05)", "ordered": 6, "specials": 4,
                    "rows": {"1h": 812, "24h": 10_024},
                    "cells": _cells(_EVEN, [0.02, 0.05, 0.1, 0.17, 0.24, 0.41, 0.0, 0.0, 0.01, 0.0], _EVEN),
                },
                {
                    "field": "weather<script>", "state": "watch", "sentence": "", "ordered": 0, "specials": 4, "rows": {"1h": 0, "24h": 900},
                    "cells": [
                        {"cell": name, "learned": 0.3, "low": 0.2, "high": 0.4, "1h": None, "24h": 0.25}
                        for name in ("clear", "mist", "<b>rain</b>", "other", "unseen", "missing", "type")
                    ],
                },
                {"field": "station", "state": "unlearned", "sentence": "", "ordered": 0, "specials": 0, "rows": {}, "cells": []},
            ],
        }
    ]
}  # fmt: skip
DRIFT: dict[str, Any] = {
    "models": [
        {
            "model": "bike-demand",
            "alarm": {
                "raised_at": "2026-05-28T20:26:00Z", "message": "temperature of bike-demand has moved up", "evidence": 11.2,
                "fields": ["temperature"],
            },
            "fields": [
                {
                    "field": "temperature", "state": "alarm",
                    "alarm": {
                        "raised_at": "2026-05-28T20:26:00Z", "message": "moved up: 41 % of rows lie above 26, 16 % before", "effect": 0.42,
                        "direction": "up", "cells": [{"cell": "26 to 38", "before": 0.16, "now": 0.41}],
                    },
                    "rows": {"1h": 812, "24h": 10_024}, "effect": 0.42, "p": 0.0001, "margin": 0.0003,
                },
                {"field": "humidity", "state": "quiet", "alarm": None, "rows": {"1h": 812, "24h": 10_024}, "effect": 0.01, "p": 0.4, "margin": 0.9},
            ],
        },
        {"model": "other", "alarm": None, "fields": [{"field": "x", "state": "unlearned", "alarm": None}]},
    ]
}  # fmt: skip
OVERVIEW = {
    "ruleset": "9f2c41d0aa73",
    "unguarded": {"undecodable": 2, "fault": 1},
    "routes": [
        {
            "path": "/v2/models/bike-demand/infer",
            "model": "bike-demand",
            "protocol": "open-inference",
            "on_failure": "open, opaque closed",
            "buffer": False,
            "upstream": "http://127.0.0.1:9000",
        }
    ],
    "grpc": {
        "listen": "127.0.0.1:8082",
        "upstream": "127.0.0.1:8001",
        "routes": ["/v2/models/bike-demand/infer"],
        "calls": {"guarded": 12, "streamed": 3},
        "faults": 0,
    },
}


ROLLOUT: dict[str, Any] = {
    "reload": {
        "ok": True, "source": "files", "ruleset": {"bike-demand": "9f2c41d0aa73"}, "loaded_at": START, "age_s": 61.0,
        "checked_at": START, "seconds": 0.02, "results": {"changed": 1, "same": 0, "failed": 0}, "problems": [],
        "problems_total": 0, "text": "", "not_kept": "",
    },
    "candidate": {
        "ok": True, "source": "files", "ruleset": {"bike-demand": "b7e0c41d0a11"}, "loaded_at": START, "age_s": 61.0,
        "models": [
            {
                "model": "bike-demand", "active": "9f2c41d0aa73", "ruleset": "b7e0c41d0a11", "exchanges": 400, "differing": 4,
                "rows": [{"active": "allowed", "candidate": "held", "rows": 4}, {"active": "held", "candidate": "held", "rows": 9}],
                "rules": [{"rule": "demand-is-plausible", "added": 3, "removed": 1, "unknown": 0, "errors": 2}], "skipped": {"busy": 2}, "faults": 1,
            }
        ],
    },
    "breaker": [
        {
            "model": "bike-demand", "rule": "demand-is-plausible", "since": START, "action": "hold", "share": 0.4,
            "limit": 0.1, "window_s": 300.0, "rows": 900, "by": "rule",
        }
    ],
    "recording": None,
}  # fmt: skip
LIMITED = ("demand-is-plausible", "humidity-was-learned")


def check_override(hold: Hold, values: Mapping[str, Cell]) -> tuple[str, ...]:
    """A stand-in for the guard: bike demand above 977 is implausible."""
    demand = values.get("demand")
    return ("demand-is-plausible",) if isinstance(demand, (int, float)) and demand > 977 else ()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Served:
    """The running admin plane; `at` is its clock."""

    def __init__(self, path: Path, *, tokens: TokenBook, options: SqliteOptions, undo_s: float) -> None:
        self.at = START + 60
        self.ready: tuple[bool, list[str]] = (True, [])
        self.live = True
        self.changed: list[Hold] = []
        self.alerts: list[Alert] = []
        self.rearmed: list[tuple[str, str, str]] = []
        report = {"ok": True, "changed": True, "ruleset": {"bike-demand": "9f2c41d0aa73"}, "problems": [], "problems_total": 0, "text": "", "seconds": 0.1}  # fmt: skip
        self.reload: tuple[bool, dict[str, Any]] = (True, report)
        self.store = SqliteHoldStore(path, options)
        self.url = ""
        self.services = AdminServices(
            store=self.store,
            tokens=tokens,
            clock=lambda: self.at,
            undo_s=undo_s,
            live=lambda: self.live,
            ready=lambda: self.ready,
            metrics=lambda: b"guardproxy_requests_total 1\n",
            windows=lambda: WINDOWS,
            signals=lambda: SIGNALS,
            drift=lambda: DRIFT,
            rules=lambda: RULES,
            decision=lambda decision_id: {"id": decision_id} if decision_id == "dec_0001" else None,
            overview=lambda: OVERVIEW,
            check_override=check_override,
            changed=self.changed.append,
            degraded=lambda: [alert.title for alert in self.alerts],
            rollout=lambda: ROLLOUT,
            reload=self._reload,
            rearm=self._rearm,
            alerts=lambda: self.alerts,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner = web.AppRunner(make_app(self.services), access_log=None)

    async def _reload(self) -> tuple[bool, dict[str, Any]]:
        return self.reload

    def _rearm(self, model: str, rule: str, by: str) -> bool | None:
        if model != "bike-demand" or rule not in LIMITED:
            return None
        if rule != "demand-is-plausible":
            return False
        self.rearmed.append((model, rule, by))
        return True

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(
        self,
        method: str,
        path: str,
        who: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        """Send one request, with the token of `who`; a body that is not text or bytes goes as JSON."""
        sent = {**({"Authorization": f"Bearer {SECRETS[who]}"} if who else {}), **(headers or {})}
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def start(self) -> None:
        self._thread.start()
        self.run(self._start())

    def stop(self) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        await self.store.open()
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self.store.close()


@contextmanager
def serve(
    folder: Path,
    *,
    tokens: TokenBook = BOOK,
    options: SqliteOptions = SMALL,
    undo_s: float = 10.0,
) -> Iterator[Served]:
    """Serve the admin plane on a free port with a store in `folder`."""
    served = Served(folder / "holds.db", tokens=tokens, options=options, undo_s=undo_s)
    served.start()
    try:
        yield served
    finally:
        served.stop()
