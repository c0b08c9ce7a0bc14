"""`guardproxy init`: look at a running model server, and write the first guardproxy.yaml for it.

Decides which files are written, the configuration last, and that none is lost: never one over another unless that was asked for.
How the server is looked at, and what is written, is left to `discovery`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click

from guardproxy.cli.author_files import FAILED, INTERNAL, create, fail, write_whole
from guardproxy.cli.output import FORMAT, count, print_problems, printable
from guardproxy.codecs.signature import Signature, read_signature
from guardproxy.config import parse_config
from guardproxy.discovery import Asked, Draft, Looked, Model, Sighting, Wishes, draft, look_at, name_problem
from guardproxy.proxy.load import Loaded, read_text
from guardproxy.units import parse_duration
from guardproxy.wire import Origin, parse_origin

DEFAULT_OUT: Final = Path("guardproxy.yaml")
MAX_SHOWN: Final = 10
"""Models, and what was left out, that the text form names."""

_SHORTEST_S: Final = 0.05
_LONGEST_S: Final = 60.0


@click.command()
@click.option("--upstream", required=True, help="The running model server, such as http://127.0.0.1:9000.")
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="Guard this model only. May be given for each."
)
@click.option(
    "--mlmodel",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The model's MLmodel file: its signature.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_OUT,
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--rules",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the rule files are. [default: rules beside --out]",
)
@click.option("--force", "--yes", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--timeout", default="3s", show_default=True, help="How long the server may take for each answer."
)
@FORMAT
def init(
    upstream: str,
    models: tuple[str, ...],
    mlmodel: Path | None,
    out: Path,
    rules: Path | None,
    force: bool,
    timeout: str,
    format_: str,
) -> None:
    """Look at a running model server, recognise it, and write a first guardproxy.yaml with its routes.

    It asks at most 30 questions, none of which changes the server, and sends no credentials. A file that exists is left
    alone, unless --force says otherwise. Exit codes: 0 written, 1 nothing was written and why, 2 wrong usage.
    """
    origin = _origin(upstream)
    asked = Asked(_names(models))
    timeout_s = _seconds(timeout)
    signature = None if mlmodel is None else _read_mlmodel(mlmodel)
    if os.path.lexists(out) and not force:
        _refuse(
            f"{out} exists already; nothing was written",
            "--force replaces it, --out FILE writes another",
            format_,
        )
    looked = asyncio.run(look_at(origin, asked, timeout_s))
    sighting = _signed(looked.sighting, signature)
    if rules is not None and not rules.is_dir():
        missing = f"there is no folder {printable(str(rules))} yet: `rules:` is a comment"
        sighting = replace(sighting, notes=(*sighting.notes, missing))
    written = draft(sighting, _wishes(origin, out, rules, mlmodel))
    outcome = _Outcome(origin, replace(looked, sighting=sighting), written, out)
    if sighting.problem:
        outcome.tell_lost(format_)
        sys.exit(FAILED)
    _check(written.text, out)
    outcome.files = _write(out, written, force=force, format_=format_)
    outcome.tell(format_)


def _origin(upstream: str) -> Origin:
    try:
        return parse_origin(upstream)
    except ValueError as error:
        raise click.UsageError(f"--upstream: {printable(str(error), 1_000)}") from None


def _names(models: tuple[str, ...]) -> tuple[str, ...]:
    for name in models:
        why = name_problem(name, in_path=False)
        if why:
            raise click.UsageError(f"--model {printable(name)}: {why}")
    return tuple(dict.fromkeys(models))


def _seconds(timeout: str) -> float:
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from None
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise click.UsageError("--timeout must lie between 50ms and 60s")
    return seconds


def _read_mlmodel(file: Path) -> Signature:
    loaded = Loaded()
    text = read_text(file, loaded)
    if text is None:
        raise click.UsageError(f"--mlmodel {printable(str(file))}: {loaded.problems[0].message}")
    try:
        return read_signature(text, printable(str(file)))
    except ValueError as error:
        raise click.UsageError(f"--mlmodel {error}") from None


def _signed(sighting: Sighting, signature: Signature | None) -> Sighting:
    """Give the one model the signature out of a file."""
    if signature is None or not sighting.models:
        return sighting
    if len(sighting.models) > 1:
        raise click.UsageError(
            f"--mlmodel is of one model, and there are {len(sighting.models)}: say which with --model NAME"
        )
    (model,) = sighting.models
    notes = tuple(note for note in sighting.notes if "--mlmodel" not in note)
    return replace(sighting, models=(replace(model, signature=signature),), notes=notes)


def _wishes(origin: Origin, out: Path, rules: Path | None, mlmodel: Path | None) -> Wishes:
    folder = out.parent
    place = folder / "rules" if rules is None else rules
    return Wishes(
        str(origin),
        origin.port,
        str(out),
        _relative(place, folder) + "/",
        place.is_dir(),
        "" if mlmodel is None else _relative(mlmodel, folder),
    )


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a configuration in `folder` names it."""
    return str(path) if path.is_absolute() else os.path.relpath(path, folder)


def _check(text: str, out: Path) -> None:
    """End the command with 3 where the text is no good configuration: names of a server must never make it one."""
    _, problems = parse_config(text, str(out), out.parent, {})
    if problems:
        print_problems(problems, {str(out): text})
        fail(
            "what was drafted is no valid configuration, which is a mistake of guardproxy's; nothing was written",
            INTERNAL,
        )


