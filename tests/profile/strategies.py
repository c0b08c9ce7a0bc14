"""Profiles of any shape that a document may hold."""

from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from hypothesis import strategies as st

from guardproxy.profile.cells import SPECIAL_CELLS, Cells, Measure
from guardproxy.profile.document import stamp
from guardproxy.profile.joint import Joint
from guardproxy.profile.model import (
    KNOTS,
    NUMERIC,
    Approval,
    Calibration,
    Chars,
    FieldKind,
    FieldProfile,
    Method,
    MissingKind,
    Origin,
    Profile,
    Provenance,
    Role,
    Sign,
    TimeForm,
)
from guardproxy.profile.shapes import matcher

Word = TypeVar("Word", bound=StrEnum)
FLOATS = st.floats(-1e300, 1e300)
SHARES = st.floats(0.0, 1.0)
COUNTS = st.integers(0, 2**50)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def sets(kind: type[Word]) -> st.SearchStrategy[tuple[Word, ...]]:
    return st.lists(st.sampled_from(kind), max_size=3, unique=True).map(tuple)


@st.composite
def field_profiles(draw: st.DrawFn, name: str, role: Role) -> FieldProfile:
    kind = draw(st.sampled_from(FieldKind))
    numeric = kind in NUMERIC
    bounded = numeric or kind in {FieldKind.TIMESTAMP, FieldKind.ARRAY}
    cells = _cells(kind)
    low, high = sorted((draw(FLOATS), draw(FLOATS)))
    shortest, longest = sorted((draw(st.integers(0, 2**31)), draw(st.integers(0, 2**31))))
    domain = draw(st.none() | st.lists(cells, min_size=1, max_size=5).map(tuple))
    return FieldProfile(
        name=name,
        kind=kind,
        role=role,
        rows=draw(COUNTS),
        missing_rate=draw(SHARES),
        required=draw(st.booleans()),
        low=draw(st.none() | st.just(low)) if bounded else None,
        high=draw(st.none() | st.just(high)) if bounded else None,
        low_method=draw(st.none() | st.sampled_from(Method)),
        high_method=draw(st.none() | st.sampled_from(Method)),
        alpha=draw(SHARES),
        whole=draw(st.booleans()),
        sign=draw(st.sampled_from(Sign)),
        domain=domain,
        closed=domain is not None and draw(st.booleans()),
        unseen_mass=draw(st.none() | SHARES),
        distinct=draw(COUNTS),
        top=tuple(draw(st.lists(st.tuples(cells, COUNTS), max_size=3))),
        minimum=draw(st.none() | FLOATS),
        maximum=draw(st.none() | FLOATS),
        mean=draw(st.none() | FLOATS),
        std=draw(st.none() | st.floats(0, 1e300)),
        knots=tuple(sorted(draw(st.lists(FLOATS, min_size=len(KNOTS), max_size=len(KNOTS)))))
        if numeric and draw(st.booleans())
        else (),
        min_length=draw(st.none() | st.just(shortest)),
        max_length=draw(st.none() | st.just(longest)),
        charset=draw(sets(Chars)),
        pattern=draw(st.none() | NAMES.filter(lambda text: matcher(text) is not None)),
        pattern_coverage=draw(st.none() | SHARES),
        formats=draw(sets(TimeForm)),
        norm_low=draw(st.none() | st.just(min(abs(low), abs(high)))),
        norm_high=draw(st.none() | st.just(max(abs(low), abs(high)))),
        missing_kinds=tuple((kind, draw(COUNTS)) for kind in draw(sets(MissingKind))),
        sentinels=tuple(draw(st.lists(st.tuples(FLOATS, COUNTS), max_size=3))),
        note=draw(TEXTS),
        cells=draw(st.none() | cells_of(cells)),
    )


