"""`guardproxy config check|schema`.

Decides that everything is read as the server would read it, and every problem told in one run. What a configuration may
hold is left to `config`, what its rule files may hold to `rules`.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from guardproxy.admin import TokenBook, read_tokens
from guardproxy.cli.output import REPORT_FORMAT, count, print_problems
from guardproxy.config import Config, parse_config, schema
from guardproxy.proxy.load import Loaded, load, read_text
from guardproxy.source import Problem


@click.group()
def config() -> None:
    """Check a configuration, or print its schema."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path("guardproxy.yaml"))
@REPORT_FORMAT
def check(file: Path, format_: str) -> None:
    """Check FILE and all it names; exit 2 when the proxy would not start.

    FILE is guardproxy.yaml if it is not given. Rule files, profiles and the tokens file are read as well.
    """
    config, loaded = load_all(file, {})
    load_tokens(config, loaded)
    candidate = [] if loaded.candidate is None else loaded.candidate.problems
    print_problems([*loaded.problems, *candidate], loaded.texts, format_)
    if loaded.errors or any(problem.severity == "error" for problem in candidate):
        sys.exit(2)
    if format_ == "text":
        rules = sum(not rule.built_in for ruleset in loaded.rulesets.values() for rule in ruleset.rules)
        routes = count(len(config.routes), "guarded route")
        click.echo(f"{file}: ok, {routes}, {count(len(loaded.rulesets), 'model')}, {count(rules, 'rule')}")


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
    loaded.problems[:] = [*problems, *(_said_here(problem) for problem in loaded.problems)]
    return parsed, loaded


def _said_here(problem: Problem) -> Problem:
    """Return a problem with the help that fits: a configuration names profiles in its routes, not by a flag."""
    if problem.code != "N401":
        return problem
    return replace(problem, help="give the model's route a `profile:`, made by `guardproxy learn`")


def load_tokens(config: Config, loaded: Loaded) -> TokenBook | None:
    """Read the tokens file, if one is used; the problems are added to `loaded`."""
    if config.tokens_file is None or config.auth == "none":
        return None
    text = read_text(config.tokens_file, loaded)
    if text is None:
        return None
    book, problems = read_tokens(text, str(config.tokens_file))
    loaded.problems.extend(problems)
    return book
