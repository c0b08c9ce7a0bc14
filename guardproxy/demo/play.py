"""The demo itself: set the stage, play the phases through the proxy, check every promise.

Decides the order of things. What is played stands in `scenario`, what is checked in `promises`, how it looks in
`display`; the processes are in `stage`'s hands.
"""

import contextlib
import json
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console

from guardproxy.demo import display
from guardproxy.demo.client import Answer, Peer, Reply, ask
from guardproxy.demo.dataset import FIRST_PRODUCTION_DAY, Dataset, load
from guardproxy.demo.display import PhaseView, Screen
from guardproxy.demo.errors import DemoError
from guardproxy.demo.model_server import MODEL
from guardproxy.demo.promises import Promise, Review, counted, decided, judge, queued
from guardproxy.demo.scenario import Step, phases
from guardproxy.demo.stage import Stage, announced_port, free_ports, stage, until_ready
from guardproxy.demo.workspace import INFER_PATH, Workspace, config_text, learn_arguments, make_workspace

PHASE_S: Final = 7.0
"""How long a phase takes, at least, when a person watches a terminal; else nobody rests between requests."""
SETTLE_S: Final = 15.0
"""How long counters and decisions may take to come to rest before they are called wrong."""

_POLL_S: Final = 0.1
_SERIOUS: Final = ("reject", "hold", "fallback", "clamp", "warn")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said. A port of 0 is any free one; without `keep` the files are removed at the end."""

    once: bool = False
    port: int = 0
    admin_port: int = 0
    keep: Path | None = None


@dataclass(frozen=True, slots=True)
class Cast:
    """The three that are spoken to."""

    proxy: Peer
    model: Peer
    admin: Peer


def run(options: Options, console: Console) -> int:
    """Play the demo; return the exit code: 0, or 1 when a promise was broken. Raises DemoError when it cannot play."""
    begun = time.monotonic()
    watched = console.is_terminal and not options.once
    free_ports(
        (options.port, options.admin_port)
    )  # a taken one is better told before the training than after
    with _directory(options.keep) as root, _ending(), contextlib.ExitStack() as stack:
        with Screen(console) as screen:
            screen.doing("reading a year of flights and weather")
            dataset = load()
            workspace = make_workspace(root, dataset)
            opened = stack.enter_context(stage(workspace))
            cast = _set_stage(options, screen, workspace, dataset, opened, stack)
            views = tuple(PhaseView(phase) for phase in phases(dataset.production()))
            screen.scene.phases = views
            for view in views:
                _play(cast, view, screen, PHASE_S / len(view.phase.steps) if watched else 0.0)
            screen.doing("comparing what was counted")
            closing = _closing(cast, views, review=options.once)
            screen.doing("")
        chapters = [
            (f"{number} {view.phase.title}", view.promises) for number, view in enumerate(views, start=1)
        ]
        chapters.append(("afterwards", closing))
        console.print(display.summary(chapters, time.monotonic() - begun))
        if not options.once:
            _invite(cast, workspace, console, opened)
    return 0 if all(promise.kept for _, promises in chapters for promise in promises) else 1


def _set_stage(
    options: Options,
    screen: Screen,
    workspace: Workspace,
    dataset: Dataset,
    opened: Stage,
    stack: contextlib.ExitStack,
) -> Cast:
    """Start everything, in the order a user would, and say what runs where."""
    rows = dataset.training().rows
    screen.place("data", f"{dataset.rows:,} real hours at EWR, JFK and LGA in 2013", str(workspace.root))
    screen.doing(
        f"training a forecast and learning a profile from {rows:,} hours before {FIRST_PRODUCTION_DAY}"
    )
    # The two know nothing of each other, and there are two cores.
    model = opened.start("model-server", "guardproxy.demo.model_server", ["--data", str(workspace.training)])
    learner = opened.start("learn", "guardproxy", learn_arguments(workspace))
    learner.wait()
    screen.place(
        "profile",
        f"guardproxy learn, from {rows:,} hours",
        str(workspace.profile.relative_to(workspace.root)),
    )
    model_port = announced_port(model)
    screen.place("model", "gradient boosting, Open Inference Protocol", f"http://127.0.0.1:{model_port}")
    port, admin_port = free_ports((options.port, options.admin_port))
    workspace.config.write_text(
        config_text(workspace, model_port=model_port, port=port, admin_port=admin_port), encoding="utf-8"
    )
    screen.doing("starting guardproxy in front of it")
    server = opened.start("serve", "guardproxy", ["serve", "--config", str(workspace.config)])
    until_ready(server, admin_port)
    screen.place("guardproxy", "what the client talks to", f"http://127.0.0.1:{port}")
    screen.place("console", "what reviewers look at", f"http://127.0.0.1:{admin_port}")
    screen.doing("")
    bearer = {"Authorization": f"Bearer {workspace.token}"}
    return Cast(
        stack.enter_context(Peer(port)),
        stack.enter_context(Peer(model_port)),
        stack.enter_context(Peer(admin_port, bearer)),
    )


def _play(cast: Cast, view: PhaseView, screen: Screen, rest_s: float) -> None:
    """Play one phase and judge it."""
    for step in view.phase.steps:
        reply = _send(cast, step)
        view.played.append((step, reply))
        if reply.outcome != "allowed":
            view.listen(*_sentence(cast.admin, step, reply))
        if rest_s:
            time.sleep(rest_s)
    view.promises = judge(view.phase, view.played)
    screen.phase_over(view)


def _send(cast: Cast, step: Step) -> Reply:
    """Send one request through the proxy; unless it is to be refused, fetch the model's own bytes beside it."""
    _talk(cast.model, step)
    before = _calls(cast.model)
    reply = ask(cast.proxy, INFER_PATH, step.body)
    calls = _calls(cast.model) - before
    direct = None if step.refused else cast.model.post(INFER_PATH, step.body).body
    return replace(reply, model_calls=calls, direct=direct)


