"""Tokens: kept as digests, read strictly, found without telling how close a guess was."""

import json

import pytest

from guardproxy.admin import Role, Token, TokenBook, new_token, read_tokens
from guardproxy.admin.sessions import (
    LIFETIME_S,
    MAX_SESSIONS,
    MAX_SOURCES,
    TRIES,
    WINDOW_S,
    Brake,
    Sessions,
)
from guardproxy.admin.tokens import digest_of

DIGEST = digest_of("secret")


def test_a_new_token_is_long_random_and_found_by_its_digest() -> None:
    secret, token = new_token("ana", Role.REVIEWER)
    other, _ = new_token("ana", Role.REVIEWER)
    assert secret != other
    assert len(secret) >= 43
    assert secret not in repr(token)
    assert TokenBook((token,)).find(secret) == token
    assert TokenBook((token,)).find(secret + "x") is None
    assert TokenBook().find("") is None


@pytest.mark.parametrize(
    "text",
    [
        f"- {{name: ana, role: viewer, sha256: {DIGEST}}}\n- {{name: bo, role: operator, sha256: '{digest_of('b')}'}}\n",
        json.dumps([{"name": "ana", "role": "viewer", "sha256": DIGEST}, {"name": "bo", "role": "operator", "sha256": digest_of("b")}]),
    ],
)  # fmt: skip
def test_a_tokens_file_is_yaml_or_json(text: str) -> None:
    book, problems = read_tokens(text, "tokens.yaml")
    assert not problems
    assert book.tokens == (Token("ana", Role.VIEWER, DIGEST), Token("bo", Role.OPERATOR, digest_of("b")))


def test_a_digest_without_a_letter_is_read_as_it_is_written() -> None:
    digits = "0123456789" * 6 + "0123"
    book, problems = read_tokens(f"- {{name: ana, role: viewer, sha256: {digits}}}\n", "t")
    assert not problems
    assert book.tokens[0].sha256 == digits


def test_every_mistake_in_a_tokens_file_is_reported_at_once_with_its_place() -> None:
    text = (
        f"- {{name: ana, role: reviewr, sha256: {DIGEST}}}\n"
        "- {name: bo, role: viewer, sha256: abc}\n"
        f"- {{name: 'a b', role: viewer, sha256: {digest_of('c')}}}\n"
        f"- {{name: cy, role: viewer, sha256: {digest_of('d')}, extra: 1}}\n"
        f"- {{name: cy, role: viewer, sha256: {digest_of('e')}}}\n"
        "- {name: di}\n"
    )
    _, problems = read_tokens(text, "tokens.yaml")
    assert [problem.line for problem in sorted(problems, key=lambda each: each.line)] == [1, 2, 3, 4, 5, 6]
    assert any("reviewer" in problem.help for problem in problems)
    assert all(problem.file == "tokens.yaml" for problem in problems)


def test_a_withdrawn_token_is_no_longer_named() -> None:
    token = Token("ana", Role.VIEWER, DIGEST)
    assert TokenBook((token,)).named("ana", DIGEST) == token
    assert TokenBook((token,)).named("ana", digest_of("new")) is None
    assert TokenBook().named("ana", DIGEST) is None


def test_a_session_ends_by_itself_and_by_logging_out() -> None:
    sessions = Sessions()
    token = Token("ana", Role.VIEWER, DIGEST)
    session = sessions.begin(token, 100.0)
    assert sessions.find(session.id, 100.0 + LIFETIME_S - 1) == session
    assert sessions.find(session.id, 100.0 + LIFETIME_S) is None
    assert sessions.find("", 100.0) is None
    second = sessions.begin(token, 100.0)
    sessions.end(second.id)
    sessions.end("never began")
    assert sessions.find(second.id, 100.0) is None


def test_sessions_are_bounded_and_the_oldest_makes_room() -> None:
    sessions = Sessions()
    token = Token("ana", Role.VIEWER, DIGEST)
    first = sessions.begin(token, 0.0)
    for number in range(MAX_SESSIONS):
        sessions.begin(token, float(number))
    assert len(sessions) == MAX_SESSIONS
    assert sessions.find(first.id, 1.0) is None


def test_the_brake_closes_for_one_source_only_and_opens_again() -> None:
    brake = Brake()
    for _ in range(TRIES):
        assert brake.wait_s("192.0.2.1", 100.0) == 0
        brake.wrong("192.0.2.1", 100.0)
    assert brake.wait_s("192.0.2.1", 101.0) == WINDOW_S - 1
    assert brake.refused == 1
    assert brake.wait_s("192.0.2.2", 101.0) == 0
    assert brake.wait_s("192.0.2.1", 100.0 + WINDOW_S) == 0


def test_addresses_of_one_ipv6_network_share_a_brake_and_the_table_is_bounded() -> None:
    brake = Brake()
    for number in range(TRIES):
        brake.wrong(f"2001:db8:1:2::{number:x}", 0.0)
    assert brake.wait_s("2001:db8:1:2:ffff::9", 1.0) > 0
    assert brake.wait_s("2001:db8:1:3::1", 1.0) == 0
    for number in range(MAX_SOURCES + 10):
        brake.wrong(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}", 0.0)
    assert len(brake._windows) == MAX_SOURCES
