"""`guardproxy config check|schema`."""

import json
import os
import sys
from pathlib import Path

import click

from guardproxy.cli.output import FORMAT, print_problems
from guardproxy.config import Config, parse_config, schema
from guardproxy.proxy.load import Loaded, load, read_text


@click.group()
def config() -> None:
    """Check a configuration, or print its schema."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("guardproxy.yaml"))
@FORMAT
def check(file: Path, format_: str) -> None:
    """Check FILE with the rule files and profiles it names; exit 2 when the proxy would not start."""
    _, loaded = load_all(file, {})
    print_problems(loaded.problems, loaded.texts, format_)
    if loaded.errors:
        sys.exit(2)
    if format_ == "text":
        click.echo(
            f"{file}: ok, {len(loaded.rulesets)} models, {sum(len(r.rules) for r in loaded.rulesets.values())} rules"
        )


@config.command("schema")
def schema_() -> None:
    """Print the JSON Schema of guardproxy.yaml."""
    click.echo(json.dumps(schema(), indent=2))


def load_all(file: Path | None, flags: dict[str, str]) -> tuple[Config, Loaded]:
    """Read the configuration and all it names; the problems are in the second value."""
    first = Loaded()
    text = ""
    if file is not None:
        text = read_text(file, first) or ""
    base = file.parent if file is not None else Path()
    name = str(file) if file is not None else "command line"
    parsed, problems = parse_config(text, name, base, os.environ, flags)
    if first.problems:
        return parsed, first
    loaded = load(parsed)
    loaded.texts.update(first.texts)
    loaded.problems[:0] = problems
    return parsed, loaded
