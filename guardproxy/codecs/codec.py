"""The codec of a preset: picks the container that a message is in, and says errors as its protocol does.

Decides by what the message says of itself (the length of its JSON, its content type) and takes JSON where that says
nothing: many clients and servers send no content type at all. What is in a container is left to it.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import orjson

from guardproxy.codecs.base import CodecOptions, Container
from guardproxy.codecs.csv_lines import CsvLines
from guardproxy.codecs.form import FormField
from guardproxy.codecs.grpc_tensors import GrpcTensors
from guardproxy.codecs.json_forms import JsonForms
from guardproxy.codecs.json_lines import JsonLines
from guardproxy.codecs.json_text import JsonReader
from guardproxy.codecs.media_types import media_of
from guardproxy.codecs.npy import NpyArray
from guardproxy.codecs.open_inference import OpenInference
from guardproxy.codecs.preset import STATUS, TEXT, WORD, ErrorShape, Preset, forms_of
from guardproxy.codecs.sse import EventStream
from guardproxy.decision import Replacement
from guardproxy.errors import DecodeError, PatchError
from guardproxy.message import Message
from guardproxy.table import Table

MAX_SEEN: Final = 64
"""Content types of which it is remembered which container reads them."""

MakeContainer = Callable[[Preset, CodecOptions, JsonReader], Container]

CONTAINERS: Final[Mapping[str, MakeContainer]] = MappingProxyType(
    {
        "forms": lambda preset, options, reader: JsonForms(
            options,
            *forms_of(preset, options),
            missing=preset.missing,
            foreign=preset.foreign,
            reader=reader,
        ),
        "tensors": lambda _preset, options, reader: OpenInference(options, reader),
        "grpc": lambda _preset, options, _reader: GrpcTensors(options),
        "npy": lambda _preset, options, _reader: NpyArray(options),
        "csv": lambda preset, options, _reader: CsvLines(options, header=preset.csv_header),
        "json-lines": lambda preset, options, reader: JsonLines(
            options, *forms_of(preset, options), reader, missing=preset.missing
        ),
        "form": lambda preset, options, reader: FormField(CONTAINERS[preset.json](preset, options, reader)),
        "event-stream": lambda preset, options, reader: EventStream(
            options,
            CONTAINERS[preset.json](preset, options, reader),
            reader,
            deltas=preset.deltas,
            missing=preset.missing,
        ),
    }
)
"""What reads a message, by the name that presets have for it."""

EVERYWHERE: Final[Mapping[str, str]] = MappingProxyType({"text/event-stream": "event-stream"})
"""Containers by content type that every preset has."""


class PresetCodec:
    """The codec of one protocol on one route; implements `Codec`."""

    __slots__ = ("_containers", "_error", "_json", "_seen", "final", "methods", "name")

    def __init__(self, preset: Preset, options: CodecOptions, reader: JsonReader | None = None) -> None:
        """Make the containers that the preset names. Raises ValueError for options that one of them cannot use."""
        made = reader or JsonReader(options.max_depth)
        self.name = preset.name
        self.methods = preset.methods
        self.final = tuple((name.encode(), value.encode()) for name, value in preset.final)
        self._error = preset.error
        self._json = CONTAINERS[preset.json](preset, options, made)
        self._containers = {
            media: CONTAINERS[name](preset, options, made)
            for media, name in {**EVERYWHERE, **preset.media}.items()
        }
        self._seen: dict[str, Container] = {}

    def decode_request(self, message: Message) -> Table:
        """Return the features of a request; see `Container`."""
        return self._container(message).decode_request(message)

    def decode_response(self, message: Message, rows: int | None) -> Table:
        """Return the predictions of a response; see `Container`."""
        return self._container(message).decode_response(message, rows)

    def splice(self, message: Message, rows: int, patch: Sequence[Replacement]) -> Message:
        """Return the response with the replaced cells in it; see `Container`."""
        return self._container(message).splice(message, rows, patch) if patch else message

    def replacement_problem(self, message: Message, rows: int, replacement: Replacement) -> str | None:
        """Say why a replacement cannot be written; None when it can. It costs as much as splicing it."""
        try:
            self.splice(message, rows, (replacement,))
        except (PatchError, DecodeError) as problem:
            return str(problem)
        return None

    def error(self, status: int, text: str) -> tuple[bytes, bytes]:
        """Return (content type, body) of an error in the protocol's own shape."""
        shape = self._error
        said = {TEXT: text, STATUS: status, WORD: _word(shape, status)}
        filled = _filled(shape.template, said)
        body = filled.encode() if isinstance(filled, str) else orjson.dumps(filled)
        return shape.media.encode(), body

    def _container(self, message: Message) -> Container:
        content_type = message.content_type
        if content_type is None or not self._containers:
            return self._json
        container = self._seen.get(content_type)
        if container is None:
            container = self._containers.get(media_of(content_type), self._json)
            if len(self._seen) < MAX_SEEN:
                self._seen[content_type] = container
        return container


def _word(shape: ErrorShape, status: int) -> str:
    return shape.words.get(status, shape.client if status < 500 else shape.server)


def _filled(template: object, said: Mapping[str, object]) -> object:
    if isinstance(template, dict):
        return {key: _filled(value, said) for key, value in template.items()}
    return said.get(template, template) if isinstance(template, str) else template
