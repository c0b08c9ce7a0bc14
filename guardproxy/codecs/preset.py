"""A preset: where one protocol's messages hold their rows, as data.

Decides what a preset can say. How a form is read in JSON is left to `json_forms`, the presets themselves to `presets`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from guardproxy.codecs.base import CodecOptions


class Layout(StrEnum):
    """What stands where a form's rows are. `ANY` is sniffed per message: records, arrays, scalars, columns."""

    ANY = "any"
    RECORDS = "records"
    MATRIX = "matrix"
    ROWS = "rows"
    """An array of rows; a lone object is one row, not columns."""
    SINGLE = "single"
    """One row, whatever it is: an object, a value, a list of values."""
    LOOSE = "loose"
    """As `ANY`; a lone value that is neither an array nor an object is one row."""
    ITEM = "item"
    """An array of arrays or objects is an array of rows; anything else is one row."""
    TEXTS = "texts"
    """A text is one row, an array of texts is an array of rows; what has no text (tokens) cannot be seen."""
    ARGUMENTS = "arguments"
    """An object of named arguments. The only array, or else the only object, holds the rows, and the plain values beside it
    belong to every row; several arrays of one length are columns; plain values alone, and several objects, are one row."""
    RANKED = "ranked"
    """In a response: for each row a list of pairs [label, score]. Its fields are `label` and `score`, those of the highest
    score, and `scores`, all of them in the order given. Anything else is read as `ANY`."""


class Take(StrEnum):
    """What is taken from the place that a pick leads to."""

    VALUE = "value"
    FLOATS = "floats"
    """An array of numbers, or the base64 text of float32 numbers (little-endian)."""
    COUNT = "count"
    """How many items an array has."""
    TEXT = "text"
    """All text of a message: itself, or that at `content` or `text`, in arrays item after item."""
    CHARS = "chars"
    """How many characters that text has."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A field: its name, and where its value stands in a row (or in the document, for what all rows share).

    `instead` is where it stands when there is nothing, or null, at `pointer`. `empty` is the text that nothing, or null,
    stands for where it is an ordinary answer; else it is a missing value.
    """

    name: str
    pointer: str = ""
    take: Take = Take.VALUE
    instead: str = ""
    empty: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a message, in JSON Pointers (RFC 6901) from the root.

    A message has this form when something stands at `when` (at `rows` where that is empty), and something that is an array
    or an object if the form is `nested`; the form that is `otherwise` when it has no other. Of two forms, one of whose
    pointers begins with the other, the longer one counts. In a preset's pointers, unless they are `literal`, `-1` is the
    last item of an array.

    `columns` leads to the names of the columns of bare arrays, `shape` to the shape of flat values. `opaque` is the sentence
    that says why this form has no rows to see. `array` admits nothing but an array as the rows. Rows that are objects with
    the one member `unwrap` are what stands there.

    What servers make other rows of than these is undecodable where the form says so: records that do not all have the
    same members (`uniform`), lists of different lengths under one name and objects in arrays (`even`), names of columns
    in another order than the model's, whose server goes by their places (`positional`).

    `fields` picks the fields out of each row, which without it are sniffed. `shared` picks fields out of the document that
    are the same for every row, `context` leads to an object whose members are. `repeat` leads to how many rows of the
    response each row of the request stands for (one, where nothing is there). `position` leads, from a row of a response,
    to a number that must be the row's place.
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
    nested: bool = False
    unwrap: str = ""
    uniform: bool = False
    even: bool = False
    positional: bool = False
    fields: tuple[Pick, ...] = ()
    shared: tuple[Pick, ...] = ()
    context: str = ""
    repeat: str = ""
    position: str = ""

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

    template: object
    words: Mapping[int, str] = field(default_factory=dict)
    client: str = ""
    server: str = ""
    media: str = JSON_TYPE


@dataclass(frozen=True, slots=True)
class Deltas:
    """How the events of a stream make one document, the one that the server gives when it does not stream.

    Each event has an array of partial items at its member `items`; the `order` of an item says which whole item it belongs
    to. Members of an item move into the whole one, those of an object in `moved` under the name it has there. The texts of
    a member in `joined` are put one after the other; of all else the last that is not null counts. `end` is the data of
    the event that ends the stream.
    """

    items: str
    order: str
    moved: Mapping[str, str]
    joined: tuple[str, ...]
    end: str


@dataclass(frozen=True, slots=True)
class Preset:
    """One protocol: the forms of its requests and responses, of which a message must have exactly one.

    `missing` is how its servers usually spell a missing number. `media` maps content types (lower case, without parameters)
    to the container that reads them, by its name in `codec`; all else is JSON. `json` names the container that reads JSON.
    `paths` are the request paths by which `protocol: auto` tells the protocol: `{}` stands for some text within a segment, a
    first segment `*` for any segments. `csv_header` says that CSV requests begin with a line of names, `deltas` how the events
    of a stream make one document (None: each event is a row). `final` are header lines that keep its clients from asking
    again for an answer that is held back: each time would hold it once more. `foreign` are bytes that no JSON has but another form of the
    protocol does: a body that is no JSON and has them is opaque, not undecodable.
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
    final: tuple[tuple[str, str], ...] = ()
    deltas: Deltas | None = None
    foreign: bytes = b""


def forms_of(preset: Preset, options: CodecOptions) -> tuple[Sequence[Form], Sequence[Form]]:
    """Return the forms of a preset's requests and responses; one without any takes those that the route's pointers say."""
    if preset.requests:
        return preset.requests, preset.responses
    request = Form(
        options.request_rows,
        layout=Layout.ROWS,
        columns=options.request_columns,
        fields=tuple(Pick(*field) for field in options.request_fields),
        literal=True,
        otherwise=True,
    )
    response = Form(
        options.response_rows,
        columns=options.response_columns,
        fields=tuple(Pick(*field) for field in options.response_fields),
        literal=True,
        otherwise=True,
    )
    return (request,), (response,)
