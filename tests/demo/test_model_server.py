"""The demo's model server, spoken to by a client of the Open Inference Protocol."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from guardproxy.demo.dataset import FEATURES, Dataset
from guardproxy.demo.model import OUTPUTS, Forecaster, train
from guardproxy.demo.model_server import make_app
from guardproxy.demo.traffic import infer_body, read_answer

INFER = "/v2/models/departures/infer"
Client = TestClient[Any, Any]


@pytest.fixture(scope="module")
def forecaster(real_data: Dataset) -> Forecaster:
    """A model trained on a month, which is enough to speak the protocol."""
    month = real_data.days_from(0, 30)
    return train({"airport": month.airports, **month.columns})


@pytest.fixture(scope="module")
def rows(real_data: Dataset) -> list[dict[str, object]]:
    """One day of rows."""
    return list(real_data.days_from(40, 1).records())


def talk(forecaster: Forecaster, conversation: Callable[[Client], Awaitable[Any]]) -> Any:
    """Hold a conversation with a running server."""

    async def held() -> Any:
        async with TestClient(TestServer(make_app(forecaster))) as client:
            return await conversation(client)

    return asyncio.run(held())


def post(forecaster: Forecaster, body: bytes, path: str = INFER) -> tuple[int, bytes]:
    """Send one body."""

    async def once(client: Client) -> tuple[int, bytes]:
        async with client.post(path, data=body) as answer:
            return answer.status, await answer.read()

    return talk(forecaster, once)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/departures", "/v2/models/departures/ready"],
)
def test_health_and_metadata_answer(forecaster: Forecaster, path: str) -> None:
    async def status(client: Client) -> int:
        return (await client.get(path)).status

    assert talk(forecaster, status) == 200


def test_the_metadata_names_what_goes_in_and_what_comes_out(forecaster: Forecaster) -> None:
    async def metadata(client: Client) -> Any:
        return await (await client.get("/v2/models/departures")).json()

    document = talk(forecaster, metadata)
    assert [tensor["name"] for tensor in document["inputs"]] == list(FEATURES)
    assert [tensor["name"] for tensor in document["outputs"]] == list(OUTPUTS)


def test_an_answer_has_a_row_for_every_row(forecaster: Forecaster, rows: list[dict[str, object]]) -> None:
    status, body = post(forecaster, infer_body(rows, "r7"))
    document = json.loads(body)
    assert status == 200
    assert document["id"] == "r7"
    assert [output["name"] for output in document["outputs"]] == list(OUTPUTS)
    assert all(output["shape"] == [len(rows), 1] for output in document["outputs"])
    assert all(len(output["data"]) == len(rows) for output in document["outputs"])


def test_an_honest_answer_is_in_order_and_never_negative(
    forecaster: Forecaster, rows: list[dict[str, object]]
) -> None:
    answer = read_answer(post(forecaster, infer_body(rows, "r"))[1])
    for low, middle, high in zip(answer["p10"], answer["departures"], answer["p90"], strict=True):
        assert low is not None
        assert middle is not None
        assert high is not None
        assert 0 <= low <= middle <= high


def test_the_same_request_gets_the_same_bytes(forecaster: Forecaster, rows: list[dict[str, object]]) -> None:
    body = infer_body(rows, "r")
    assert post(forecaster, body) == post(forecaster, body)


def test_a_row_alone_gets_what_it_gets_in_a_batch(
    forecaster: Forecaster, rows: list[dict[str, object]]
) -> None:
    together = read_answer(post(forecaster, infer_body(rows, "r"))[1])
    alone = read_answer(post(forecaster, infer_body(rows[9:10], "r"))[1])
    assert {name: cells[0] for name, cells in alone.items()} == {n: c[9] for n, c in together.items()}


@pytest.mark.parametrize("spelling", ["null", "NaN", "absent"])
def test_missing_features_are_no_obstacle_however_they_are_spelled(
    forecaster: Forecaster, spelling: str
) -> None:
    row: dict[str, object] = {"airport": "EWR", "hour": 8, "weekday": 1, "scheduled": 20}
    status, body = post(forecaster, infer_body([row], "r", spelling))
    assert status == 200
    assert all(np.isfinite(cells[0]) for cells in read_answer(body).values() if cells[0] is not None)


def test_nonsense_is_talked_in_the_named_rows_only_and_can_be_switched_off(
    forecaster: Forecaster, rows: list[dict[str, object]]
) -> None:
    body = infer_body(rows[:4], "r")

    async def conversation(client: Client) -> list[bytes]:
        said = []
        for wanted in ({}, {"2": "nan"}, {}):
            assert (await client.post("/demo/nonsense", json={"rows": wanted})).status == 200
            said.append(await (await client.post(INFER, data=body)).read())
        return said

    honest, spoilt, again = talk(forecaster, conversation)
    assert honest == again
    assert b"NaN" in spoilt
    before, after = read_answer(honest)["departures"], read_answer(spoilt)["departures"]
    assert [row for row in range(4) if before[row] != after[row]] == [2]


def test_only_inference_counts_as_a_call(forecaster: Forecaster, rows: list[dict[str, object]]) -> None:
    async def conversation(client: Client) -> int:
        await client.get("/v2")
        await client.post(INFER, data=infer_body(rows, "r"))
        await client.post(INFER, data=b"{")
        return int((await (await client.get("/demo/calls")).json())["infer"])

    assert talk(forecaster, conversation) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "'inputs'"),
        (b'{"inputs": []}', "'inputs'"),
        (b'{"inputs": [{"name": "colour", "shape": [1], "data": [1]}]}', "names"),
        (b'{"inputs": [{"name": "hour", "shape": [2], "data": [1]}]}', "'shape'"),
        (b'{"inputs": [{"name": "hour", "shape": [1], "data": ["eight"]}]}', "no float"),
        (b'{"inputs": [{"name": "hour", "shape": [1], "data": [true]}]}', "no float"),
        (b'{"inputs": [{"name": "airport", "shape": [1], "data": [3]}]}', "no str"),
        (b'{"inputs": [{"name": "hour", "shape": [0], "data": []}]}', "rows"),
        (
            b'{"inputs": [{"name": "hour", "shape": [1], "data": [1]}, {"name": "temp", "shape": [2], "data": [1, 2]}]}',
            "same number of rows",
        ),
    ],
)
def test_a_bad_request_gets_the_protocols_own_error(forecaster: Forecaster, body: bytes, says: str) -> None:
    status, answer = post(forecaster, body)
    document = json.loads(answer)
    assert status == 400
    assert list(document) == ["error"]
    assert says in document["error"]


def test_an_unknown_model_gets_the_protocols_own_error(forecaster: Forecaster) -> None:
    status, answer = post(forecaster, b"{}", "/v2/models/arrivals/infer")
    assert status == 404
    assert list(json.loads(answer)) == ["error"]


def test_an_unknown_kind_of_nonsense_is_refused(forecaster: Forecaster) -> None:
    assert post(forecaster, b'{"rows": {"0": "poetry"}}', "/demo/nonsense")[0] == 400
    assert post(forecaster, b'{"rows": {"first": "nan"}}', "/demo/nonsense")[0] == 400


def test_the_model_is_worth_guarding(real_data: Dataset) -> None:
    """On days it has not seen, it is closer than the obvious guess, the departures of a week before."""
    training, production = real_data.training(), real_data.production()
    model = train({"airport": training.airports, **training.columns})
    actual = production.columns["departures"]
    columns = {"airport": production.airports, **production.columns}
    forecast = model.predict(columns, production.rows)
    assert (
        np.abs(forecast["departures"] - actual).mean()
        < 0.8 * np.abs(production.columns["last_week"] - actual).mean()
    )
    inside = (forecast["p10"] <= actual) & (actual <= forecast["p90"])
    assert 0.70 < inside.mean() < 0.95
    busy = actual >= 15
    assert np.median(forecast["p10"][busy]) > 10
