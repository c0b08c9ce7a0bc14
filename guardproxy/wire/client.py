"""One client connection: turns in order, one answer each, and the client's share of time and memory.

Decides who takes a turn (by the application's plan), when reading stops, and what has lasted too long. Parsing is
`reader`'s, bodies are the takers' in `turns`, what is said is `answers`'.
"""

from __future__ import annotations

import asyncio
import select
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from guardproxy.wire import framing
from guardproxy.wire.answers import ALLOW, AnsweringConnection
from guardproxy.wire.heads import HeadFault
from guardproxy.wire.plans import Collect, Forward, Reply, default_refusal
from guardproxy.wire.reader import SLICE, RequestReader
from guardproxy.wire.turns import Collecting, Discarding, Forwarding

if TYPE_CHECKING:
    from guardproxy.wire.server import Server
    from guardproxy.wire.turns import Turn

# Linux tells of a peer's end without reading up to it; elsewhere the timeouts end what nobody reads.
_HANG_UP: int | None = getattr(select, "POLLRDHUP", None)
# Protocols that carry requests: a tunnel for them would be a way around whatever looks at requests here.
_NEVER_TUNNELLED = (b"h2", b"http", b"tls")


class ClientConnection(AnsweringConnection):
    """The protocol of one accepted connection."""

    __slots__ = ("_advancing", "_backlog", "_blocked_since", "_feeding", "_idle_since", "_paused", "_served")

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._reader = RequestReader(server)
        self._advancing = False
        self._backlog = b""
        self._feeding = False
        self._paused = False
        self._served = 0
        self._idle_since = server.now
        self._blocked_since: float | None = None

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        if not self.server.admit(self):
            self._reader.deaf = True
            self._closing_since = self.server.now
            busy = replace(default_refusal(503, "too many connections"), close=True)
            self.write(framing.reply_block(busy, to_head=False, close=True, minor=1, date=self.server.date))
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            return
        reader = self._reader
        if reader.deaf:
            return
        if self._active is None and not self._backlog and not reader.turns and self._blocked_since is None:
            turn = reader.repeated(data)
            if turn is not None:
                self._active = turn
                self._start(turn)
                return
        if reader.held is not None:
            reader.held += data
            self.regulate()
        elif self._backlog or (len(data) > SLICE and not reader.is_one_body(len(data))):
            self._backlog += data
            self._feed_backlog()
        else:
            self._feed(data)

    def eof_received(self) -> bool | None:
        if self._tunnel is not None:
            self._tunnel.client_ended()
            return True
        if self._active is not None and self._closing_since is None:
            # Half-closed and closed look the same from here; like other proxies we take it for a hang-up.
            self._gone()
            self._transport.abort()
        return None

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a loss is a loss
        self.server.leave(self)
        if self._tunnel is not None:
            self._tunnel.client_lost()
        self._gone()

    def pause_writing(self) -> None:
        self._blocked_since = self.server.now
        self._tell_blocked(blocked=True)

    def resume_writing(self) -> None:
        self._blocked_since = None
        self._tell_blocked(blocked=False)
        self.advance()
        self.regulate()

    # ------------------------------------------------------------ the server's side

    @property
    def is_idle(self) -> bool:
        """No request is in flight or on its way in."""
        reader = self._reader
        return self._active is None and self._tunnel is None and not reader.turns and not reader.in_head

    def close_if_idle(self) -> None:
        """Close unless something is in flight."""
        if self.is_idle and self._closing_since is None:
            self._closing_since = self.server.now
            self._reader.deaf = True
            self._transport.close()

    def check_hang_up(self) -> None:
        """Whether a client that is not being read has hung up; then everything of it ends."""
        sock = self._transport.get_extra_info("socket")
        if self._lost or sock is None or sock.fileno() < 0 or _HANG_UP is None:
            return
        poll = select.poll()
        poll.register(sock.fileno(), _HANG_UP)
        if poll.poll(0):
            self._gone()
            self._transport.abort()

    def sweep(self, now: float, slack: float) -> None:
        """End what has lasted too long. `slack` is the clock's grain, so nothing ends early."""
        times = self.server.timeouts
        now -= slack
        if self._blocked_since is not None and now - self._blocked_since > times.client_write_s:
            self._expire()
        elif self._tunnel is not None:
            return
        elif self._closing_since is not None:
            flushed = not self._transport.get_write_buffer_size()
            if now - self._closing_since > (times.linger_s if flushed else times.client_write_s):
                self.abort()
        elif self._active is None:
            self._sweep_idle(now)
        else:
            self._sweep_body(self._active, now)

    # ------------------------------------------------------------ parsing and order

    def _feed(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except Exception as exc:  # noqa: BLE001  # a fault of ours must not leave the client waiting
            self._reader.deaf = True
            self.callback_failed(exc)
            return
        turns = self._reader.turns
        if self._active is None and len(turns) == 1 and turns[0].complete and not self._held_back:
            # The usual case: one whole request, and nothing in its way.
            self._active = turn = turns.popleft()
            self._start(turn)
        else:
            self.advance()
            self.regulate()

    def _feed_backlog(self) -> None:
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._backlog and not self._paused and not self._reader.deaf:
                self._feed_slices()
        finally:
            self._feeding = False

    def _feed_slices(self) -> None:
        """Parse what has come in, slice by slice, before anything is done about it; stop when enough requests wait."""
        reader = self._reader
        data, at = self._backlog, 0
        try:
            while at < len(data) and not reader.deaf and reader.held is None:
                size = len(data) - at if reader.is_one_body(len(data) - at) else SLICE
                reader.feed(data[at : at + size])
                at += size
                if len(reader.turns) > self.limits.max_pipelined:
                    break
        except Exception as exc:  # noqa: BLE001  # a fault of ours must not leave the client waiting
            reader.deaf = True
            self.callback_failed(exc)
            return
        self._backlog = data[at:]
        if reader.held is not None:
            reader.held += self._backlog
            self._backlog = b""
        self.advance()
        self.regulate()

    def advance(self) -> None:
        """Let the turn at the front go as far as it can, then the next."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._step():
                pass
        finally:
            self._advancing = False

    @property
    def _held_back(self) -> bool:
        """No further turn may begin: the client does not read its answers, or the connection is ending."""
        return self._blocked_since is not None or self._closing_since is not None or self._reader.deaf

    def _step(self) -> bool:
        """One step; False when there is nothing to do."""
        turn = self._active
        if turn is None:
            # A client that does not read its answers gets no further ones made.
            if not self._reader.turns or self._blocked_since is not None or self._closing_since is not None:
                return False
            self._active = turn = self._reader.turns.popleft()
            turn.fresh = False
            turn.restart_clock(self.server.now)
            self._start(turn)
        elif turn.fresh and turn.taker is not None:
            turn.fresh = False
            if turn.fault is not None:
                turn.taker.broken(turn.fault)
            else:
                turn.taker.more()
        else:
            return False
        return True

    def _start(self, turn: Turn) -> None:
        self._started = False
        head = turn.head
        if turn.fault is not None or head is None:
            self.refuse(turn, turn.fault or HeadFault(400, "malformed request"))
            return
        if head.method == b"OPTIONS" and head.get(b"max-forwards") == b"0":
            self.reply(turn, Reply(204, (ALLOW,)))
            return
        plan = self.guarded(self.server.app.plan, head, self.peer)
        if isinstance(plan, Forward):
            self.guarded(Forwarding(self, turn, head, plan).start)
        elif isinstance(plan, Collect):
            Collecting(self, turn, head, plan).start()
        elif plan is not None:
            self.reply(turn, plan)

    def finish_and_close(self) -> None:
        """The last answer is written: close, but let a client that still sends read it first."""
        if self._closing_since is not None or self._lost:
            return
        turn, reader = self._active, self._reader
        pending = reader.turns or reader.held or self._backlog or reader.in_head or self._paused
        whole = turn is not None and turn.complete and turn.fault is None and not pending
        self._closing_since = self.server.now
        reader.deaf = True
        reader.turns.clear()
        self._backlog = b""
        self._active = None
        if turn is not None:
            turn.taker = None
        if whole:
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.regulate()

    def turn_done(self) -> None:
        """The active turn is answered and its body is read."""
        if self._active is not None:
            self._active.taker = None
        self._active = None
        self._started = False
        self._served += 1
        self._idle_since = self.server.now
        if self._reader.held is not None:
            self._backlog = self._reader.unhold() + self._backlog
        if not self._advancing:
            self.advance()
            self.regulate()
        self._feed_backlog_later()

    def _feed_backlog_later(self) -> None:
        if self._backlog and not self._paused and self._active is None:
            asyncio.get_running_loop().call_soon(self._feed_backlog)

    @property
    def may_upgrade(self) -> bool:
        """Whether the active request stands at the end of what was parsed, and asks for a protocol that may be tunnelled."""
        turn = self._active
        if turn is None or turn.head is None or turn.head.upgrade is None or self._reader.held is None:
            return False
        tokens = [token.strip().lower() for token in turn.head.upgrade.split(b",")]
        return not any(token.startswith(_NEVER_TUNNELLED) for token in tokens)

    def regulate(self) -> None:
        """Read from the client, or stop, by what is waiting."""
        want = self._too_far_ahead()
        if want == self._paused or self._lost or self._transport.is_closing():
            return
        self._paused = want
        if want:
            self._transport.pause_reading()
            self.server.watch(self)
        else:
            self._transport.resume_reading()
            self.server.unwatch(self)
            if self._active is not None:
                # The time in which we did not read is not the client's.
                self._active.restart_clock(self.server.now)
            self._feed_backlog()

    def _too_far_ahead(self) -> bool:
        reader = self._reader
        if self._closing_since is not None:
            return False
        turn = self._active
        if turn is not None and not turn.complete and turn.taker is not None and not turn.taker.wants_body:
            return True
        if reader.turns and (
            len(reader.turns) > self.limits.max_pipelined or reader.queued_bytes > self.limits.max_ahead_bytes
        ):
            return True
        return reader.held is not None and len(reader.held) > self.limits.max_ahead_bytes

    # ------------------------------------------------------------ ends

    def _tell_blocked(self, *, blocked: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.client_blocked(blocked=blocked)
        elif self._active is not None and self._active.taker is not None:
            self._active.taker.client_blocked(blocked=blocked)

    def _gone(self) -> None:
        if self._lost:
            return
        self._lost = True
        turn, self._active = self._active, None
        self._reader.deaf = True
        self._reader.turns.clear()
        self._backlog = b""
        if turn is not None:
            self.server.hangups += not self._aborting
            if turn.taker is not None:
                turn.taker.gone()
                turn.taker = None

    def _expire(self) -> None:
        self.server.timeouts_hit += 1
        if self._tunnel is not None:
            self._tunnel.abort()
        else:
            self.abort()

    def _sweep_idle(self, now: float) -> None:
        times = self.server.timeouts
        reader = self._reader
        if reader.in_head:
            if now - max(reader.head_since, self._idle_since) > times.head_s:
                self._too_slow("the request head did not arrive in time")
        elif now - self._idle_since > (times.keepalive_s if self._served else times.head_s):
            self.close_if_idle()

    def _sweep_body(self, turn: Turn, now: float) -> None:
        if turn.complete or self._paused or turn.head is None:
            return
        times = self.server.timeouts
        age = now - turn.since
        if self._started:
            if age > times.body_s and isinstance(turn.taker, Discarding):
                self.finish_and_close()
            return
        came = turn.size - turn.mark
        slow = age > times.body_grace_s and came < times.body_rate * (age - times.body_grace_s)
        if slow or (age > times.body_s and isinstance(turn.taker, Collecting)):
            self._too_slow("the request body did not arrive in time")

    def _too_slow(self, detail: str) -> None:
        self.server.timeouts_hit += 1
        self._reader.time_out(HeadFault(408, detail), self._active)
        self.advance()
