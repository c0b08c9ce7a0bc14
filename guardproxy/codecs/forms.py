"""A preset's forms with their pointers parsed, and which of them a document has.

Decides by what stands in the document, whatever its order; a document of two forms is undecodable. What a form's rows are is
left to `json_forms`.
"""

from collections.abc import Iterable
from typing import Any

from guardproxy.codecs.json_text import as_object
from guardproxy.codecs.picks import ReadPick
from guardproxy.codecs.pointers import Pointer, leads, parse_pointer, spelled
from guardproxy.codecs.preset import Form
from guardproxy.errors import DecodeError


class ReadForm:
    """A form with its pointers parsed; those that it has not are None.

    `rich` forms need more than their rows, `bare` ones no more than a member of the document to be told. `member` is the
    name of that member where it holds the rows, and nothing else is to be asked.
    """

    __slots__ = (
        "array",
        "bare",
        "columns",
        "context",
        "even",
        "fields",
        "key",
        "layout",
        "member",
        "nested",
        "opaque",
        "otherwise",
        "position",
        "positional",
        "repeat",
        "rich",
        "rows",
        "shape",
        "shared",
        "spelled",
        "uniform",
        "unwrap",
    )

    def __init__(self, form: Form) -> None:
        self.rows = parse_pointer(form.rows, literal=form.literal)
        self.key = parse_pointer(form.key, literal=form.literal)
        self.columns = _optional(form.columns, form)
        self.shape = _optional(form.shape, form)
        self.context = _optional(form.context, form)
        self.repeat = _optional(form.repeat, form)
        self.position = _optional(form.position, form)
        self.fields = tuple(ReadPick(pick, literal=form.literal) for pick in form.fields)
        self.shared = tuple(ReadPick(pick, literal=form.literal) for pick in form.shared)
        self.layout = form.layout
        self.opaque = form.opaque
        self.otherwise = form.otherwise or not self.key
        self.bare = len(self.key) == 1 and not form.nested
        self.array = form.array
        self.nested = form.nested
        self.unwrap = form.unwrap
        self.uniform = form.uniform
        self.even = form.even
        self.positional = form.positional
        self.spelled = f"'{spelled(self.key)[1:]}'" if self.key else ""
        self.rich = bool(form.shape or form.context or form.fields or form.shared)
        asked = form.opaque or form.array or not self.bare or self.rows != self.key
        self.member = None if asked else str(self.rows[0])


class Forms:
    """The forms that a request, or a response, may have, by the first step to what tells them."""

    __slots__ = ("_by_step", "_forms", "_otherwise", "what")

    def __init__(self, forms: Iterable[Form], what: str) -> None:
        self.what = what
        self._forms = tuple(ReadForm(form) for form in forms)
        self._otherwise = next((form for form in self._forms if form.otherwise), None)
        self._by_step: dict[str | int, list[ReadForm]] = {}
        # The longer of two pointers that begin alike comes first, and hides the other.
        for form in sorted(self._forms, key=lambda form: -len(form.key)):
            if not form.otherwise:
                self._by_step.setdefault(form.key[0], []).append(form)

    def of(self, root: Any) -> ReadForm:
        """Return the one form that a document has. Raises DecodeError when it has none, or more than one."""
        found: ReadForm | None = None
        by_step = self._by_step
        if by_step and isinstance(root, dict):
            if len(root) == 1:
                # The commonest document has nothing but its rows.
                forms = by_step.get(next(iter(root)))
                if forms is not None and forms[0].bare:
                    return forms[0]
            for step in root:
                if step in by_step:
                    found = self._nearer(found, by_step[step], root)
        found = found or self._otherwise
        if found is None:
            as_object(root, self.what)
            raise DecodeError(f"{self.what} has none of {self._listed()}")
        return found

    def _nearer(self, found: ReadForm | None, forms: list[ReadForm], root: dict[str, Any]) -> ReadForm | None:
        """Return the form that counts when a document has a member that tells some."""
        for form in forms:
            if form.bare or leads(root, form.key, nested=form.nested):
                if found is None:
                    found = form
                elif found.key[: len(form.key)] != form.key:
                    raise DecodeError(f"{self.what} has more than one of {self._listed(root)}")
        return found

    def _listed(self, root: Any = None) -> str:
        return " and ".join(
            form.spelled for form in self._forms if form.key and (root is None or leads(root, form.key))
        )


def _optional(pointer: str, form: Form) -> Pointer | None:
    return parse_pointer(pointer, literal=form.literal) if pointer else None
