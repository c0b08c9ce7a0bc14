"""The console: pages made on the server, whole without JavaScript.

Decides what each page shows and where a form leads. What may be seen is left to `access`, words to `views`, looks to the
templates; everything a model or a client said is escaped by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from guardproxy.admin import cellchart, text
from guardproxy.admin.access import Gate, Principal, cookie_name
from guardproxy.admin.api import Handler, filter_of, rearm
from guardproxy.admin.deciding import Wish, cells_from_form, decide, undo
from guardproxy.admin.problems import ProblemError
from guardproxy.admin.rendering import TYPES, environment, rule_view, static_files, window_view
from guardproxy.admin.services import AdminServices
from guardproxy.admin.sessions import LIFETIME_S
from guardproxy.admin.signals import model_views, summary_of
from guardproxy.admin.tokens import Role, Token
from guardproxy.admin.views import (
    REASONS,
    actions_of,
    features_of,
    final_words,
    output_lines,
    reason_of,
    whys_of,
)
from guardproxy.holds import Hold, OverrideError, State
from guardproxy.stores import HoldFilter, Order

_WAITING: Final = (State.OPEN, State.DECIDING)
_FINAL: Final = tuple(state for state in State if state.terminal)
_VIEWS: Final[Mapping[str, tuple[tuple[State, ...], Order]]] = {
    "waiting": (_WAITING, Order.PRIORITY),
    "decided": (_FINAL, Order.RECENT),
    "all": ((), Order.RECENT),
}
_PAGE_SIZE: Final = 50
_FEATURES_SHOWN: Final = 12
MAX_ALERTS: Final = 20


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person typed into a decision form that could not be carried out."""

    notice: str = ""
    decision: str = ""
    reason: str = ""
    note: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    violated: tuple[str, ...] = ()


