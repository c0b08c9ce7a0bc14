"""BentoML's own readers of requests hold the rows that guardproxy reads."""

import random
from collections.abc import Iterator

import pytest

from tests.servers.processes import Client, python_of
from tests.servers.readings import bentoml_body, compared, generated

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(python_of("bentoml"), "reading") as made:
        yield made


@pytest.mark.parametrize("argument", ["df", "x"])
def test_named_arguments_have_the_rows_that_the_endpoint_gets(client: Client, argument: str) -> None:
    bodies = generated(lambda rng: bentoml_body(rng, argument), random.Random(5), 2_000)
    assert compared(client, "bentoml", "bentoml", bodies, argument=argument)["same"] > 300
