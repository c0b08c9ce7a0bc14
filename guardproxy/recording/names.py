"""What the files of a recording are called.

Decides that a name alone says whose exchanges a file may hold and of which time, so that those out of question are not opened:
`MODEL-START-UNIQUE.rec.gz`, with `.part` behind it while it is written to.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

SPAN_S: Final = 3_600.0
"""A file holds the minutes that begin within this many seconds of its start."""
SLACK_S: Final = 3_600.0
"""How much earlier than the minute in which it ended an exchange may have begun."""
MAX_NAME: Final = 120

SUFFIX: Final = ".rec.gz"
PART: Final = ".part"
_NAME: Final = re.compile(r"(?P<model>.+)-(?P<start>[0-9]{1,12})-[0-9a-f]{1,32}\.rec\.gz(?P<part>\.part)?")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file. `model` is the model's name as files spell it, None (and `start` the beginning of time) if unknown."""

    path: Path
    model: str | None
    start: float
    part: bool = False
    size: int = 0

    @property
    def whole(self) -> Path:
        """What the file is or will be called when nothing is added any more."""
        return self.path.with_name(self.path.name.removesuffix(PART)) if self.part else self.path

    def open(self) -> BinaryIO:
        """Open the file for reading, also when its last part has been written meanwhile."""
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            if not self.part:
                raise
            return self.whole.open("rb")

    def over_before(self, moment: float) -> bool:
        """Tell whether all exchanges in the file began before `moment`."""
        return self.start + SPAN_S + 60.0 <= moment

    def may_hold(self, model: str | None, since: float | None, until: float | None) -> bool:
        """Tell whether the file may hold exchanges of a model in a stretch of time."""
        if model is not None and self.model is not None and self.model != spelled(model):
            return False
        if since is not None and self.model is not None and self.over_before(since):
            return False
        return until is None or self.start - SLACK_S < until


def spelled(model: str) -> str:
    """Spell a model's name as part of a file's, which is short and has no separators."""
    text = quote(model, safe="", errors="surrogatepass").replace("-", "%2D").replace("~", "%7E")
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) > MAX_NAME:
        text = f"{text[: MAX_NAME - 17]}~{sha256(text.encode()).hexdigest()[:16]}"
    return text or "~"


def file_name(model: str, start: float, unique: str) -> str:
    """Return the name of a file that begins at `start`; `unique` are hexadecimal digits."""
    return f"{spelled(model)}-{max(0, int(start))}-{unique}{SUFFIX}"


def segments_in(path: Path) -> list[Segment]:
    """List the files of a folder, or the one file. Raises OSError."""
    if not path.is_dir():
        return [_segment(path, path.stat().st_size) or Segment(path, None, float("-inf"))]
    found: dict[Path, Segment] = {}
    for one in _scanned(path):
        # A file that loses its `.part` while the folder is read may come twice.
        found.setdefault(one.whole, one)
    return list(found.values())


def _scanned(folder: Path) -> Iterator[Segment]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith((SUFFIX, SUFFIX + PART)):
                continue
            try:
                regular, size = (
                    entry.is_file(follow_symlinks=False),
                    entry.stat(follow_symlinks=False).st_size,
                )
            except FileNotFoundError:
                continue
            one = _segment(Path(entry.path), size) if regular else None
            if one is not None:
                yield one


def _segment(path: Path, size: int) -> Segment | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return Segment(path, match["model"], float(match["start"]), match["part"] is not None, size)
