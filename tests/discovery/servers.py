"""Model servers that answer from a table over real sockets: what captures hold, what documents say, and what no server should."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.codecs.exchanges import exchanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Raw = bytes | None
"""A whole response; None hangs until the test is over."""

Table = dict[str, Raw]
"""Responses by `METHOD target`."""


class _Handler(socketserver.StreamRequestHandler):
    server: Serving

    def handle(self) -> None:
        while request := self.rfile.readline():
            length = 0
            while (line := self.rfile.readline().strip()) and line:
                self.server.heads.append(line + b"\n")
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.rfile.read(length)
            asked = b" ".join(request.split()[:2]).decode("latin-1")
            self.server.asked.append(asked)
            raw = self.server.answer(asked)
            if raw is None:
                self.server.over.wait()
                return
            try:
                self.wfile.write(raw)
            except OSError:
                self.server.cut += 1
                return
            if b"\r\nconnection: close" in raw[:1000].lower():
                return


class Serving(socketserver.ThreadingTCPServer):
    """A server on a port of the system's choice. `asked` is every request so far, as `METHOD target`; `heads` their lines;
    `cut` counts the answers that nobody read to the end."""

    allow_reuse_address = True
    daemon_threads = False

    def __init__(self, answer: Callable[[str], Raw]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.cut = 0
        self.over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(
    table: Mapping[str, Raw] | None = None, otherwise: Raw = b"", answer: Callable[[str], Raw] | None = None
) -> Iterator[Serving]:
    """Serve a table; what is not in it gets `otherwise`, a 404 of no known kind if that is empty."""
    known, rest = (
        dict(table or {}),
        otherwise if otherwise != b"" else reply("no such page", 404, "text/plain"),
    )
    with Serving(answer or (lambda asked: known.get(asked, rest))) as server:
        # A short poll: the test waits for the end of it.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def reply(value: Any, status: int = 200, content_type: str = "application/json", *lines: str) -> bytes:
    """A response with a JSON value, or with a text as it is."""
    body = (
        value
        if isinstance(value, bytes)
        else value.encode()
        if isinstance(value, str)
        else json.dumps(value).encode()
    )
    head = [
        f"HTTP/1.1 {status} Whatever",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *lines,
        "",
        "",
    ]
    return "\r\n".join(head).encode() + body


def captured(*names: str) -> Table:
    """The responses of captured exchanges, each under the request that it answered."""
    found = (exchanges()[f"{name}#0"] for name in names)
    return {f"{each.method.decode()} {each.target}": each.response.raw for each in found}


def mlserver() -> Table:
    """MLServer 1.7.1 with three models, one of which tells a signature."""
    names = ("meta_server", "repo_index", "meta_model", "meta_zoo", "ping", "version")
    return captured(*(f"oip_v2_mlserver/{name}" for name in names))


def kserve() -> Table:
    """KServe 0.21 with a model that tells no signature."""
    return captured(
        "oip_v2_kserve/v2_server", "oip_v2_kserve/v2_models", "oip_v2_kserve/v2_meta", "kserve_v1/v1_models"
    )


def kserve_v1() -> Table:
    """The same as it was before version 2."""
    return captured("kserve_v1/v1_models", "kserve_v1/v1_model")


def mlflow() -> Table:
    """MLflow 3.17.2."""
    return captured("mlflow/ping", "mlflow/health", "mlflow/version")


def triton() -> Table:
    """Triton with a model that takes batches, and one that takes none."""
    return {
        "GET /v2": reply({"name": "triton", "version": "2.51.0", "extensions": ["classification"]}),
        "POST /v2/repository/index": reply(
            [
                {"name": "demand", "version": "1", "state": "READY"},
                {"name": "demand", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"},
                {"name": "single", "version": "1", "state": "UNAVAILABLE"},
            ]
        ),
        "GET /v2/models/demand": reply(
            {
                "name": "demand",
                "versions": ["1"],
                "platform": "onnxruntime_onnx",
                "inputs": [
                    {"name": "x", "datatype": "FP64", "shape": [-1, 4]},
                    {"name": "store", "datatype": "BYTES", "shape": [-1, 1]},
                ],
                "outputs": [{"name": "predict", "datatype": "FP32", "shape": [-1, 1]}],
            }
        ),
        "GET /v2/models/single": reply(
            {
                "name": "single",
                "versions": ["1"],
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [4]}],
                "outputs": [],
            }
        ),
    }


def tensorflow() -> tuple[Table, bytes]:
    """TensorFlow Serving with the model half_plus_two, and what it answers to everything else."""
    tensor = {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}],
            "unknown_rank": False,
        },
    }
    unknown = {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": True}}
    signatures = {
        "serving_default": {
            "inputs": {"x": tensor},
            "outputs": {"y": tensor},
            "method_name": "tensorflow/serving/predict",
        },
        "regress": {
            "inputs": {"inputs": unknown},
            "outputs": {"outputs": tensor},
            "method_name": "tensorflow/serving/regress",
        },
        "__saved_model_init_op": {"inputs": {}, "outputs": {}, "method_name": ""},
    }
    table: Table = {
        "GET /v1/models/half_plus_two/metadata": reply(
            {
                "model_spec": {"name": "half_plus_two", "signature_name": "", "version": "1"},
                "metadata": {"signature_def": {"signature_def": signatures}},
            }
        ),
        "GET /v1/models/nope/metadata": reply({"error": "Servable not found for request: Latest(nope)"}, 404),
    }
    return table, reply({"error": "Malformed request: GET /v2"}, 404)


def torchserve() -> tuple[Table, bytes]:
    """TorchServe, and what it answers to everything else."""
    table: Table = {
        "GET /ping": reply('{\n  "status": "Healthy"\n}'),
        "GET /api-description": reply(
            {"openapi": "3.0.1", "info": {"title": "TorchServe APIs", "version": "0.12.0"}, "paths": {}}
        ),
    }
    return table, reply(
        {"code": 404, "type": "ResourceNotFoundException", "message": "Requested resource is not found"}, 404
    )


def bentoml() -> Table:
    """A BentoML service with two endpoints and a task."""
    routes = [
        {"name": "predict", "route": "/predict", "batchable": False, "input": {}, "output": {}},
        {"name": "score", "route": "/v2/score", "batchable": True, "input": {}, "output": {}},
        {"name": "train", "route": "/train", "is_task": True},
    ]
    return {"GET /schema.json": reply({"name": "Forecaster", "type": "service", "routes": routes})}


def seldon() -> Table:
    """A Seldon microservice whose model describes itself."""
    return {
        "GET /seldon.json": reply({"openapi": "3.0.0", "paths": {"/api/v1.0/predictions": {}}}),
        "GET /metadata": reply(
            {
                "name": "iris",
                "versions": ["v1"],
                "platform": "sklearn",
                "inputs": [{"name": "sepal", "datatype": "FP64", "shape": [-1, 4]}],
                "outputs": [],
            }
        ),
    }


def sagemaker() -> Table:
    """A container made for SageMaker: healthy, and no GET where predictions are."""
    return {"GET /ping": reply("\n"), "GET /invocations": reply("Method Not Allowed", 405, "text/html")}


def vllm() -> Table:
    """A server that speaks as OpenAI does; it has SageMaker's paths as well."""
    listed = [{"id": name, "object": "model", "owned_by": "vllm"} for name in ("meta/llama-3", "adapter")]
    return {
        **sagemaker(),
        "GET /v1/models": reply({"object": "list", "data": listed}),
        "GET /version": reply({"version": "0.11.2"}),
        "GET /openapi.json": reply(
            {"openapi": "3.1.0", "paths": {"/v1/completions": {}, "/v1/chat/completions": {}}}
        ),
    }


