"""What the Signals page says of counts."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from guardproxy.profile.cells import Cells
from guardproxy.proxy.signals import signals_of
from guardproxy.stats.layout import Layout, Span
from guardproxy.stats.snapshot import EMPTY, Counted, Snapshot

CELLS = Cells(edges=(10.0, 20.0), low=0.0, high=30.0, counts=(1000, 1000, 1000, 0, 0, 0, 0))
LAYOUT = Layout("a" * 8, CELLS.size + 16, (Span("load", 0, CELLS),), ("load",))


def snapshot(hour: list[int], day: list[int]) -> Snapshot:
    def counted(cells: list[int]) -> Counted:
        counts = np.zeros(LAYOUT.size, dtype=np.uint64)
        counts[: CELLS.size] = cells
        return Counted(0.0, 3600.0, sum(cells), counts, {})

    return Snapshot(3600.0, {}, MappingProxyType({"1h": counted(hour), "24h": counted(day)}), 0.0)


def cells_of(hour: list[int], day: list[int]) -> dict[str, dict[str, object]]:
    said = signals_of("demand", None, LAYOUT, snapshot(hour, day), {}, now=3601.0, tolerance=0.05)
    (field,) = said["fields"]
    return {each["cell"]: each for each in field["cells"]}


def test_a_share_is_outside_only_by_more_than_so_few_rows_do_by_chance() -> None:
    few = cells_of([6, 2, 1, 0, 0, 0, 0], [6, 2, 1, 0, 0, 0, 0])
    assert [name for name, each in few.items() if each["outside"]] == []
    many = cells_of([600, 200, 100, 0, 0, 0, 0], [600, 200, 100, 0, 0, 0, 0])
    assert [name for name, each in many.items() if each["outside"]] == ["0 to 10", "10 to 20", "20 to 30"]


def test_a_single_odd_row_is_no_signal_and_many_are() -> None:
    assert not cells_of([300, 300, 300, 0, 1, 0, 0], [0] * 7)["above"]["outside"]
    assert cells_of([300, 300, 300, 0, 9, 0, 0], [0] * 7)["above"]["outside"]


def test_a_window_without_rows_has_no_shares() -> None:
    cell = cells_of([0] * 7, [300, 300, 300, 0, 0, 0, 0])["0 to 10"]
    assert cell["1h"] is None
    assert cell["24h"] == 1 / 3
    assert cell["outside"] is False


def test_a_field_that_drift_knows_and_the_layout_does_not_is_still_listed() -> None:
    drift = {"fields": [{"field": "load", "state": "quiet"}, {"field": "station", "state": "unlearned"}]}
    said = signals_of("demand", None, LAYOUT, EMPTY, drift, now=10.0, tolerance=0.05)
    assert [(each["field"], each["state"], len(each["cells"])) for each in said["fields"]] == [
        ("load", "quiet", 7),
        ("station", "unlearned", 0),
    ]
    assert said["state"] == "quiet"
    assert said["age_s"] is None


def test_an_hour_is_held_against_its_own_hours_where_the_reference_has_a_season() -> None:
    night, busy = (900, 50, 50, 0, 0, 0, 0), (50, 50, 900, 0, 0, 0, 0)
    season = tuple(night if place % 24 < 8 else busy for place in range(48))
    cells = Cells(
        edges=CELLS.edges,
        low=0.0,
        high=30.0,
        counts=tuple(sum(each) for each in zip(*season, strict=True)),
        season=season,
    )
    layout = Layout("b" * 8, LAYOUT.size, (Span("load", 0, cells),), ("load",))
    found = []
    for hour in ([900, 50, 50, 0, 0, 0, 0], [50, 50, 900, 0, 0, 0, 0]):
        said = signals_of("demand", None, layout, snapshot(hour, hour), {}, now=3601.0, tolerance=0.05)
        found.append([cell["outside"] for cell in said["fields"][0]["cells"]][:3])
    assert found == [[False, False, False], [True, False, True]]


def test_of_an_hour_that_was_never_seen_nothing_is_outside_as_no_alarm_is_raised_of_it() -> None:
    season = tuple(CELLS.counts if place == 5 else (0,) * CELLS.size for place in range(48))
    seasonal = replace(CELLS, season=season)
    layout = replace(LAYOUT, spans=(Span("load", 0, seasonal),))
    found = snapshot([9_000, 0, 0, 0, 0, 0, 0], [0] * 7)
    said = signals_of("demand", None, layout, found, {}, now=3601.0, tolerance=0.05)
    (first, *others) = said["fields"][0]["cells"]
    assert (first["low"], first["high"], first["outside"]) == (0.0, 1.0, False)
    assert first["learned"] == pytest.approx(1 / 3, abs=0.01), "the share of all hours"
    assert not any(each["outside"] for each in others)
