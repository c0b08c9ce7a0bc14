"""Rule files that change while the proxy runs: looked at, read as a whole, and swapped in or refused.

Decides when a change is read (once it holds still), what is served (a set without any error whose own tests pass; else
the one before) and what is told of it. What a swap touches is left to `serving`, which is called on the event loop.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from guardproxy.config import Config
from guardproxy.documents import MAX_BYTES
from guardproxy.guard import Guard
from guardproxy.profile.model import Profile
from guardproxy.proxy.last_good import LastGood, write_last_good
from guardproxy.proxy.load import (
    FILES,
    GONE,
    NO_SIGNATURES,
    Loaded,
    RuleSets,
    Signatures,
    guard_of,
    load_rules,
    read_rule_files,
)
from guardproxy.proxy.rule_files import Signature, digest_of, signature_of
from guardproxy.rules import Ruleset
from guardproxy.source import Problem, render_all

log = structlog.get_logger("guardproxy.rules")

UNSEEN: Final[Signature] = (("", 0, 0, 0, 0),)
"""What no files look like: whatever lies there is read at the next look."""
LOOKS: Final = 60
"""Files that never hold still are read at last: what is read is checked as a whole anyway."""
FAULT: Final = "guardproxy itself failed on these files ({error})"
_AFTER_A_FAULT: Final = "the log has the details (rules.fault): please report them"
MAX_LOGGED: Final = 20
MAX_SHOWN: Final = 50
MAX_KEPT: Final = 10_000
MAX_TOLD: Final = 1_000
"""Problems in the answer to who asked for a reload: a thousand files can hold hundreds each."""
RESULTS: Final = ("changed", "same", "failed")

Shapes = Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
"""By a route's path: the field names of the messages it has seen."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A set that may be served: rulesets by model, and the guard of each route by its path."""

    rulesets: Mapping[str, Ruleset]
    guards: Mapping[str, Guard]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of one reload. `problems` are the errors that refused the files, or the warnings of a set now served."""

    ok: bool
    changed: bool
    rulesets: Mapping[str, str]
    problems: tuple[Problem, ...]
    text: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the report in words."""
        return {
            "ok": self.ok,
            "changed": self.changed,
            "ruleset": dict(self.rulesets),
            "problems": [problem.as_json() for problem in self.problems[:MAX_TOLD]],
            "problems_total": len(self.problems),
            "text": self.text,
            "seconds": round(self.seconds, 4),
        }


