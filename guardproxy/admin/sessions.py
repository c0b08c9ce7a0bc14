"""Console sessions and the brake on wrong tokens.

Decides how long a session lives and how many wrong tokens one source may try. Both tables are bounded: the oldest entry
makes room. Times are Unix seconds and arrive as arguments.
"""

import ipaddress
import secrets
from dataclasses import dataclass
from typing import Final

from guardproxy.admin.tokens import Token

LIFETIME_S: Final = 12 * 3600.0
MAX_SESSIONS: Final = 1_000
TRIES: Final = 20
WINDOW_S: Final = 60.0
MAX_SOURCES: Final = 4_096


@dataclass(frozen=True, slots=True)
class Session:
    """A person who is logged in. `csrf` stands in every form of theirs."""

    id: str
    name: str
    sha256: str
    csrf: str
    expires_at: float


class Sessions:
    """All sessions, in memory: a restart logs everybody out."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def begin(self, token: Token, at: float) -> Session:
        """Start a session for the owner of `token`."""
        self._forget_expired(at)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        session = Session(
            secrets.token_urlsafe(32), token.name, token.sha256, secrets.token_urlsafe(32), at + LIFETIME_S
        )
        self._sessions[session.id] = session
        return session

    def find(self, session_id: str, at: float) -> Session | None:
        """Return a session that is still valid."""
        session = self._sessions.get(session_id)
        if session is not None and at >= session.expires_at:
            del self._sessions[session_id]
            return None
        return session

    def end(self, session_id: str) -> None:
        """Log out."""
        self._sessions.pop(session_id, None)

    def __len__(self) -> int:
        return len(self._sessions)

    def _forget_expired(self, at: float) -> None:
        # Sessions all live equally long, so the expired ones are the first ones.
        for session_id, session in list(self._sessions.items()):
            if at < session.expires_at:
                return
            del self._sessions[session_id]


class Brake:
    """Counts wrong tokens by source address; TRIES within WINDOW_S close the door until the window is over.

    While it is closed not even a right token opens it (else it would be no brake); sessions go on.
    """

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}
        self.refused = 0

    def wait_s(self, source: str, at: float) -> float:
        """Return how many seconds this source must wait; 0 when it may try."""
        start, wrong = self._windows.get(_network(source), (at, 0))
        left = start + WINDOW_S - at
        if wrong < TRIES or left <= 0:
            return 0.0
        self.refused += 1
        return left

    def wrong(self, source: str, at: float) -> None:
        """Count one wrong token."""
        key = _network(source)
        start, wrong = self._windows.pop(key, (at, 0))
        if at - start >= WINDOW_S:
            start, wrong = at, 0
        while len(self._windows) >= MAX_SOURCES:
            del self._windows[next(iter(self._windows))]
        self._windows[key] = (start, wrong + 1)


def _network(source: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that an IPv6 host usually owns whole."""
    try:
        address = ipaddress.ip_address(source.split("%", maxsplit=1)[0])
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)
