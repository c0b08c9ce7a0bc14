"""KServe's own readers of requests hold the rows that guardproxy reads."""

import random
from collections.abc import Iterator

import pytest

from tests.servers.processes import Client, python_of
from tests.servers.readings import compared, generated, kserve_body, tensors_body

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(python_of("kserve"), "reading") as made:
        yield made


def test_v1_has_the_rows_that_the_server_hands_to_its_model(client: Client) -> None:
    counted = compared(client, "kserve_v1", "kserve-v1", generated(kserve_body, random.Random(3), 2_000))
    assert counted["same"] > 300


@pytest.mark.parametrize("content_type", ["", "pd"])
def test_v2_has_the_rows_that_the_server_hands_to_its_model(client: Client, content_type: str) -> None:
    bodies = generated(lambda rng: tensors_body(rng, content_type), random.Random(4), 1_000)
    assert compared(client, "kserve_v2", "open-inference", bodies)["same"] > 300
