"""Signed webhooks: what a receiver checks, with the very lines that the documentation gives."""

import re
from pathlib import Path
from typing import Any

import pytest

from guardproxy.cli.config import load_all
from guardproxy.proxy.webhooks import Hook
from tests.harness.loop import run, until
from tests.proxy.test_webhooks import Receiver, telling
from tests.shared import ROOT

SECRET = "0123456789abcdef0123"


def documented() -> Any:
    """Return the function `genuine` of the page on operations."""
    text = (ROOT / "docs" / "operations.md").read_text()
    (block,) = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    space: dict[str, Any] = {}
    exec(block, space)  # noqa: S102 - the documentation's own lines
    return space["genuine"]


def test_what_is_sent_passes_the_documented_check_and_nothing_else_does() -> None:
    async def scenario() -> Receiver:
        async with Receiver().serving() as receiver:
            hook = Hook(receiver.url, frozenset({"window"}), secret=SECRET.encode())
            async with telling(hook, clock=lambda: 1_700_000_000.7) as webhooks:
                webhooks.tell("window", {"text": "ä"})
                await until(lambda: hook.counts["delivered"], "the event arrives")
            assert SECRET not in repr(hook)
            return receiver

    receiver = run(scenario())
    (headers,), (body,) = receiver.headers, receiver.bodies
    said = headers["Guardproxy-Signature"]
    assert said.startswith("t=1700000000,v1=")
    genuine, now = documented(), 1_700_000_100.0
    assert genuine(SECRET, said, body, now)
    assert not genuine("another secret than that", said, body, now)
    assert not genuine(SECRET, said, body + b" ", now)
    assert not genuine(SECRET, said.replace("t=17", "t=16"), body, now)
    assert not genuine(SECRET, said, body, now + 3_600.0)


def test_every_try_and_every_address_gets_the_same_event_id() -> None:
    async def scenario() -> None:
        async with Receiver().serving() as one, Receiver().serving() as other:
            one.statuses = [500]
            hooks = [Hook(receiver.url, frozenset({"window"})) for receiver in (one, other)]
            async with telling(*hooks) as webhooks:
                webhooks.tell("window", {"id": "abc"})
                webhooks.tell("window", {})
                webhooks.tell("window", {"id": "Größe\r\nX: y"})
                await until(lambda: all(hook.counts["delivered"] == 3 for hook in hooks), "all arrive")
        first, again, second, odd = [headers["Guardproxy-Event"] for headers in one.headers]
        assert first == again == "abc" != second
        assert [headers["Guardproxy-Event"] for headers in other.headers] == ["abc", second, odd]
        assert [body["id"] for body in other.got] == ["abc", second, odd]
        assert re.fullmatch("[0-9a-f]{32}", odd)
        assert "Guardproxy-Signature" not in one.headers[0]

    run(scenario())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "must hold one line of at least 16 plain characters"),
        ("short", "must hold one line of at least 16 plain characters"),
        ("two lines are too many\nfor one secret", "must hold one line of at least 16 plain characters"),
        (SECRET + "ü", "must hold one line of at least 16 plain characters"),
        (f"{SECRET}\n", ""),
    ],
)
def test_a_bad_secret_file_stops_the_start_with_its_place_and_is_never_shown(
    tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "hook"
    if content is not None:
        file.write_text(content)
    (tmp_path / "guardproxy.yaml").write_text(
        "upstream: http://127.0.0.1:9\nwebhooks: [{url: 'http://127.0.0.1:9/x', secret_file: hook}]\n"
    )
    _, loaded = load_all(tmp_path / "guardproxy.yaml", {})
    if not said:
        assert loaded.errors == []
        assert loaded.secrets == {str(file): SECRET.encode()}
    else:
        (problem,) = loaded.errors
        assert problem.file == str(file)
        assert problem.message.startswith(said)
        assert str(file) not in loaded.texts
    assert SECRET not in repr(loaded)
