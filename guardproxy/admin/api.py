"""The JSON API under /v1, health and metrics.

Decides parameters, bodies and headers. Who may call is left to `access`, what a decision does to `deciding`.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from guardproxy.admin.access import Principal
from guardproxy.admin.deciding import Wish, cells_from_json, decide, undo
from guardproxy.admin.openapi import document
from guardproxy.admin.problems import JSON, ProblemError, json_response
from guardproxy.admin.services import AdminServices
from guardproxy.admin.text import rfc3339
from guardproxy.admin.views import entry_json, hold_json, hold_summary
from guardproxy.holds import Hold, State
from guardproxy.stores import MAX_LIMIT, HoldFilter, Order

Handler = Callable[[web.Request, Principal | None], Awaitable[web.StreamResponse]]

DEFAULT_LIMIT: Final = 50
MAX_WORD: Final = 200
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ETAG: Final = re.compile(r'(?:W/)?"([0-9]{1,12})"|([0-9]{1,12})', re.ASCII)
_DECISION_KEYS: Final = frozenset({"decision", "values", "reason", "note", "force"})
_LIST_KEYS: Final = frozenset({"state", "queue", "model", "limit", "cursor", "order"})


class Api:
    """The handlers of the JSON API; `handlers` maps endpoint names to them."""

    def __init__(self, services: AdminServices) -> None:
        self._services = services
        self.handlers: Mapping[str, Handler] = {
            "livez": self._livez,
            "readyz": self._readyz,
            "metrics": self._metrics,
            "openapi": self._openapi,
            "list_holds": self._list_holds,
            "get_hold": self._get_hold,
            "list_events": self._list_events,
            "decide": self._decide,
            "undo": self._undo,
            "get_decision": self._get_decision,
            "list_rules": self._list_rules,
            "reload_rules": self._reload_rules,
            "rearm_rule": self._rearm_rule,
            "list_windows": self._list_windows,
            "list_drift": self._list_drift,
            "list_signals": self._list_signals,
            "list_routes": self._list_routes,
        }

    async def _livez(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        live = self._services.live()
        return json_response({"live": live}, status=200 if live else 503)

    async def _readyz(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        ready, reasons = self._services.ready()
        # What is degraded still serves: an orchestrator that took it out would make matters worse.
        body = {"ready": ready, "reasons": reasons, "degraded": list(self._services.degraded())}
        return json_response(body, status=200 if ready else 503)

    async def _metrics(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        return web.Response(body=self._services.metrics(), headers={"Content-Type": _METRICS_TYPE})

    async def _openapi(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        return json_response(document())

    async def _list_holds(self, request: web.Request, _principal: Principal | None) -> web.Response:
        unknown = set(request.query) - _LIST_KEYS
        if unknown:
            raise ProblemError(
                400, f"unknown parameter {min(unknown)[:60]!r}; there are {', '.join(sorted(_LIST_KEYS))}"
            )
        where = filter_of(request)
        order = _one_of(request.query.get("order", Order.PRIORITY), Order, "order")
        page = await self._services.store.list(
            where, order=order, limit=_limit(request), cursor=request.query.get("cursor")
        )
        counts = await self._services.store.counts(HoldFilter(queue=where.queue, model=where.model))
        return json_response(
            {
                "holds": [hold_summary(hold) for hold in page.holds],
                "counts": {state.value: number for state, number in counts.items()},
                "cursor": page.cursor,
            }
        )

    async def _get_hold(self, request: web.Request, principal: Principal | None) -> web.Response:
        person = _person(principal)
        hold = await self._services.store.get(request.match_info["id"])
        return json_response(hold_json(hold, person.role, person.name), headers=_etag(hold))

    async def _list_events(self, request: web.Request, _principal: Principal | None) -> web.Response:
        entries = await self._services.store.events(request.match_info["id"])
        return json_response({"events": [entry_json(entry) for entry in entries]})

    async def _decide(self, request: web.Request, principal: Principal | None) -> web.Response:
        rev = _if_match(request)
        if rev is None:
            raise ProblemError(428, "send `If-Match` with the revision you decided on (the ETag of the hold)")
        wish = _wish(await _json_body(request))
        hold = await decide(self._services, _person(principal), request.match_info["id"], wish, rev)
        return _settled(hold)

    async def _undo(self, request: web.Request, principal: Principal | None) -> web.Response:
        hold = await undo(self._services, _person(principal), request.match_info["id"], _if_match(request))
        return _settled(hold)

    async def _get_decision(self, request: web.Request, _principal: Principal | None) -> web.Response:
        decision = self._services.decision(request.match_info["id"])
        if decision is None:
            raise ProblemError(404, "this decision is not known, or no longer kept")
        return json_response(decision)

    async def _list_rules(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        return json_response({"rules": list(self._services.rules()), **self._services.rollout()})

    async def _reload_rules(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        ok, said = await self._services.reload()
        if not ok:
            raise ProblemError(422, "the rule files are refused; the rules from before are served on", **said)
        return json_response(said)

    async def _rearm_rule(self, request: web.Request, principal: Principal | None) -> web.Response:
        model, rule = request.match_info["model"], request.match_info["rule"]
        rearm(self._services, model, rule, _person(principal))
        return json_response({"model": model, "rule": rule, "demoted": False})

    async def _list_windows(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        return json_response(self._services.windows())

    async def _list_drift(self, request: web.Request, _principal: Principal | None) -> web.Response:
        models = list(self._services.drift()["models"])
        wanted = _word(request, "model")
        if wanted is not None:
            models = [said for said in models if said["model"] == wanted]
            if not models:
                raise ProblemError(404, "no such model is guarded here")
        return json_response({"models": models})

    async def _list_signals(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        return json_response(self._services.signals())

    async def _list_routes(self, _request: web.Request, _principal: Principal | None) -> web.Response:
        return json_response(self._services.overview())


def rearm(services: AdminServices, model: str, rule: str, person: Principal) -> None:
    """Let a demoted rule act again. Raises ProblemError 404 for a rule without a limit, 409 for one that is not demoted."""
    done = services.rearm(model, rule, person.name)
    if done is None:
        raise ProblemError(404, "no such rule of this model has a limit")
    if not done:
        raise ProblemError(409, "this rule is not demoted")


def filter_of(request: web.Request) -> HoldFilter:
    """Read `state` (repeated or with commas), `queue` and `model` from a query. Raises ProblemError 400."""
    words = [word for given in request.query.getall("state", []) for word in given.split(",") if word]
    states = tuple(dict.fromkeys(_one_of(word, State, "state") for word in words[: len(State) * 2]))
    return HoldFilter(states, _word(request, "queue"), _word(request, "model"))


def _one_of(word: str, kind: Any, what: str) -> Any:
    try:
        return kind(word)
    except ValueError:
        known = ", ".join(kind)
        raise ProblemError(400, f"`{what}` cannot be {word[:60]!r}; it is one of {known}") from None


def _word(request: web.Request, key: str) -> str | None:
    word = request.query.get(key) or None
    if word is not None and len(word) > MAX_WORD:
        raise ProblemError(400, f"`{key}` may have at most {MAX_WORD} characters")
    return word


def _limit(request: web.Request) -> int:
    given = request.query.get("limit", str(DEFAULT_LIMIT))
    if not (given.isascii() and given.isdigit() and len(given) <= 6 and 1 <= int(given) <= MAX_LIMIT):
        raise ProblemError(400, f"`limit` must be a whole number from 1 to {MAX_LIMIT}")
    return int(given)


def _if_match(request: web.Request) -> int | None:
    given = request.headers.get("If-Match")
    if given is None:
        return None
    match = _ETAG.fullmatch(given.strip())
    if match is None:
        raise ProblemError(400, '`If-Match` must be the revision of the hold, such as "7"')
    return int(match.group(1) or match.group(2))


async def _json_body(request: web.Request) -> dict[str, Any]:
    if request.content_type != JSON:
        raise ProblemError(415, "send the body as application/json")
    try:
        body = json.loads(await request.read(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ProblemError(400, "the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise ProblemError(400, "the body must be a JSON object")
    return body


def _refuse(word: str) -> float:
    raise ValueError(word)


def _wish(body: Mapping[str, Any]) -> Wish:
    unknown = set(body) - _DECISION_KEYS
    if unknown:
        raise ProblemError(
            422, f"unknown key {min(unknown)[:60]!r}; there are {', '.join(sorted(_DECISION_KEYS))}"
        )
    words = {key: body.get(key, "") for key in ("decision", "reason", "note")}
    for key, word in words.items():
        if not isinstance(word, str):
            raise ProblemError(422, f"`{key}` must be text")
    force = body.get("force", False)
    if not isinstance(force, bool):
        raise ProblemError(422, "`force` must be true or false")
    return Wish(**words, values=cells_from_json(body.get("values", {})), force=force)


def _settled(hold: Hold) -> web.Response:
    body = {"id": hold.id, "rev": hold.rev, "state": hold.state, "undo_until": rfc3339(hold.commit_at)}
    return json_response(body, headers=_etag(hold))


def _etag(hold: Hold) -> dict[str, str]:
    return {"ETag": f'"{hold.rev}"'}


def _person(principal: Principal | None) -> Principal:
    if principal is None:  # the table says a role is needed, so the gate has named one
        raise ProblemError(401, "a valid token is needed")
    return principal
