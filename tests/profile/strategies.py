"""Profiles of any shape that a document may hold."""

from hypothesis import strategies as st

from guardproxy.profile.document import stamp
from guardproxy.profile.model import (
    KNOTS,
    NUMERIC,
    Calibration,
    FieldKind,
    FieldProfile,
    Method,
    Profile,
    Provenance,
    Role,
    Sign,
)

FLOATS = st.floats(-1e300, 1e300)
SHARES = st.floats(0.0, 1.0)
COUNTS = st.integers(0, 2**50)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def field_profiles(draw: st.DrawFn, name: str, role: Role) -> FieldProfile:
    kind = draw(st.sampled_from(FieldKind))
    numeric = kind in NUMERIC
    cells = _cells(kind)
    low, high = sorted((draw(FLOATS), draw(FLOATS)))
    domain = draw(st.none() | st.lists(cells, min_size=1, max_size=5).map(tuple))
    return FieldProfile(
        name=name,
        kind=kind,
        role=role,
        rows=draw(COUNTS),
        missing_rate=draw(SHARES),
        required=draw(st.booleans()),
        low=draw(st.none() | st.just(low)) if numeric else None,
        high=draw(st.none() | st.just(high)) if numeric else None,
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
        max_length=draw(st.none() | st.integers(0, 2**31)),
        note=draw(TEXTS),
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
        )
    )


def _cells(kind: FieldKind) -> st.SearchStrategy[float | str | bool | None]:
    if kind in NUMERIC or kind is FieldKind.IDENTIFIER:
        return FLOATS
    if kind is FieldKind.BOOLEAN:
        return st.booleans()
    return TEXTS | FLOATS | st.none() if kind is FieldKind.CONSTANT else TEXTS
