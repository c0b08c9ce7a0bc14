"""`guardproxy learn FILE...`: files of reference data to a profile, or to a part of one.

Decides what of a command is remembered in the profile. Reading is left to `stores.dataset`, learning to `profile.learn`.
"""

import shlex
import sys
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from guardproxy.cli.learn_out import (
    InputError,
    make_room,
    now,
    shorten,
    summarise,
    write_file,
    write_profile,
)
from guardproxy.profile.learn import MIN_ROWS, Learner
from guardproxy.profile.model import Provenance
from guardproxy.profile.parts import dump_part
from guardproxy.stores.dataset import MAX_NAMED, DatasetError, Datasets

SEED: Final = 0
"""The reservoir's draw is fixed, so the same data give the same profile."""


class Wanted(NamedTuple):
    """What the operator says of the data."""

    model: str
    target: tuple[str, ...]
    time: str | None
    key: tuple[str, ...]
    skip: tuple[str, ...]
    alpha: float

    def options(self) -> list[str]:
        """Return these as words of a command."""
        given = (
            ("--target", self.target),
            ("--time", () if self.time is None else (self.time,)),
            ("--key", self.key),
            ("--skip", self.skip),
        )
        words = ["--model", self.model]
        words += [word for option, names in given for name in names for word in (option, name)]
        return [*words, "--alpha", f"{self.alpha:g}"]


def learn_files(paths: tuple[Path, ...], wanted: Wanted, out: Path, *, part: bool) -> None:
    """Learn from files and write what was learned. Raises InputError."""
    make_room(out, paths)
    learner = Learner(
        wanted.model,
        rng=np.random.default_rng(SEED),
        target=wanted.target,
        keys=wanted.key,
        time=wanted.time,
        alpha=wanted.alpha,
    )
    named = paths[0].name if len(paths) == 1 else f"{len(paths):,} files"
    try:
        data = Datasets(paths)
        for name in (*wanted.target, *wanted.key, *((wanted.time,) if wanted.time is not None else ())):
            data.require(name)
        data.select(wanted.skip)
        _read(data, learner)
        if not learner.rows:
            raise InputError(
                f"{data.name}: there are column names and no rows below them; {MIN_ROWS} are needed"
            )
        provenance = Provenance(
            file=data.name,
            learned_at=now(),
            sha256=data.sha256,
            command=_command(paths, wanted),
        )
        if part:
            _write_part(learner, wanted.model, data, out)
            return
        profile = learner.finish(provenance)
    except DatasetError as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"{named}: {error}") from error
    replaced = write_profile(out, profile)
    summarise(profile, out, replaced, [*data.notes, *learner.notes])


def _write_part(learner: Learner, model: str, data: Datasets, out: Path) -> None:
    replaced = write_file(out, dump_part(learner.state()))
    said = "Replaced" if replaced else "Wrote"
    click.echo(f"{said} {out}: a part of model {model}, {learner.rows:,} rows of {data.name}")
    for note in data.notes:
        click.echo(f"  note: {note}")
    click.echo(f"  merge it with others: guardproxy learn --merge {out} ... --out FILE")


def _read(data: Datasets, learner: Learner) -> None:
    console = Console(stderr=True)
    columns = (
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("reading", total=data.size, rows="")
        for batch in data:
            learner.update(batch)
            progress.update(task, completed=min(data.position, data.size), rows=f"{learner.rows:,} rows")


def _command(paths: tuple[Path, ...], wanted: Wanted) -> str:
    """Return the command to repeat, without the directories of this machine."""
    names = [path.name for path in paths]
    files = shlex.join(names) if len(names) <= MAX_NAMED else f"{shlex.join(names[:MAX_NAMED])} ..."
    return shorten(f"guardproxy learn {files} {shlex.join(wanted.options())}")
