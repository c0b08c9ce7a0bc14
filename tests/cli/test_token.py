"""`guardproxy token new`: what it prints is a line of a tokens file, and its secret is recognised."""

from pathlib import Path

import pytest

from guardproxy.admin import read_tokens
from tests.cli.run import Shell


def secret_of(err: str) -> str:
    return next(line for line in err.splitlines() if line.startswith("token: ")).removeprefix("token: ")


def test_lines_appended_to_a_file_are_a_tokens_file_that_recognises_the_secrets(
    shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.yaml"
    secrets = {}
    for name, role in (
        ("reviewer-a", "viewer"),
        ("operator-a@team", "operator"),
        ("007", "reviewer"),
        ("true", "reviewer"),
    ):
        done = shell("token", "new", "--name", name, "--role", role)
        assert done.code == 0
        with file.open("a") as stream:
            stream.write(done.out)
        secrets[name] = (secret_of(done.err), role)
        assert secrets[name][0] not in done.out
        assert "not shown again" in done.err
    book, problems = read_tokens(file.read_text(), "tokens.yaml")
    assert problems == []
    for name, (secret, role) in secrets.items():
        token = book.find(secret)
        assert token is not None
        assert (token.name, token.role.word) == (name, role)
    assert book.find("another") is None


def test_the_role_is_reviewer_by_default_and_secrets_differ(shell: Shell) -> None:
    first, second = shell("token", "new", "--name", "a"), shell("token", "new", "--name", "a")
    assert "role: reviewer" in first.out
    assert secret_of(first.err).startswith("gp_")
    assert len(secret_of(first.err)) > 40
    assert secret_of(first.err) != secret_of(second.err)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a" * 65, 'a"}', "a\n", "grün"])
def test_a_name_that_no_tokens_file_may_hold_is_wrong_usage(shell: Shell, name: str) -> None:
    done = shell("token", "new", f"--name={name}")
    assert (done.code, done.out) == (2, "")
    assert "letters, digits and . _ @ -" in done.err
    assert "token: " not in done.err


@pytest.mark.parametrize("arguments", [[], ["new"], ["new", "--name", "a", "--role", "king"], ["nwe"]])
def test_wrong_usage_of_token_exits_with_2_and_shows_the_right_one(
    shell: Shell, arguments: list[str]
) -> None:
    done = shell("token", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage: guardproxy token" in done.err