def fastapi(*, typed: bool = True) -> Table:
    """A FastAPI application with a route for batches, two for a single row, one of text, and one without a model."""
    schemas = {
        "Batch": {
            "type": "object",
            "properties": {
                "note": {"type": "string"},
                "rows": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
            },
        },
        "Row": {"type": "object", "properties": {"a": {"type": "number"}}},
        "One": {
            "type": "object",
            "properties": {"features": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Row"}]}},
        },
        "Answer": {"type": "object", "properties": {"output": {"type": "number"}}},
        "Answers": {"type": "object", "properties": {"predictions": {"type": "array", "items": {}}}},
    }

    def post(request: str, response: str) -> dict[str, Any]:
        schema = {"$ref": f"#/components/schemas/{response}"} if typed else {}
        return {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{request}"}}}
                },
                "responses": {"200": {"content": {"application/json": {"schema": schema}}}},
            }
        }

    text = {"post": {"requestBody": {"content": {"text/plain": {}}}, "responses": {}}}
    paths = {
        "/batch/predict": post("Batch", "Answers"),
        "/one/predict": post("One", "Answer"),
        "/bare": post("Row", "Answer"),
        "/note": text,
        "/health": {"get": {}},
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Forecasts", "version": "2.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return {"GET /openapi.json": reply(document)}
