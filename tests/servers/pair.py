"""A pair: a real server, its real client, and guardproxy twice between them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.servers.processes import Client, Guarded, Running, free_port, guards, python_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass
class Pair:
    """A running server and guardproxy twice before it: with every rule in shadow, and with every rule enforced."""

    url: str
    shadow: Guarded
    enforce: Guarded
    client: Client


@contextmanager
def running_pair(
    environment: str,
    folder: Path,
    *,
    server: Sequence[str],
    ready: str,
    client: str,
    routes: Mapping[str, Mapping[str, Any]],
    rules: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
) -> Iterator[Pair]:
    """Run all of it in the environment of that name until the context ends.

    `server` are the arguments of `python -m`, in which PORT stands for the port; `ready` is the path that answers 200 once it is
    up; `client` is a module of `tests.servers.clients`; routes and rules are those of `guards`.
    """
    python = python_of(environment)
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        command = [python, "-m", *(port if part == "PORT" else part for part in server)]
        running = stack.enter_context(Running(command, folder, variables))
        called = stack.enter_context(Client(python, client))
        both = guards(stack, folder, url, routes, rules)
        running.answers(url + ready)
        yield Pair(url, *both, called)
