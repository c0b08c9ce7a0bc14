"""`guardproxy learn --merge`: parts that were learned where the data lie become one profile, or one larger part.

Decides how many parts are merged at once and what stands for them in the profile. Whether parts belong together is left to
`profile.state`.
"""

import hashlib
import os
import shlex
from pathlib import Path
from typing import Final

import click
import numpy as np

from guardproxy.cli.learn_files import SEED
from guardproxy.cli.learn_out import (
    InputError,
    make_room,
    now,
    shorten,
    summarise,
    write_file,
    write_profile,
)
from guardproxy.cli.output import count
from guardproxy.profile.learn import Learner
from guardproxy.profile.model import Provenance
from guardproxy.profile.packing import MAX_BYTES
from guardproxy.profile.parts import dump_part, load_part
from guardproxy.profile.state import LearnerState, order_of
from guardproxy.stores.dataset import MAX_NAMED, names_of

MAX_PARTS: Final = 1_000
"""So many parts are merged at once; more are merged in groups, each to a larger part."""


def merge_parts(paths: tuple[Path, ...], out: Path, *, part: bool) -> None:
    """Merge parts and write what they come to. Raises InputError, also where two parts do not belong together."""
    make_room(out, paths)
    if len(paths) > MAX_PARTS:
        raise InputError(
            f"{len(paths):,} parts are more than {MAX_PARTS:,}; merge groups of them with --merge --part"
        )
    hashes: list[str] = []
    try:
        merged = _merged(paths, hashes)
        if part:
            replaced = write_file(out, dump_part(merged))
            said = "Replaced" if replaced else "Wrote"
            click.echo(
                f"{said} {out}: a part of model {merged.settings.model}, {merged.rows:,} rows of {count(len(paths), 'part')}"
            )
            return
        learner = Learner.resume(merged, rng=np.random.default_rng(SEED))
        profile = learner.finish(
            Provenance(
                file=names_of(path.name for path in paths),
                learned_at=now(),
                sha256=hashlib.sha256("".join(hashes).encode("utf-8", "surrogateescape")).hexdigest(),
                command=_command(paths),
            )
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    summarise(profile, out, write_profile(out, profile), learner.notes)


def _merged(paths: tuple[Path, ...], hashes: list[str]) -> LearnerState:
    """Merge parts by their rows' time. Each is read twice, so that two of them are in memory at once however many there are."""
    clocks = [read_part(path, hashes).clock for path in paths]
    _refuse_twice(paths, hashes)
    first, *others = order_of(clocks)
    merged = _read_again(paths[first], hashes[first])
    for place in others:
        merged.absorb(_read_again(paths[place], hashes[place]))
    return merged


def _read_again(path: Path, line: str) -> LearnerState:
    hashes: list[str] = []
    state = read_part(path, hashes)
    if hashes != [line]:
        raise InputError(f"{path}: the part changed while it was read; merge again")
    return state


def read_part(path: Path, hashes: list[str]) -> LearnerState:
    """Read a part; its hash is added to `hashes` as `sha256sum` prints it. Raises InputError, and ValueError for a damaged one."""
    try:
        if not path.is_file():
            why = "this is no file; name a part" if path.exists() else "there is no such file"
            raise InputError(f"{path}: {why}")
        with path.open("rb") as file:
            # Reading at most so much would set as much memory aside.
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise InputError(f"{path}: this is larger than a part can be")
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'cannot be read'}") from error
    hashes.append(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
    return load_part(data, str(path))


def _refuse_twice(paths: tuple[Path, ...], hashes: list[str]) -> None:
    seen: dict[str, Path] = {}
    for path, line in zip(paths, hashes, strict=True):
        before = seen.setdefault(line.split()[0], path)
        if before is not path:
            raise InputError(f"{before} and {path} are the same part; its rows would count twice")


def _command(paths: tuple[Path, ...]) -> str:
    names = [path.name for path in paths]
    more = " ..." if len(names) > MAX_NAMED else ""
    return shorten(f"guardproxy learn --merge {shlex.join(names[:MAX_NAMED])}{more}")
