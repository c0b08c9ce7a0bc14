"""The two forms of a page: Markdown, and HTML that stands alone.

Decides escaping: whatever comes from a rule file is text, in both forms. What the page says is left to `docs`.
"""

import html
import re
from collections.abc import Sequence
from typing import Final, Protocol


class Markup(Protocol):
    """How the parts of a page are written. Every argument is plain text."""

    ending: str

    def heading(self, level: int, text: str, code: str = "") -> str:
        """A heading, with the identifier that it is about."""
        ...

    def sentence(self, text: str) -> str:
        """A paragraph."""
        ...

    def label(self, text: str) -> str:
        """A small heading of a list."""
        ...

    def items(self, texts: Sequence[str]) -> str:
        """A list."""
        ...

    def facts(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Labels with their texts."""
        ...

    def page(self, title: str, parts: Sequence[str]) -> str:
        """The whole page."""
        ...


_SPECIAL: Final = re.compile(r"([\\`*_\[\]{}<>#|~!&])")


class Markdown:
    """CommonMark. Backslashes keep what a file says from being markup."""

    ending = "md"

    def heading(self, level: int, text: str, code: str = "") -> str:
        """A heading, with the identifier that it is about."""
        return f"{'#' * level} {self._safe(text)}{f' ({self._code(code)})' if code else ''}\n"

    def sentence(self, text: str) -> str:
        """A paragraph."""
        return f"{self._safe(text)}\n"

    def label(self, text: str) -> str:
        """A small heading of a list."""
        return f"{self._safe(text)}:\n"

    def items(self, texts: Sequence[str]) -> str:
        """A list."""
        return "".join(f"- {self._safe(text)}\n" for text in texts)

    def facts(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Labels with their texts."""
        return "".join(f"- **{self._safe(label)}:** {self._safe(text)}\n" for label, text in pairs)

    def page(self, title: str, parts: Sequence[str]) -> str:  # noqa: ARG002 - the heading says it
        """The whole page."""
        return "\n".join(part for part in parts if part)

    @staticmethod
    def _safe(text: str) -> str:
        line = _SPECIAL.sub(r"\\\1", _printable(text))
        # At the start of a line these would begin a list or a heading's underline.
        return re.sub(r"^([-+=]|\d+[.)])", r"\\\1", line)

    @staticmethod
    def _code(text: str) -> str:
        return f"`{_printable(text).replace('`', '')}`"


class Html:
    """One file: no scripts, no requests, readable on paper."""

    ending = "html"

    def heading(self, level: int, text: str, code: str = "") -> str:
        """A heading, with the identifier that it is about."""
        anchor = f' id="{self._safe(code)}"' if code else ""
        shown = f" <code>{self._safe(code)}</code>" if code else ""
        return f"<h{level}{anchor}>{self._safe(text)}{shown}</h{level}>"

    def sentence(self, text: str) -> str:
        """A paragraph."""
        return f'<p class="say">{self._safe(text)}</p>'

    def label(self, text: str) -> str:
        """A small heading of a list."""
        return f'<p class="label">{self._safe(text)}</p>'

    def items(self, texts: Sequence[str]) -> str:
        """A list."""
        return f"<ul>{''.join(f'<li>{self._safe(text)}</li>' for text in texts)}</ul>"

    def facts(self, pairs: Sequence[tuple[str, str]]) -> str:
        """Labels with their texts."""
        rows = "".join(f"<dt>{self._safe(label)}</dt><dd>{self._safe(text)}</dd>" for label, text in pairs)
        return f"<dl>{rows}</dl>" if rows else ""

    def page(self, title: str, parts: Sequence[str]) -> str:
        """The whole page."""
        body = "\n".join(part for part in parts if part)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            f"<title>{self._safe(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
            "</main>\n</body>\n</html>\n"
        )

    @staticmethod
    def _safe(text: str) -> str:
        return html.escape(_printable(text), quote=True)


def _printable(text: str) -> str:
    """Lines become one; what is no character for reading is shown as such."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split())
    )


_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5a6675; --line: #d8dee6; --paper: #fff; --soft: #f4f6f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --dim: #9aa7b6; --line: #333d49; --paper: #14181d; --soft: #1c2229; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-bottom: .3rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
code { font: .85em ui-monospace, monospace; font-weight: normal; color: var(--dim); background: var(--soft);
  padding: .1em .35em; border-radius: 4px; }
.say { margin: .3rem 0 .6rem; }
.label { margin: .6rem 0 .2rem; font-size: .9rem; color: var(--dim); }
ul { margin: .2rem 0 .8rem; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .4rem 0 .8rem; padding: .6rem .8rem;
  background: var(--soft); border-radius: 6px; font-size: .9rem; }
dt { color: var(--dim); } dd { margin: 0; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { main { max-width: none; padding: 0; } h3, dl, li { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""

MARKDOWN: Final[Markup] = Markdown()
HTML: Final[Markup] = Html()
