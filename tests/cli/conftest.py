"""Fixtures of the command line's tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.served import Served, serve
from tests.cli.run import Shell
from tests.holds.samples import make_hold


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line, with no GUARDPROXY_ variable set."""
    for name in [name for name in os.environ if name.startswith("GUARDPROXY_")]:
        monkeypatch.delenv(name)
    return Shell(monkeypatch, capsys)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A running admin plane with holds hld_000001 to hld_000003 open."""
    with serve(tmp_path) as running:
        running.run(running.store.add([make_hold(number) for number in (1, 2, 3)]))
        yield running
