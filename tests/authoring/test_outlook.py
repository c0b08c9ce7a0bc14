"""What a profile would have flagged of recorded traffic is what its rule will flag."""

import pytest

from guardproxy.authoring import outlook
from guardproxy.authoring.outlook import look_ahead
from guardproxy.decision import Verdict
from guardproxy.guard.evidence import gather
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Judge
from guardproxy.profile.model import Role
from guardproxy.rules import default_ruleset
from tests.guard.recorded import exchange
from tests.rules.build import number, profile_of

PROFILE = profile_of([number("x", 0, 10), number("y", 0, 10)], [number("z", 0, 5, Role.OUTPUT)], model="m")


def traffic() -> list[Recorded]:
    records = [exchange(n, [{"x": 5.0, "y": 5.0}] * 3, [{"z": 1.0}] * 3) for n in range(100)]
    records.append(exchange(200, [{"x": 50.0, "y": 5.0}, {"x": 50.0, "y": -1.0}], [{"z": 1.0}] * 2))
    records.append(exchange(201, [{"x": 5.0, "y": 5.0}], [{"z": 9.0}]))
    records.append(exchange(202, [{"x": 99.0, "y": 5.0}], [{"z": 1.0}], outcomes=("held",)))
    return records


def test_shares_fields_and_examples_are_told() -> None:
    found = look_ahead(PROFILE, traffic())
    assert (found.rows, found.flagged) == (303, 3)
    assert (found.left_out, found.left_out_flagged) == (1, 1)
    assert found.by_field == {"features.x": 3, "features.y": 1, "output.z": 1}
    assert len(found.examples) == 3
    assert found.examples[0].startswith("dec_0200, row 0 (allowed): ")
    assert "50" in found.examples[0]


def test_the_features_flagged_are_those_of_the_rule() -> None:
    records = traffic()
    told = gather("m", records, Judge(default_ruleset("m", PROFILE), PROFILE))
    found = look_ahead(profile_of([*PROFILE.features.values()], model="m"), records)
    assert found.flagged + found.left_out_flagged == told.verdicts["inside-profile"][Verdict.VIOLATED]


def test_of_very_many_flagged_rows_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "MAX_EXPLAINED", 2)
    found = look_ahead(PROFILE, traffic())
    assert (found.flagged, found.explained, len(found.examples)) == (3, 2, 2)
