"""Who may call what, as one literal table, and the gate that holds every request to it.

Decides authentication (bearer token or session cookie), the role each endpoint needs, and the defence against requests
that another site makes a browser send. A route that is not in the table does not exist.
"""

import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from guardproxy.admin.problems import JSON, ProblemError
from guardproxy.admin.services import AdminServices
from guardproxy.admin.sessions import Brake, Session, Sessions
from guardproxy.admin.tokens import Role, Token

MAX_SECRET: Final = 512
CSRF_HEADER: Final = "X-CSRF-Token"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation: who may call it (None: everybody) and whether people see its errors as pages."""

    method: str
    path: str
    name: str
    role: Role | None
    page: bool = False


ENDPOINTS: Final = (
    Endpoint("GET", "/livez", "livez", None),
    Endpoint("GET", "/readyz", "readyz", None),
    Endpoint("GET", "/metrics", "metrics", None),
    Endpoint("GET", "/v1/openapi.json", "openapi", None),
    Endpoint("GET", "/v1/holds", "list_holds", Role.VIEWER),
    Endpoint("GET", "/v1/holds/{id}", "get_hold", Role.VIEWER),
    Endpoint("GET", "/v1/holds/{id}/events", "list_events", Role.VIEWER),
    Endpoint("POST", "/v1/holds/{id}/decision", "decide", Role.REVIEWER),
    Endpoint("POST", "/v1/holds/{id}/undo", "undo", Role.REVIEWER),
    Endpoint("GET", "/v1/decisions/{id}", "get_decision", Role.VIEWER),
    Endpoint("GET", "/v1/rules", "list_rules", Role.VIEWER),
    Endpoint("POST", "/v1/rules/reload", "reload_rules", Role.OPERATOR),
    Endpoint("POST", "/v1/rules/{model}/{rule}/rearm", "rearm_rule", Role.OPERATOR),
    Endpoint("GET", "/v1/windows", "list_windows", Role.VIEWER),
    Endpoint("GET", "/v1/drift", "list_drift", Role.VIEWER),
    Endpoint("GET", "/v1/signals", "list_signals", Role.VIEWER),
    Endpoint("GET", "/v1/routes", "list_routes", Role.VIEWER),
    Endpoint("GET", "/", "page_queue", Role.VIEWER, page=True),
    Endpoint("GET", "/holds/{id}", "page_hold", Role.VIEWER, page=True),
    Endpoint("POST", "/holds/{id}/decision", "form_decide", Role.REVIEWER, page=True),
    Endpoint("POST", "/holds/{id}/undo", "form_undo", Role.REVIEWER, page=True),
    Endpoint("GET", "/rules", "page_rules", Role.VIEWER, page=True),
    Endpoint("POST", "/rules/reload", "form_reload", Role.OPERATOR, page=True),
    Endpoint("POST", "/rules/{model}/{rule}/rearm", "form_rearm", Role.OPERATOR, page=True),
    Endpoint("GET", "/windows", "page_windows", Role.VIEWER, page=True),
    Endpoint("GET", "/signals", "page_signals", Role.VIEWER, page=True),
    Endpoint("GET", "/login", "page_login", None, page=True),
    Endpoint("POST", "/login", "form_login", None, page=True),
    Endpoint("POST", "/logout", "form_logout", Role.VIEWER, page=True),
    Endpoint("GET", "/static/{name}", "static", None),
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. `session` is None for a bearer token."""

    name: str
    role: Role
    session: Session | None = None

    @property
    def csrf(self) -> str:
        """What their forms carry."""
        return self.session.csrf if self.session else ""

    def may(self, role: Role) -> bool:
        """Tell whether they have at least this role."""
        return self.role >= role


