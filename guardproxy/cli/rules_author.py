"""`guardproxy rules new|fmt|diff|docs|schema` (and `promote`): the commands that write and explain rule files.

Decides options and exit codes (0 done or the same, 1 refused or different, 2 a file is invalid, 3 nothing that can be
trusted came out). What is written is decided by `authoring`.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from guardproxy.authoring.diff import Difference, Side, compare
from guardproxy.authoring.docs import file_name, page
from guardproxy.authoring.fmt import Formatted, format_files
from guardproxy.authoring.markup import HTML, MARKDOWN
from guardproxy.authoring.schema import SCHEMA_FILE, rules_schema
from guardproxy.authoring.starter import starter
from guardproxy.cli.author_files import (
    FAILED,
    INTERNAL,
    INVALID,
    PATHS,
    PROFILES,
    Files,
    create,
    fail,
    load_files,
    read_files,
    read_profiles,
    replace_text,
    show_diff,
    write_whole,
)
from guardproxy.cli.output import FORMAT, count, print_problems, printable
from guardproxy.cli.rules_promote import promote
from guardproxy.proxy.rule_files import RULES_SUFFIX
from guardproxy.source import did_you_mean

__all__ = ["diff", "docs", "fmt", "new", "promote", "schema"]


@click.command()
@click.argument("model")
@PROFILES
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file to write. [default: rules/MODEL.guard.yaml]"
)
@click.option("--owner", default="your-team", show_default=True, help="Who owns the rules.")
def new(model: str, profiles: tuple[Path, ...], out: Path | None, owner: str) -> None:
    """Write a first rule file for MODEL: rules in shadow, each with a test. Never overwrites one."""
    if not model.strip() or len(model) > 200 or not model.isprintable():
        raise click.UsageError("MODEL must be a name of 1 to 200 printable characters")
    target = out if out is not None else Path("rules") / f"{file_name(model)}{RULES_SUFFIX}"
    if not target.name.endswith(RULES_SUFFIX):
        raise click.UsageError(f"a rule file's name ends in {RULES_SUFFIX}")
    known = read_profiles(profiles)
    if profiles and model not in known:
        raise click.UsageError(f"there is no profile of '{printable(model)}'; {did_you_mean(model, known)}")
    schema = os.path.relpath(SCHEMA_FILE, target.parent)
    text = starter(model, schema=schema, file=str(target), owner=owner, profile=known.get(model))
    if not create(target, text):
        fail(f"{target} exists already; nothing was written", FAILED)
    if create(Path(SCHEMA_FILE), _schema_text()):
        click.echo(f"wrote {SCHEMA_FILE}, which tells editors what may stand in a rule file")
    click.echo(f"wrote {printable(str(target))}; next: guardproxy rules test {printable(str(target))}")


@click.command()
@PATHS
@click.option(
    "--check", is_flag=True, help="Write nothing; exit 1 when a file is not in its canonical layout."
)
@click.option(
    "--diff", is_flag=True, help="Write nothing; show what would change, and exit 1 if anything would."
)
@FORMAT
def fmt(paths: tuple[Path, ...], check: bool, diff: bool, format_: str) -> None:
    """Lay out rule files, keeping every comment and every meaning; `&&`, `||`, `=` and `!` become what they mean."""
    files = read_files(paths)
    found = format_files(files.texts)
    changed = {name: one for name, one in found.items() if one.text != files.texts[name]}
    writes = not check and not diff
    if writes:
        for name, one in changed.items():
            replace_text(name, one.text)
    _tell_formatted(files, found, changed, format_, diff=diff, writes=writes)
    if any(one.refusal for one in found.values()):
        sys.exit(INTERNAL)
    if any(one.problems for one in found.values()):
        sys.exit(INVALID)
    if changed and not writes:
        sys.exit(FAILED)


def _tell_formatted(
    files: Files,
    found: dict[str, Formatted],
    changed: dict[str, Formatted],
    format_: str,
    *,
    diff: bool,
    writes: bool,
) -> None:
    if format_ == "json":
        told = [_formatted_json(name, one, name in changed, writes) for name, one in found.items()]
        click.echo(json.dumps({"files": told}, indent=2))
        return
    if diff:
        show_diff({name: (files.texts[name], one.text) for name, one in changed.items()})
    for name, one in found.items():
        for line, before, after in one.repairs:
            click.echo(f"{printable(name)}:{line}: {printable(before)}  ->  {printable(after)}")
        if one.refusal:
            click.echo(f"{printable(name)}: left alone: {printable(one.refusal)}", err=True)
    print_problems([problem for one in found.values() for problem in one.problems], files.texts)
    if not diff:
        verb = "laid out" if writes else "would be laid out"
        for name in changed:
            click.echo(f"{verb}: {printable(name)}")
        same = sum(not one.problems and not one.refusal for one in found.values()) - len(changed)
        click.echo(f"{count(len(changed), 'file')} {verb}, {same} already in canonical layout")


def _formatted_json(name: str, one: Formatted, changed: bool, writes: bool) -> dict[str, Any]:
    return {
        "file": name,
        "changed": changed,
        "written": changed and writes,
        "refusal": one.refusal,
        "repairs": [{"line": line, "before": before, "after": after} for line, before, after in one.repairs],
        "problems": [problem.as_json() for problem in one.problems],
    }


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@FORMAT
def diff(before: Path, after: Path, format_: str) -> None:
    """Say what the rule files AFTER do differently from those BEFORE (files or directories); exit 1 when anything.

    Comments, layout, order and the files that rules stand in make no difference.
    """
    sides = [load_files((path,)) for path in (before, after)]
    found = compare(*(Side(side.texts, side.rulesets) for side in sides))
    if format_ == "json":
        click.echo(json.dumps({"differences": [one.as_json() for one in found]}, indent=2))
    else:
        _tell_differences(found)
    sys.exit(FAILED if found else 0)


def _tell_differences(found: Sequence[Difference]) -> None:
    model = None
    for one in found:
        if one.model != model:
            click.echo(printable(one.model))
            model = one.model
        sign, colour = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}[one.how]
        # The limits of a model have no name beside what they are.
        kind = "" if one.what in ("rule", one.name) else f"{one.what} "
        said = f"  {printable(one.said)}" if one.said else ""
        click.secho(f"  {sign} {kind}{printable(one.name)}{said}", fg=colour)
        for change in one.changes:
            relative = "" if change.relative is None else f"  ({change.relative:+.1%})"
            if one.what == "list":
                told = [f"+ {change.after}"] * bool(change.after) + [f"- {change.before}"] * bool(
                    change.before
                )
                click.echo("".join(f"      {printable(line, 400)}\n" for line in told), nl=False)
                continue
            shown = f"{change.before or '(nothing)'} -> {change.after or '(nothing)'}"
            if change.key.startswith("reads.") and change.before and change.after:
                shown = "what it holds has changed"
            click.echo(f"      {printable(change.key)}: {printable(shown, 400)}{relative}")
    click.echo(f"{count(len(found), 'difference')}" if found else "the rules do the same")


@click.command()
@PATHS
@PROFILES
@click.option(
    "--model", "models", multiple=True, help="Only the page of this model; may be given several times."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="A folder for the pages.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["markdown", "html"]),
    default="markdown",
    show_default=True,
    help="Form.",
)
def docs(
    paths: tuple[Path, ...],
    profiles: tuple[Path, ...],
    models: tuple[str, ...],
    out: Path | None,
    format_: str,
) -> None:
    """Write a page per model in plain sentences, for experts and auditors: to --out, else to standard output."""
    files = load_files(paths, profiles)
    for name in models:
        if name not in files.rulesets:
            raise click.UsageError(
                f"there is no model '{printable(name)}'; {did_you_mean(name, files.rulesets)}"
            )
    markup = HTML if format_ == "html" else MARKDOWN
    pages = [
        page(ruleset, markup)
        for name, ruleset in sorted(files.rulesets.items())
        if not models or name in models
    ]
    if out is None:
        if format_ == "html" and len(pages) > 1:
            raise click.UsageError(
                f"there are {len(pages)} pages: say where with --out DIR, or which with --model"
            )
        click.echo("\n".join(one.text for one in pages), nl=False)
        return
    taken: set[str] = set()
    for one in pages:
        name = one.file if one.file not in taken else f"{one.file}-{len(taken)}"
        taken.add(name)
        target = out / f"{name}.{markup.ending}"
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_whole(target, one.text.encode())
        except OSError as error:
            fail(f"{target} cannot be written: {error.strerror or error}", INTERNAL)
        click.echo(f"wrote {printable(str(target))}")


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The file to write, such as {SCHEMA_FILE}.",
)
def schema(out: Path | None) -> None:
    """Print the JSON Schema of rule files, for editors; with --out, write it."""
    if out is None:
        click.echo(_schema_text(), nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, _schema_text().encode())
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror or error}", INTERNAL)
    click.echo(f"wrote {printable(str(out))}")


def _schema_text() -> str:
    return json.dumps(rules_schema(), indent=2) + "\n"
