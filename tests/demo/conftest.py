"""The demo's real data, read once for all tests."""

import os

import pytest

from guardproxy.demo import dataset
from guardproxy.demo.dataset import Dataset
from guardproxy.demo.scenario import Phase, phases

# Set before anything loads OpenMP: its threads spin against each other when other tests share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def real_data() -> Dataset:
    """The year as the demo uses it."""
    return dataset.load()


@pytest.fixture(scope="session")
def real_phases(real_data: Dataset) -> dict[str, Phase]:
    """The phases by key."""
    return {phase.key: phase for phase in phases(real_data.production())}