def _write(out: Path, written: Draft, *, force: bool, format_: str) -> list[Path]:
    """Write the signature files, then the configuration that names them; none of them if one would be lost."""
    texts = {**{out.parent / name: text for name, text in written.files.items()}, out: written.text}
    changed = {path: text for path, text in texts.items() if not _holds(path, text)}
    for path in changed:
        if path.parent.exists() and not path.parent.is_dir():
            fail(f"{path} cannot be written: {path.parent} is no directory", INTERNAL)
        if os.path.lexists(path) and not force:
            _refuse(f"{path} exists already; nothing was written", "--force replaces it", format_)
    for path, text in changed.items():
        if not create(path, text):
            _replace(path, text, force=force, format_=format_)
    return list(texts)


def _replace(path: Path, text: str, *, force: bool, format_: str) -> None:
    if not force:
        # It came to be since it was looked for.
        _refuse(f"{path} exists already, and is left alone", "--force replaces it", format_)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror or error}", INTERNAL)


def _holds(path: Path, text: str) -> bool:
    try:
        return (
            path.is_file()
            and path.stat().st_size == len(text.encode())
            and path.read_bytes() == text.encode()
        )
    except OSError:
        return False


def _refuse(problem: str, help_: str, format_: str) -> None:
    if format_ == "json":
        click.echo(json.dumps({"problem": problem, "help": help_}, indent=2))
    else:
        click.echo(f"{printable(problem, 1_000)}\n  {help_}", err=True)
    sys.exit(FAILED)


@dataclass(slots=True)
class _Outcome:
    """What became of the command, to be told. `files` are those that hold the draft now."""

    origin: Origin
    looked: Looked
    draft: Draft
    out: Path
    files: list[Path] = field(default_factory=list)

    def tell(self, format_: str) -> None:
        """Say what was seen and written, and what to do next."""
        if format_ == "json":
            self._tell_json()
            return
        sighting = self.looked.sighting
        click.echo(printable(f"{self.origin} is {sighting.said}: {count(len(sighting.models), 'model')}"))
        for model in sighting.models[:MAX_SHOWN]:
            click.echo(f"  {printable(model.name)}: {_told(model)}")
            for route in sighting.routes:
                if route.model == model.name and route.active:
                    click.echo(f"      {printable(route.path)}")
        if len(sighting.models) > MAX_SHOWN:
            click.echo(f"  and {len(sighting.models) - MAX_SHOWN} more")
        self._tell_rest()
        beside = [path for path in self.files if path != self.out]
        also = f" and {count(len(beside), 'signature file')} in {beside[0].parent}" if beside else ""
        click.echo(f"wrote {printable(str(self.out) + also, 1_000)}")
        click.echo(
            f"next: guardproxy serve --config {printable(str(self.out))}; the file says what comes after that"
        )

    def tell_lost(self, format_: str) -> None:
        """Say why nothing was written, what to try, and (on standard output) what a configuration would begin with."""
        if format_ == "json":
            self._tell_json()
            return
        sighting = self.looked.sighting
        if sighting.title:
            click.echo(printable(f"{self.origin} is {sighting.said}: {sighting.problem}", 1_000), err=True)
        else:
            click.echo(printable(f"{self.origin} {sighting.problem}", 1_000), err=True)
        click.echo(f"  {printable(sighting.help, 1_000)}", err=True)
        self._tell_rest()
        if sighting.routes:
            click.echo("nothing was written. A configuration would begin like this:", err=True)
            click.echo(self.draft.text, nl=False)

    def _tell_rest(self) -> None:
        sighting = self.looked.sighting
        for left in sighting.left_out[:MAX_SHOWN]:
            click.echo(f"  no route for {printable(left.name)}: {printable(left.why, 500)}", err=True)
        for note in sighting.notes[:MAX_SHOWN]:
            click.echo(f"  note: {printable(note, 500)}", err=True)

    def _tell_json(self) -> None:
        sighting = self.looked.sighting
        told = {
            "upstream": str(self.origin),
            "server": {"kind": sighting.kind, "title": sighting.title, "version": sighting.version},
            "models": [
                {"name": model.name, "note": model.note, "signature": _as_json(model.signature)}
                for model in sighting.models
            ],
            "routes": [
                {"path": route.path, "model": route.model, "protocol": route.protocol, "active": route.active}
                for route in sighting.routes
            ],
            "left_out": [{"name": left.name, "why": left.why} for left in sighting.left_out],
            "notes": list(sighting.notes),
            "files": [str(path) for path in self.files],
            "config": self.draft.text if sighting.routes else None,
            "probes": self.looked.probes,
            "problem": sighting.problem or None,
            "help": sighting.help or None,
        }
        click.echo(json.dumps(told, indent=2))


def _told(model: Model) -> str:
    signature = model.signature
    told = "the server tells no signature"
    if signature is not None:
        told = f"{count(len(signature.inputs), 'input')}, {count(len(signature.outputs), 'output')}"
    return f"{told} ({printable(model.note)})" if model.note else told


def _as_json(signature: Signature | None) -> Mapping[str, Any] | None:
    if signature is None:
        return None
    return {
        side: [{"name": each.name, "datatype": each.datatype, "width": each.width} for each in columns]
        for side, columns in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }
