"""The backends that the contract is tested on."""

import pytest

from tests.stores.statistics.backends import BACKENDS, Backend


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """A backend that all tests of the session share."""
    name = request.param
    if name == "sqlite":
        return Backend(name, str(tmp_path_factory.mktemp("statistics") / "statistics.db"))
    fixtures = {
        "redis": "redis_server",
        "valkey": "valkey_server",
        "sentinel": "redis_sentinels",
        "cluster": "redis_cluster",
    }
    return Backend(name, request.getfixturevalue(fixtures[name]).url)