class RuleKeeper:
    """One path of rule files and the set that is served of it. `name` is `rules` or `rules_candidate`.

    `swap` puts a prepared set in place; `shapes` says which messages the routes have seen, so that the first requests
    find their rules compiled. `told` hears of every set that was refused, or served instead of another. `keep` is where a set that was served is kept for the next start, or None.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        config: Config,
        profiles: Mapping[str, Profile],
        loaded: RuleSets,
        *,
        swap: Callable[[Prepared], None],
        shapes: Callable[[], Shapes],
        clock: Callable[[], float],
        told: Callable[["RuleKeeper", Report], None],
        keep: Path | None = None,
        signatures: Signatures = NO_SIGNATURES,
    ) -> None:
        self.name = name
        self.ok = not loaded.errors
        self.source = loaded.source
        self.loaded_at = clock() if loaded.at is None else loaded.at
        self.checked_at = clock()
        self.problems: tuple[Problem, ...] = _worst_first(loaded)
        self.text = drawn(loaded)
        self.results: Counter[str] = Counter()
        self.seconds = 0.0
        self.kept_problem = ""
        self._path = path
        self._config = config
        self._profiles = profiles
        self._signatures = signatures
        served = loaded.rulesets if self.ok or loaded.source != FILES else {}
        self._served = {model: ruleset.fingerprint for model, ruleset in served.items()}
        # On what was kept it runs since the files are refused, or since there are none: that is no set without rules either.
        self._had_files = bool(loaded.texts) or loaded.source != FILES
        self._swap = swap
        self._shapes = shapes
        self._clock = clock
        self._told = told
        self._keep = keep
        self._lock = asyncio.Lock()
        self._signature: Signature = ()
        self._digest = ""

    @property
    def rulesets(self) -> Mapping[str, str]:
        """The fingerprint of each model's rules that are served."""
        return self._served

    async def start(self, loaded: RuleSets) -> None:
        """Remember what the files look like, and keep the set that was loaded from them for the next start.

        Files that changed since they were loaded are read at the next look.
        """
        self._signature, self._digest = await asyncio.to_thread(self._look_at, loaded)
        if self.ok and loaded.source == FILES and loaded.texts:
            await asyncio.to_thread(self._store, loaded)

    async def watch(self) -> None:
        """Look at the files for ever; read them when they changed and then held still."""
        while True:
            await asyncio.sleep(self._config.reload_every_s)
            try:
                await self.look()
            except Exception as error:
                log.error("rules.watch_failed", name=self.name, error=type(error).__name__, exc_info=error)

    async def look(self) -> Report | None:
        """Look once; return what came of reading the files, or None where there was nothing new."""
        if await asyncio.to_thread(signature_of, self._path) == self._signature:
            return None
        signature, digest = await asyncio.to_thread(self._look)
        for _ in range(LOOKS):
            await asyncio.sleep(self._config.reload_debounce_s)
            before = digest
            signature, digest = await asyncio.to_thread(self._look)
            if digest == before:
                break
        if digest == self._digest:
            self._signature = signature
            return None
        return await self.reload()

    async def reload(self) -> Report:
        """Read the files now. One at a time: whoever comes meanwhile waits, then reads what lies there by then."""
        async with self._lock:
            began = time.perf_counter()
            shapes = self._shapes()
            look, found, prepared, text = await asyncio.to_thread(self._read, shapes)
            moved = look[1] != self._digest
            self._signature, self._digest = look
            self.checked_at = self._clock()
            self.problems, self.text = _worst_first(found), text
            report = self._accept(found, prepared, began, moved) if prepared else self._refuse(found, began)
            if report.ok and found.texts:
                await asyncio.to_thread(self._store, found)
            return report

    def as_json(self) -> dict[str, Any]:
        """Return how the rules stand, in words."""
        return {
            "ok": self.ok,
            "source": self.source,
            "ruleset": dict(self._served),
            "loaded_at": self.loaded_at,
            "age_s": max(0.0, self._clock() - self.loaded_at),
            "checked_at": self.checked_at,
            "seconds": round(self.seconds, 4),
            "results": {result: self.results[result] for result in RESULTS},
            "problems": [problem.as_json() for problem in self.problems[:MAX_SHOWN]],
            "problems_total": len(self.problems),
            "text": self.text,
            "not_kept": self.kept_problem,
        }

    # ---------------------------------------------------------------- in a thread

    def _look(self) -> tuple[Signature, str]:
        # The signature first: what changes in between is seen as a change next time.
        return signature_of(self._path), digest_of(self._path, MAX_BYTES)

    def _look_at(self, loaded: RuleSets) -> tuple[Signature, str]:
        look = self._look()
        again = Loaded()
        read_rule_files([self._path], again)
        return look if again.texts == loaded.texts else (UNSEEN, "")

    def _read(self, shapes: Shapes) -> tuple[tuple[Signature, str], RuleSets, Prepared | None, str]:
        """Return what the files look like and hold, the set that may be served, and their problems, drawn."""
        look, found, prepared = self._prepared(shapes)
        return look, found, prepared, drawn(found)

    def _prepared(self, shapes: Shapes) -> tuple[tuple[Signature, str], RuleSets, Prepared | None]:
        look = self._look()
        found = RuleSets()
        try:
            found = load_rules(self._config, self._path, self._profiles, self._signatures)
            if self._had_files and not found.texts and not found.errors:
                found.problems.append(Problem("E200", GONE, str(self._path), 1, 1))
            return look, found, None if found.errors else self._prepare(found.rulesets, shapes)
        except Exception as error:
            # A fault of ours must not look like files that were never read.
            log.error("rules.fault", name=self.name, error=type(error).__name__, exc_info=error)
            said = FAULT.format(error=type(error).__name__)
            found.problems.append(Problem("E200", said, str(self._path), 1, 1, help=_AFTER_A_FAULT))
            return look, found, None

    def _prepare(self, rulesets: Mapping[str, Ruleset], shapes: Shapes) -> Prepared:
        """Compile everything that the first requests need, so that none of them pays for it."""
        guards = {}
        for route in self._config.routes:
            guard = guard_of(route, rulesets, self._profiles.get(route.model), self._signatures)
            for features, outputs in (((), ()), *shapes.get(route.path, ())):
                guard.bind(features, outputs)
            guards[route.path] = guard
        return Prepared(rulesets, guards)

    def _store(self, found: RuleSets) -> None:
        if self._keep is None:
            return
        rulesets = {model: ruleset.fingerprint for model, ruleset in found.rulesets.items()}
        good = LastGood(self._clock(), rulesets, found.texts)
        try:
            write_last_good(self._keep, good)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if not self.kept_problem:
                log.error("rules.not_kept", folder=str(self._keep), error=said)
            self.kept_problem = said
        else:
            self.kept_problem = ""

    # ---------------------------------------------------------------- on the loop

    def _accept(self, found: RuleSets, prepared: Prepared, began: float, moved: bool) -> Report:
        fingerprints = {model: ruleset.fingerprint for model, ruleset in prepared.rulesets.items()}
        changed = fingerprints != self._served
        recovered = not self.ok
        if changed or moved:
            # Where only a comment or a line moved, the rules in force stand in other places of the files now.
            self._swap(prepared)
        self.ok, self.source = True, FILES
        self.loaded_at = self._clock()
        self._served = fingerprints
        self._had_files = self._had_files or bool(found.texts)
        self.results["changed" if changed else "same"] += 1
        report = self._report(changed=changed, began=began)
        if changed or recovered:
            log.info("rules.loaded", name=self.name, ruleset=fingerprints, seconds=round(report.seconds, 3))
            self._told(self, report)
        return report

    def _refuse(self, found: RuleSets, began: float) -> Report:
        self.ok = False
        self.results["failed"] += 1
        report = self._report(changed=False, began=began)
        log.error(
            "rules.refused",
            name=self.name,
            serving=dict(self._served),
            errors=len(found.errors),
            problems=[problem.as_json() for problem in found.errors[:MAX_LOGGED]],
            diagnosis=self.text,
        )
        self._told(self, report)
        return report

    def _report(self, *, changed: bool, began: float) -> Report:
        self.seconds = time.perf_counter() - began
        return Report(self.ok, changed, dict(self._served), self.problems, self.text, self.seconds)


def drawn(found: RuleSets) -> str:
    """Draw the first problems with their lines, as `rules check` does; errors first."""
    ordered = _worst_first(found)
    said = [*render_all(ordered[:MAX_SHOWN], found.texts)]
    if len(ordered) > MAX_SHOWN:
        said.append(f"... and {len(ordered) - MAX_SHOWN} more")
    return "\n\n".join(said)


def _worst_first(found: RuleSets) -> tuple[Problem, ...]:
    return tuple(sorted(found.problems, key=lambda problem: problem.severity != "error")[:MAX_KEPT])
