"""The admin application: the table of endpoints with its handlers, the gate before them, security headers on everything.

Decides what every response carries and how an error reaches a program (problem+json) or a person (a page). Listening is
left to whoever starts the process.
"""

from collections.abc import Awaitable, Callable
from traceback import extract_tb
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from guardproxy.admin.access import ENDPOINTS, Endpoint, Gate
from guardproxy.admin.api import Api, Handler
from guardproxy.admin.pages import Pages
from guardproxy.admin.problems import ProblemError, problem_of, problem_response
from guardproxy.admin.services import AdminServices

MAX_BODY: Final = 256 * 1024

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def make_app(services: AdminServices) -> web.Application:
    """Build the admin plane. It opens nothing by itself; the store must be open before it serves."""
    gate = Gate(services)
    pages = Pages(services, gate)
    handlers: dict[str, Handler] = {**Api(services).handlers, **pages.handlers}
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_errors(pages)])
    for endpoint in ENDPOINTS:
        handler = _gated(gate, endpoint, handlers[endpoint.name], pages)
        if endpoint.method == "GET":
            app.router.add_get(endpoint.path, handler, name=endpoint.name)
        else:
            app.router.add_route(endpoint.method, endpoint.path, handler, name=endpoint.name)
    app.on_response_prepare.append(_add_headers)
    return app


def _gated(
    gate: Gate, endpoint: Endpoint, handler: Handler, pages: Pages
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def gated(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request, await gate.admit(request, endpoint))
        except Exception as error:
            if not endpoint.page:
                raise
            return _page(pages, request, endpoint, error)

    return gated


def _page(pages: Pages, request: web.Request, endpoint: Endpoint, error: Exception) -> web.StreamResponse:
    if isinstance(error, web.HTTPException) and error.status < 400:
        raise error
    problem = _known(error, request)
    if problem.status == 401 and endpoint.method == "GET":
        return pages.ask_to_log_in(request)
    return pages.error(request, problem)


def _errors(pages: Pages) -> Middleware:
    @web.middleware
    async def errors(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            problem = problem_of(error)
        except Exception as error:  # noqa: BLE001 - the last line: logged, and a client hears no more than 500
            problem = _known(error, request)
        if "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/v1"):
            return pages.error(request, problem)
        return problem_response(problem)

    return errors


def _known(error: Exception, request: web.Request) -> ProblemError:
    """Return the problem of an error; a fault of ours is logged without any value of the rows it was about."""
    problem = problem_of(error)
    if problem.status >= 500:
        structlog.get_logger("guardproxy.admin").error(
            "admin_request_failed",
            method=request.method,
            path=request.path[:200],
            status=problem.status,
            error=type(error).__name__,
            detail=problem.detail,
            frames=[
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in extract_tb(error.__traceback__)[-6:]
            ],
        )
    return problem


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
