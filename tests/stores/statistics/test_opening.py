"""Which store an address names, and what is loaded for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from guardproxy.stores.opening import open_statistics, sqlite_file
from guardproxy.stores.redis_statistics import RedisStatistics
from guardproxy.stores.sqlite_statistics import SqliteStatistics

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////b/a.db", "/b/a.db"),
        ("sqlite:///", None),
        ("redis://a:1/0", None),
    ],
)
def test_only_an_address_of_sqlite_names_a_file(address: str, file: str | None) -> None:
    assert sqlite_file(address) == file


def test_an_address_names_its_store(tmp_path: Path) -> None:
    holds = tmp_path / "holds.db"
    assert isinstance(open_statistics(None, holds, None, 100), SqliteStatistics)
    assert isinstance(open_statistics(f"sqlite:///{tmp_path}/a.db", holds, None, 100), SqliteStatistics)
    assert isinstance(open_statistics("redis://127.0.0.1:6379/0", holds, None, 100), RedisStatistics)


def test_a_start_without_redis_does_not_load_its_client() -> None:
    asked = "import sys, guardproxy.service; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
