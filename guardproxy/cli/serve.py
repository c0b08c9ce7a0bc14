"""`guardproxy serve`: check everything, then run until a signal."""

import asyncio
import gc
import json
import sys
from pathlib import Path

import click
import uvloop

from guardproxy.cli.config import load_all, load_tokens
from guardproxy.cli.output import count, print_problems
from guardproxy.errors import StoreError
from guardproxy.service import Service
from guardproxy.service import serve as run
from guardproxy.telemetry import configure_logging


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
def serve(
    file: Path | None, model: str | None, profile: str | None, on_failure: str, **flags: str | None
) -> None:
    """Run the proxy. The server does not start when a rule file, a profile or the configuration is invalid."""
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
    print_problems(loaded.problems, loaded.texts)
    if loaded.errors:
        sys.exit(2)
    configure_logging(config.log)
    _settle_memory()
    try:
        uvloop.run(run(config, loaded, tokens, _announce))
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


def _settle_memory() -> None:
    """Take all that was loaded out of the collector's sight, and let it run rarely.

    Compiled rules and modules live as long as the process; walking them again and again cost a tenth of a request.
    What requests allocate is freed by reference counts; the few cycles can wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _announce(service: Service) -> None:
    port = service.server.port if service.server is not None else 0
    click.echo(f"guardproxy listens on http://{service.config.listen.host}:{port}", err=True)
    for route in service.plane.routes:
        rules = count(sum(not rule.built_in for rule in route.guard.ruleset.rules), "rule")
        click.echo(
            f"  guards {route.path} ({route.guard.codec.name}, {rules}, on failure {route.failure.value})",
            err=True,
        )
    if service.plane.default is not None:
        click.echo(f"  passes everything else to {service.plane.default.origin}", err=True)
    click.echo(f"console: {service.console_url}", err=True)


def _stop(message: str) -> None:
    click.echo(f"guardproxy: {message}", err=True)
    sys.exit(2)
