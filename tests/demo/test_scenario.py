"""What is played, and what is expected of it."""

import json

from guardproxy.demo.dataset import AIRPORTS
from guardproxy.demo.nonsense import KINDS
from guardproxy.demo.scenario import BUSY, NONSENSE_OUTCOMES, Phase, Step

ROWS_A_DAY = 24 * len(AIRPORTS)


def cells(step: Step, name: str) -> list[object]:
    """A column of a step's request."""
    inputs = {tensor["name"]: tensor["data"] for tensor in json.loads(step.body)["inputs"]}
    return list(inputs.get(name, [None] * step.rows))


def test_the_five_phases_come_in_their_order(real_phases: dict[str, Phase]) -> None:
    assert list(real_phases) == ["normal", "unit", "shifted", "missing", "nonsense"]


def test_every_phase_has_single_rows_and_batches(real_phases: dict[str, Phase]) -> None:
    for phase in real_phases.values():
        sizes = {step.rows for step in phase.steps}
        assert {1, ROWS_A_DAY} <= sizes, phase.key


def test_every_step_sends_as_many_rows_as_it_says(real_phases: dict[str, Phase]) -> None:
    for phase in real_phases.values():
        for step in phase.steps:
            assert len(cells(step, "airport")) == step.rows
            assert all(0 <= row < step.rows for row in (*step.expected, *step.changed, *step.nonsense))


def test_normal_days_are_ordinary(real_phases: dict[str, Phase]) -> None:
    assert all(not step.expected and not step.nonsense for step in real_phases["normal"].steps)
    assert real_phases["normal"].rows == 14 * ROWS_A_DAY


def test_all_pressures_of_a_refused_request_are_in_pascal(real_phases: dict[str, Phase]) -> None:
    refused = [step for step in real_phases["unit"].steps if step.refused]
    assert len(refused) == 4
    for step in refused:
        assert set(step.expected.values()) == {"rejected"}
        assert len(step.expected) == step.rows
        assert all(isinstance(cell, int) and cell > 90_000 for cell in cells(step, "pressure"))


def test_only_one_airport_speaks_kelvin(real_phases: dict[str, Phase]) -> None:
    (step,) = (step for step in real_phases["unit"].steps if not step.refused)
    hot = {row for row, cell in enumerate(cells(step, "temp")) if isinstance(cell, float) and cell > 200}
    assert hot == set(step.expected) == set(step.changed)
    assert {cells(step, "airport")[row] for row in hot} == {"JFK"}


def test_a_shifted_row_has_a_pressure_where_the_visibility_belongs(real_phases: dict[str, Phase]) -> None:
    for step in real_phases["shifted"].steps:
        far = {row for row, cell in enumerate(cells(step, "visib")) if isinstance(cell, float) and cell > 900}
        assert far == {row for row, outcome in step.expected.items() if outcome == "held"}
        assert far


def test_missing_weather_is_held_in_busy_hours_and_marked_in_quiet_ones(
    real_phases: dict[str, Phase],
) -> None:
    outcomes = set()
    for step in real_phases["missing"].steps:
        temps, scheduled = cells(step, "temp"), cells(step, "scheduled")
        missing = {row for row, cell in enumerate(temps) if cell is None or cell != cell}
        assert missing == set(step.expected)
        assert not step.changed
        for row, outcome in step.expected.items():
            assert outcome == ("held" if int(str(scheduled[row])) >= BUSY else "warned")
        outcomes |= set(step.expected.values())
    assert outcomes == {"held", "warned"}


def test_missing_weather_is_spelled_in_three_ways(real_phases: dict[str, Phase]) -> None:
    bodies = [step.body for step in real_phases["missing"].steps]
    assert any(b"null" in body for body in bodies)
    assert any(b"NaN" in body for body in bodies)
    assert any(b'"temp"' not in body for body in bodies)


def test_the_model_talks_every_kind_of_nonsense_in_a_batch_and_alone(real_phases: dict[str, Phase]) -> None:
    batch, large, *singles = real_phases["nonsense"].steps
    assert set(batch.nonsense.values()) == set(KINDS)
    assert {kind for step in singles for kind in step.nonsense.values()} == set(KINDS)
    assert len(large.nonsense) == 3
    assert large.rows > 1000


def test_every_row_of_nonsense_is_expected_to_be_caught(real_phases: dict[str, Phase]) -> None:
    assert set(NONSENSE_OUTCOMES) == set(KINDS)
    for step in real_phases["nonsense"].steps:
        assert step.nonsense.keys() <= step.changed
        for row, kind in step.nonsense.items():
            assert step.expected[row] == NONSENSE_OUTCOMES[kind]
