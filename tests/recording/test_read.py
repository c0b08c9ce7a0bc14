"""A recording is read oldest first, in flat memory, and as far as it can be read."""

import gzip
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import pytest

from guardproxy.recording import Recorded, RecordingError, Skipped, read_recording
from guardproxy.recording.encode import MAX_LINE, header_line
from guardproxy.recording.names import file_name
from guardproxy.recording.read import MAX_MALFORMED, MAX_OPEN
from tests.recording.samples import START, draft, offer, read, recorder


def write(folder: Path, numbers: range, *, gap: float = 1.0, model: str = "demand") -> Path:
    """Record a run of exchanges, a write each minute; return the first file."""
    one = recorder(folder)
    for number in numbers:
        offer(one, draft(number, START + gap * number), model)
        one.flush(START + gap * number)
    one.close()
    return min(folder.glob("*.rec.gz"))


def numbers(records: list[Recorded]) -> list[int]:
    return [int(record.id[4:]) for record in records]


def test_exchanges_come_oldest_first_from_many_files_and_models(tmp_path: Path) -> None:
    write(tmp_path, range(0, 300, 3), gap=100)
    write(tmp_path, range(1, 300, 3), gap=100, model="price")
    write(tmp_path, range(2, 300, 3), gap=100)
    assert len(list(tmp_path.iterdir())) > 20
    assert numbers(read(tmp_path)) == list(range(300))


def test_more_files_of_one_time_than_are_read_side_by_side_are_all_read(tmp_path: Path) -> None:
    for turn in range(MAX_OPEN + 6):
        write(tmp_path, range(turn, turn + 1))
    assert sorted(numbers(read(tmp_path))) == list(range(MAX_OPEN + 6))


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    write(tmp_path, range(100), gap=100)
    write(tmp_path, range(100, 110), model="price")
    found = read(tmp_path, model="demand", since=START + 1_000, until=START + 2_000)
    assert numbers(found) == list(range(10, 20))
    assert numbers(read(tmp_path, model="price")) == list(range(100, 110))
    assert read(tmp_path, model="dem") == []


def test_files_out_of_question_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / file_name("demand", START - 90_000, "aa")).write_bytes(b"noise")
    (tmp_path / file_name("price", START, "bb")).write_bytes(b"noise")
    (tmp_path / file_name("demand", START + 90_000, "cc")).write_bytes(b"noise")
    write(tmp_path, range(3))
    skipped: Counter[str] = Counter()
    found = read(tmp_path, model="demand", since=START, until=START + 60, skipped=skipped)
    assert (numbers(found), skipped) == ([0, 1, 2], {})


def test_a_file_may_be_named_and_called_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "recorded", range(3)).rename(tmp_path / "last-week.gz")
    assert numbers(read(path)) == [0, 1, 2]
    assert numbers(read(path, model="demand", since=START + 1)) == [1, 2]
    assert read(path, model="price") == []


def test_a_file_that_is_still_written_to_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    one = recorder(tmp_path)
    offer(one, draft(1))
    one.flush(START + 60)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    assert numbers(read(tmp_path)) == [1]
    records = read_recording([tmp_path])
    one.close()
    assert numbers(list(records)) == [1], "the file has lost its .part since the folder was listed"


@pytest.mark.parametrize("there", [True, False])
def test_where_nothing_was_recorded_is_a_sentence(tmp_path: Path, *, there: bool) -> None:
    folder = tmp_path / "recorded"
    if there:
        folder.mkdir()
        (folder / "readme.txt").write_text("not a recording")
    with pytest.raises(
        RecordingError, match=r"there is no recorded traffic|cannot be read: No such file"
    ) as told:
        read_recording([folder])
    assert str(folder) in str(told.value)


def test_no_path_at_all_is_a_sentence() -> None:
    with pytest.raises(RecordingError, match="no recorded traffic in no folder"):
        read_recording([])


def test_a_file_torn_at_any_byte_gives_every_record_before_the_tear(tmp_path: Path) -> None:
    path = write(tmp_path, range(0, 360, 40))
    whole = path.read_bytes()
    ends = member_ends(whole)
    assert len(ends) > 3
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        skipped: Counter[str] = Counter()
        found = numbers(read(tmp_path, skipped=skipped))
        assert found == list(range(0, 360, 40))[: len(found)]
        assert set(skipped) <= {"torn"}
        assert skipped["torn"] == (0 if length in {0, *ends} else 1), length
        written = sum(len(part) for part in members(whole[: max(end for end in (0, *ends) if end <= length)]))
        assert len(found) >= written


