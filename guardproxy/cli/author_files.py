"""Rule files for the commands that write them: what they are read as, and how they are put back.

Decides that a file is replaced whole or not at all, that a symbolic link stays one, and that its mode stays. What is
written is left to `authoring`.
"""

import contextlib
import difflib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click

from guardproxy.cli.output import print_problems, printable
from guardproxy.profile.model import Profile
from guardproxy.proxy.load import Loaded, load_profile, read_rule_files
from guardproxy.rules import Ruleset, load_rulesets

FAILED: Final = 1
INVALID: Final = 2
INTERNAL: Final = 3
DEFAULT_PATH: Final = Path("rules")
BOM: Final = b"\xef\xbb\xbf"

PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
PROFILES = click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A learned profile, so that field names are checked. May be given for each model.",
)


@dataclass(slots=True)
class Files:
    """Rule files as texts by name, the profiles given with them, and what they come to."""

    texts: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    rulesets: dict[str, Ruleset] = field(default_factory=dict)


def read_profiles(paths: tuple[Path, ...]) -> dict[str, Profile]:
    """Read profiles by model; end the command with 2 when one cannot be read."""
    loaded = Loaded()
    found = [load_profile(path, loaded) for path in paths]
    if loaded.errors:
        print_problems(loaded.problems, loaded.texts)
        sys.exit(INVALID)
    return {profile.model: profile for profile in found if profile is not None}


def read_files(paths: tuple[Path, ...], profiles: tuple[Path, ...] = ()) -> Files:
    """Read rule files and profiles; end the command with 2 when there are none or one cannot be read."""
    ask_for_folder(paths)
    known = read_profiles(profiles)
    loaded = Loaded()
    texts = dict(read_rule_files(paths or (DEFAULT_PATH,), loaded))
    if loaded.errors:
        print_problems(loaded.problems, loaded.texts)
        sys.exit(INVALID)
    if not texts:
        where = ", ".join(printable(str(path)) for path in paths or (DEFAULT_PATH,))
        raise click.UsageError(f"there is no rule file (*.guard.yaml) in {where}")
    return Files(texts, known)


def ask_for_folder(paths: Sequence[Path]) -> None:
    """End the command with 2 and the first step, where no path was named and there is no folder `rules`."""
    if tuple(paths) in ((), (DEFAULT_PATH,)) and not DEFAULT_PATH.exists():
        raise click.UsageError(
            "there is no folder rules here: name files, or begin with guardproxy rules new MODEL"
        )


def load_files(paths: tuple[Path, ...], profiles: tuple[Path, ...] = ()) -> Files:
    """Read rule files without an error; end the command with 2, showing every problem, when there is one."""
    files = read_files(paths, profiles)
    files.rulesets, problems = load_rulesets(
        files.texts, profiles=files.profiles, today=datetime.now(tz=UTC).date()
    )
    if any(problem.severity == "error" for problem in problems):
        print_problems(problems, files.texts)
        sys.exit(INVALID)
    return files


def replace_text(name: str, text: str) -> None:
    """Replace a file's text at once; end the command with 3 when that cannot be done."""
    target = Path(os.path.realpath(name))
    try:
        with target.open("rb") as old:
            mark = old.read(len(BOM)) == BOM
        write_whole(target, (BOM if mark else b"") + text.encode())
    except OSError as error:
        fail(f"{name} cannot be written: {error.strerror or error}", INTERNAL)


def write_whole(target: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file through a neighbour that takes its place, with the mode and owner of the one that was there, else `mode`."""
    handle, neighbour = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            os.fchmod(out.fileno(), mode)
            if target.exists():
                state = target.stat()
                os.fchmod(out.fileno(), state.st_mode & 0o7777)
                with contextlib.suppress(PermissionError):
                    # Only root may give a file away; whoever else edits it already owns it or its folder.
                    os.fchown(out.fileno(), state.st_uid, state.st_gid)
            out.flush()
            os.fsync(out.fileno())
        Path(neighbour).replace(target)
    except BaseException:
        Path(neighbour).unlink(missing_ok=True)
        raise


def create(target: Path, text: str) -> bool:
    """Write a new file; False where one stands already. Ends the command with 3 when it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror or error}", INTERNAL)
    return True


def text_diff(name: str, before: str, after: str) -> Iterator[str]:
    """Return the lines that differ, as a unified diff safe for a terminal."""
    lines = (before.splitlines(), after.splitlines())
    for line in difflib.unified_diff(*lines, name, name, lineterm="", n=2):
        yield printable(line, 400)


def show_diff(texts: Mapping[str, tuple[str, str]]) -> None:
    """Print how files differ, with removed lines in red and added ones in green where there is colour."""
    for name, (before, after) in texts.items():
        for line in text_diff(name, before, after):
            colour = {"-": "red", "+": "green", "@": "cyan"}.get(line[:1])
            click.secho(line, fg=colour)


def fail(sentence: str, code: int) -> NoReturn:
    """End the command with a sentence on standard error."""
    click.echo(printable(sentence, 1_000), err=True)
    sys.exit(code)
