"""A recording on disk, written by the recorder itself from exchanges made by hand."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.guard import Guard
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.screen import judge_request, judge_response
from guardproxy.recording import Draft, Options, Recorder
from guardproxy.rules import Ruleset, View


def write_recording(
    folder: Path, ruleset: Ruleset, records: Sequence[Recorded], redact: tuple[str, ...] = ()
) -> Path:
    """Record exchanges as a proxy with these rules would have, none left out."""
    options = Options(folder, per_minute=20_000, low_water_bytes=0, redact=redact)
    recorder = Recorder(options, Random(1))
    guard = Guard(ruleset.model, make_codec("kserve-v1", CodecOptions()), ruleset)
    last = 0.0
    for one in records:
        draft = _draft(guard, one)
        assert recorder.offer(one.model, one.at, loud=False, make=lambda draft=draft: draft)  # type: ignore[misc]
        last = one.at
        recorder.flush(last)
    recorder.flush(last + 3_600)
    recorder.close()
    return folder


def _draft(guard: Guard, one: Recorded) -> Draft:
    def previous(by: tuple[str, ...], row: int) -> object:
        return one.previous[by][row] if by in one.previous else None

    view = View(one.features, None, one.facts, previous, one.identity)  # type: ignore[arg-type]
    verdicts, decision = judge_request(guard, view)
    predictions = one.predictions if decision is None else None
    if decision is None:
        decision = judge_response(guard, view._replace(output=one.predictions), verdicts)
    return Draft(
        one.id,
        one.facts,
        decision,
        one.features,
        predictions,
        one.previous,
        one.holds,
        one.identity or one.id.encode(),
    )
