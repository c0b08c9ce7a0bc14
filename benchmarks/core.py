"""Screening alone: from bytes to a decision, without a socket. `python -m benchmarks.core [--out FILE]`.

The figure is the median over many short repeats of the processor time of one call, so a busy neighbour moves it little.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import case, mixed
from benchmarks.machine import describe
from guardproxy.decision import Outcome, Replacement
from guardproxy.guard import Guard, screen_request, screen_response
from guardproxy.message import Message
from guardproxy.proxy.facts import facts_at

REPEATS = 200


def main() -> None:
    """Run every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    out: Path | None = parser.parse_args().out
    profile = case.learned()
    results = [_measure(*item) for item in _cases(profile)]
    table = Table(
        "case", "median us", "p10", "p90", "bar us", title="screening alone, processor time of one call"
    )
    for item in results:
        table.add_row(
            item["case"],
            *(f"{item[k]:.1f}" for k in ("median_us", "p10_us", "p90_us")),
            f"{item['bar_us']:.0f}",
        )
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps({"machine": describe(), "results": results}, indent=2) + "\n")


def _cases(profile: Any) -> list[tuple[str, Callable[[], object], int, float]]:
    oip, split = case.guard("open-inference", profile), case.guard("mlflow", profile)
    small, large = case.open_inference(1), case.mlflow(1_000)
    bare, flat = case.guard("kserve-v1", profile), case.kserve(1)
    packed, binary, single = case.guard("binary", profile), case.binary(1_000), case.binary(1)
    facts = facts_at(1_700_000_000.0)
    request = screen_request(oip, Message(small[0]), facts)
    whole = screen_request(split, Message(large[0]), facts)
    floats = screen_request(packed, binary[0], facts)
    return [
        (
            "1 row x 20 features x 10 rules, open-inference: judged (tables at hand)",
            _judged(oip, small, facts),
            50,
            45.0,
        ),
        (
            "1 row x 20 features x 10 rules, open-inference: decoded and screened",
            _screened(oip, small, facts),
            50,
            45.0,
        ),
        ("  its request", lambda: screen_request(oip, Message(small[0]), facts), 50, 45.0),
        ("  its response", lambda: screen_response(oip, request, Message(small[1])), 50, 45.0),
        (
            "1 row x 20 features x 10 rules, kserve-v1: decoded and screened",
            _screened(bare, flat, facts),
            50,
            60.0,
        ),
        (
            "1,000 rows x 20 features x 10 rules, mlflow: decoded and screened",
            _screened(split, large, facts),
            3,
            1000.0,
        ),
        ("  its request", lambda: screen_request(split, Message(large[0]), facts), 3, 1000.0),
        ("  its response", lambda: screen_response(split, whole, Message(large[1])), 3, 1000.0),
        ("  3 of its rows patched", _patched(split, Message(large[1])), 3, 3000.0),
        (
            "1 row x 20 features x 10 rules, open-inference binary: decoded and screened",
            _screened(packed, single, facts),
            50,
            45.0,
        ),
        (
            "1,000 rows x 20 features x 10 rules, open-inference binary FP32: decoded and screened",
            _screened(packed, binary, facts),
            10,
            150.0,
        ),
        ("  its request", lambda: screen_request(packed, binary[0], facts), 10, 150.0),
        ("  its response", lambda: screen_response(packed, floats, binary[1]), 10, 150.0),
        ("  its request and response decoded", _decoded(packed, binary), 10, 150.0),
        ("  3 of its rows patched", _patched(packed, binary[1]), 20, 50.0),
        ("1 row x 20 features x 100 mixed rules: judged (tables at hand)", _mixed(profile, 1), 20, 150.0),
        ("1,000 rows x 20 features x 100 mixed rules: judged", _mixed(profile, 1_000), 1, 5000.0),
    ]


def _mixed(profile: Any, rows: int) -> Callable[[], object]:
    guard = mixed.guard(profile)
    return _screened(_ready(guard, *mixed.tables(rows)), (b"request", b"response"), facts_at(1_700_000_000.0))


def _screened(
    guard: Guard, bodies: tuple[bytes, bytes] | tuple[Message, Message], facts: Any
) -> Callable[[], object]:
    def run() -> object:
        screening = screen_request(guard, _message(bodies[0]), facts)
        return screen_response(guard, screening, _message(bodies[1]))

    decision = run().decision  # type: ignore[attr-defined]
    if decision.outcome is not Outcome.ALLOWED:
        raise SystemExit(f"the benchmark's rows are not clean: {decision.findings[:3]}")
    return run


def _message(body: bytes | Message) -> Message:
    return Message(body) if isinstance(body, bytes) else body


def _decoded(guard: Guard, messages: tuple[Message, Message]) -> Callable[[], object]:
    def run() -> object:
        rows = guard.codec.decode_request(messages[0]).rows
        return guard.codec.decode_response(messages[1], rows)

    return run


def _patched(guard: Guard, response: Message) -> Callable[[], object]:
    """Splice three new predictions into a response of 1,000."""
    patch = [Replacement(row, {"demand": 50.5}, "constant") for row in (3, 500, 900)]

    def run() -> object:
        return guard.codec.splice(response, 1_000, patch)

    if run() is response:
        raise SystemExit("the benchmark's patch changes nothing")
    return run


def _judged(guard: Guard, bodies: tuple[bytes, bytes], facts: Any) -> Callable[[], object]:
    """Screen with decoding taken out: the codec answers with tables made before."""
    codec = guard.codec
    features = codec.decode_request(Message(bodies[0]))
    predictions = codec.decode_response(Message(bodies[1]), features.rows)
    return _screened(_ready(guard, features, predictions), bodies, facts)


def _ready(guard: Guard, features: object, predictions: object) -> Guard:
    """Return a guard whose codec has its tables at hand."""

    class Ready:
        name = "ready"

        def decode_request(self, message: Message) -> object:  # noqa: ARG002
            return features

        def decode_response(self, message: Message, rows: int) -> object:  # noqa: ARG002
            return predictions

    return Guard(guard.model, Ready(), guard.ruleset, guard.profile)  # type: ignore[arg-type]


def _measure(name: str, run: Callable[[], object], calls: int, bar_us: float) -> dict[str, Any]:
    for _ in range(calls):
        run()
    times = []
    for _ in range(REPEATS):
        began = time.process_time_ns()
        for _ in range(calls):
            run()
        times.append((time.process_time_ns() - began) / calls / 1000)
    deciles = statistics.quantiles(times, n=10)
    return {
        "case": name,
        "median_us": statistics.median(times),
        "p10_us": deciles[0],
        "p90_us": deciles[-1],
        "bar_us": bar_us,
    }


if __name__ == "__main__":
    main()
