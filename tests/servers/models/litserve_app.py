"""A LitServe server: `python -m tests.servers.models.litserve_app PORT`."""

import sys
from typing import Any

import litserve


class Squares(litserve.LitAPI):  # type: ignore[misc]
    """`{"input": number}` or `{"input": [numbers]}` in; the square of each out, under `output`."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: dict[str, Any]) -> Any:
        return request["input"]

    def predict(self, x: Any) -> Any:
        return [value**2 for value in x] if isinstance(x, list) else x**2

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"output": output}


if __name__ == "__main__":
    litserve.LitServer(Squares(), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False
    )
