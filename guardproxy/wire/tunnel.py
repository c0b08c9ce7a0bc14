"""A raw tunnel: after a 101 both connections carry bytes of another protocol, with backpressure and half-close both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from guardproxy.wire.upstream import UpstreamConnection


class Tunnel:
    """The two transports of an upgraded exchange. `done` hears once, with the bytes each way, when both have ended."""

    __slots__ = (
        "_client",
        "_done",
        "_ended",
        "_open",
        "_upstream",
        "from_client_bytes",
        "from_upstream_bytes",
    )

    def __init__(
        self, client: asyncio.Transport, upstream: UpstreamConnection, done: Callable[[Tunnel], None]
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._done = done
        self._open = True
        self._ended = 0
        self.from_client_bytes = 0
        self.from_upstream_bytes = 0
        upstream.tunnel = self

    @property
    def half_closed(self) -> bool:
        """Whether one side sends no more."""
        return self._ended > 0

    def from_client(self, data: bytes) -> None:
        """Bytes from the client go upstream."""
        self.from_client_bytes += len(data)
        self._upstream.send(data)

    def from_upstream(self, data: bytes) -> None:
        """Bytes from the upstream go to the client."""
        self.from_upstream_bytes += len(data)
        if not self._client.is_closing():
            self._client.write(data)

    def client_blocked(self, *, blocked: bool) -> None:
        """The client stopped (or began again) to read."""
        if blocked:
            self._upstream.pause_reading()
        else:
            self._upstream.resume_reading()

    def upstream_blocked(self, *, blocked: bool) -> None:
        """The upstream stopped (or began again) to read."""
        if self._client.is_closing():
            return
        if blocked:
            self._client.pause_reading()
        else:
            self._client.resume_reading()

    def client_ended(self) -> None:
        """The client sends no more."""
        transport = self._upstream.transport
        if transport is not None and not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()
        self._one_ended()

    def upstream_ended(self) -> None:
        """The upstream sends no more."""
        if not self._client.is_closing() and self._client.can_write_eof():
            self._client.write_eof()
        self._one_ended()

    def client_lost(self) -> None:
        """The client's connection is gone."""
        if self._upstream.transport is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.close()
        self._finish()

    def upstream_lost(self) -> None:
        """The upstream's connection is gone; what it sent is still delivered."""
        if not self._client.is_closing():
            self._client.close()
        self._finish()

    def abort(self) -> None:
        """Cut both connections."""
        self._client.abort()
        self._upstream.abandon()
        self._finish()

    def _one_ended(self) -> None:
        self._ended += 1
        if self._ended == 2:
            self._client.close()
            self._upstream.close()

    def _finish(self) -> None:
        if self._open:
            self._open = False
            self._done(self)
