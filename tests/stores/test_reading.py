"""Reading holds beside a running server: nothing is changed, and what cannot be read is a sentence."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from guardproxy.errors import StoreError
from guardproxy.holds import State
from guardproxy.stores.reading import read_holds
from guardproxy.stores.sqlite import SqliteHoldStore
from tests.authoring.test_suggest import hold
from tests.guard.recorded import START


def filled(path: Path) -> None:
    async def fill() -> None:
        store = SqliteHoldStore(path)
        await store.open()
        await store.add([hold(n, State.OPEN, kind="a") for n in range(3)])
        # Read while the store is open, as beside a running server.
        assert len(list(read_holds(path))) == 3
        await store.close()

    asyncio.run(fill())


def test_holds_are_read_by_model_and_time(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    filled(path)
    assert {one.id for one in read_holds(path, model="m", since=START)} == {"h0", "h1", "h2"}
    assert list(read_holds(path, model="other")) == []
    assert list(read_holds(path, since=START + 1)) == []


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(StoreError, match="there is no such store"):
        list(read_holds(path))
    assert not path.exists()


def test_another_programs_database_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE holds (document TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="no store of guardproxy"):
        list(read_holds(path))


def test_another_releases_layout_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="another release"):
        list(read_holds(path))
