"""What `guardproxy learn` leaves behind: a profile or a part, whole or not at all, and the lines that sum it up.

Decides that nothing is written which cannot be read back, and that whatever stood there before stays until the new file is
safely on disk.
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from guardproxy.cli.author_files import write_whole
from guardproxy.cli.output import count, printable
from guardproxy.profile.document import dump_profile, parse_profile
from guardproxy.profile.joint_words import describe
from guardproxy.profile.model import Profile
from guardproxy.profile.show import calibration_lines

MAX_COMMAND: Final = 4_000
_READABLE: Final = 0o666


class InputError(click.ClickException):
    """Something that the operator gave cannot be used; one line, exit code 2."""

    exit_code = 2


def now() -> str:
    """Return the time as RFC 3339, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_profile(out: Path, profile: Profile) -> bool:
    """Write a profile; return whether it took the place of a file. Raises InputError."""
    text = dump_profile(profile)
    read = parse_profile(text, out.name)
    if read != profile:
        # A profile that cannot be read back must not be found out by the proxy at its next start.
        problem = read[0].message if isinstance(read, list) else "it reads back differently"
        raise InputError(f"the profile cannot be written as a document: {problem}")
    return write_file(out, text.encode("utf-8"))


def write_file(out: Path, data: bytes) -> bool:
    """Write a file whole or not at all; return whether it took the place of another. Raises InputError."""
    try:
        replaced = out.exists()
        if replaced and not out.is_file():
            raise InputError(f"{out}: this is no regular file; name one")
        # What a symbolic link points to is replaced, not the link.
        write_whole(out.resolve(), data, _READABLE & ~_mask())
    except OSError as error:
        raise InputError(f"{out}: {error.strerror or 'cannot be written'}; nothing was changed") from error
    return replaced


def _mask() -> int:
    """Return which rights new files do not get; the system only tells by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def make_room(out: Path, sources: Iterable[Path]) -> None:
    """Make the folder of `out`, before an hour of reading. Raises InputError, also when what is read would be replaced."""
    for source in sources:
        if out.resolve() == source.resolve():
            raise InputError(f"{out}: the profile would replace the data it is learned from")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: its folder cannot be made: {error.strerror}") from error
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: nothing may be written into its folder")


def shorten(command: str) -> str:
    """Return a command of at most MAX_COMMAND characters."""
    return command if len(command) <= MAX_COMMAND else command[: MAX_COMMAND - 3] + "..."


def summarise(profile: Profile, out: Path, replaced: bool, notes: Iterable[str]) -> None:
    """Print what was learned, what the held-back rows proved, and what a person should know."""
    keys, outputs = len(profile.keys), len(profile.outputs)
    parts = [
        f"{profile.rows:,} rows",
        count(len(profile.features) - keys, "feature"),
        *([count(keys, "key")] if keys else []),
        *([count(outputs, "output")] if outputs else []),
    ]
    click.echo(f"{'Replaced' if replaced else 'Wrote'} {out}: model {profile.model}, {', '.join(parts)}")
    lines = calibration_lines("features", profile.calibration, profile.alpha)
    lines += calibration_lines("outputs", profile.output_calibration, profile.alpha)
    lines += [] if profile.joint is None else [f"joint check: {describe(profile.joint)}"]
    lines += [f"note: {note}" for note in notes]
    for line in lines:
        click.echo(f"  {printable(line, 1_000)}")
    click.echo(f"  look at it: guardproxy profile show {out}")
