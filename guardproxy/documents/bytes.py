"""A file's bytes to text.

Decides which encodings a file of operator text may have, and what is said of one that is no text. Pure: reading the
bytes is left to the caller.
"""

from typing import Final

from guardproxy.source import Place, Problem, Reader, lines_of

_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_KINDS: Final = (
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "a PDF file"),
    (b"SQLite format 3\x00", "a SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x89PNG", "an image"),
    (b"\x80\x04", "a Python pickle"),
)
_SAVE: Final = "save it as UTF-8 text"
_FEW: Final = 4_096


def decode(data: bytes, file: str) -> tuple[str, list[Problem]]:
    """Return the text of a file, without a byte order mark; a problem with its place when it is not UTF-8 text.

    With a problem the text is what can be shown of the file: its lines up to the first wrong byte.
    """
    reader = Reader(file)
    text = ""
    kind = _kind(data)
    if kind:
        reader.report("E200", f"this is {kind}, not YAML text", Place(1, 1), _help(kind))
        return text, reader.problems
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        lines = lines_of(before + "|")
        # The one wrong byte is shown as a sign, so that the caret has something to stand under.
        text = before + error.object[error.start :].split(b"\n", 1)[0][:200].decode(errors="replace")
        found = f"the byte 0x{error.object[error.start]:02X} is not UTF-8"
        reader.report(
            "E200", f"the file is not UTF-8 text: {found}", Place(len(lines), len(lines[-1])), _SAVE
        )
    return text, reader.problems


def _kind(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return f"{name} text"
    for mark, name in _KINDS:
        if data.startswith(mark):
            return name
    head = data[:_FEW]
    if len(head) >= 4 and head[1::2].count(0) > len(head) // 3:
        return "UTF-16 text"
    return "a binary file" if head.count(0) > 1 and head.count(0) * 20 > len(head) else ""


def _help(kind: str) -> str:
    return _SAVE if kind.startswith("UTF") else "give the rule file itself, saved as UTF-8 text"
