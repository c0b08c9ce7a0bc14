"""Generated documents: the codecs read what the standard library reads, and change what they are told to and no more."""

import random

import pytest

from benchmarks import fuzz, plain_json
from guardproxy.codecs import PROTOCOLS, CodecOptions, make_codec
from guardproxy.decision import Replacement
from guardproxy.message import Message
from guardproxy.table import table_from_columns

DOCUMENTS = 1_500
SEED = 20_260_101


@pytest.fixture(scope="module")
def fuzzed() -> tuple[dict[str, int], list[tuple[str, fuzz.Document]]]:
    done, failures = fuzz.run(DOCUMENTS, SEED)
    return dict(done), failures


def test_generated_documents_are_read_and_spliced_as_the_standard_library_reads_them(
    fuzzed: tuple[dict[str, int], list[tuple[str, fuzz.Document]]],
) -> None:
    _, failures = fuzzed
    assert [(sentence, document.text) for sentence, document in failures[:5]] == []


def test_every_protocol_and_layout_is_among_the_documents(
    fuzzed: tuple[dict[str, int], list[tuple[str, fuzz.Document]]],
) -> None:
    done, _ = fuzzed
    assert {place.protocol for place in fuzz.PLACES} == set(PROTOCOLS)
    for place in fuzz.PLACES:
        for layout in place.layouts:
            assert done[f"{place.protocol} {place.side} {layout.name}"] >= 3
    assert done["read"] > 500
    assert done["spliced"] > 500
    assert done["refused"] > 15


def test_a_seed_makes_the_same_documents_again() -> None:
    first, second = (
        [fuzz.make_document(rng).text for _ in range(20)] for rng in (random.Random(1), random.Random(1))
    )
    assert first == second
    assert len(set(first)) == 20


class _Wrong:
    """A codec that makes one mistake."""

    def __init__(self, mistake: str) -> None:
        self._codec = make_codec("kserve-v1", CodecOptions())
        self._mistake = mistake

    def decode_response(self, message, rows):  # type: ignore[no-untyped-def]
        table = self._codec.decode_response(message, rows)
        if self._mistake == "a cell":
            return table_from_columns({"prediction": (1.5, 2.5, 3.0)}, 3)
        return table

    def splice(self, message, rows, patch):  # type: ignore[no-untyped-def]
        if self._mistake == "a copy" and not patch:
            return Message(message.body, message.content_type)
        spliced = self._codec.splice(message, rows, patch)
        if self._mistake == "a space" and spliced is not message:
            return spliced._replace(body=spliced.body.replace(b": ", b":", 1))
        if self._mistake == "another row" and spliced is not message:
            moved = [Replacement((one.row + 1) % rows, one.values, one.source) for one in patch]
            return self._codec.splice(message, rows, moved)
        return spliced


@pytest.mark.parametrize("mistake", ["a cell", "a copy", "a space", "another row"])
def test_a_codec_that_makes_a_mistake_breaks_a_law(mistake: str) -> None:
    place = next(
        place for place in fuzz.PLACES if place.protocol == "kserve-v1" and place.steps == ("predictions",)
    )
    text = '{"predictions": [1.5, 2.5, 3.5], "x": {"a": 1, "a": 2}}'
    document = fuzz.Document(place, fuzz.LONE_PREDICTION, text, 3, doubled=False)

    def check() -> None:
        # The replaced row is drawn; over many draws a mistake cannot hide.
        for seed in range(20):
            fuzz.check_document(_Wrong(mistake), document, random.Random(seed))  # type: ignore[arg-type]

    with pytest.raises(fuzz.BrokenLawError):
        check()


def test_what_is_read_a_second_time_stands_where_it_says() -> None:
    text = ' {"a" : [1.50, NaN, {"b\\"":"x\\u00e9"}], "a":-0} '
    node = plain_json.read(text)
    assert [text[leaf.start : leaf.end] for leaf in node.leaves()] == ["1.50", "NaN", '"x\\u00e9"', "-0"]
    assert "".join(plain_json.pieces(text)) == text
    assert plain_json.pieces(text)[1::2][:4] == ["{", '"a"', ":", "["]
    assert node["a"].value == 0
