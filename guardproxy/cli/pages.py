"""The pages of `guardproxy explain`: beside a code's sentence, why it is so, and an example before and after.

Decides what a page is. What a code means is left to the codes' own tables, how a page is printed to the command.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from guardproxy.documents import parse_documents
from guardproxy.errors import GuardproxyError
from guardproxy.rules.codes import CODES
from guardproxy.source import Reader


@dataclass(frozen=True, slots=True)
class Page:
    """A code's page. `bad` has the problem and `good` has it no more; both are empty where a file cannot show it."""

    code: str
    summary: str
    text: str = ""
    bad: str = ""
    good: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the machine-readable form."""
        return {
            "code": self.code,
            "summary": self.summary,
            "text": self.text,
            "bad": self.bad,
            "good": self.good,
        }


class PagesError(GuardproxyError):
    """The package's own pages cannot be read: the installation is broken."""


@cache
def pages() -> Mapping[str, Page]:
    """Return the page of every code, by code."""
    name = "pages.yaml"
    written = files("guardproxy.cli").joinpath(name).read_text("utf-8")
    documents, problems = parse_documents(written, name)
    reader = Reader(name, list(problems))
    found = reader.anything(documents[0], "the pages") if documents else {}
    made: dict[str, Page] = {}
    for code, entry in found.items():
        parts = reader.mapping(entry.value, code, ("text", "bad", "good"))
        texts = {key: reader.text(part.value, key) or "" for key, part in parts.items()}
        if code in CODES:
            made[code] = Page(code, CODES[code], **{key: text.strip() for key, text in texts.items()})
    if reader.problems:
        first = reader.problems[0]
        raise PagesError(f"{name}:{first.line}: {first.message}")
    # A code without a page of its own has its sentence.
    return {code: made.get(code) or Page(code, CODES[code]) for code in sorted(CODES)}
