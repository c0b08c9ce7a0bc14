"""A preset: where one protocol's messages hold their rows, as data.

Decides what a preset can say. How a form is read in JSON is left to `json_forms`, the presets themselves to `presets`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Layout(StrEnum):
    """What stands where a form's rows are. `ANY` is sniffed per message: records, arrays, scalars, columns."""

    ANY = "any"
    RECORDS = "records"
    MATRIX = "matrix"
    ROWS = "rows"
    """An array of rows; a lone object is one row, not columns."""
    SINGLE = "single"
    """One row, whatever it is: an object, a value, a list of values."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a message, in JSON Pointers (RFC 6901) from the root.

    A message has this form when something stands at `when` (at `rows` where that is empty); the form that is `otherwise`
    when it has no other. In a preset's pointers, unless they are `literal`, `*` is the only member of an object and `-1`
    the last item of an array.

    `columns` leads to the names of the columns of bare arrays, `shape` to the shape of flat values. `opaque` is the sentence
    that says why this form has no rows to see. `array` admits nothing but an array as the rows.
    """

    rows: str = ""
    when: str = ""
    layout: Layout = Layout.ANY
    columns: str = ""
    shape: str = ""
    opaque: str = ""
    otherwise: bool = False
    array: bool = False
    literal: bool = False

    @property
    def key(self) -> str:
        """The pointer whose presence tells the form."""
        return self.when or self.rows


TEXT: Final = "\0text"
STATUS: Final = "\0status"
WORD: Final = "\0word"

DEFAULT_METHODS: Final = ("POST", "PUT", "PATCH")

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """An error of a protocol: a JSON value in which TEXT, STATUS and WORD stand for the sentence, the HTTP status and the
    protocol's own word for it.

    `words` has the words by status, `client` and `server` those for all other statuses below 500, and from there on. A
    `template` that is TEXT alone is plain text.
    """

    template: Any
    words: Mapping[int, str] = field(default_factory=dict)
    client: str = ""
    server: str = ""
    media: str = JSON_TYPE


@dataclass(frozen=True, slots=True)
class Preset:
    """One protocol: the forms of its requests and responses, of which a message must have exactly one.

    `missing` is how its servers usually spell a missing number. `media` maps content types (lower case, without parameters)
    to the container that reads them, by its name in `codec`; all else is JSON. `json` names the container that reads JSON.
    `paths` are regular expressions of the request paths by which `protocol: auto` tells the protocol.
    """

    name: str
    requests: tuple[Form, ...]
    responses: tuple[Form, ...]
    error: ErrorShape
    missing: str = "null"
    methods: tuple[str, ...] = DEFAULT_METHODS
    media: Mapping[str, str] = field(default_factory=dict)
    json: str = "forms"
    paths: tuple[str, ...] = ()
    csv_header: bool = False