class Pages:
    """The console's handlers; `handlers` maps endpoint names to them."""

    def __init__(self, services: AdminServices, gate: Gate) -> None:
        self._services = services
        self._gate = gate
        self._static = static_files()
        self._templates = environment(self._static)
        self.handlers: Mapping[str, Handler] = {
            "page_queue": self._queue,
            "page_hold": self._hold,
            "form_decide": self._decide,
            "form_undo": self._undo,
            "page_rules": self._rules,
            "form_reload": self._reload,
            "form_rearm": self._rearm,
            "page_windows": self._windows,
            "page_signals": self._signals,
            "page_login": self._login,
            "form_login": self._log_in,
            "form_logout": self._log_out,
            "static": self._file,
        }

    def error(self, request: web.Request, problem: ProblemError) -> web.Response:
        """Show an error to a person."""
        try:
            principal = self._gate.identify(request)
        except ProblemError:
            principal = None
        return self._render(
            "error.html",
            principal,
            status=problem.status,
            headers=problem.headers,
            title=HTTPStatus(problem.status).phrase,
            detail=problem.detail,
        )

    def ask_to_log_in(self, request: web.Request) -> web.StreamResponse:
        """Log in by the `token` of the address, or lead to the login page and back again.

        A link from another site arrives without the strict cookie; one step from our own page brings it along.
        """
        if "token" in request.query:
            token = self._gate.check_secret(request, request.query["token"])
            return (
                self._login_failed(_place(request))
                if token is None
                else self._begin(request, token, _place(request))
            )
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            return self._render("continue.html", None, goal=_place(request))
        raise web.HTTPSeeOther(f"/login?{urlencode({'next': _place(request)})}")

    async def _queue(self, request: web.Request, principal: Principal | None) -> web.StreamResponse:
        if "token" in request.query:
            raise web.HTTPSeeOther(_place(request))
        view = request.query.get("view", "waiting")
        if view not in _VIEWS:
            raise ProblemError(400, f"there is no view {view[:60]!r}; there are {', '.join(_VIEWS)}")
        states, order = _VIEWS[view]
        asked = filter_of(request)
        page = await self._services.store.list(
            HoldFilter(asked.states or states, asked.queue, asked.model),
            order=order,
            limit=_PAGE_SIZE,
            cursor=request.query.get("cursor"),
        )
        chosen = {"queue": asked.queue or "", "model": asked.model or ""}
        kept = {key: value for key, value in chosen.items() if value}
        return self._render(
            "queue.html",
            principal,
            strip=await self._strip(),
            view=view,
            chosen=chosen,
            holds=[(hold, reason_of(hold)) for hold in page.holds],
            tabs=[(name, f"/?{urlencode({'view': name, **kept})}") for name in _VIEWS],
            more=page.cursor and f"/?{urlencode({'view': view, **kept, 'cursor': page.cursor})}",
        )

    async def _hold(self, request: web.Request, principal: Principal | None) -> web.StreamResponse:
        hold = await self._services.store.get(request.match_info["id"])
        return await self._show(principal, hold, Draft())

    async def _decide(self, request: web.Request, principal: Principal | None) -> web.StreamResponse:
        person = _person(principal)
        form = await _form(request)
        hold = await self._services.store.get(request.match_info["id"])
        draft = Draft(
            decision=form.get("decision", ""),
            reason=form.get("reason", ""),
            note=form.get("note", "").replace("\r\n", "\n"),
            fields={
                key.removeprefix("value:"): text for key, text in form.items() if key.startswith("value:")
            },
        )
        values, problems = cells_from_form(hold, draft.fields) if draft.decision == "override" else ({}, {})
        if problems:
            return await self._refused(
                person, draft, hold, ProblemError(422, "The values cannot be read."), problems
            )
        wish = Wish(draft.decision, values, draft.reason, draft.note, form.get("force") == "yes")
        try:
            after = await decide(self._services, person, hold.id, wish, _rev(form))
        except OverrideError as error:
            return await self._refused(person, draft, hold, ProblemError(422, str(error)))
        except ProblemError as problem:
            return await self._refused(person, draft, await self._services.store.get(hold.id), problem)
        raise web.HTTPSeeOther(f"/holds/{quote(after.id, safe='')}")

    async def _undo(self, request: web.Request, principal: Principal | None) -> web.StreamResponse:
        person = _person(principal)
        form = await _form(request)
        hold_id = request.match_info["id"]
        try:
            await undo(self._services, person, hold_id, _rev(form))
        except ProblemError as problem:
            return await self._refused(person, Draft(), await self._services.store.get(hold_id), problem)
        raise web.HTTPSeeOther(f"/holds/{quote(hold_id, safe='')}")

    async def _refused(
        self,
        person: Principal,
        draft: Draft,
        hold: Hold,
        problem: ProblemError,
        problems: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Show the hold as it is now, why the decision did not go through, and what was typed."""
        notice = problem.detail[:1].upper() + problem.detail[1:]
        kept = Draft(
            notice,
            draft.decision,
            draft.reason,
            draft.note,
            draft.fields,
            problems or {},
            tuple(problem.members.get("violated", ())),
        )
        return await self._show(person, hold, kept, status=problem.status)

    async def _show(
        self, principal: Principal | None, hold: Hold, draft: Draft, status: int = 200
    ) -> web.Response:
        person = _person(principal)
        features = features_of(hold)
        first = sum(1 for each in features if each.named or (each.line and each.line.outside))
        shown = max(first, _FEATURES_SHOWN)
        fallback, source = hold.fallback
        proposed = fallback or hold.original
        actions = actions_of(hold, person.role, person.name)
        whys = whys_of(hold)
        drawn = {line.field.rpartition(".")[2] for why in whys for line in why.lines}
        lines = [line for line in output_lines(hold) if line.field.rpartition(".")[2] not in drawn]
        return self._render(
            "hold.html",
            principal,
            status=status,
            strip=await self._strip(),
            hold=hold,
            draft=draft,
            whys=whys,
            lines=lines,
            passed=len(hold.findings) - len(whys),
            features=features[:shown],
            more_features=features[shown:],
            fallback=fallback,
            fallback_source=source,
            final_words=final_words(hold),
            entries=await self._services.store.events(hold.id),
            actions=actions,
            reasons=REASONS,
            may_force=person.may(Role.OPERATOR),
            prefill={
                name: draft.fields.get(name, text.exact(proposed.get(name, original)))
                for name, original in hold.original.items()
            },
            undo_s=self._services.undo_s,
        )

    async def _rules(self, _request: web.Request, principal: Principal | None) -> web.StreamResponse:
        return self._render(
            "rules.html",
            principal,
            strip=await self._strip(),
            rules=[rule_view(rule) for rule in self._services.rules()],
            rollout=self._services.rollout(),
            may_operate=_person(principal).may(Role.OPERATOR),
        )

    async def _reload(self, _request: web.Request, _principal: Principal | None) -> web.StreamResponse:
        await self._services.reload()
        # What came of it stands on top of the page, as it does for everybody else.
        raise web.HTTPSeeOther("/rules")

    async def _rearm(self, request: web.Request, principal: Principal | None) -> web.StreamResponse:
        rearm(self._services, request.match_info["model"], request.match_info["rule"], _person(principal))
        raise web.HTTPSeeOther("/rules")

    async def _windows(self, _request: web.Request, principal: Principal | None) -> web.StreamResponse:
        windows = self._services.windows()
        return self._render(
            "windows.html",
            principal,
            strip=await self._strip(),
            models=[window_view(model) for model in windows.get("models", ())],
            facts={key: value for key, value in windows.items() if not isinstance(value, (list, dict))},
            overview=self._services.overview(),
        )

    async def _signals(self, _request: web.Request, principal: Principal | None) -> web.StreamResponse:
        models = model_views(self._services.signals())
        return self._render(
            "signals.html",
            principal,
            strip=await self._strip(),
            models=models,
            summary=summary_of(models),
            width=cellchart.WIDTH,
            height=cellchart.HEIGHT,
        )

    async def _login(self, request: web.Request, _principal: Principal | None) -> web.StreamResponse:
        return self._render("login.html", None, next=_safe_next(request.query.get("next", "/")), failed=False)

    async def _log_in(self, request: web.Request, _principal: Principal | None) -> web.StreamResponse:
        form = await _form(request)
        goal = _safe_next(form.get("next", "/"))
        token = self._gate.check_secret(request, form.get("token", "").strip())
        return self._login_failed(goal) if token is None else self._begin(request, token, goal)

    async def _log_out(self, request: web.Request, principal: Principal | None) -> web.StreamResponse:
        if principal is not None and principal.session is not None:
            self._gate.sessions.end(principal.session.id)
        response = web.Response(status=303, headers={"Location": "/login"})
        response.del_cookie(cookie_name(request), path="/")
        return response

    async def _file(self, request: web.Request, _principal: Principal | None) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._static:
            raise web.HTTPNotFound
        return web.Response(
            body=self._static[name],
            headers={
                "Content-Type": TYPES[name.rpartition(".")[2]],
                "Cache-Control": "public, max-age=31536000, immutable",
            },
        )

    def _begin(self, request: web.Request, token: Token, goal: str) -> web.Response:
        session = self._gate.sessions.begin(token, self._services.clock())
        response = web.Response(status=303, headers={"Location": goal})
        response.set_cookie(
            cookie_name(request),
            session.id,
            httponly=True,
            samesite="Strict",
            secure=request.secure,
            path="/",
            max_age=int(LIFETIME_S),
        )
        return response

    def _login_failed(self, goal: str) -> web.Response:
        return self._render("login.html", None, status=401, next=_safe_next(goal), failed=True)

    async def _strip(self) -> dict[str, Any]:
        """Collect the numbers that stand on top of every page."""
        counts = await self._services.store.counts()
        oldest = await self._services.store.list(HoldFilter((State.OPEN,)), order=Order.OLDEST, limit=1)
        overview = self._services.overview()
        ready, reasons = self._services.ready()
        return {
            "open": counts[State.OPEN],
            "deciding": counts[State.DECIDING],
            "oldest": self._services.clock() - oldest.holds[0].created_at if oldest.holds else None,
            "unguarded": sum(overview.get("unguarded", {}).values()),
            "ruleset": str(overview.get("ruleset") or ""),
            "ready": ready,
            "reasons": reasons,
            "alerts": list(self._services.alerts())[:MAX_ALERTS],
        }

    def _render(
        self,
        template: str,
        principal: Principal | None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> web.Response:
        body = self._templates.get_template(template).render(
            principal=principal,
            csrf=principal.csrf if principal else "",
            now=self._services.clock(),
            open_to_all=self._services.tokens.open_to_all,
            **context,
        )
        return web.Response(
            body=body.encode("utf-8", "replace"),
            status=status,
            headers={"Content-Type": "text/html; charset=utf-8", **(headers or {})},
        )


def _place(request: web.Request) -> str:
    """Return the address asked for, without a token."""
    kept = [(key, value) for key, value in request.query.items() if key != "token"]
    return request.rel_url.raw_path + (f"?{urlencode(kept)}" if kept else "")


def _safe_next(goal: str) -> str:
    """Return a place of this console: an address that cannot lead to another host."""
    safe = goal.startswith("/") and not goal.startswith("//") and "\\" not in goal
    return goal if safe and goal.isascii() and goal.isprintable() and len(goal) <= 1_000 else "/"


async def _form(request: web.Request) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise ProblemError(415, "send the form as application/x-www-form-urlencoded")
    return {key: value for key, value in (await request.post()).items() if isinstance(value, str)}


def _rev(form: Mapping[str, str]) -> int:
    given = form.get("rev", "")
    if not (given.isascii() and given.isdigit() and len(given) <= 12):
        raise ProblemError(428, "the form has no revision; load the page again")
    return int(given)


def _person(principal: Principal | None) -> Principal:
    if principal is None:  # the table says a role is needed, so the gate has named one
        raise ProblemError(401, "a valid token is needed")
    return principal
