"""Errors of the admin plane as `application/problem+json` (RFC 9457).

Decides the shape and which exception has which status. Nothing of a traceback ever leaves the process.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from guardproxy.errors import GuardproxyError, StoreError
from guardproxy.holds import OverrideError

JSON: Final = "application/json"
RETRY_S: Final = 5


class ProblemError(Exception):
    """An answer that is an error: `status`, one sentence, and members that a program can read."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members


def problem_of(error: Exception) -> ProblemError:
    """Return the problem that an exception means to a client; what is not ours is a 500 that says nothing."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, OverrideError):
        return ProblemError(error.status, str(error), problems=list(error.problems))
    if isinstance(error, StoreError):
        return ProblemError(error.status, str(error), headers={"Retry-After": str(RETRY_S)})
    if isinstance(error, GuardproxyError):
        return ProblemError(error.status, str(error))
    if isinstance(error, web.HTTPException):
        allow = error.headers.get("Allow")
        return ProblemError(
            error.status,
            _SENTENCES.get(error.status, error.reason),
            headers={"Allow": allow} if allow else None,
        )
    return ProblemError(500, "guardproxy could not answer this; its log says why")


def problem_response(problem: ProblemError) -> web.Response:
    """Write a problem as a response."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.members,
    }
    return web.Response(
        status=problem.status,
        body=json.dumps(body).encode(),
        content_type="application/problem+json",
        headers=problem.headers,
    )


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Write a JSON answer. All text is ASCII with escapes, so what a model said cannot break a terminal."""
    return web.Response(
        status=status, body=json.dumps(body, default=str).encode(), content_type=JSON, headers=headers
    )


_SENTENCES: Final[Mapping[int, str]] = {
    404: "there is nothing at this address",
    405: "this address does not answer to that method",
    413: "the body is too large",
}
