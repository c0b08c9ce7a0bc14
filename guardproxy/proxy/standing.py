"""What a person should know at once: whatever is not as the configuration asks, in sentences.

Decides which states count as degraded. How loud they are shown is left to `admin`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from guardproxy.proxy.building import Built
from guardproxy.proxy.load import LAST_GOOD
from guardproxy.proxy.reload import RuleKeeper
from guardproxy.units import format_duration

MAX_FIRING: Final = 10
"""Window rules that are named one by one; all are on the page of rules."""
MAX_FIELDS: Final = 5
"""Fields of a drift alarm that its sentence names."""
UNMET_AFTER: Final = 100
"""Exchanges after which a field to redact that none of them had is taken for a misspelt one."""


class Alert(NamedTuple):
    """One sentence, with details to unfold. `level` is `bad` where what is served is not what was asked for, else `warn`."""

    level: str
    title: str
    detail: str = ""


def alerts_of(built: Built, now: float) -> list[Alert]:
    """Return everything that is not as it should be, the worst first."""
    alerts = [_refused(keeper, now) for keeper in built.rule_keepers if not keeper.ok]
    alerts += [
        Alert(
            "warn",
            f"Rule {state['rule']} of {state['model']} has only warned for {_age(now - state['since'])}: {_why(state)}.",
            "It acts again by itself once it has calmed down, when it is changed, or when an operator re-arms it.",
        )
        for state in built.breakers.tripped()
    ]
    alerts += _of_statistics(built, now)
    alerts += _of_drift(built)
    alerts += _of_window_rules(built, now)
    alerts += _of_recording(built)
    if built.rules is not None and built.rules.kept_problem:
        alerts.append(
            Alert("warn", f"The rules cannot be kept for the next start: {built.rules.kept_problem}.")
        )
    return sorted(alerts, key=lambda alert: alert.level != "bad")


def _of_statistics(built: Built, now: float) -> list[Alert]:
    status = built.statistics.status()
    if status.broken:
        return [
            Alert(
                "warn",
                f"The statistics do not go on: an error of guardproxy's own ({', '.join(status.broken)}).",
                f"The log has it as statistics.failed. Requests are served as ever; {status.waiting_rows:,} rows wait to be written.",
            )
        ]
    if status.down_since is None:
        return []
    waits = f"{status.waiting_rows:,} rows wait until it does, {status.lost_rows:,} were lost"
    return [
        Alert(
            "warn",
            f"The store of statistics does not answer: {status.problem.rstrip('.')}.",
            f"It began {_age(now - status.down_since)} ago. Requests are served as ever; {waits}. Once the last statistics are old, rolling functions are unknown.",
        )
    ]


def _of_drift(built: Built) -> list[Alert]:
    found = {model: keeper.found.alarm for model, keeper in built.watchers.drift.items()}
    return [
        Alert(
            "warn", f"{model} drifts: {_named(alarm.fields)} moved away from what was learned.", alarm.message
        )
        for model, alarm in found.items()
        if alarm is not None
    ]


def _named(fields: Sequence[str]) -> str:
    """Write the first fields, which are the loudest, and how many more there are."""
    more = f" and {len(fields) - MAX_FIELDS} more" if len(fields) > MAX_FIELDS else ""
    return ", ".join(fields[:MAX_FIELDS]) + more


def _of_window_rules(built: Built, now: float) -> list[Alert]:
    firing = built.watchers.window_rules.firing()
    times = {model: one.now for model, one in built.statistics.models.items()}
    alerts = [_firing(said, times.get(said["model"]) or now) for said in firing[:MAX_FIRING]]
    if len(firing) > MAX_FIRING:
        alerts.append(Alert("warn", f"{len(firing) - MAX_FIRING} more window rules are violated."))
    return alerts


def _firing(said: Mapping[str, Any], now: float) -> Alert:
    name = f"Rule {said['rule']} of {said['model']}"
    if said["since"] is None:
        return Alert(
            "warn", f"{name} was violated, and whether it still is cannot be judged.", said["message"]
        )
    return Alert("warn", f"{name} has been violated for {_age(now - said['since'])}.", said["message"])


def _of_recording(built: Built) -> list[Alert]:
    if built.recorder is None:
        return []
    status = built.recorder.status()
    alerts = []
    if status.trouble:
        alerts.append(Alert("warn", f"Traffic cannot be recorded: {status.trouble}."))
    if status.redact_unmet and status.offered >= UNMET_AFTER:
        names = ", ".join(status.redact_unmet)
        alerts.append(
            Alert(
                "warn",
                f"No recorded exchange had what is to be redacted: {names}.",
                "A misspelt name redacts nothing. Correct `recording.redact` and delete what was recorded, or take the name out.",
            )
        )
    return alerts


def degraded_by(built: Built) -> list[str]:
    """Return the same for programs: serving goes on, but a person should look."""
    return [alert.title for alert in alerts_of(built, built.breakers.now())]


def _refused(keeper: RuleKeeper, now: float) -> Alert:
    age = _age(now - keeper.loaded_at)
    if keeper.name != "rules":
        compared = f"the one of {age} ago is compared" if keeper.rulesets else "none is compared"
        return Alert(
            "warn", f"The candidate's rule files are refused ({_how_many(keeper)}); {compared}.", keeper.text
        )
    kept = "kept from an earlier run" if keeper.source == LAST_GOOD else "loaded"
    return Alert(
        "bad",
        f"The rule files are refused ({_how_many(keeper)}). Served are the last good rules, {kept} {age} ago.",
        keeper.text,
    )


def _how_many(keeper: RuleKeeper) -> str:
    files = [problem.file for problem in keeper.problems if problem.severity == "error"]
    where = "" if len(set(files)) < 2 else f" in {len(set(files))} files"
    return f"{len(files)} error{'' if len(files) == 1 else 's'}{where}"


def _why(state: Mapping[str, Any]) -> str:
    whose = "all its rules together" if state["by"] == "model" else "it"
    window = format_duration(state["window_s"])
    return (
        f"{whose} would {state['action']} {state['share']:.1%} of the rows, and the limit is {state['limit'] * 100:.3g}% "
        f"in {window}"
    )


def _age(seconds: float) -> str:
    """Write an age in one unit."""
    for unit in (86_400.0, 3_600.0, 60.0):
        if seconds >= unit:
            return format_duration(seconds // unit * unit)
    return format_duration(float(int(max(1.0, seconds))))
