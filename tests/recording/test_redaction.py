"""What is redacted is gone before anything is kept, and never on disk."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.decision import Outcome
from guardproxy.recording import Draft, Options, redaction_problem
from guardproxy.recording.draft import Redactor
from tests.recording.samples import draft, facts, offer, read, recorder, same

SECRET = "4111-1111-1111-1111"
OTHER = "secret-caller"
SECRETS = ("features.card", "output.echo", "request.caller")


def sensitive() -> Draft:
    return draft(
        1,
        features={"card": [SECRET], "price": [3.0]},
        predictions={"echo": [SECRET], "demand": [5.0]},
        previous={("price",): ({"echo": SECRET, "demand": 4.0},)},
        facts=facts(draft().facts.at, caller=OTHER),
        found={"violated": {"plausible": [0]}, "outcome": Outcome.HELD},
        holds=("hold_1",),
        identity=SECRET.encode(),
    )


def test_redacted_cells_are_nowhere_in_the_files(tmp_path: Path) -> None:
    one = recorder(tmp_path, redact=SECRETS)
    assert offer(one, sensitive())
    one.close()
    (path,) = tmp_path.iterdir()
    text = gzip.decompress(path.read_bytes())
    assert b"dec_1" in text
    for said in (SECRET, OTHER, SECRET.encode().hex(), "name is"):
        assert said.encode() not in text


def test_a_record_says_what_was_redacted_and_keeps_the_rest(tmp_path: Path) -> None:
    one = recorder(tmp_path, redact=SECRETS)
    offer(one, sensitive())
    one.close()
    (record,) = read(tmp_path)
    assert set(record.redacted) == set(SECRETS)
    assert record.features.record(0) == {"card": None, "price": 3.0}
    assert record.predictions is not None
    assert record.predictions.record(0) == {"echo": None, "demand": 5.0}
    assert record.previous == {("price",): ({"echo": None, "demand": 4.0},)}
    assert record.facts.caller is None
    assert (record.outcomes, record.violated, record.holds) == (("held",), {"plausible": (0,)}, ("hold_1",))


def test_nothing_unredacted_is_kept_in_memory_between_the_reply_and_the_write(tmp_path: Path) -> None:
    kept = Redactor(SECRETS).keep("demand", sensitive(), 1)
    assert SECRET not in repr(kept)
    assert OTHER not in repr(kept)
    assert SECRET not in repr([kept.record.features.record(0), kept.decision.findings, kept.decision.held])


def test_a_star_redacts_all_of_a_space(tmp_path: Path) -> None:
    one = recorder(tmp_path, redact=("features.*",))
    offer(one, sensitive())
    one.close()
    (record,) = read(tmp_path)
    assert record.features.record(0) == {"card": None, "price": None}
    assert record.redacted == ("features.card", "features.price")
    assert record.predictions is not None
    assert record.predictions.cell("echo", 0) == SECRET


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d.e"]), unique=True, min_size=1),
    st.lists(st.sampled_from(["a", "b", "d.e"]), unique=True),
    st.integers(1, 3),
)
@settings(max_examples=100, deadline=None)
def test_only_the_named_fields_change(fields: list[str], hidden: list[str], rows: int) -> None:
    cells = {name: [1.5, "text", 2**60][:rows] for name in fields}
    whole = draft(1, features=cells, predictions={"a": [1.0] * rows})
    record = Redactor(tuple(f"features.{name}" for name in hidden)).keep("demand", whole, 1).record
    for name in fields:
        expected = (None,) * rows if name in hidden else whole.features.column(name)
        assert record.features.column(name) == expected
    assert same(record.predictions, whole.predictions)
    assert set(record.redacted) == {f"features.{name}" for name in set(hidden) & set(fields)}


def test_the_table_of_the_request_itself_is_not_changed() -> None:
    one = sensitive()
    Redactor(SECRETS).keep("demand", one, 1)
    assert one.features.cell("card", 0) == SECRET


def test_what_cannot_be_redacted_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(Redactor, "_table", broken)
    one = recorder(tmp_path, redact=SECRETS)
    assert not offer(one, sensitive())
    one.close()
    assert dict(one.status().dropped) == {"redaction": 1, "reservoir": 0}
    assert list(tmp_path.iterdir()) == []


def test_a_digest_of_what_is_partly_redacted_cannot_be_guessed() -> None:
    plain, again = (Redactor(()).keep("demand", sensitive(), 1).record.identity for _ in range(2))
    assert plain == again
    hidden, other = (Redactor(SECRETS).keep("demand", sensitive(), 1).record.identity for _ in range(2))
    assert len({plain, hidden, other}) == 3
    one = Redactor(SECRETS)
    assert (
        one.keep("demand", sensitive(), 1).record.identity
        == one.keep("demand", sensitive(), 1).record.identity
    )


def test_a_name_that_no_exchange_has_is_reported(tmp_path: Path) -> None:
    one = recorder(tmp_path, redact=("features.card", "features.crad", "output.*"))
    assert one.status().redact_unmet == ()
    offer(one, sensitive())
    assert one.status().redact_unmet == ("features.crad",)


@pytest.mark.parametrize(
    "name", ["card", "features.", ".card", "feature.card", "request.at", "", "request.*"]
)
def test_a_name_of_nothing_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    problem = redaction_problem(name)
    assert problem is not None
    assert repr(name) in problem
    with pytest.raises(ValueError, match=r"redacted|names no field"):
        Options(tmp_path, redact=(name,))


def test_names_may_have_dots_and_spaces() -> None:
    assert redaction_problem("features.sepal length (cm)") is None
    assert redaction_problem("features.customer.email") is None
