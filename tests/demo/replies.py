"""Replies as a client gets them from a guard that does everything right."""

import json
from collections import Counter

from guardproxy.demo.client import OUTCOMES, Reply
from guardproxy.demo.scenario import Step


def bodies(step: Step) -> tuple[bytes, bytes]:
    """The model's own body for a step, and what a perfect guard would serve."""

    def written(rows: frozenset[int]) -> bytes:
        columns = {"departures": 2.0, "p10": 1.0, "p90": 3.0}
        outputs = [
            {"name": name, "data": [value + (0.25 if row in rows else 0.0) for row in range(step.rows)]}
            for name, value in columns.items()
        ]
        return json.dumps({"outputs": outputs}).encode()

    return written(frozenset()), written(step.changed)


def perfect(step: Step) -> Reply:
    """What a client sees of a guard that does everything right."""
    if step.refused:
        body = b'{"error": "that is pascal"}'
        return Reply(422, "rejected", {"rejected": step.rows}, (), (), "d", "", body, 0.001, None, 0)
    counts = Counter(step.expected.values())
    counts["allowed"] = step.rows - counts.total()
    held = tuple(row for row, outcome in step.expected.items() if outcome == "held")
    direct, served = bodies(step)
    worst = max((outcome for outcome, rows in counts.items() if rows), key=OUTCOMES.index)
    holds = tuple(f"hld_{row}" for row in held)
    return Reply(
        200, worst, {o: r for o, r in counts.items() if r}, held, holds, "d", "", served, 0.001, direct, 1
    )
