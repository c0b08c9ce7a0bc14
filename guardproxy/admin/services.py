"""What the admin plane needs of the rest of the program.

Decides the seams. Who stands behind them is left to whoever starts the process.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from guardproxy.admin.tokens import TokenBook
from guardproxy.errors import ConflictError
from guardproxy.holds import Hold
from guardproxy.stores import HoldStore
from guardproxy.table import Cell


def _ignore(_hold: Hold) -> None:
    return None


class Alert(NamedTuple):
    """What a person should know at once: a sentence, and text to unfold. `level` is `bad` or `warn`."""

    level: str
    title: str
    detail: str = ""


def _no_models() -> Mapping[str, Any]:
    return {"models": []}


async def _no_reload() -> tuple[bool, Mapping[str, Any]]:
    raise ConflictError("no rules are configured, so there is nothing to read")


def _no_rule(_model: str, _rule: str, _by: str) -> bool | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminServices:
    """Everything the admin plane asks of others. All callables but `reload` return at once and must not raise.

    `clock` gives Unix seconds. `ready` gives (ready, reasons why not). `metrics` gives Prometheus text. `windows`,
    `rules` and `overview` give plain JSON values (str, int, float, bool, None, lists, mappings):

    - `windows`: `{"models": [{"model", "rows", "outcomes": {word: count}, "fields": [{"field", ...numbers}]}]}`;
      other keys are shown as they are.
    - `signals`: `{"models": [{"model", "state", "sentence", "profile", "profile_state", "rows", "age_s", "fields": [{"field",
      "state", "sentence", "ordered", "specials", "rows": {"1h", "24h"}, "cells": [{"cell", "learned", "low", "high", "1h",
      "24h", "outside"}]}]}]}`: shares from 0 to 1, None where there were no rows; the last `specials` cells stand for no value of the field.
    - `drift`: `{"models": [{"model", "alarm": {"raised_at", "message", ...} or None, "fields": [{"field", "state", "alarm", ...}]}]}`,
      times in RFC 3339; `state` as for `signals`.
    - `rules`: one mapping per rule: `rule`, `model`, `mode`, `action`, `severity`, `owner`, `why`, `file`, `line`,
      `verdicts: {ok, violated, unknown, error}`, for a rule of scope window `window: {state, since, firing_since, for_s, message}`;
      absent keys are shown as a dash.
    - `overview`: `ruleset` (fingerprint), `unguarded` (counts by reason), `routes` (list of mappings), `grpc` (`listen`,
      `upstream`, `routes`, `calls` by what became of them, `faults`; None where no gRPC is taken).

    `decision` gives the record of one decision by its id, or None. `check_override` names the enforced rules that
    values violate on a hold's row. `changed` is told of every hold after a person changed it.

    `degraded` says in sentences what a person should look at although traffic is served, `alerts` the same for the
    console. `rollout` gives how the rules stand: `reload`, `candidate`, `breaker` and `recording`, each None where it
    does not apply. `reload` reads the rule files and gives (served, diagnosis). `rearm(model, rule, by)` lets a rule
    that the breaker demoted act again: False when it is not demoted, None when no such rule has a limit.
    """

    store: HoldStore
    tokens: TokenBook
    clock: Callable[[], float]
    undo_s: float
    live: Callable[[], bool]
    ready: Callable[[], tuple[bool, list[str]]]
    metrics: Callable[[], bytes]
    windows: Callable[[], Mapping[str, Any]]
    rules: Callable[[], Sequence[Mapping[str, Any]]]
    decision: Callable[[str], Mapping[str, Any] | None]
    overview: Callable[[], Mapping[str, Any]]
    check_override: Callable[[Hold, Mapping[str, Cell]], tuple[str, ...]]
    changed: Callable[[Hold], None] = _ignore
    degraded: Callable[[], Sequence[str]] = tuple
    signals: Callable[[], Mapping[str, Any]] = dict
    drift: Callable[[], Mapping[str, Any]] = _no_models
    rollout: Callable[[], Mapping[str, Any]] = dict
    reload: Callable[[], Awaitable[tuple[bool, Mapping[str, Any]]]] = _no_reload
    rearm: Callable[[str, str, str], bool | None] = _no_rule
    alerts: Callable[[], Sequence[Alert]] = tuple
