"""MLflow's own readers of requests hold the rows that guardproxy reads."""

import random
from collections.abc import Iterator

import pytest

from tests.servers.processes import Client, python_of
from tests.servers.readings import compared, csv_body, generated, mlflow_body

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(python_of("mlflow"), "reading") as made:
        yield made


def test_csv_has_the_rows_that_pandas_reads(client: Client) -> None:
    bodies = generated(csv_body, random.Random(1), 1_000)
    counted = compared(client, "mlflow_csv", "mlflow", bodies, "text/csv")
    assert counted["same"] > 400


def test_json_has_the_rows_that_the_scoring_server_reads(client: Client) -> None:
    counted = compared(client, "mlflow_json", "mlflow", generated(mlflow_body, random.Random(2), 3_000))
    assert counted["same"] > 1_000
