"""Keeps a bounded sample of screened exchanges and writes it to disk, minute by minute.

Decides what is dropped and under which reason it is counted, and that the request path pays next to nothing: an exchange that is
not drawn costs a lock and a comparison, one that is drawn is redacted and kept by reference, and all else happens in `flush`,
which is called in a thread. Whatever the disk does, serving goes on.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from threading import Lock
from types import MappingProxyType
from typing import Final

import structlog

from guardproxy.recording.draft import Draft, Redactor, size_of
from guardproxy.recording.encode import Encoder, header_line
from guardproxy.recording.options import Options
from guardproxy.recording.reservoir import SLICE_S, Reservoir, Slice
from guardproxy.recording.segments import Folder

log = structlog.get_logger("guardproxy.recording")

MAX_MODELS: Final = 256
STEP_S: Final = 300.0
"""An exchange that seems this much older than its minute means that the clock was set back."""
SWEEP_S: Final = 60.0

_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class RecorderStatus:
    """What a recorder has done since it was made.

    Once it is closed, `offered` is `written` and all of `dropped` together. `dropped` is by reason: `reservoir` (others were
    drawn), `too_large`, `pressure` (memory, rows or models at their bound), `redaction`, `disk`, `fault`. `deleted` counts
    files, by `age` and `size`. `trouble` says why nothing can be written at present. `redact_unmet` names the fields
    to redact that no recorded exchange had.
    """

    offered: int
    dropped: Mapping[str, int]
    written: int
    bytes: int
    segments: int
    deleted: Mapping[str, int]
    pending: int
    pending_bytes: int
    files: int
    disk_bytes: int
    trouble: str | None
    redact_unmet: tuple[str, ...]


class Recorder:
    """One process's recording. `offer` is for the thread that serves, `flush` and `close` for another."""

    def __init__(self, options: Options, rng: Random | None = None) -> None:
        """Record as `options` say. Nothing is touched on disk before the first flush. `rng` makes the choice repeatable."""
        self.options = options
        self._rng = Random() if rng is None else rng  # noqa: S311 - a sample needs no secrets
        self._redactor = Redactor(options.redact)
        self._folder = Folder(
            options.directory, options.max_bytes, options.max_age_s, options.low_water_bytes
        )
        self._slices: dict[str, Slice] = {}
        self._ends: dict[str, float] = {}
        self._closed: list[Slice] = []
        self._lock = Lock()
        self._writing = Lock()
        self._offered = 0
        self._kept_one = False
        self._written = 0
        self._pending_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._told: set[str] = set()
        self._trouble: str | None = None
        self._swept = float("-inf")

    def offer(self, model: str, at: float, loud: bool, make: Callable[[], Draft], rows: int = 1) -> bool:
        """Offer an exchange that began at `at` (Unix seconds); tell whether it is kept. Never raises, never waits for a disk.

        `make` is only called for an exchange that is drawn and whose `rows` are not too many, at once, and must not call the
        recorder.
        """
        with self._lock:
            one = self._slices.get(model)
            if one is None or not one.start - STEP_S <= at < one.start + SLICE_S:
                one = self._begin(model, at, one)
                if one is None:
                    return False
            reservoir = one.loud if loud else one.quiet
            place = reservoir.draw()
            return place is not None and self._take(one, reservoir, place, make, rows)

    def flush(self, now: float) -> int:
        """Write the minutes that are over at `now` and delete what is beyond the caps; return how many records were written."""
        with self._writing:
            with self._lock:
                over = [
                    one
                    for one in self._slices.values()
                    if not one.start - STEP_S <= now < one.start + SLICE_S
                ]
                for one in over:
                    self._end(one)
            return self._write_closed(now)

    def close(self) -> None:
        """Write all that is kept and finish the files."""
        with self._writing:
            with self._lock:
                for one in list(self._slices.values()):
                    self._end(one)
            self._write_closed(None)
            try:
                self._folder.close()
            except OSError as error:
                self._say(error)

    def status(self) -> RecorderStatus:
        """Return the counters."""
        with self._lock:
            waiting = [*self._slices.values(), *self._closed]
            dropped = dict(self._dropped)
            offered = self._offered + sum(one.seen for one in self._slices.values())
            pending = sum(1 for one in waiting for r in (one.quiet, one.loud) for _ in r.kept())
            unmet = self._redactor.unmet() if self._kept_one else ()
        folder = self._folder
        return RecorderStatus(
            offered,
            MappingProxyType(dropped),
            self._written,
            folder.written_bytes,
            folder.segments,
            MappingProxyType(dict(folder.deleted)),
            pending,
            self._pending_bytes,
            folder.files,
            folder.disk_bytes,
            self._trouble,
            unmet,
        )

    # ---------------------------------------------------------------- under the lock

    def _begin(self, model: str, at: float, old: Slice | None) -> Slice | None:
        if old is not None:
            self._end(old)
        elif len(self._ends) >= MAX_MODELS and model not in self._ends:
            self._offered += 1
            self._dropped["pressure"] += 1
            return None
        start = at - at % SLICE_S
        after = self._ends.get(model, start)
        # What took long to answer counts to the minute in which it ended: a minute that was written does not begin again.
        if after - SLICE_S - STEP_S <= at < after:
            start = after
        one = self._slices[model] = Slice(model, start, self.options.per_minute, self._rng)
        self._ends[model] = start + SLICE_S
        return one

    def _end(self, one: Slice) -> None:
        del self._slices[one.model]
        kept = sum(1 for _ in one.quiet.kept()) + sum(1 for _ in one.loud.kept())
        self._offered += one.seen
        self._dropped["reservoir"] += one.seen - kept - one.dropped
        if kept:
            self._closed.append(one)

    def _take(
        self, one: Slice, reservoir: Reservoir, place: int, make: Callable[[], Draft], rows: int
    ) -> bool:
        before = one.size
        one.clear(reservoir, place)
        self._pending_bytes += one.size - before
        reason = "too_large" if rows > self.options.max_rows else self._keep(one, reservoir, place, make)
        if reason:
            one.dropped += 1
            self._dropped[reason] += 1
        return not reason

    def _keep(self, one: Slice, reservoir: Reservoir, place: int, make: Callable[[], Draft]) -> str:
        """Keep an exchange; return the reason why not, or nothing."""
        step = "fault"
        try:
            draft = make()
            size = size_of(draft)
            reason = self._refused(one, draft.decision.rows, size)
            if not reason:
                step = "redaction"
                one.put(reservoir, place, self._redactor.keep(one.model, draft, size))
                self._pending_bytes += size
                self._kept_one = True
        except Exception as error:  # noqa: BLE001 - a record is not worth an answer; nothing unredacted is kept
            self._say_once(step, error)
            return step
        return reason

    def _refused(self, one: Slice, rows: int, size: int) -> str:
        options = self.options
        if rows > options.max_rows or size > options.max_record_bytes:
            return "too_large"
        full = self._pending_bytes + size > options.max_pending_bytes
        return "pressure" if full or one.rows + rows > options.max_slice_rows else ""

    # ---------------------------------------------------------------- in the writing thread

    def _write_closed(self, now: float | None) -> int:
        written = 0
        trouble: OSError | None = None
        while self._closed:
            one = self._closed[0]
            count = 0
            try:
                count = self._write(one)
            except OSError as error:
                trouble = error
                count = 0
            finally:
                with self._lock:
                    self._closed.pop(0)
                    self._pending_bytes -= one.size
                    self._written += count
            written += count
        if now is not None and not self._swept <= now < self._swept + SWEEP_S:
            self._swept = now
            try:
                self._folder.sweep(now)
            except OSError as error:
                trouble = trouble or error
        if written or trouble is not None:
            self._say(trouble)
        return written

    def _write(self, one: Slice) -> int:
        """Write a minute; return how many records that were. Raises OSError, with all of them counted as dropped."""
        kept = one.weighted()
        encoder, packer = Encoder(), _packer()
        parts: list[bytes] = []
        count = 0
        for record, weight in kept:
            try:
                parts.append(packer.compress(encoder.encode(record.finished(weight))))
                count += 1
            except Exception as error:  # noqa: BLE001 - one record that cannot be said must not cost the others
                self._say_once("fault", error)
        parts.append(packer.flush())
        header = _packer()
        first = header.compress(header_line(one.model, one.start)) + header.flush()
        try:
            self._folder.append(one.model, one.start, first, b"".join(parts))
        except OSError:
            self._drop("disk", count)
            raise
        finally:
            self._drop("fault", len(kept) - count)
        return count

    def _drop(self, reason: str, count: int) -> None:
        if count:
            with self._lock:
                self._dropped[reason] += count

    def _say(self, error: OSError | None) -> None:
        """Log that writing fails, or works again: once per change."""
        trouble = (
            None if error is None else (str(error) if error.errno is None else error.strerror or str(error))
        )
        if trouble is not None and self._trouble is None:
            log.error("recording.failed", folder=str(self.options.directory), error=trouble)
        elif trouble is None and self._trouble is not None:
            log.info("recording.recovered", folder=str(self.options.directory))
        self._trouble = trouble

    def _say_once(self, reason: str, error: Exception) -> None:
        """Log the first fault of a kind; of a value that may be redacted nothing is said."""
        if reason not in self._told:
            self._told.add(reason)
            log.error("recording.dropped", reason=reason, error=type(error).__name__)


def _packer() -> "zlib._Compress":
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
