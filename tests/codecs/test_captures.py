"""Every exchange captured from real servers, as golden tests."""

from typing import Any

import numpy as np
import pytest

from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, OpaqueError, UnalignedError
from guardproxy.message import Message
from guardproxy.table import Cell
from tests.codecs.conftest import MakeCodec
from tests.codecs.exchanges import Captured, exchanges
from tests.codecs.test_requests import columns

X = {"f0": (0.038, -0.0018), "f1": (0.061, -0.05), "f2": (0.021, -0.026), "f3": (0.019, -0.068)}
PD = dict(zip(("age", "bmi", "bp", "s5"), X.values(), strict=True))
NARROW = {name: tuple(float(np.float32(cell)) for cell in cells) for name, cells in X.items()}
YHAT = (225.2795806931509, 83.30755308740414)

# What each capture's rows are: (request, response), each a table's columns or the error that it must give. Where a
# name is not here its exchange asks no prediction, or the server refused it.
AB = {"a": (1.0, 3.5), "b": (2.0, None)}
AB4 = {"a": (1.0, 3.5), "b": (2.0, 4.0)}
GOLDEN: dict[str, tuple[Any, Any]] = {
    "kserve_v1/sdk_v1_predict#0": (X, {"prediction": YHAT}),
    "kserve_v1/v1_cloudevent#0": (X, {"prediction": YHAT}),
    "kserve_v1/v1_inputs#0": (X, {"prediction": YHAT}),
    "kserve_v1/v1_instances#0": (X, {"prediction": YHAT}),
    "kserve_v1/v1_no_ct#0": (X, {"prediction": YHAT}),
    "mlflow/client_ScoringServerClient#0": (
        {"a": (1.0, 2.0), "b": (3.0, None)},
        {"mean": (2.0, 4.0), "lo": (0.0, 1.0), "label": ("c0", "c1")},
    ),
    "mlflow/in_csv#0": ({"a": (1.5, 2.5), "b": (2.0, None)}, {"yhat": (3.0, 5.0)}),
    "mlflow/in_csv_charset#0": ({"a": (1.5, 2.5), "b": (2.0, None)}, {"yhat": (3.0, 5.0)}),
    "mlflow/in_inputs_cols#0": ({"a": (1.5, 2.5), "b": (2.0, 3.0)}, {"yhat": (3.0, 5.0)}),
    "mlflow/in_instances_rows#0": ({"a": (1.5, 2.5), "b": (2.0, 3.0)}, {"yhat": (3.0, 5.0)}),
    "mlflow/in_json_NaN_token#0": (
        {"a": (None, float("inf")), "b": (2.0, None)},
        {"yhat": (None, float("inf"))},
    ),
    "mlflow/in_json_charset#0": (AB4, {"yhat": (2.0, 7.0)}),
    "mlflow/in_parquet#0": ("opaque", {"yhat": (2.0, 4.0)}),
    "mlflow/in_records#0": ({"a": (1.5, 2.5), "b": (2.0, None)}, {"yhat": (3.0, 5.0)}),
    "mlflow/out_dict#0": (AB, {"score": (2.0, 7.0), "lo": (0.0, 2.5)}),
    "mlflow/out_dt#0": (AB, {"d": ("2024-01-01T00:00:00",) * 2, "b": ("/wA=\n",) * 2}),
    "mlflow/out_f32#0": (AB, {"prediction": (0.10000000149011612, 0.3499999940395355)}),
    "mlflow/out_floats#0": (AB, {"prediction": (0.30000000000000004, 1e22)}),
    "mlflow/out_frame#0": (AB, {"mean": (2.0, 7.0), "lo": (0.0, 2.5), "label": ("c0", "c1")}),
    "mlflow/out_inf#0": (AB, {"prediction": (float("inf"), float("-inf"))}),
    "mlflow/out_int64#0": (AB, {"prediction": (2**60 + 1, 2**60 + 2)}),
    "mlflow/out_listdict#0": (AB, {"score": (1.0, 3.5), "label": ("a", "a")}),
    "mlflow/out_nan#0": (AB, {"prediction": (None, 7.0)}),
    "mlflow/out_nanframe#0": (AB, {"mean": (None, 3.5), "n": (1.0, 1.0)}),
    "mlflow/out_ndarray#0": (AB, {"prediction": (2.0, 7.0)}),
    "mlflow/out_negzero#0": (AB, {"prediction": (0.0, 0.0)}),
    "mlflow/out_none#0": (AB, {"prediction": (None, None)}),
    "mlflow/out_proba#0": (
        AB,
        {
            "prediction": (
                (0.7310585786300049, 0.2689414213699951),
                (0.9706877692486436, 0.02931223075135636),
            )
        },
    ),
    "mlflow/out_ragged#0": (AB, "unaligned"),
    "mlflow/out_scalar#0": (AB, "unaligned"),
    "mlflow/out_series#0": (AB, {"yhat": (2.0, 7.0)}),
    "mlflow/out_str#0": (AB, {"prediction": ("cls0", "cls1")}),
    "mlflow/out_strs#0": (AB, {"prediction": ("a", "b")}),
    "oip_v2_kserve/sdk_v2_json#0": (X, {"output-0": YHAT}),
    "oip_v2_kserve/sdk_v2_json#1": (X, {"output-0": YHAT}),
    "oip_v2_kserve/sdk_v2_json#2": (X, {"output-0": YHAT}),
    "oip_v2_kserve/triton_bin_in_json_out#0": (X, {"output-0": YHAT}),
    "oip_v2_kserve/triton_default_binary#0": (X, {"output-0": YHAT}),
    "oip_v2_kserve/triton_fp32_bin#0": (NARROW, {"output-0": YHAT}),
    "oip_v2_kserve/v2_NaN#0": (
        {"f0": (None,), "f1": (1.0,), "f2": (2.0,), "f3": (3.0,)},
        {"output-0": (278.75512946410515,)},
    ),
    "oip_v2_kserve/v2_flat#0": (X, {"output-0": YHAT}),
    "oip_v2_kserve/v2_nested#0": (X, {"output-0": YHAT}),
    "oip_v2_kserve/v2_pd_cols#0": (PD, {"output-0": YHAT}),
    "oip_v2_mlserver/infer_flat#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/infer_gzip_request#0": (
        {name: cells[:1] for name, cells in X.items()},
        {"predict": YHAT[:1]},
    ),
    "oip_v2_mlserver/infer_gzip_response#0": (
        {name: cells * 200 for name, cells in X.items()},
        {"predict": YHAT * 200},
    ),
    "oip_v2_mlserver/infer_nested#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/infer_pd_per_column#0": (PD, {"predict": YHAT}),
    "oip_v2_mlserver/infer_pd_shape1#0": (PD, {"predict": YHAT}),
    "oip_v2_mlserver/infer_proba#0": (
        {"f0": (13.0, 12.0), "f1": (1.5, 3.0), "f2": (1000.0, 400.0)},
        {
            "predict_proba": (
                (0.5187902231867748, 0.4433853789888274, 0.037824397824397823),
                (0.0, 0.9360594609374087, 0.06394053906259138),
            ),
            "predict": (0.0, 1.0),
        },
    ),
    "oip_v2_mlserver/infer_versioned#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/repo_index#0": ("undecodable", "undecodable"),
    "oip_v2_mlserver/triton_json_gzip#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/triton_json_in_default_out#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/triton_json_io#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/triton_json_reqid_ver#0": (X, {"predict": YHAT}),
    "oip_v2_mlserver/zoo_dict#0": (AB4, {"score": (2.0, 7.0), "lo": (0.0, 2.5)}),
    "oip_v2_mlserver/zoo_f32#0": (AB4, {"output-1": (0.10000000149011612, 0.3499999940395355)}),
    "oip_v2_mlserver/zoo_floats#0": (AB4, {"output-1": (0.30000000000000004, 1e22)}),
    "oip_v2_mlserver/zoo_inf#0": (AB4, {"output-1": (None, None)}),
    "oip_v2_mlserver/zoo_int64#0": (AB4, {"output-1": (2**60 + 1, 2**60 + 2)}),
    "oip_v2_mlserver/zoo_invocations#0": (AB4, {"mean": (2.0, 7.0), "lo": (0.0, 2.5), "label": ("c0", "c1")}),
    "oip_v2_mlserver/zoo_nan#0": (AB4, {"output-1": (None, 7.0)}),
    "oip_v2_mlserver/zoo_ndarray#0": (AB4, {"output-1": (2.0, 7.0)}),
    "oip_v2_mlserver/zoo_negzero#0": (AB4, {"output-1": (0.0, 0.0)}),
    "oip_v2_mlserver/zoo_proba#0": (
        AB4,
        {
            "output-1": (
                (0.7310585786300049, 0.2689414213699951),
                (0.9706877692486436, 0.02931223075135636),
            )
        },
    ),
    "oip_v2_mlserver/zoo_str#0": (AB4, {"output-1": ("cls0", "cls1")}),
    "oip_v2_mlserver/zoo_strs#0": (AB4, {"output-1": ("a", "b")}),
}

