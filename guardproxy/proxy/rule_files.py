"""Rule files on disk: which belong to a path, and whether they have changed.

Decides what is followed (links) and what is left out (hidden files and directories, so that the `..2026_01_07` and `..data` of a
Kubernetes ConfigMap are not taken for more files). What the files say is left to `load`.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

RULES_SUFFIX: Final = ".guard.yaml"
MAX_FILES: Final = 1_000
MAX_FOLDERS: Final = 10_000
MAX_TOTAL: Final = 64 * 1024 * 1024
"""Bytes of all rule files of a set together: each of a thousand files may be as large as one may be, but not all of them."""

Signature: TypeAlias = tuple[tuple[str, int, int, int, int], ...]


def find_rule_files(path: Path) -> list[Path]:
    """Return the rule files at or below a path, sorted; at most one more than MAX_FILES. Raises OSError."""
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, names in _walk(path):
        found += [
            # Hidden ones are left out: editors put their locks (a link to nowhere) and file systems their notes there.
            folder / name
            for name in names
            if name.endswith(RULES_SUFFIX) and not name.startswith(".")
        ]
        if len(found) > MAX_FILES:
            break
    return sorted(found)[: MAX_FILES + 1]


def signature_of(path: Path) -> Signature:
    """Return what changes whenever a rule file does, read from the directory alone; links count as what they lead to."""
    found = []
    for file in _present(path):
        try:
            said = file.stat()
        except OSError as error:
            found.append((str(file), -1, error.errno or 0, 0, 0))
        else:
            found.append((str(file), said.st_mtime_ns, said.st_ctime_ns, said.st_size, said.st_ino))
    return tuple(found)


def digest_of(path: Path, max_bytes: int) -> str:
    """Return a digest of every rule file's name and content; of what cannot be read, that it cannot.

    Of files beyond MAX_TOTAL it tells size and time: such a set is refused anyway, and looked at again when it changes.
    """
    digest = hashlib.sha256()
    left = MAX_TOTAL
    for file in _present(path):
        try:
            if left > 0:
                content = read_regular(file, max_bytes + 1)
                kind = b"file" if content is not None else b"other"
            else:
                said = file.stat()
                content, kind = None, b"unread %d %d" % (said.st_size, said.st_mtime_ns)
        except OSError as error:
            content, kind = None, b"error %d" % (error.errno or 0)
        body = content or b""
        digest.update(b"%d %b %b %d " % (len(str(file)), os.fsencode(file), kind, len(body)))
        digest.update(body)
        left -= len(body)
    return digest.hexdigest()


def read_regular(file: Path, max_bytes: int) -> bytes | None:
    """Return the beginning of a regular file; None for anything else: a FIFO would block, a device never end. Raises OSError.

    What was opened is asked, not its name: a file may be swapped for a FIFO between the two.
    """
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as opened:
            return opened.read(max_bytes)
    finally:
        os.close(handle)


def digest_of_texts(texts: Mapping[str, str]) -> str:
    """Return a digest of texts by file name."""
    digest = hashlib.sha256()
    for file, text in sorted(texts.items()):
        for part in (file.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")):
            digest.update(b"%d " % len(part))
            digest.update(part)
    return digest.hexdigest()


def _present(path: Path) -> list[Path]:
    try:
        return find_rule_files(path)
    except OSError:
        return []


def _walk(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Go through directories, links included, each once: a link back up would never end."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(path, followlinks=True, onerror=_fail):
        said = Path(folder).stat()
        if (said.st_dev, said.st_ino) in seen:
            folders.clear()
            continue
        if len(seen) >= MAX_FOLDERS:
            # Rules that are silently left out would be worse than a set that is refused.
            raise OSError(f"there are more than {MAX_FOLDERS} directories below it")
        seen.add((said.st_dev, said.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), names


def _fail(error: OSError) -> None:
    # A directory that cannot be read must not look like one without rules.
    raise error
