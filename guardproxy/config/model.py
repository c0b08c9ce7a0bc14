"""What a configuration says, as values.

Decides every default. How a text becomes these is left to `keys` and to `parse_config`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guardproxy.decision import FailurePolicy
from guardproxy.source import Place

NOWHERE: Final = Place(1, 1)
EVENTS: Final = ("breaker", "reload", "hold", "drift", "window")
"""What a webhook may be told of."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in {"127.0.0.1", "::1", "localhost"} or self.host.startswith("127.")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One guarded route. Times are in seconds, sizes in bytes; `profile` and `signature` are paths or None.

    No `methods` are those of the protocol. `request_rows` and the like are JSON Pointers, None where none is given;
    `request_fields` and `response_fields` pairs of a name and a pointer. `batch_axis` says that the first axis of a V2
    tensor counts rows. `upstream_path` is the path under which guarded requests go upstream, if it is not their own. Without a `timeout_s` that
    of the configuration holds. `time` names the feature that says when a row happened, None where the request's own time does.
    """

    path: str
    model: str
    on_failure: FailurePolicy
    protocol: str = "open-inference"
    upstream: str | None = None
    upstream_path: str | None = None
    profile: Path | None = None
    signature: Path | None = None
    key: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    timeout_s: float | None = None
    max_body: int = 16 * 1024 * 1024
    methods: tuple[str, ...] = ()
    buffer: bool = False
    batch_axis: bool = True
    request_rows: str | None = None
    request_columns: str | None = None
    request_fields: tuple[tuple[str, str], ...] = ()
    response_rows: str | None = None
    response_columns: str | None = None
    response_fields: tuple[tuple[str, str], ...] = ()
    reject_status: int = 422
    time: str | None = None
    place: Place = NOWHERE

    @property
    def points(self) -> bool:
        """Whether anything says where the rows are."""
        pointers = (self.request_rows, self.request_columns, self.response_rows, self.response_columns)
        return any(pointer is not None for pointer in pointers) or bool(
            self.request_fields or self.response_fields
        )


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """An address that is told of `events`. `header_file` holds one header line, such as `Authorization: Bearer ...`;
    `secret_file` the secret by which what is sent is signed."""

    url: str
    events: tuple[str, ...] = EVENTS
    header_file: Path | None = None
    secret_file: Path | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `guardproxy serve` needs. `rules` is a directory or a file; `store` a path of a SQLite file.

    `rules_candidate` is a second set of rules, judged beside the first without any effect, on the share
    `candidate_sample` of the exchanges. Rule files are looked at every `reload_every_s` seconds and read once they have
    been the same for `reload_debounce_s`; `reload_tests` says whether their own tests must pass before a set is served.
    `state` is where the last good rules are kept. The `record_` values are those of `recording.Options`. gRPC calls are
    taken at `grpc_listen`, if that is not None, and sent on to `grpc_upstream`; a message has at most `grpc_max_message`
    bytes.

    `statistics_store` is a URL, None where statistics stand beside the holds; they are counted in buckets of `bucket_s` seconds, which
    close `grace_s` after their end. `event_time` says that a request's header tells when it happened. `history_season` is
    `weekday`, `hour` or `none`; a reply waits at most `history_wait_s` for an entity that another replica knows. While nothing
    drifts, a model has a false alarm once in `drift_run_length_s` on average.
    """

    file: str = "guardproxy.yaml"
    listen: Address = Address("127.0.0.1", 8080)
    admin: Address = Address("127.0.0.1", 8081)
    auth: str = "tokens"
    tokens_file: Path | None = None
    store: Path = Path("guardproxy.db")
    rules: Path | None = None
    upstream: str | None = None
    routes: tuple[RouteConfig, ...] = ()
    undo_s: float = 8.0
    max_open_holds: int = 10_000
    timeout_s: float = 30.0
    log: str = "info"
    max_connections: int = 8192
    drain_s: float = 25.0
    rules_candidate: Path | None = None
    candidate_sample: float = 1.0
    state: Path | None = None
    reload_every_s: float = 2.0
    reload_debounce_s: float = 0.5
    reload_tests: bool = True
    webhooks: tuple[WebhookConfig, ...] = ()
    record_dir: Path | None = None
    record_per_minute: int = 200
    record_max_bytes: int = 1024**3
    record_max_age_s: float = 30 * 86_400.0
    record_redact: tuple[str, ...] = ()
    grpc_listen: Address | None = None
    grpc_upstream: Address | None = None
    grpc_max_message: int = 64 * 1024 * 1024
    statistics_store: str | None = None
    statistics_password_file: Path | None = None
    bucket_s: float = 60.0
    grace_s: float = 10.0
    event_time: bool = False
    history_max_entities: int = 1_000_000
    history_max_age_s: float = 90 * 86_400.0
    history_season: str = "weekday"
    history_wait_s: float = 0.002
    drift_run_length_s: float = 30 * 86_400.0
    drift_tolerance: float = 0.05
    drift_cooldown_s: float = 6 * 3_600.0

    @property
    def state_folder(self) -> Path:
        """Where the last good rules are kept: `state`, or a directory beside the store."""
        return self.state or self.store.with_name(f"{self.store.stem}-state")


def models_of(routes: Sequence[RouteConfig]) -> tuple[str, ...]:
    """Return the models of the routes, each once, in order."""
    return tuple(dict.fromkeys(route.model for route in routes))