FOLDERS = {
    "kserve_v1": "kserve-v1",
    "mlflow": "mlflow",
    "oip_v2_kserve": "open-inference",
    "oip_v2_mlserver": "open-inference",
}
ERRORS = {"opaque": OpaqueError, "unaligned": UnalignedError, "undecodable": DecodeError}


def capture(name: str) -> tuple[str, Captured, Captured]:
    """Return the protocol of a captured exchange, its request and its response."""
    exchange = exchanges()[name]
    protocol = "mlflow" if exchange.target == "/invocations" else FOLDERS[name.partition("/")[0]]
    return protocol, exchange.request, exchange.response


def as_message(captured: Captured) -> Message:
    length = captured.get("inference-header-content-length")
    return Message(
        captured.content, captured.get("content-type"), json_length=None if length is None else int(length)
    )


def test_every_answered_prediction_of_the_captures_is_known() -> None:
    answered = {
        name
        for name, exchange in exchanges().items()
        if exchange.method == b"POST" and exchange.status == 200
    }
    assert answered == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_captured_request_has_the_rows_that_its_client_sent(make: MakeCodec, name: str) -> None:
    protocol, request, _ = capture(name)
    expected = GOLDEN[name][0]
    if isinstance(expected, str):
        with pytest.raises(ERRORS[expected]):
            make(protocol).decode_request(as_message(request))
    else:
        assert columns(make(protocol).decode_request(as_message(request))) == expected


