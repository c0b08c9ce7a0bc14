"""The last good rules, kept across restarts: the texts of the files as they were when they were last served.

Decides how they lie on disk (one file, written beside and renamed) and what is believed of a file found there. Whether
they are served is left to `serve`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

from guardproxy.proxy.rule_files import MAX_FILES, digest_of_texts

NAME: Final = "last_good.json"
FORMAT: Final = "guardproxy last good rules 1"
MAX_BYTES: Final = 64 * 1024 * 1024
_END_OF_TIME: Final = 1e11
"""Unix seconds in the year 5138."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """Rule files as they were served: texts by file name, the fingerprint of each model's rules, Unix seconds."""

    at: float
    rulesets: Mapping[str, str]
    texts: Mapping[str, str]


def write_last_good(folder: Path, good: LastGood) -> None:
    """Keep the rules: whoever reads sees the old file or the new one, whole. Raises OSError and ValueError."""
    body = json.dumps(
        {
            "format": FORMAT,
            "at": good.at,
            "rulesets": dict(good.rulesets),
            "digest": digest_of_texts(good.texts),
            "files": dict(good.texts),
        },
        ensure_ascii=True,
    ).encode()
    if len(body) > MAX_BYTES:
        raise ValueError(f"the rule files are larger than {MAX_BYTES // 1024**2} MiB together")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{NAME}.{os.getpid()}.part"
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / NAME)
    finally:
        part.unlink(missing_ok=True)
    _sync(folder)
    _sweep(folder)


def read_last_good(folder: Path) -> LastGood | str | None:
    """Return what was kept, None where nothing was, or a sentence on why it cannot be believed."""
    path = folder / NAME
    try:
        if not path.exists():
            return None
        if not path.is_file():
            return f"{path} is not a regular file"
        with path.open("rb") as file:
            body = file.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            return f"{path} is larger than {MAX_BYTES // 1024**2} MiB"
        return _read(json.loads(body)) or f"{path} is not a file of last good rules of this version"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    except (ValueError, OverflowError, RecursionError):
        return f"{path} is damaged"


def _read(said: object) -> LastGood | None:
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        return None
    at, files, rulesets = said.get("at"), said.get("files"), said.get("rulesets")
    if not isinstance(at, (int, float)) or isinstance(at, bool) or not _texts(files) or not _texts(rulesets):
        return None
    if (
        not 0 <= at < _END_OF_TIME
        or not 0 < len(files) <= MAX_FILES
        or said.get("digest") != digest_of_texts(files)
    ):
        raise ValueError
    return LastGood(float(at), rulesets, files)


def _texts(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _sync(folder: Path) -> None:
    """Make the rename last: without this a power cut could bring the old name back."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed while writing left behind."""
    for part in folder.glob(f"{NAME}.*.part"):
        pid = part.name.removeprefix(f"{NAME}.").removesuffix(".part")
        if pid.isdigit() and not _alive(int(pid)):
            part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