def _talk(model: Peer, step: Step) -> None:
    """Have the model talk the step's nonsense, which mostly is none."""
    body = json.dumps({"rows": {str(row): kind for row, kind in step.nonsense.items()}}).encode()
    _expect(model.post("/demo/nonsense", body), "the model server's switch")


def _calls(model: Peer) -> int:
    return int(_expect(model.get("/demo/calls"), "the model server's count")["infer"])


def _sentence(admin: Peer, step: Step, reply: Reply) -> tuple[str, str]:
    """Return rule and message of a decision's weightiest finding, of what is wrong on purpose where there is that."""
    decision = _expect(admin.get(f"/v1/decisions/{reply.decision}"), "/v1/decisions")
    acting = [finding for finding in decision["findings"] if finding["acts"]]
    acting = [finding for finding in acting if finding["row"] in step.nonsense] or acting
    if not acting:
        return reply.outcome, f"{reply.outcome}: {reply.reason or 'no rule was broken'}"
    first = min(acting, key=lambda finding: _SERIOUS.index(finding["action"]))
    return str(first["rule"]), str(first["message"])


def _closing(cast: Cast, views: Sequence[PhaseView], *, review: bool) -> tuple[Promise, ...]:
    """Compare guardproxy's counts and queue with what the client saw; with `review`, decide about two holds."""
    played = [view.played for view in views]
    promises = (
        _settled(lambda: counted(_server_counts(cast.admin), played)),
        _settled(lambda: queued(_waiting(cast.admin), played)),
    )
    return (*promises, *_decide(cast.admin, views)) if review else promises


def _settled(check: Callable[[], Promise]) -> Promise:
    """Ask until a promise is kept or the time to settle is over: counters are written behind the replies."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        promise = check()
        if promise.kept or time.monotonic() > deadline:
            return promise
        time.sleep(_POLL_S)


def _server_counts(admin: Peer) -> dict[str, int]:
    models = _expect(admin.get("/v1/windows"), "/v1/windows")["models"]
    return next((dict(model["total"]["outcomes"]) for model in models if model["model"] == MODEL), {})


def _waiting(admin: Peer) -> dict[str, int]:
    counts = _expect(admin.get("/v1/holds?state=open&limit=1"), "/v1/holds")["counts"]
    return {"open": int(counts.get("open", 0))}


def _decide(admin: Peer, views: Sequence[PhaseView]) -> list[Promise]:
    """Approve a held answer of the model that talked nonsense, override one of a garbled row; read both back."""
    holds = [reply.holds[0] for view in views for _, reply in view.played if reply.holds]
    if len(holds) < 2:
        return [
            Promise(kept=False, text="two holds are decided through the API", figures=f"{len(holds)} holds")
        ]
    sent = [
        _review(admin, holds[0], "override", "stale_feature"),
        _review(admin, holds[-1], "approve", "known_event"),
    ]
    return [_settled(lambda review=review: decided(_read_back(admin, review))) for review in sent]  # type: ignore[misc]


def _review(admin: Peer, hold_id: str, decision: str, reason: str) -> Review:
    """Send a decision. An override says what a person may know better: last week's departures."""
    hold = _expect(admin.get(f"/v1/holds/{hold_id}"), "a hold")
    original = hold["output"]["original"]
    usual = float(hold["features"]["last_week"])
    values = {"departures": usual, "p10": 0.8 * usual, "p90": 1.2 * usual}
    wanted = values if decision == "override" else original
    body: dict[str, Any] = {"decision": decision, "reason": reason, "note": "decided by the demo"}
    if decision == "override":
        body["values"] = values
    answer = admin.post(
        f"/v1/holds/{hold_id}/decision", json.dumps(body).encode(), {"If-Match": f'"{hold["rev"]}"'}
    )
    return Review(hold_id, decision, answer.status, wanted, "", None)


def _read_back(admin: Peer, review: Review) -> Review:
    hold = _expect(admin.get(f"/v1/holds/{review.hold}"), "a hold")
    return replace(review, state=str(hold["state"]), final=hold["output"]["final"])


def _expect(answer: Answer, what: str) -> Any:
    if answer.status != 200:
        raise DemoError(f"{what} answered {answer.status}: {answer.body[:200]!r}")
    return answer.json()


def _invite(cast: Cast, workspace: Workspace, console: Console, opened: Stage) -> None:
    """Leave everything running until somebody says it is enough, or a child gives up."""
    url = f"http://127.0.0.1:{cast.admin.port}/?token={workspace.token}"
    display.invite(console, url, str(workspace.root), sum(_waiting(cast.admin).values()))
    serving = [child for child in opened.children if child.name != "learn"]
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(0.5)
            for child in serving:
                child.check()


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise DemoError(
                f"{keep} is not empty; the demo would mix its holds with older ones. Choose another"
            )
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="guardproxy-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _ending() -> Iterator[None]:
    """Make a request to end (SIGTERM, SIGHUP) what Ctrl-C is, so that the children end with us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
