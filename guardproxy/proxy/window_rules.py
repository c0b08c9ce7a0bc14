"""Rules of scope `window` at run time: judged at the first beat of each bucket, by one replica for all, and told about.

Decides who hears that a rule fires or no longer does: the log, the webhooks, the screens. When that is the case is left to
`stats.window_rules`.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from guardproxy.proxy.facts import facts_at
from guardproxy.proxy.webhooks import Webhooks
from guardproxy.rules import Ruleset
from guardproxy.stats.snapshot import EMPTY, Snapshot, stale_after
from guardproxy.stats.window_rules import (
    Change,
    Judged,
    Key,
    State,
    WindowJudge,
    advance,
    decode,
    encode,
    window_judge,
)
from guardproxy.stores.statistics import StatisticsStore, StoreDownError
from guardproxy.units import format_duration, format_moment

log = structlog.get_logger("guardproxy.window_rules")

STATE: Final = "window-rules"
"""The name under which replicas share how the rules of a model stand."""
KEEP_S: Final = 7 * 86_400
TRIES: Final = 3
"""How often a bucket's states are written again after another replica was quicker; the next beat goes on from there."""


@dataclass(slots=True, eq=False)
class _Model:
    judge: WindowJudge
    states: Mapping[Key, State] = field(default_factory=dict)
    judged: Sequence[Judged] = ()
    done: int = -1
    fresh_at: float = float("-inf")


class WindowRules:
    """The window rules of every model.

    All replicas judge the same snapshots and share one state, so that each change is told once, by whoever wrote it; one that
    ends between writing and telling leaves it untold, but not unseen: the state is on every screen.
    """

    def __init__(
        self,
        rulesets: Callable[[], Mapping[str, Ruleset]],
        snapshot: Callable[[str], Snapshot],
        webhooks: Webhooks,
        bucket_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Judge the rules that `rulesets` gives by model, now and after each reload, on what `snapshot` gives for a model.

        `clock` only says for how long nothing could be judged.
        """
        self.damaged = 0
        self.told: Counter[str] = Counter()
        self._rulesets = rulesets
        self._snapshot = snapshot
        self._webhooks = webhooks
        self._bucket_s = bucket_s
        self._clock = clock
        self._models: dict[str, _Model] = {}

    async def beat(self, store: StatisticsStore, now: float) -> None:  # noqa: ARG002 - each model has its own time
        """Judge what has not been judged in this bucket. Raises StoreDownError when the store cannot say or keep the states."""
        rulesets = self._rulesets()
        for model in self._models.keys() - rulesets.keys():
            del self._models[model]
        errors: list[Exception] = []
        for model, ruleset in rulesets.items():
            try:
                await self._beat(store, model, await self._followed(model, ruleset))
            except StoreDownError:
                raise
            except Exception as error:  # noqa: BLE001 - it is raised below
                # An error of ours in one model must not leave the others unwatched.
                errors.append(error)
        if errors:
            raise errors[0]

    def report(self) -> list[dict[str, Any]]:
        """Say how each rule stands, in words; times are Unix seconds by the model's time, None where there is none."""
        return [
            self._said(model, kept, one, kept.states.get(Key(one.rule, one.rev)))
            for model, kept in self._models.items()
            for one in kept.judged
        ]

    async def _followed(self, model: str, ruleset: Ruleset) -> _Model:
        kept = self._models.get(model)
        if kept is None or kept.judge.ruleset is not ruleset:
            judge = await asyncio.to_thread(window_judge, ruleset)
            kept = self._models.setdefault(model, _Model(judge))
            kept.judge, kept.done = judge, -1
        return kept

    async def _beat(self, store: StatisticsStore, model: str, kept: _Model) -> None:
        snapshot = self._snapshot(model)
        if not (kept.judge.rules or kept.states) and kept.done >= 0:
            kept.judged = ()
            return
        if snapshot is EMPTY:
            return
        kept.fresh_at = self._clock()
        bucket = int(snapshot.at // self._bucket_s)
        if bucket <= kept.done:
            return
        # A thousand rules are more than the loop has time for.
        facts = facts_at(bucket * self._bucket_s)
        judged = await asyncio.to_thread(kept.judge.judge, snapshot.recent, facts)
        changes = await self._share(store, model, kept, judged, bucket)
        kept.judged, kept.done = judged, bucket
        for change in changes:
            self._tell(model, change)

    async def _share(
        self, store: StatisticsStore, model: str, kept: _Model, judged: Sequence[Judged], bucket: int
    ) -> list[Change]:
        """Bring the shared states to this bucket; return the changes that nobody else tells of."""
        for _ in range(TRIES):
            blob = await store.state(model, STATE)
            states = self._decoded(model, blob)
            after, changes = advance(states, judged, bucket, self._bucket_s)
            if after == states or await store.swap(model, STATE, blob, encode(after), KEEP_S):
                kept.states = after
                return changes
        return []

    def _decoded(self, model: str, blob: bytes | None) -> Mapping[Key, State]:
        try:
            return decode(blob)
        except ValueError as error:
            self.damaged += 1
            log.error("window_rule.state_damaged", model=model, error=str(error))
            return {}

    def _said(self, model: str, kept: _Model, one: Judged, state: State | None) -> dict[str, Any]:
        # What was judged of old statistics says nothing about now.
        stale = state is None or self._clock() - kept.fresh_at > stale_after(self._bucket_s)
        word = "unknown" if state is None or (stale and state.fired is None) else state.word
        return {
            "model": model,
            "rule": one.rule,
            "state": word,
            "since": None if state is None else self._time(state.since),
            "firing_since": None if state is None else self._time(state.fired),
            "for_s": one.for_s,
            "acts": one.told,
            "message": one.message if not stale else "not judged of late: there are no fresh statistics",
            "judged_at": None if state is None else self._time(state.bucket),
        }

    def firing(self) -> list[dict[str, Any]]:
        """Return the rules that act and fire, as `report` says them."""
        return [said for said in self.report() if said["state"] == "firing" and said["acts"]]

    def _tell(self, model: str, change: Change) -> None:
        said = self._event(model, change)
        acts = change.judged is None or change.judged.told
        if not acts:
            log.info("window_rule.shadow", **{key: said[key] for key in ("model", "rule", "state")})
            return
        self.told[said["state"]] += 1
        if change.firing:
            log.warning("window_rule.firing", **said)
        else:
            log.info("window_rule.ended", **said)
        self._webhooks.tell("window", said)

    def _event(self, model: str, change: Change) -> dict[str, Any]:
        rule, rev = change.key
        state = "firing" if change.firing else "ended"
        length = format_duration((change.bucket - change.since) * self._bucket_s)
        if change.firing:
            lead = f"rule {rule} of {model} fires"
            lead += f": violated for {length}" if change.bucket > change.since else ""
        elif change.judged is None:
            lead = f"rule {rule} of {model} no longer fires: it was changed or taken out"
        else:
            lead = f"rule {rule} of {model} no longer fires, after {length}"
        message = change.judged.message if change.judged is not None and change.firing else ""
        return {
            "id": hashlib.sha256(repr((model, *change.key, change.bucket, state)).encode()).hexdigest()[:16],
            "state": state,
            "at": change.bucket * self._bucket_s,
            "model": model,
            "rule": rule,
            "rev": rev,
            "since": format_moment(change.since * self._bucket_s),
            "text": f"{lead}. {message}" if message else f"{lead}.",
        }

    def _time(self, bucket: int | None) -> float | None:
        return None if bucket is None else bucket * self._bucket_s
