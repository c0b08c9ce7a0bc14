"""A running admin plane with three open holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.served import Served, serve
from tests.holds.samples import make_hold


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """The admin plane, holds hld_000001 to hld_000003 open in it."""
    with serve(tmp_path) as running:
        running.run(running.store.add([make_hold(number) for number in (1, 2, 3)]))
        yield running
