"""The case that all benchmarks share: a model with 20 features, a learned profile, 10 rules."""

import json
from pathlib import Path
from typing import Final

import numpy as np

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.guard import Guard
from guardproxy.message import Message
from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Profile, Provenance
from guardproxy.rules import load_rulesets

FEATURES: Final = tuple(f"x{i}" for i in range(20))
OUTPUTS: Final = {
    "open-inference": ("demand", "p10", "p90"),
    "binary": ("demand",),
    "kserve-v1": ("demand",),
    "mlflow": ("demand",),
}
"""The outputs by protocol; `binary` is open-inference with binary tensors."""
RULES: Final = """\
guardproxy: 1
model: bench
rules:
  - {id: not-negative, range: {field: output.demand, min: 0}}
  - {id: plausible, require: "output.demand <= 3 * max(profile.output.demand.p99, features.x0)"}
  - {id: ordered, order: [output.p10, output.demand, output.p90]}
  - {id: x0-range, range: {field: features.x0, min: -50, max: 50}, action: reject}
  - {id: x1-x2, require: features.x1 + features.x2 < 100}
  - {id: ratio, forbid: features.x3 / (features.x4 + 100) > 5}
  - {id: when-large, when: features.x5 > 2, require: output.demand > 0}
  - {id: either, require: (features.x6 > -40 or features.x7 > -40) and features.x8 < 60}
  - {id: spread, require: output.p90 - output.p10 < 500}
  - {id: inside, profile: {fields: features.*}, action: warn}
"""


def learned(rows: int = 20_000, seed: int = 7) -> Profile:
    """Learn a profile from `rows` rows of standard normal features and a positive target."""
    generator = np.random.default_rng(seed)
    learner = Learner("bench", target=("demand",), rng=np.random.default_rng(seed + 1))
    for _ in range(rows // 5_000):
        batch = {name: NumberColumn(generator.normal(size=5_000)) for name in FEATURES}
        batch["demand"] = NumberColumn(generator.gamma(5.0, 20.0, size=5_000))
        learner.update(batch)
    return learner.finish(Provenance())


def guard(protocol: str, profile: Profile) -> Guard:
    """Compile the case's guard for a protocol."""
    outputs = OUTPUTS[protocol]
    texts = {"bench.guard.yaml": rules(protocol)}
    rulesets, problems = load_rulesets(texts, profiles={"bench": profile}, outputs={"bench": outputs})
    if any(problem.severity == "error" for problem in problems):
        raise SystemExit("\n".join(f"{p.code} {p.line}:{p.column} {p.message}" for p in problems))
    options = CodecOptions(profile_order=FEATURES, outputs=outputs)
    codec = make_codec("open-inference" if protocol == "binary" else protocol, options)
    return Guard("bench", codec, rulesets["bench"], profile)


def rows(count: int, seed: int = 11) -> list[list[float]]:
    """Return clean rows, inside everything that was learned."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(FEATURES)))
    return [[float(value) for value in row] for row in drawn.clip(-2.5, 2.5).round(6)]


def open_inference(count: int) -> tuple[bytes, bytes]:
    """Return a request with one tensor per column, and its response."""
    data = np.array(rows(count))
    inputs = [
        {"name": name, "shape": [count, 1], "datatype": "FP64", "data": data[:, i].tolist()}
        for i, name in enumerate(FEATURES)
    ]
    predicted = {"demand": 100.25, "p10": 80.5, "p90": 131.75}
    outputs = [
        {"name": name, "shape": [count, 1], "datatype": "FP64", "data": [value + i % 7 for i in range(count)]}
        for name, value in predicted.items()
    ]
    request = json.dumps({"id": "bench-1", "inputs": inputs}).encode()
    return request, json.dumps({"model_name": "bench", "outputs": outputs}, separators=(",", ":")).encode()


def binary(count: int) -> tuple[Message, Message]:
    """Return a request with one FP32 matrix behind its JSON, and its response of one FP32 column."""
    values = np.array(rows(count), dtype="<f4").tobytes()
    inputs = [
        {
            "name": "x",
            "shape": [count, len(FEATURES)],
            "datatype": "FP32",
            "parameters": {"binary_data_size": len(values)},
        }
    ]
    head = json.dumps(
        {"inputs": inputs, "parameters": {"binary_data_output": True}}, separators=(",", ":")
    ).encode()
    predicted = np.array([100.25 + i % 7 for i in range(count)], dtype="<f4").tobytes()
    outputs = [
        {
            "name": "demand",
            "datatype": "FP32",
            "shape": [count, 1],
            "parameters": {"binary_data_size": len(predicted)},
        }
    ]
    answer = json.dumps(
        {"model_name": "bench", "model_version": "1", "outputs": outputs}, separators=(",", ":")
    ).encode()
    return (
        Message(head + values, None, json_length=len(head)),
        Message(answer + predicted, "application/octet-stream", json_length=len(answer)),
    )


def mlflow(count: int) -> tuple[bytes, bytes]:
    """Return a dataframe_split request and its response."""
    request = json.dumps({"dataframe_split": {"columns": list(FEATURES), "data": rows(count)}}).encode()
    return request, json.dumps({"predictions": [100.25 + i % 7 for i in range(count)]}).encode()


def kserve(count: int) -> tuple[bytes, bytes]:
    """Return a request with a bare matrix, and its response."""
    request = json.dumps({"instances": rows(count)}).encode()
    return request, json.dumps({"predictions": [100.25 + i % 7 for i in range(count)]}).encode()


def rules(protocol: str) -> str:
    """Return the ten rules; where there is one output only, two on quantiles become two on that."""
    if len(OUTPUTS[protocol]) > 1:
        return RULES
    return RULES.replace(
        "order: [output.p10, output.demand, output.p90]", "require: output.demand >= -1"
    ).replace("output.p90 - output.p10 < 500", "output.demand * 2 < 5000")


def write_files(folder: Path, protocol: str, profile_text: str) -> None:
    """Write the case's rule file and profile."""
    (folder / "rules").mkdir()
    (folder / "rules" / "bench.guard.yaml").write_text(rules(protocol))
    (folder / "bench.profile.yaml").write_text(profile_text)


MESSAGES: Final = {"open-inference": open_inference, "kserve-v1": kserve, "mlflow": mlflow}
"""What makes a request and its response in each protocol."""