class Gate:
    """Holds requests to the table. One per application; it owns the sessions and the brake."""

    def __init__(self, services: AdminServices) -> None:
        self._services = services
        self.sessions = Sessions()
        self.brake = Brake()
        self._everybody = Session(
            "", "anonymous", "", secrets.token_urlsafe(32), expires_at=float("inf")
        )  # with `auth: none`

    async def admit(self, request: web.Request, endpoint: Endpoint) -> Principal | None:
        """Return who may go on, None on a public endpoint. Raises ProblemError 401, 403 or 429."""
        self._check_host(request)
        if endpoint.role is None:
            if request.method not in _SAFE:
                _check_origin(request)
            return None
        principal = self.identify(request)
        if principal is None:
            raise ProblemError(
                401,
                "a valid token is needed: `Authorization: Bearer ...`, or log in to the console",
                headers={"WWW-Authenticate": 'Bearer realm="guardproxy"'},
            )
        if principal.session is not None and request.method not in _SAFE:
            await self._check_change(request, principal.session)
        if not principal.may(endpoint.role):
            raise ProblemError(
                403, f"this needs the role {endpoint.role.word}; {principal.name} has {principal.role.word}"
            )
        return principal

    def identify(self, request: web.Request) -> Principal | None:
        """Return who sent a request: by `Authorization` when there is one, else by cookie. Raises ProblemError 429."""
        if self._services.tokens.open_to_all:
            return Principal(self._everybody.name, Role.OPERATOR, self._everybody)
        lines = request.headers.getall("Authorization", [])
        if lines:
            scheme, _, secret = lines[0].partition(" ")
            if len(lines) > 1 or scheme.lower() != "bearer":
                return None
            token = self.check_secret(request, secret.strip())
            return None if token is None else Principal(token.name, token.role)
        session = self.sessions.find(request.cookies.get(cookie_name(request), ""), self._services.clock())
        if session is None:
            return None
        token = self._services.tokens.named(session.name, session.sha256)
        return None if token is None else Principal(token.name, token.role, session)

    def check_secret(self, request: web.Request, secret: str) -> Token | None:
        """Return the token of a secret. Wrong ones are counted by source. Raises ProblemError 429 after too many."""
        source, at = request.remote or "", self._services.clock()
        wait = self.brake.wait_s(source, at)
        if wait > 0:
            raise ProblemError(
                429, "too many wrong tokens from this address", headers={"Retry-After": str(int(wait) + 1)}
            )
        token = self._services.tokens.find(secret) if 0 < len(secret) <= MAX_SECRET else None
        if token is None:
            self.brake.wrong(source, at)
        return token

    async def _check_change(self, request: web.Request, session: Session) -> None:
        """Refuse a change that another site's page may have made the browser send.

        With `auth: none` a program has no session to take a token from. JSON from another site never comes without a
        preflight, which nothing here answers, so there the origin alone is checked.
        """
        if self._services.tokens.open_to_all and request.content_type == JSON:
            _check_origin(request)
        else:
            await _check_form(request, session)

    def _check_host(self, request: web.Request) -> None:
        """Without authentication the name a browser used must be loopback, or any web page could rebind its own."""
        if self._services.tokens.open_to_all and not _is_loopback(request.host):
            raise ProblemError(403, "with `auth: none` this answers to a loopback name only")


def cookie_name(request: web.Request) -> str:
    """Return the session cookie's name; browsers share cookies between ports, so the port is part of it."""
    sockname = request.transport.get_extra_info("sockname") if request.transport else None
    port = sockname[1] if isinstance(sockname, tuple) and len(sockname) > 1 else 0
    return f"guardproxy_{port}"


def _check_origin(request: web.Request) -> None:
    """Refuse what another site made the browser send."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise ProblemError(403, "this request came from another site")
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise ProblemError(403, "this request came from another site")


async def _check_form(request: web.Request, session: Session) -> None:
    """A cookie comes by itself, so a change must also carry the session's own token, in a header or a form field."""
    _check_origin(request)
    given = request.headers.get(CSRF_HEADER, "")
    if not given and request.content_type == "application/x-www-form-urlencoded":
        field = (await request.post()).get("csrf", "")
        given = field if isinstance(field, str) else ""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), session.csrf.encode()):
        raise ProblemError(403, "this form is out of date; load the page again")


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
