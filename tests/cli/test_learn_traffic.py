"""A profile of recorded traffic: what it is learned from, what is told, and that it waits for a person."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from guardproxy.guard.recorded import Recorded
from guardproxy.profile.document import parse_profile
from guardproxy.profile.model import FieldKind, Method, Origin, Profile
from tests.cli.recorded import write_recording
from tests.cli.run import Shell
from tests.guard.recorded import exchange, rules

ACTING = rules("  - id: no-negative\n    require: output.demand >= 0\n    action: reject\n")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def traffic(rows: int, start: int = 0) -> Iterable[Recorded]:
    """Two shops' requests, five rows each, a third of the rows without a price."""
    rng = np.random.default_rng(start)
    for number in range(start, start + rows // 5):
        sold = rng.gamma(6, 20, 5).round(1).tolist()
        features = [
            {"shop": f"s{number % 2}", "last_week": base, "promo": bool(n % 2), "price": base if n else None}
            for n, base in enumerate(sold)
        ]
        yield exchange(number, features, [{"demand": round(base * 1.1, 1)} for base in sold])


def recorded(folder: Path, records: Iterable[Recorded], redact: tuple[str, ...] = ()) -> Path:
    return write_recording(folder, ACTING, list(records), redact)


def learned(name: str = "p.yaml") -> Profile:
    found = parse_profile(Path(name).read_text(), name)
    assert isinstance(found, Profile)
    return found


def test_a_profile_of_traffic_counts_until_it_is_approved(shell: Shell, tmp_path: Path) -> None:
    recorded(tmp_path / "r", traffic(3_500))
    done = shell("learn", "--from-traffic", "r", "--model", "m", "--key", "shop", "--out", "p.yaml")
    assert done.code == 0, done.err
    found = learned()
    assert (found.source, found.approved, found.acts) == (Origin.TRAFFIC, None, False)
    assert list(found.features) == ["shop", "last_week", "promo", "price"]
    assert found.keys == ("shop",)
    assert list(found.outputs) == ["demand"]
    assert found.features["promo"].kind is FieldKind.BOOLEAN
    assert found.features["price"].missing_rate == pytest.approx(0.2)
    assert found.rows == 3_500
    assert found.provenance.file == "r"
    assert any("less than a week" in note for note in found.notes)
    assert "of the rows it was learned from" in done.out
    assert "guardproxy profile approve p.yaml" in done.out
    assert "nobody has approved it" in shell("profile", "show", "p.yaml").out


def test_what_would_have_been_flagged_is_told_with_examples(shell: Shell, tmp_path: Path) -> None:
    usual = list(traffic(3_500))
    strange = {"shop": "s1", "last_week": 9e7, "promo": True, "price": 1.0}
    last = usual[-1].at
    odd = [exchange(9_000 + n, [strange], [{"demand": -9.0}], at=last + n) for n in range(5)]
    recorded(tmp_path / "r", [*usual, *odd])
    done = shell("learn", "--from-traffic", "r", "--model", "m", "--key", "shop", "--out", "p.yaml")
    assert done.code == 0, done.err
    assert "it would have flagged 0 of 3,500 (0.00%) of the rows it was learned from" in done.out
    assert "and 5 of 5 (100.00%) of the rows that were left out" in done.out
    assert "features.last_week: 5 rows" in done.out
    assert done.out.count("for example dec_90") == 3
    assert "(rejected): " in done.out


@pytest.mark.parametrize("name", ["x" * 2_000, "\ud800"])
def test_a_feature_that_a_client_gave_an_endless_name_spoils_no_profile(
    shell: Shell, tmp_path: Path, name: str
) -> None:
    usual = list(traffic(3_500))
    strange = {"shop": "s1", name: 1.0}
    odd = exchange(9_000, [strange], [{"demand": 5.0}], at=usual[-1].at + 1)
    recorded(tmp_path / "r", [*usual, odd])
    done = shell("learn", "--from-traffic", "r", "--model", "m", "--key", "shop", "--out", "p.yaml")
    assert done.code == 0, done.err
    assert list(learned().features) == ["shop", "last_week", "promo", "price"]
    assert any("names that it cannot" in note for note in learned().notes)


def test_rows_that_something_acted_on_are_left_out_and_counted(shell: Shell, tmp_path: Path) -> None:
    usual = list(traffic(3_500))
    bad = [exchange(2_000 + n, [{"shop": "s9", "last_week": -1e9, "promo": True, "price": 1.0}], [{"demand": -5.0}],
                    at=usual[n].at) for n in range(40)]  # fmt: skip
    broken = [exchange(3_000 + n, [{"shop": "s9", "last_week": -1e9, "promo": True, "price": 1.0}], [{"demand": None}],
                       at=usual[n].at) for n in range(7)]  # fmt: skip
    recorded(tmp_path / "r", sorted([*usual, *bad, *broken], key=lambda one: one.at))
    done = shell("learn", "--from-traffic", "r", "--model", "m", "--key", "shop", "--out", "p.yaml")
    assert done.code == 0, done.err
    found = learned()
    assert found.features["last_week"].minimum is not None
    assert found.features["last_week"].minimum > 0
    assert "s9" not in dict(found.features["shop"].top)
    assert any("3,500 of 3,547 rows; left out: 47 rejected" in note for note in found.notes), found.notes
    assert "47 of 47" in done.out


def test_too_few_rows_are_said_with_how_many_there_are(shell: Shell, tmp_path: Path) -> None:
    recorded(tmp_path / "r", traffic(500))
    words = ("learn", "--from-traffic", "r", "--model", "m", "--key", "shop", "--out")
    done = shell(*words, "p.yaml")
    assert done.code == 2
    assert "500 recorded rows of 'm' can be learned from, and 3,000 are needed" in done.err
    assert "--provisional" in done.err
    assert not Path("p.yaml").exists()
    assert shell(*words, "few.yaml", "--provisional").code == 0
    recorded(tmp_path / "more", traffic(3_500))
    assert shell("learn", "--from-traffic", "more", *words[3:], "many.yaml", "--provisional").code == 0
    few, many = learned("few.yaml"), learned("many.yaml")
    assert any("provisional" in note for note in few.notes)
    assert not any("provisional" in note for note in many.notes)
    field = few.features["last_week"]
    assert field.high_method is Method.WIDENED
    assert field.maximum is not None
    assert field.high is not None
    assert field.high > 1.4 * field.maximum
    assert field.low is not None
    assert field.low > 0.0
    assert not few.features["promo"].required
    recorded(tmp_path / "tiny", traffic(50))
    done = shell("learn", "--from-traffic", "tiny", *words[3:], "p.yaml", "--provisional")
    assert done.code == 2
    assert "100 are needed" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from-traffic", "none"), "none"),
        (("--from-traffic", "r", "--model", "other"), "there is no recorded traffic of 'other'"),
        (("--from-traffic", "r", "--key", "shp"), "did you mean 'shop'"),
        (("--from-traffic", "r", "--skip", "prize"), "did you mean 'price'"),
    ],
)
def test_what_is_not_in_the_recording_is_said(
    shell: Shell, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    recorded(tmp_path / "r", traffic(3_000))
    model = () if "--model" in words else ("--model", "m")
    done = shell("learn", *words, *model, "--out", "p.yaml")
    assert done.code == 2
    assert said in done.err
    assert not Path("p.yaml").exists()


def test_redacted_fields_are_not_learned_and_named(shell: Shell, tmp_path: Path) -> None:
    recorded(tmp_path / "r", traffic(3_500), redact=("features.shop",))
    done = shell("learn", "--from-traffic", "r", "--model", "m", "--out", "p.yaml")
    assert done.code == 0, done.err
    found = learned()
    assert "shop" not in found.features
    assert any("redacted" in note and "features.shop" in note for note in found.notes)
    done = shell("learn", "--from-traffic", "r", "--model", "m", "--key", "shop", "--out", "q.yaml")
    assert done.code == 2
    assert "redacted" in done.err
