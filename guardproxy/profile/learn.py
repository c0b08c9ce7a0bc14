"""The learner: one pass over reference data in bounded memory, and the profile that comes of it.

Decides which rows are fitted and which are held back, and how the false-alarm budget is divided among fields. What
is known while rows are read is left to `state`, where a field's bounds stand to `fit`, what the held-back rows say of them
to `calibrate`, and what the ranges leave to the joint check to `joint_threshold`.

Held-back rows wait in the state, the newest of all. When the data end, the newest fifth of all rows (HOLD_BACK at most) is still unseen by
the fit: it checks the bounds, and loosens those it breaks. Then these rows are summarised as well and the bounds are
fitted once more over everything; each final bound is at least as loose as the checked one, so the share of rows that
the held-back rows proved cannot be exceeded by it. File order is read as time order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np

from guardproxy.profile.bounds import Budget, Slack
from guardproxy.profile.calibrate import Held, acceptable, described, loosened
from guardproxy.profile.cells_fit import fit_cells
from guardproxy.profile.columns import Batch
from guardproxy.profile.document import stamp
from guardproxy.profile.fit import fit_field
from guardproxy.profile.joint import Joint
from guardproxy.profile.joint_fit import Draft, draft_joint, finish_joint, obstacle
from guardproxy.profile.joint_threshold import leaves_room
from guardproxy.profile.kinds import UNENFORCED, kind_of, usual_numbers
from guardproxy.profile.loosest import loosest
from guardproxy.profile.model import CONFIDENCE, NUMERIC, Calibration, FieldProfile, Profile, Provenance, Role
from guardproxy.profile.samples import Samples, number_of
from guardproxy.profile.state import (
    HOLD_BACK,
    MAX_FIELDS,
    RESERVOIR,
    LearnerState,
    Settings,
    first_row_salt,
    merge,
)
from guardproxy.profile.tails import share_upper_bound
from guardproxy.table import Mask

__all__ = [
    "HOLD_BACK",
    "MAX_FIELDS",
    "MIN_ROWS",
    "RESERVOIR",
    "Learner",
    "LearnerState",
    "is_writable",
    "merge",
]

MIN_ROWS: Final = 100
MAX_NAME: Final = 500
"""Most characters of a field's name: the key of a document may have a thousand."""
MAX_ODD_NAME: Final = 100
"""Most characters of one with some that cannot be printed: each is escaped."""
HOLD_BACK_SHARE: Final = 0.2

_ROUNDS: Final = 7
_TOGETHER: Final = 20


@dataclass(slots=True)
class _Fit:
    """The fields of one role, fitted, with the room that the held-back rows asked for, and which of these rows they flag."""

    fields: dict[str, FieldProfile]
    slack: dict[str, Slack] = field(default_factory=dict)
    calibration: Calibration | None = None
    flagged: Mask | None = None


