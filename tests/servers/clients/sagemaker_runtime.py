"""boto3's client of the SageMaker runtime, told to call an address of ours instead of the service."""

import io
import json
import os
from typing import Any

# It signs what it sends, with anything; and it must ask no service for better credentials.
for _name, _value in {
    "AWS_ACCESS_KEY_ID": "dummy",
    "AWS_SECRET_ACCESS_KEY": "dummy",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_MAX_ATTEMPTS": "1",
}.items():
    os.environ[_name] = _value
for _name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
    os.environ.pop(_name, None)

import boto3  # noqa: E402  # it reads its environment when a client is made; nothing may come before
import numpy as np  # noqa: E402

from tests.servers.clients.answering import answer, array  # noqa: E402


def _npy(rows: list[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows))
    return buffer.getvalue()


WRITERS = {
    "text/csv": lambda rows: "".join(
        ",".join("" if cell != cell else repr(cell) for cell in row) + "\n" for row in rows
    ).encode(),
    "application/json": lambda rows: json.dumps(rows).encode(),
    "application/jsonlines": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    "application/x-npy": _npy,
}
READERS = {
    "text/csv": lambda body: [float(line) for line in body.splitlines()],
    "application/json": json.loads,
    "application/jsonlines": lambda body: [json.loads(line) for line in body.splitlines()],
    "application/x-npy": lambda body: array(np.load(io.BytesIO(body))),
}


def invoke(url: str, *, endpoint: str, rows: Any, content_type: str, accept: str) -> Any:
    """Return what the body holds, its media type, and the path by which the container was called.

    An exception's sentence is the client's, followed by the members that only a ModelError has.
    """
    client = boto3.client("sagemaker-runtime", endpoint_url=url)
    try:
        answered = client.invoke_endpoint(
            EndpointName=endpoint, Body=WRITERS[content_type](rows), ContentType=content_type, Accept=accept
        )
    except client.exceptions.ModelError as error:
        more = {name: error.response.get(name) for name in ("OriginalStatusCode", "OriginalMessage")}
        error.args = (f"{error} {json.dumps(more)}",)
        raise
    body = answered["Body"].read()
    return {
        "value": READERS[accept](body),
        "content_type": answered["ContentType"],
        "called_by": answered["InvokedProductionVariant"],
    }


if __name__ == "__main__":
    answer({"invoke": invoke})
