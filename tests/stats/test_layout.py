"""The order of a model's counts, and when two layouts are one."""

from dataclasses import replace

from guardproxy.decision import Outcome, Reason
from guardproxy.profile.cells import Cells
from guardproxy.profile.model import FieldKind, Profile
from guardproxy.stats.layout import NO_PROFILE, Layout
from tests.stats.counted import NUMBER, WORDS, profile


def test_cells_come_field_by_field_then_outcomes_then_reasons() -> None:
    layout = Layout.of(profile())
    assert [(span.name, span.start, span.end) for span in layout.spans] == [
        ("x", 0, 8),
        ("kind", 8, 14),
        ("output.demand", 14, 22),
    ]
    assert layout.outcomes == slice(22, 22 + len(Outcome))
    assert layout.reasons == slice(22 + len(Outcome), layout.size)
    assert layout.size == 22 + len(Outcome) + len(Reason)
    assert layout.numbers == ("x", "output.demand")
    assert layout.span("kind") == layout.spans[1]
    assert layout.span("other") is None


def test_a_model_without_a_profile_counts_outcomes_and_reasons() -> None:
    layout = Layout.of(None)
    assert (layout.version, layout.spans, layout.numbers) == (NO_PROFILE, (), ())
    assert layout.size == len(Outcome) + len(Reason)


def test_a_field_without_cells_has_no_place_but_its_moments_are_kept() -> None:
    layout = Layout.of(profile({"x": (FieldKind.NUMBER, None), "kind": (FieldKind.CATEGORY, WORDS)}))
    assert [span.name for span in layout.spans] == ["kind", "output.demand"]
    assert layout.numbers == ("x", "output.demand")


def test_the_version_changes_with_whatever_changes_the_meaning_of_a_place() -> None:
    others: list[Profile] = [
        profile(version="deadbeef"),
        _with(replace(NUMBER, edges=(1.0, 2.0, 6.0))),
        _with(replace(NUMBER, high=11.0)),
        profile({"y": (FieldKind.NUMBER, NUMBER), "kind": (FieldKind.CATEGORY, WORDS)}),
        profile(
            {"x": (FieldKind.NUMBER, NUMBER), "kind": (FieldKind.CATEGORY, replace(WORDS, known=frozenset()))}
        ),
    ]
    versions = {Layout.of(one).version for one in [profile(), *others]}
    assert len(versions) == 1 + len(others)
    assert Layout.of(profile()).version == Layout.of(_with(replace(NUMBER, counts=(2,) * 8))).version


def _with(cells: Cells) -> Profile:
    return profile({"x": (FieldKind.NUMBER, cells), "kind": (FieldKind.CATEGORY, WORDS)})
