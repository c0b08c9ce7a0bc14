"""Talking to the admin plane from a terminal.

Decides how an address and a token are given, and how a refusal or an unreachable server is reported. What is asked, and
how the answer is printed, is left to the commands.
"""

import http.client
import ipaddress
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from guardproxy.cli.output import printable

TIMEOUT_S: Final = 10
DEFAULT_ADMIN: Final = "http://127.0.0.1:8081"
MAX_ANSWER: Final = 64 * 1024**2
REFUSED: Final = 1

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin plane: its address without a trailing slash, and the token to show it (or None)."""

    url: str
    token: str | None

    def ask(
        self, path: str, *, body: dict[str, Any] | None = None, if_match: str | None = None
    ) -> tuple[dict[str, Any], str | None]:
        """Send one request (a POST when there is a body); return the JSON answer and its ETag.

        Ends the command with exit code 1 and a sentence when the server refuses or cannot be reached.
        """
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if if_match:
            headers["If-Match"] = if_match
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers)  # noqa: S310 - the scheme was checked
        try:
            with _opener(self.url).open(request, timeout=TIMEOUT_S) as response:
                return _answer(response.read(MAX_ANSWER + 1), self.url), response.headers.get("ETag")
        except urllib.error.HTTPError as error:
            _refused(error)
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
            _stop(
                f"{self.url} cannot be reached: {reason}", "is `guardproxy serve` running there? see --admin"
            )


def admin_options(command: _F) -> _F:
    """Add `--admin` and `--token-file` to a command, which gets them as one `admin`."""

    def admin(context: click.Context, _option: click.Parameter, token_file: Path | None) -> None:
        context.params["admin"] = Admin(_address(context.params["admin"]), _token(token_file))

    # The token's option comes last, when the address has been read.
    address = click.option(
        "--admin",
        default=DEFAULT_ADMIN,
        envvar="GUARDPROXY_ADMIN_URL",
        show_default=True,
        show_envvar=True,
        is_eager=True,
        help="The admin plane's address.",
    )
    token = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        expose_value=False,
        callback=admin,
        help="A file with the token; else the variable GUARDPROXY_TOKEN.",
    )
    return address(token(command))


def _address(text: str) -> str:
    try:
        parts = urllib.parse.urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise click.UsageError("--admin must be an address such as http://127.0.0.1:8081")
    return text.rstrip("/")


def _token(file: Path | None) -> str | None:
    if file is None:
        token = os.environ.get("GUARDPROXY_TOKEN", "").strip()
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(
                f"--token-file {file}: {getattr(error, 'strerror', '') or error}"
            ) from None
        if not token:
            raise click.UsageError(f"--token-file {file}: the file is empty")
    if not (token.isascii() and (token.isprintable() or not token)):
        raise click.UsageError("the token must be one line of plain ASCII")
    return token or None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return an opener that takes a token nowhere else: no redirects, and no proxy to this machine's own address."""
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if _loopback(urllib.parse.urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Follow none."""


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answer(data: bytes, url: str) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        _stop(f"{url} answers, but not as guardproxy's admin plane does", "see --admin")
    return answer


def _refused(error: urllib.error.HTTPError) -> NoReturn:
    try:
        said = json.loads(error.read(65_536))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        said = None
    detail = (said.get("detail") or said.get("title")) if isinstance(said, dict) else None
    help_ = "give a token: --token-file FILE, or the variable GUARDPROXY_TOKEN" if error.code == 401 else ""
    _stop(f"{error.code}: {printable(str(detail or error.reason), 1_000)}", help_)


def _stop(message: str, help_: str = "") -> NoReturn:
    click.echo(f"guardproxy: {message}" + (f"\n  {help_}" if help_ else ""), err=True)
    sys.exit(REFUSED)
