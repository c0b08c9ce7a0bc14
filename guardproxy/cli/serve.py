"""`guardproxy serve`: check everything, then run until a signal."""

import asyncio
import gc
import json
import signal
import sys
import time
from pathlib import Path
from typing import Final

import click
import structlog
import uvloop

from guardproxy.cli.config import load_all, load_tokens
from guardproxy.cli.output import count, print_problems
from guardproxy.config import Config
from guardproxy.errors import StoreError
from guardproxy.proxy.load import Loaded, RuleSets, last_good_rules, note_missing_rules
from guardproxy.service import Service, StatisticsError
from guardproxy.service import serve as run
from guardproxy.source import Problem
from guardproxy.telemetry import configure_logging
from guardproxy.units import format_duration

SWITCH_S: Final = 0.0005


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="guardproxy.yaml (default: the one here, if any).",
)
@click.option("--upstream", help="The model server, such as http://127.0.0.1:9000.")
@click.option("--listen", help="HOST:PORT of the data plane.")
@click.option("--admin", help="HOST:PORT of the admin plane.")
@click.option("--rules", help="A rule file, or a directory of them.")
@click.option("--store", help="Where holds live, such as sqlite:///guardproxy.db.")
@click.option("--model", help="With --upstream: guard this model on the Open Inference Protocol's path.")
@click.option("--profile", help="With --model: its learned profile.")
@click.option(
    "--on-failure",
    type=click.Choice(["open", "closed"]),
    default="open",
    show_default=True,
    help="With --model.",
)
@click.option(
    "--strict", is_flag=True, help="Refuse to start on the last good rules when the rule files are invalid."
)
def serve(
    file: Path | None,
    model: str | None,
    profile: str | None,
    on_failure: str,
    strict: bool,
    **flags: str | None,
) -> None:
    """Run the proxy. The server does not start when a rule file, a profile or the configuration is invalid.

    Where rules that were good before are kept, it starts on those and says so; --strict refuses that as well.
    """
    # It would end the process: who sends it before everything is up asks for what a start does anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    given = {
        ("admin.listen" if key == "admin" else key): value
        for key, value in flags.items()
        if value is not None
    }
    if model is not None:
        given["routes"] = _one_route(model, profile, on_failure)
    elif profile is not None:
        raise click.UsageError("--profile needs --model")
    if file is None and Path("guardproxy.yaml").is_file():
        file = Path("guardproxy.yaml")
    config, loaded = load_all(file, given)
    if not loaded.errors and config.upstream is None and not config.routes:
        raise click.UsageError("say what to stand in front of: --upstream URL, or a guardproxy.yaml")
    tokens = load_tokens(config, loaded)
    note_missing_rules(config, loaded)
    print_problems([*loaded.problems, *_of_candidate(loaded)], loaded.texts)
    if loaded.errors and (strict or not _fall_back(config, loaded)):
        sys.exit(2)
    configure_logging(config.log)
    _log_unapproved(loaded)
    _settle_process()
    try:
        uvloop.run(run(config, loaded, tokens, _announce))
    except* StatisticsError as errors:
        _stop(f"the store of statistics: {errors.exceptions[0]}")
    except* StoreError as errors:
        _stop(f"the store {config.store}: {errors.exceptions[0]}")
    except* OSError as errors:
        _stop(f"cannot listen: {errors.exceptions[0]}")
    except* asyncio.CancelledError:
        pass


def _one_route(model: str, profile: str | None, on_failure: str) -> str:
    route = {"path": f"/v2/models/{model}/infer", "model": model, "on_failure": on_failure}
    # JSON is YAML, and quotes whatever a name holds.
    return json.dumps([route if profile is None else {**route, "profile": profile}], ensure_ascii=False)


def _of_candidate(loaded: Loaded) -> list[Problem]:
    return [] if loaded.candidate is None else loaded.candidate.problems


def _fall_back(config: Config, loaded: Loaded) -> bool:
    """Put the last good rules in the place of files that are invalid; False where nothing else may be served."""
    if config.rules is None or len(loaded.errors) > len(loaded.rules.errors):
        return False
    found = last_good_rules(config, loaded)
    if isinstance(found, str):
        click.echo(f"guardproxy: {found}", err=True)
    if not isinstance(found, RuleSets) or found.at is None:
        return False
    loaded.rules, loaded.rulesets = found, found.rulesets
    age = format_duration(max(1.0, float(int(time.time() - found.at))))
    click.echo(f"guardproxy: THE RULE FILES ARE INVALID. Serving the last good rules, {age} old.", err=True)
    return True


def _log_unapproved(loaded: Loaded) -> None:
    """Log which profiles only count; the notes before it say so to who watches the start."""
    for model, profile in loaded.profiles.items():
        if not profile.acts:
            structlog.get_logger("guardproxy.service").warning(
                "profile.not_approved",
                model=model,
                version=profile.version,
                detail="rules on it act as in shadow",
            )


def _settle_process() -> None:
    """Take all that was loaded out of the collector's sight, and let it run rarely.

    Compiled rules and modules live as long as the process; walking them again and again cost a tenth of a request.
    What requests allocate is freed by reference counts; the few cycles can wait.
    """
    gc.collect()
    gc.freeze()
    # Rules are compiled in a thread: the event loop must not wait long for its turn meanwhile.
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(50_000, 20, 50)


def _announce(service: Service) -> None:
    port = service.server.port if service.server is not None else 0
    click.echo(f"guardproxy listens on http://{service.config.listen.host}:{port}", err=True)
    for route in service.plane.routes:
        rules = count(sum(not rule.built_in for rule in route.guard.ruleset.rules), "rule")
        click.echo(
            f"  guards {route.path} ({route.guard.codec.name}, {rules}, on failure {route.failure})",
            err=True,
        )
    if service.grpc is not None:
        address, upstream = service.config.grpc_listen, service.config.grpc_upstream
        said = f"guards gRPC calls on {address}, passes all others to {upstream}"
        if not service.grpc.routes:
            said = f"passes gRPC calls on {address} to {upstream}: no open-inference route guards them"
        click.echo(f"  {said}", err=True)
    if service.plane.default is not None:
        click.echo(f"  passes everything else to {service.plane.default.origin}", err=True)
    if service.config.rules_candidate is not None:
        click.echo(f"  compares with the candidate in {service.config.rules_candidate}", err=True)
    if service.config.record_dir is not None:
        click.echo(f"  records traffic to {service.config.record_dir}", err=True)
    click.echo(f"console: {service.console_url}", err=True)


def _stop(message: str) -> None:
    click.echo(f"guardproxy: {message}", err=True)
    sys.exit(2)