def test_a_damaged_file_is_read_up_to_the_damage_and_the_next_one_whole(tmp_path: Path) -> None:
    first = write(tmp_path, range(0, 360, 40))
    write(tmp_path, range(4_000, 4_003))
    whole = bytearray(first.read_bytes())
    for place in range(member_ends(bytes(whole))[2] + 20, member_ends(bytes(whole))[2] + 60):
        whole[place] ^= 0xFF
    first.write_bytes(whole)
    skipped = Skipped()
    found = numbers(read(tmp_path, skipped=skipped))
    assert found[-3:] == [4_000, 4_001, 4_002]
    assert 0 < len(found) - 3 < 9
    assert skipped["damaged"] == 1
    assert skipped.sentences == [f"{first.name} is damaged; it is read up to there"]


GARBAGE = {
    "empty": (b"", None),
    "noise": (b"\x00\x01\x02" * 100, "damaged"),
    "text": (b"hello, this is no gzip", "damaged"),
    "other-gzip": (gzip.compress(b'{"a": 1}\n'), "foreign"),
    "gzip-of-noise": (gzip.compress(b"\xff\xfe\n" * 50), "foreign"),
    "brackets": (gzip.compress(b"[" * 200_000 + b"\n"), "foreign"),
    "newer": (gzip.compress(b'{"guardproxy_recording": 2, "model": "demand"}\n{}\n'), "newer"),
    "no-records": (gzip.compress(header_line("demand", 1.0)), None),
    "lines": (gzip.compress(header_line("demand", 1.0) + b"{}\nnull\n5\n[]\n"), "malformed"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_what_is_no_recording_is_counted_and_the_rest_is_read(tmp_path: Path, kind: str) -> None:
    data, reason = GARBAGE[kind]
    bad = tmp_path / file_name("demand", START - 60, "aa")
    bad.write_bytes(data)
    write(tmp_path, range(3))
    skipped = Skipped()
    assert numbers(read(tmp_path, skipped=skipped)) == [0, 1, 2]
    assert set(skipped) == ({reason} if reason else set())
    assert all(sentence.startswith(bad.name) for sentence in skipped.sentences)
    assert bool(skipped.sentences) is (reason is not None)


def test_a_bomb_without_a_line_end_is_given_up_in_bounded_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = packer.compress(header_line("demand", 1.0))
    for _ in range(400):
        data += packer.compress(b"a" * 1_000_000)
    (tmp_path / file_name("demand", START, "aa")).write_bytes(data + packer.flush())
    skipped: Counter[str] = Counter()
    tracemalloc.start()
    try:
        assert read(tmp_path, skipped=skipped) == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert skipped["damaged"] == 1
    assert peak < 2 * MAX_LINE


def test_a_bomb_of_empty_lines_is_given_up(tmp_path: Path) -> None:
    data = gzip.compress(header_line("demand", 1.0) + b"\n" * 50_000_000)
    (tmp_path / file_name("demand", START, "aa")).write_bytes(data)
    skipped: Counter[str] = Counter()
    assert read(tmp_path, skipped=skipped) == []
    assert skipped == {"malformed": MAX_MALFORMED, "damaged": 1}


def test_links_and_folders_of_such_names_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", range(3))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / file_name("demand", START, "aa")).symlink_to(outside)
    (inside / file_name("demand", START, "bb")).mkdir()
    with pytest.raises(RecordingError):
        read_recording([inside])


def test_a_file_deleted_while_others_are_read_is_counted(tmp_path: Path) -> None:
    write(tmp_path, range(0, 100, 25), gap=100)
    skipped: Counter[str] = Counter()
    records = read_recording([tmp_path], skipped=skipped)
    assert next(records).id == "dec_0"
    last = max(tmp_path.iterdir())
    last.unlink()
    assert len(list(records)) < 3
    assert skipped == {"unreadable": 1}


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    peaks = []
    for count in (500, 5_000):
        folder = tmp_path / str(count)
        write(folder, range(count), gap=2)
        tracemalloc.start()
        try:
            assert sum(1 for _ in read_recording([folder])) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5


def member_ends(data: bytes) -> list[int]:
    ends, start = [], 0
    while start < len(data):
        inflate = zlib.decompressobj(wbits=31)
        inflate.decompress(data[start:])
        start = len(data) - len(inflate.unused_data)
        ends.append(start)
    return ends


def members(data: bytes) -> list[list[bytes]]:
    """The lines of records in each member."""
    found, start = [], 0
    for end in member_ends(data):
        lines = zlib.decompress(data[start:end], 31).split(b"\n")
        found.append([line for line in lines if b'"ruleset"' in line])
        start = end
    return found