class Learner:
    """Learns a profile from batches of rows, in file order, in one pass.

    Every column but `time` is a feature; those in `target` are outputs and those in `keys` are keys. `alpha` is the
    share of clean rows that may be flagged. `rng` draws the sample from which quantiles are read.
    """

    def __init__(
        self,
        model: str,
        *,
        rng: np.random.Generator,
        target: tuple[str, ...] = (),
        keys: tuple[str, ...] = (),
        time: str | None = None,
        alpha: float = 0.001,
    ) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha:g}")
        self.notes: list[str] = []
        self._rng = rng
        self._state = LearnerState(Settings(model, target, keys, time, alpha), ())
        self._salt = 0
        self._finished = False

    @classmethod
    def resume(cls, state: LearnerState, *, rng: np.random.Generator) -> Self:
        """Go on where a state ends, or finish a merged one. The learner takes the state over."""
        settings = state.settings
        learner = cls(
            settings.model,
            rng=rng,
            target=settings.target,
            keys=settings.keys,
            time=settings.time,
            alpha=settings.alpha,
        )
        learner._state = state
        return learner

    @property
    def rows(self) -> int:
        """How many rows were given."""
        return self._state.rows

    def state(self) -> LearnerState:
        """Return all that is known, as `merge` and `dump_part` take it. It is the learner's own: what is added later is in it too.

        Raises ValueError where no row was given yet, or when the learner was finished.
        """
        if not self._state.columns or self._finished:
            raise ValueError(
                "there is nothing to merge" if not self._finished else "the learner was finished"
            )
        return self._state

    def update(self, batch: Batch) -> None:
        """Add rows in file order. Every batch must have the columns of the first, all of one length."""
        settings = self._state.settings
        if not self._state.columns:
            self._state = LearnerState(settings, _columns(settings, batch))
        rows = {len(column) for column in batch.values()}
        if len(rows) != 1 or set(self._state.columns) != batch.keys() - {settings.time}:
            raise ValueError("a batch must have the columns of the first one, all of one length")
        count = rows.pop()
        if not count:
            return
        if not self._salt:
            self._salt = first_row_salt(batch)
        self._state.add(batch, self._rng.random(count), self._salt)

    def finish(self, provenance: Provenance) -> Profile:
        """Fit, check on the held-back rows, fit again over all rows, and return the profile.

        Raises ValueError when there are fewer than MIN_ROWS rows. `notes` then holds what a person should know.
        """
        state = self._state
        if state.rows < MIN_ROWS:
            raise ValueError(
                f"{state.rows} {'row is' if state.rows == 1 else 'rows are'} too few to learn from; "
                f"{MIN_ROWS} are needed"
            )
        self._finished = True
        state.release(min(state.delay, int(HOLD_BACK_SHARE * state.rows)))
        draft = self._draft_joint()
        fits = {
            Role.FEATURE: self._checked(Role.FEATURE, leave_room=draft is not None),
            Role.OUTPUT: self._checked(Role.OUTPUT),
        }
        joint = None if draft is None else self._finish_joint(draft, fits[Role.FEATURE].flagged)
        state.release(0)
        samples = Samples(state)
        final = {role: self._final(role, fit, samples) for role, fit in fits.items()}
        keys = self._fit(Role.KEY, {}, samples)
        features = {name: (final[Role.FEATURE] | keys)[name] for name in self._names(Role.FEATURE, Role.KEY)}
        self._judge_order()
        return stamp(
            Profile(
                model=state.settings.model,
                version="",
                rows=state.rows,
                alpha=state.settings.alpha,
                features=features,
                outputs=final[Role.OUTPUT],
                keys=self._names(Role.KEY),
                provenance=replace(provenance, rows=state.rows),
                calibration=fits[Role.FEATURE].calibration,
                output_calibration=fits[Role.OUTPUT].calibration,
                together=self._together(),
                joint=joint,
            )
        )

    def _names(self, *roles: Role) -> tuple[str, ...]:
        settings = self._state.settings
        return tuple(name for name in self._state.columns if settings.role(name) in roles)

    def _draft_joint(self) -> Draft | None:
        """Learn how the number features hang together from the fitted rows, and how far the held-back ones are off."""
        state = self._state
        alpha = state.settings.alpha
        names = [name for name in self._names(Role.FEATURE) if kind_of(state.summaries[name]) in NUMERIC]
        sample = state.reservoir.rows()
        why = obstacle(len(names), len(sample.keys), state.waiting_rows, alpha)
        if why:
            # That there are no numbers to hang together needs no saying.
            self.notes += [why] if len(names) > 1 else []
            return None
        places = [state.columns.index(name) for name in names]
        held = [[number_of(span.columns[name]) for name in names] for span in state.waiting]
        rows = np.ascontiguousarray(sample.numbers[places].T)
        newest = np.ascontiguousarray(np.concatenate([np.array(columns) for columns in held], axis=1).T)
        for place, name in enumerate(names):
            for value, _ in usual_numbers(state.summaries[name]).sentinels:
                for block in (rows, newest):
                    block[block[:, place] == value, place] = np.nan
        draft = draft_joint(names, rows, newest, alpha, self._rng)
        if draft.joint is None:
            self.notes.append(draft.note)
            return None
        return draft

    def _finish_joint(self, draft: Draft, flagged: Mask | None) -> Joint | None:
        flagged = np.zeros(len(draft.misfits), dtype=np.bool_) if flagged is None else flagged
        joint, note = finish_joint(draft, flagged, self._state.settings.alpha)
        if note:
            self.notes.append(note)
        return joint

    def _fit(self, role: Role, slack: Mapping[str, Slack], samples: Samples) -> dict[str, FieldProfile]:
        names, alpha = self._names(role), self._state.settings.alpha
        summaries = self._state.summaries
        enforced = sum(kind_of(summaries[name]) not in UNENFORCED for name in names)
        budget = Budget(alpha, alpha / max(1, enforced))
        return {
            name: fit_field(
                name,
                role,
                summaries[name],
                samples.numbers(name),
                budget,
                slack.get(name, Slack()),
                samples.grain,
            )
            for name in names
        }

    def _checked(self, role: Role, *, leave_room: bool = False) -> _Fit:
        """Fit the older rows, and loosen the bounds until the held-back rows agree or nothing helps any more.

        To `leave_room` is to flag no more of them than leave the joint check a threshold.
        """
        state, alpha = self._state, self._state.settings.alpha
        samples = Samples(state)
        fit = _Fit(self._fit(role, {}, samples))
        if not fit.fields or not state.waiting:
            return fit
        held = Held(state.waiting, state.settings.time, fit.fields)
        agree = leaves_room if leave_room else acceptable
        fit.flagged, broken = held.flagged(fit.fields)
        for _ in range(_ROUNDS):
            if agree(int(fit.flagged.sum()), held.rows, alpha):
                break
            fit.slack = loosened(fit.slack, broken)
            fit.fields = self._fit(role, fit.slack, samples)
            fit.flagged, broken = held.flagged(fit.fields)
        flagged = int(fit.flagged.sum())
        upper = float(f"{share_upper_bound(flagged, held.rows, CONFIDENCE):.4g}")
        fit.calibration = Calibration(held.rows, flagged, upper, described(fit.slack))
        return fit

    def _final(self, role: Role, fit: _Fit, samples: Samples) -> dict[str, FieldProfile]:
        refitted = self._fit(role, fit.slack, samples)
        final = {name: loosest(fit.fields[name], fitted) for name, fitted in refitted.items()}
        return {name: self._with_cells(fitted, samples) for name, fitted in final.items()}

    def _with_cells(self, fitted: FieldProfile, samples: Samples) -> FieldProfile:
        sample, labels = samples.of(fitted)
        summary = self._state.summaries[fitted.name]
        return replace(fitted, cells=fit_cells(fitted, summary, sample, samples.times, labels))

    def _together(self) -> tuple[tuple[str, ...], ...]:
        """Return the groups of features that lack their cells in the same rows, where enough rows lack them and have them.

        A row that has some of a group was never seen: by Good-Turing it comes once in as many rows as there were.
        """
        if self._state.rows * self._state.settings.alpha < 1.0:
            return ()
        groups: dict[tuple[int, int], list[str]] = {}
        for name in self._names(Role.FEATURE):
            lacks = self._state.lacks[name]
            if _TOGETHER <= lacks[0] <= self._state.rows - _TOGETHER:
                groups.setdefault(lacks, []).append(name)
        return tuple(tuple(names) for names in groups.values() if len(names) > 1)

    def _judge_order(self) -> None:
        state, time = self._state, self._state.settings.time
        if state.clock.unreadable:
            self.notes.append(
                f"{time!r} holds neither numbers nor ISO 8601, so the order of the rows was not checked"
            )
        elif state.clock.falls > 0.01 * state.rows:
            self.notes.append(
                f"the rows are not in order of {time!r}: the held-back rows are the last of the file, "
                "not the most recent; sort the file by time"
            )


def _columns(settings: Settings, batch: Batch) -> tuple[str, ...]:
    known = tuple(name for name in batch if name != settings.time)
    time = () if settings.time is None else (settings.time,)
    absent = [name for name in (*settings.target, *settings.keys, *time) if name not in batch]
    if absent:
        raise ValueError(f"no column {absent[0]!r}")
    if not 0 < len(known) <= MAX_FIELDS:
        raise ValueError(
            f"{len(known):,} columns, expected 1 to {MAX_FIELDS:,}; leave out those that no request carries"
        )
    for place, name in enumerate(known):
        if not is_writable(name):
            raise ValueError(
                f"the name of column {place + 1} is not Unicode text of at most {MAX_NAME} characters; give it another, or leave it out"
            )
    return known


def is_writable(name: str) -> bool:
    """Tell whether a profile can hold a field of this name."""
    most = MAX_NAME if name.isprintable() else MAX_ODD_NAME
    return len(name) <= most and not any("\ud800" <= char <= "\udfff" for char in name)