@st.composite
def cells_of(draw: st.DrawFn, values: st.SearchStrategy[float | str | bool | None]) -> Cells:
    def counts(size: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(COUNTS, min_size=size, max_size=size)))

    measure = draw(st.sampled_from(Measure))
    seasons = draw(st.booleans())
    if draw(st.booleans()):
        edges = tuple(sorted(draw(st.lists(FLOATS, max_size=5, unique=True))))
        low, high = sorted((draw(FLOATS), draw(FLOATS)))
        size = len(edges) + 1 + SPECIAL_CELLS
        cells = Cells(measure, edges=edges, low=low, high=high, counts=counts(size))
    else:
        own = tuple(draw(st.lists(values, min_size=1, max_size=5, unique=True)))
        size = len(own) + SPECIAL_CELLS
        known = draw(st.frozensets(values, max_size=3))
        cells = Cells(measure, values=own, known=known, counts=counts(size))
    spread = tuple(draw(st.lists(SHARES, min_size=size, max_size=size))) if draw(st.booleans()) else ()
    season = tuple(counts(size) for _ in range(2)) * 24 if seasons else ()
    return replace(cells, spread=spread, season=season)


@st.composite
def joints(draw: st.DrawFn, fields: tuple[str, ...]) -> Joint:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, knots = len(fields), draw(st.integers(2, 8))
    mixed = rng.normal(size=(count, count))
    covariance = (mixed @ mixed.T + np.eye(count)).astype(np.float32)
    return Joint(
        fields,
        values=np.cumsum(rng.random((count, knots)) + 0.01, axis=1).astype(np.float32),
        scores=np.cumsum(rng.random((count, knots)), axis=1).astype(np.float32),
        covariance=np.maximum(covariance, covariance.T),
        units=(rng.random(count) + 0.1).astype(np.float32),
        centres=rng.normal(size=(draw(st.integers(1, 6)), count)).astype(np.float32),
        near=draw(st.floats(0, 1e6)),
        middle=draw(st.floats(0, 1e6)),
        threshold=draw(st.floats(1e-6, 1e6)),
        alpha=draw(st.floats(1e-9, 0.5)),
        rows=draw(COUNTS),
        held=draw(COUNTS),
        proved=draw(st.booleans()),
    )


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    keys = tuple(name for name in names if draw(st.integers(0, 4)) == 0)
    features = {
        name: draw(field_profiles(name, Role.KEY if name in keys else Role.FEATURE)) for name in names
    }
    outputs = {
        name: draw(field_profiles(name, Role.OUTPUT))
        for name in draw(st.lists(NAMES, max_size=2, unique=True))
    }
    numbers = tuple(name for name, field in features.items() if field.numeric)
    joint = draw(st.none() | joints(numbers)) if len(numbers) > 1 else None
    calibration = st.none() | st.builds(
        Calibration, COUNTS, COUNTS, SHARES, st.lists(NAMES, max_size=2).map(tuple)
    )
    return stamp(
        Profile(
            model=draw(NAMES),
            version="",
            rows=draw(COUNTS),
            alpha=draw(st.floats(1e-9, 0.5)),
            features=features,
            outputs=outputs,
            keys=keys,
            provenance=draw(st.builds(Provenance, TEXTS, COUNTS, TEXTS, TEXTS, TEXTS)),
            calibration=draw(calibration),
            output_calibration=draw(calibration),
            together=(tuple(names[:2]),) if len(names) > 1 and draw(st.booleans()) else (),
            joint=joint,
            source=draw(st.sampled_from(Origin)),
            approved=draw(st.none() | st.builds(Approval, NAMES, NAMES, NAMES)),
            notes=tuple(draw(st.lists(NAMES, max_size=2))),
        )
    )


def _cells(kind: FieldKind) -> st.SearchStrategy[float | str | bool | None]:
    if kind in NUMERIC or kind is FieldKind.IDENTIFIER:
        return FLOATS
    if kind is FieldKind.BOOLEAN:
        return st.booleans()
    return TEXTS | FLOATS | st.none() if kind is FieldKind.CONSTANT else TEXTS
