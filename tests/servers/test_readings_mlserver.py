"""MLServer's own readers of requests hold the rows that guardproxy reads."""

import random
from collections.abc import Iterator

import pytest

from tests.servers.processes import Client, python_of
from tests.servers.readings import compared, generated, tensors_body


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(python_of("mlserver", optional=True), "reading") as made:
        yield made


@pytest.mark.parametrize("codec", ["np", "pd"])
def test_tensors_in_json_have_the_rows_that_the_codec_makes_of_them(client: Client, codec: str) -> None:
    bodies = generated(lambda rng: tensors_body(rng, codec), random.Random(6), 1_000)
    assert compared(client, "mlserver", "open-inference", bodies, codec=codec)["same"] > 300
