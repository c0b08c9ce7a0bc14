"""A running guardproxy, as a value.

Decides when it is ready for traffic and when it counts as alive. Starting and stopping it is left to the package.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from guardproxy.admin import TokenBook
from guardproxy.config import Address, Config
from guardproxy.errors import ConflictError
from guardproxy.proxy.building import Built
from guardproxy.proxy.holding import Keeper
from guardproxy.proxy.plane import DataPlane
from guardproxy.stores import SqliteHoldStore
from guardproxy.wire import Server

if TYPE_CHECKING:
    from guardproxy.proxy.grpc import GrpcPlane

LAG_BUDGET_S: Final = 5.0


@dataclass(slots=True)
class Service:
    """A running guardproxy. `token` is the random operator token, when no tokens file was given."""

    config: Config
    built: Built
    store: SqliteHoldStore
    clock: Callable[[], float]
    tokens: TokenBook
    token: str | None
    server: Server | None = None
    grpc: "GrpcPlane | None" = None
    admin_port: int = 0
    open_holds: int = 0
    lag_s: float = 0.0
    beat: float = field(default_factory=time.monotonic)
    store_problem: str = ""
    hangup: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def plane(self) -> DataPlane:
        """The data plane."""
        return self.built.plane

    @property
    def keeper(self) -> Keeper:
        """What stores holds."""
        return self.built.keeper

    @property
    def console_url(self) -> str:
        """The console's address, with the token when it is a random one."""
        host = self.config.admin.host
        base = f"http://{Address(host if host not in {'0.0.0.0', '::'} else '127.0.0.1', self.admin_port)}/"  # noqa: S104
        return f"{base}?token={self.token}" if self.token else base

    def ready(self) -> tuple[bool, list[str]]:
        """Say whether traffic should be sent here, and why not."""
        reasons = []
        if self.plane.draining:
            reasons.append("draining")
        if self.server is None:
            reasons.append("starting")
        if self.store_problem and any(route.refuses_unstored for route in self.plane.routes):
            reasons.append(f"holds cannot be stored: {self.store_problem}")
        return not reasons, reasons

    def live(self) -> bool:
        """Say whether the event loop still turns."""
        return time.monotonic() - self.beat < LAG_BUDGET_S

    async def reload(self) -> tuple[bool, Mapping[str, Any]]:
        """Read all rule files now; say whether those of `rules` are served, with the full diagnosis of both sets."""
        rules, candidate = self.built.rules, self.built.candidate
        if rules is None:
            raise ConflictError("no rules are configured, so there is nothing to read")
        report = await rules.reload()
        said = report.as_json()
        if candidate is not None:
            said["candidate"] = (await candidate.reload()).as_json()
        return report.ok, said

    def reload_soon(self) -> None:
        """Read all rule files, as SIGHUP asks; the log says what came of it."""
        self.hangup.set()
