"""Personal data in text: found where it is, not where only its shape is."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.rules.personal import PERSONAL, find_personal

# The numbers that card networks and banks publish for testing; none of them belongs to anybody.
CARD = "4111 1111 1111 1111"
IBAN = "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"pay with {CARD} please", "card"),
        ("4111111111111111", "card"),
        ("card:4111-1111-1111-1111.", "card"),
        ("order 12 3782 822463 10005 due", "card"),
        (f"to {IBAN}, thank you", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("write to first.last+tag@mail.example.org!", "email"),
        ("<a@example.com>", "email"),
        ("call +49 (30) 1234-5678 today", "phone"),
    ],
)
def test_personal_data_is_found_in_the_spellings_that_people_use(text: str, kind: str) -> None:
    assert find_personal(text, PERSONAL) == kind


@pytest.mark.parametrize(
    "text",
    [
        "order 4111 1111 1111 1112",
        "0000 0000 0000 0000",
        "DE89 3704 0044 0532 0130 01",
        "XDE89370400440532013000",
        "me@localhost",
        "@example.com",
        "a@b..com",
        "1 + 2 = 3",
        "+0 123 456 789",
        "+1234",
        "",
    ],
)
def test_what_only_looks_like_personal_data_is_not_taken_for_it(text: str) -> None:
    assert find_personal(text, PERSONAL) is None


def test_only_the_kinds_that_were_asked_for_are_looked_for() -> None:
    assert find_personal(CARD, ("email", "iban")) is None
    assert find_personal(f"{CARD} a@example.com", ("email", "card")) == "email"


@given(st.text(alphabet=string.digits, min_size=12, max_size=18))
def test_of_ten_last_digits_exactly_one_makes_a_card(digits: str) -> None:
    found = [last for last in string.digits if find_personal(digits + last, ("card",))]
    assert len(found) == (0 if not digits.strip("0") and "0" in found else 1) or digits.strip("0") == ""


@given(st.text(max_size=300))
def test_no_text_breaks_a_scanner(text: str) -> None:
    assert find_personal(text, PERSONAL) in {None, *PERSONAL}


@pytest.mark.parametrize("unit", ["1 ", "1", "a@", "+", "DE89 ", "DE89", "@", "- 1"])
def test_a_long_text_of_near_misses_is_looked_through_once(unit: str) -> None:
    assert find_personal(unit * (64 * 1024 // len(unit)), PERSONAL) in {None, *PERSONAL}
