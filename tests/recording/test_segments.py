"""The files of a recording: private, bounded in size and age, and shared by processes without harm."""

import gzip
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from guardproxy.recording.names import MAX_NAME, SPAN_S, file_name, segments_in, spelled
from guardproxy.recording.segments import Folder
from tests.cli.process import unshared
from tests.recording.samples import START, draft, offer, read, recorder

ROOT = Path(__file__).resolve().parents[2]
NOISE = os.urandom(20_000)
DAY_S = 86_400.0


def folder(path: Path, **changed: float) -> Folder:
    options = {"max_bytes": 1 << 30, "max_age_s": DAY_S, "low_water_bytes": 0, **changed}
    return Folder(path, **options)  # type: ignore[arg-type]


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def test_folder_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    place = tmp_path / "a" / "recorded"
    one = recorder(place)
    offer(one, draft(1))
    one.flush(START + 60)
    (part,) = place.iterdir()
    for path, mode in ((place, 0o700), (part, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    one.close()


def test_nothing_is_touched_before_there_is_something_to_write(tmp_path: Path) -> None:
    one = recorder(tmp_path / "recorded")
    one.flush(START)
    one.close()
    assert not (tmp_path / "recorded").exists()


def test_a_file_is_done_after_its_span_and_when_it_is_large(tmp_path: Path) -> None:
    one = folder(tmp_path, max_bytes=160_000)
    one.append("demand", START, b"h", NOISE)
    one.append("demand", START + 60, b"h", b"x")
    one.append("demand", START + 120, b"h", b"x")
    assert len(names(tmp_path)) == 2, "the first file was large enough"
    sizes = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert (one.files, one.disk_bytes) == (2, sizes), "what was written is told before the next sweep"
    one.append("demand", START + 120 + SPAN_S, b"h", b"x")
    assert [name.endswith(".part") for name in names(tmp_path)].count(True) == 1
    one.sweep(START + 300 + 2 * SPAN_S)
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    one.append("demand", START, b"h", b"x")
    one.close()
    assert len(names(tmp_path)) == 4
    assert all(path.read_bytes().startswith(b"h") for path in tmp_path.iterdir())


def test_beyond_the_size_the_oldest_files_go(tmp_path: Path) -> None:
    one = folder(tmp_path, max_bytes=100_000)
    for hour in range(10):
        one.append(f"model-{hour % 2}", START + hour * SPAN_S, b"h", NOISE)
        one.sweep(START + hour * SPAN_S)
    kept = segments_in(tmp_path)
    assert sum(segment.size for segment in kept) <= 100_000
    assert min(segment.start for segment in kept) >= START + 6 * SPAN_S - 1
    assert one.deleted == {"size": 6}
    assert (one.files, one.disk_bytes) == (len(kept), sum(segment.size for segment in kept))


def test_many_models_cannot_hold_more_than_the_cap_in_files_that_are_not_done(tmp_path: Path) -> None:
    one = folder(tmp_path, max_bytes=100_000)
    for number in range(10):
        one.append(f"model-{number}", START + number, b"h", NOISE)
    one.sweep(START + 60)
    assert sum(segment.size for segment in segments_in(tmp_path)) <= 100_000
    assert one.deleted["size"] >= 5


def test_files_beyond_their_age_go(tmp_path: Path) -> None:
    one = folder(tmp_path)
    for hour in (0, 10, 30):
        one.append("demand", START + hour * 3600, b"h", b"x")
    one.sweep(START + 30 * 3600)
    assert one.deleted == {"age": 1}
    assert len(names(tmp_path)) == 2


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holds.db").write_bytes(NOISE)
    (tmp_path / "notes.rec.gz").write_bytes(NOISE)
    one = folder(tmp_path, max_bytes=10_000)
    one.append("demand", START, b"h", NOISE)
    one.close()
    one.sweep(START + 10 * DAY_S)
    assert names(tmp_path) == ["holds.db", "notes.rec.gz"]


def test_two_recorders_share_a_folder_and_its_caps(tmp_path: Path) -> None:
    left, right = folder(tmp_path, max_bytes=100_000), folder(tmp_path, max_bytes=100_000)
    left.append("demand", START, b"l", b"left")
    right.append("demand", START, b"r", b"right")
    left.sweep(START)
    right.sweep(START)
    assert [name.endswith(".part") for name in names(tmp_path)] == [True, True], "both are still written to"
    left.append("demand", START + 60, b"l", b"left")
    right.append("demand", START + 60, b"r", b"right")
    left.close()
    right.close()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"lleftleft", b"rrightright"]
    for hour in range(1, 8):
        left.append("demand", START + hour * SPAN_S, b"l", NOISE)
        left.close()
    right.sweep(START + 8 * SPAN_S)
    assert sum(segment.size for segment in segments_in(tmp_path)) <= 100_000


def test_what_a_dead_process_left_is_finished_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / (file_name("demand", START, "aa") + ".part")
    left.write_bytes(gzip.compress(b"x"))
    one = folder(tmp_path)
    one.sweep(START)
    assert names(tmp_path) == [file_name("demand", START, "aa")]
    assert one.files == 1


def test_two_processes_record_into_one_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.recording.writer", str(tmp_path)]
    both = [
        subprocess.Popen([*command, str(turn * 1_000), "40"], cwd=ROOT, stdout=subprocess.PIPE)
        for turn in (0, 1)
    ]
    said = [process.communicate(timeout=60)[0].decode().split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(record.id for record in read(tmp_path)) == sorted(said[0] + said[1])
    assert len(said[0]) == len(said[1]) == 40


def test_a_folder_deleted_under_a_recorder_is_made_again(tmp_path: Path) -> None:
    place = tmp_path / "recorded"
    one = recorder(place)
    offer(one, draft(1))
    one.flush(START + 60)
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    offer(one, draft(2, START + 60))
    assert one.flush(START + 120) == 1
    one.close()
    assert [record.id for record in read(place)] == ["dec_2"]


def test_a_folder_that_cannot_be_made_is_told_once_and_heals(tmp_path: Path) -> None:
    place = tmp_path / "recorded"
    place.write_text("a file stands here")
    one = recorder(place)
    with capture_logs() as logs:
        for number in range(3):
            offer(one, draft(number, START + 60 * number))
            one.flush(START + 60 * number + 60)
        status = one.status()
        assert (status.dropped["disk"], status.written) == (3, 0)
        assert status.trouble == "Not a directory"
        place.unlink()
        offer(one, draft(4, START + 300))
        assert one.flush(START + 360) == 1
        assert one.status().trouble is None
    assert [entry["event"] for entry in logs] == ["recording.failed", "recording.recovered"]
    one.close()


def test_room_that_the_holds_need_is_left_free(tmp_path: Path) -> None:
    one = recorder(tmp_path, low_water_bytes=1 << 60)
    offer(one, draft(1))
    assert one.flush(START + 60) == 0
    assert one.status().dropped["disk"] == 1
    assert "holds need that room" in (one.status().trouble or "")
    assert names(tmp_path) == []
    one.close()


def test_a_write_that_fails_half_way_leaves_no_trace(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.recording.full_disk", "limit", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.stdout.endswith("checked\n"), outcome.stdout + outcome.stderr


@pytest.mark.parametrize("what", ["disk", "read-only"])
def test_a_disk_that_takes_nothing_costs_records_only(tmp_path: Path, what: str) -> None:
    mount = f'mount -t tmpfs -o size=512k tmpfs "{tmp_path}" && exec "$@"'
    command = unshared("sh", "-c", mount, "sh", sys.executable, "-m", "tests.recording.full_disk", what)
    outcome = subprocess.run(
        [*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.stdout.endswith("checked\n"), outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    "model",
    ["demand", "a-b", "../../etc/passwd", "größe", ".hidden", "a" * 500, "a\ud800", "x\x00y", "~", ""],
)
def test_any_model_has_a_name_that_a_file_may_have(tmp_path: Path, model: str) -> None:
    text = spelled(model)
    assert len(text) <= MAX_NAME
    assert set(text).isdisjoint("/\x00-")
    one = recorder(tmp_path)
    offer(one, draft(1), model)
    one.close()
    assert [record.model for record in read(tmp_path, model=model)] == [model]


def test_long_names_that_begin_alike_are_told_apart() -> None:
    assert spelled("a" * 200 + "b") != spelled("a" * 200 + "c")
    assert spelled("a-b") != spelled("a%2Db")