@pytest.mark.parametrize("name", GOLDEN)
def test_a_captured_response_has_the_predictions_that_its_server_gave(make: MakeCodec, name: str) -> None:
    protocol, _, response = capture(name)
    sent, expected = GOLDEN[name]
    # What cannot be seen of a request leaves it to the response to say how many rows there are.
    rows = None if isinstance(sent, str) else len(next(iter(sent.values())))
    if isinstance(expected, str):
        with pytest.raises(ERRORS[expected]):
            make(protocol).decode_response(as_message(response), rows)
    else:
        assert columns(make(protocol).decode_response(as_message(response), rows)) == expected


PATCHABLE = [name for name, (_, expected) in GOLDEN.items() if not isinstance(expected, str)]


def _other(cell: Cell) -> Cell:
    """Return another cell of the same type."""
    if isinstance(cell, tuple):
        return tuple(None if part is None else part / 2 for part in cell)
    if isinstance(cell, str):
        return cell + 'é"'
    return 12.0 if cell is None or cell != 12.0 else 13.0


@pytest.mark.parametrize("name", PATCHABLE)
def test_a_captured_response_changes_only_where_it_is_patched(make: MakeCodec, name: str) -> None:
    protocol, _, response = capture(name)
    codec, message = make(protocol), as_message(response)
    expected = GOLDEN[name][1]
    rows = len(next(iter(expected.values())))
    before = codec.decode_response(message, rows)
    for field in expected:
        for row in {0, rows - 1}:
            cell = _other(expected[field][row])
            changed = codec.splice(message, rows, [Replacement(row, {field: cell}, "test")])
            after = codec.decode_response(changed, rows)
            for at in range(rows):
                assert after.record(at) == (
                    {**before.record(at), field: cell} if at == row else before.record(at)
                )
            back = codec.splice(changed, rows, [Replacement(row, {field: expected[field][row]}, "test")])
            head, tail = _shared_ends(message.body, changed.body)
            assert back.body[:head] == message.body[:head]
            assert message.body[len(message.body) - tail :] == back.body[len(back.body) - tail :]
            assert len(message.body) - head - tail <= 60, "only one cell lies between"
            assert back.json_length == message.json_length


def _shared_ends(one: bytes, other: bytes) -> tuple[int, int]:
    shorter = min(len(one), len(other))
    head = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    tail = next((at for at in range(shorter - head) if one[-1 - at] != other[-1 - at]), shorter - head)
    return head, tail
