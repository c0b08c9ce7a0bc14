"""`guardproxy learn`: from reference data to a profile.

Decides what is asked and printed, and that a profile appears whole or not at all. Reading is left to
`stores.dataset`, learning to `profile.learn`.
"""

import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from guardproxy.profile.document import dump_profile, parse_profile
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Profile, Provenance
from guardproxy.profile.show import calibration_lines
from guardproxy.stores.dataset import Dataset, DatasetError, open_dataset

SEED: Final = 0
"""The reservoir's draw is fixed, so the same data give the same profile."""


class InputError(click.ClickException):
    """Something that the operator gave cannot be used; one line, exit code 2."""

    exit_code = 2


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model's name.")
@click.option(
    "--target", multiple=True, metavar="COL", help="A column that the model predicts; may be repeated."
)
@click.option("--time", metavar="COL", help="The column that says when; it is no feature.")
@click.option(
    "--key", multiple=True, metavar="COL", help="A column that names an entity; its values are not enforced."
)
@click.option("--skip", multiple=True, metavar="COL", help="A column that no request carries (a row number).")
@click.option(
    "--alpha",
    type=click.FloatRange(1e-6, 0.1),
    default=0.001,
    show_default=True,
    help="The share of clean rows that may be flagged.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Where the profile goes; replaced if there."
)
def learn(
    data: Path,
    model: str,
    target: tuple[str, ...],
    time: str | None,
    key: tuple[str, ...],
    skip: tuple[str, ...],
    alpha: float,
    out: Path,
) -> None:
    """Learn a profile from DATA, a CSV or Parquet file with the oldest rows first."""
    _refuse_clashes(target, time, key, skip)
    if out.resolve() == data.resolve():
        raise InputError(f"{out}: the profile would replace the data it is learned from")
    learner = Learner(
        model,
        rng=np.random.default_rng(SEED),
        target=target,
        keys=key,
        time=time,
        alpha=alpha,
    )
    try:
        with open_dataset(data) as dataset:
            for name in (*target, *key, *((time,) if time is not None else ())):
                dataset.require(name)
            dataset.select(skip)
            _read(dataset, learner)
        profile = learner.finish(
            Provenance(
                file=data.name,
                learned_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                sha256=dataset.sha256,
                command=_command(data, model, target, time, key, skip, alpha),
            )
        )
    except DatasetError as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"{data.name}: {error}") from error
    replaced = _write(out, profile)
    _summarise(profile, out, replaced, [*dataset.notes, *learner.notes])


def _read(dataset: Dataset, learner: Learner) -> None:
    console = Console(stderr=True)
    columns = (
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("reading", total=dataset.size, rows="")
        for batch in dataset:
            learner.update(batch)
            progress.update(
                task, completed=min(dataset.position, dataset.size), rows=f"{learner.rows:,} rows"
            )


def _refuse_clashes(
    target: tuple[str, ...], time: str | None, key: tuple[str, ...], skip: tuple[str, ...]
) -> None:
    roles: dict[str, str] = {}
    given = (
        ("--target", target),
        ("--time", () if time is None else (time,)),
        ("--key", key),
        ("--skip", skip),
    )
    for option, names in given:
        for name in names:
            if name in roles:
                raise InputError(f"the column '{name}' is given to both {roles[name]} and {option}")
            roles[name] = option


def _command(
    data: Path,
    model: str,
    target: tuple[str, ...],
    time: str | None,
    key: tuple[str, ...],
    skip: tuple[str, ...],
    alpha: float,
) -> str:
    """Return the command to repeat, without the directories of this machine."""
    words = ["guardproxy", "learn", data.name, "--model", model]
    options = (
        ("--target", target),
        ("--time", () if time is None else (time,)),
        ("--key", key),
        ("--skip", skip),
    )
    words += [word for option, names in options for name in names for word in (option, name)]
    command = shlex.join([*words, "--alpha", f"{alpha:g}"])
    return command if len(command) <= 4_000 else command[:3_997] + "..."


def _write(out: Path, profile: Profile) -> bool:
    """Write the profile whole or not at all; return whether it took the place of a file."""
    text = dump_profile(profile)
    read = parse_profile(text, out.name)
    if read != profile:
        # A profile that cannot be read back must not be found out by the proxy at its next start.
        problem = read[0].message if isinstance(read, list) else "it reads back differently"
        raise InputError(f"the profile cannot be written as a document: {problem}")
    return _atomically(out, lambda file: file.write_text(text, encoding="utf-8"))


def _atomically(out: Path, write: Callable[[Path], object]) -> bool:
    try:
        replaced = out.exists()
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as directory:
            draft = Path(directory) / out.name
            write(draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(out)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror or 'cannot be written'}") from error
    return replaced


def _summarise(profile: Profile, out: Path, replaced: bool, notes: list[str]) -> None:
    features = len(profile.features) - len(profile.keys)
    parts = [
        f"{profile.rows:,} rows",
        f"{features} feature{'s' * (features != 1)}",
        *([f"{len(profile.keys)} key{'s' * (len(profile.keys) != 1)}"] if profile.keys else []),
        *([f"{len(profile.outputs)} output{'s' * (len(profile.outputs) != 1)}"] if profile.outputs else []),
    ]
    click.echo(f"{'Replaced' if replaced else 'Wrote'} {out}: model {profile.model}, {', '.join(parts)}")
    lines = calibration_lines("features", profile.calibration, profile.alpha)
    lines += calibration_lines("outputs", profile.output_calibration, profile.alpha)
    lines += [f"note: {note}" for note in notes]
    for line in lines:
        click.echo(f"  {line}")
    click.echo(f"  look at it: guardproxy profile show {out}")
