"""Data that cannot be learned from: one sentence with the place, exit code 2, and the old profile stays."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.process import unshared
from tests.cli.run import Shell, child_environment

ROWS = b"a,b\n" + b"1,2\n" * 2_000


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def parquet(columns: dict[str, object], rows_in_group: int = 1_000) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, row_group_size=rows_in_group, write_page_checksum=True)
    return bytes(sink.getvalue())


def damaged(data: bytes) -> bytes:
    """Break the pages in the middle of a file and leave its end whole."""
    middle = len(data) // 2
    return data[:middle] + b"\xff" * 2_000 + data[middle + 2_000 :]


NUMBERS = {"x": np.random.default_rng(0).random(8_000), "y": np.random.default_rng(1).random(8_000)}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.csv", b"", ("the file is empty",)),
        ("names.csv", b"a,b\n", ("no rows", "100 are needed")),
        ("one.csv", b"a,b\n1,2\n", ("100 are needed",)),
        ("twice.csv", b"a,b,a\n1,2,3\n", ("two columns are called 'a', numbers 1 and 3",)),
        ("bytes.csv", ROWS + b"3,\xff\n" + b"1,2\n" * 9, ("row 2,001 (line 2,002), column 'b'", "save the file as UTF-8")),
        ("packed.csv.gz", gzip.compress(ROWS + b"\xe9,3\n"), ("row 2,001 (line 2,002), column 'a'", "UTF-8")),
        ("short.csv", ROWS + b"3\n" + b"1,2\n" * 9, ("row 2,001 (line 2,002)", "as many values as the first")),
        ("quote.csv", ROWS + b'3,"x\n' + b"1,2\n" * 9, ("row 2,001 (line 2,002)", "never closed")),
        ("names8.csv", "a,é\n1,2\n".encode("latin-1"), ("line 1 is not UTF-8", "save the file as UTF-8")),
        ("words.csv", "a,b\n1,2\n".encode("utf-16"), ("UTF-16", "save the file as UTF-8")),
        ("sheet.csv", b"PK\x03\x04\x14\xff\xff", ("Excel", "save the sheet as CSV")),
        ("wide.csv", (",".join(f"c{n}" for n in range(100_000)) + "\n").encode(), ("100,000 columns", "4,000", "--skip")),
        ("wider.csv", b",".join(b"column_number_%d" % n for n in range(100_000)), ("line 1 is longer than 1 MiB",)),
        ("cut.parquet", parquet(NUMBERS)[:5_000], ("the end of this Parquet file", "copy or write it again")),
        ("broken.parquet", damaged(parquet(NUMBERS)), ("rows", "column '", "copy or write it again")),
        ("cut.csv.gz", gzip.compress(np.random.default_rng(0).bytes(9_000).hex().encode())[:4_000], ("cut short",)),
        ("deep.parquet", parquet({"x": [{"a": 1}] * 200}), ("no column",)),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence_and_the_old_profile_stays(
    shell: Shell, tmp_path: Path, name: str, data: bytes, words: tuple[str, ...]
) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / "p.yaml").write_text("mine")
    done = shell("learn", name, "--model", "m", "--out", "p.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    for word in (name, *words):
        assert word in done.err
    assert (tmp_path / "p.yaml").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((name, "p.yaml"))


@pytest.mark.parametrize(
    ("make", "words"), [(os.mkdir, "name the files in it"), (os.mkfifo, "no regular file")]
)
def test_a_folder_or_a_pipe_is_no_data(shell: Shell, tmp_path: Path, make: object, words: str) -> None:
    make(tmp_path / "data")  # type: ignore[operator]
    done = shell("learn", "data", "--model", "m", "--out", "p.yaml")
    assert done.code == 2
    assert words in done.err


def test_odd_columns_are_learned_and_noted_with_their_first_place(shell: Shell, tmp_path: Path) -> None:
    lines = ["price,when,stock,empty"]
    forms = ("2024-01-{day:02d}", "{day}/01/2024", "{day}.01.2024")
    for row in range(400):
        when = forms[row // 200 + (row > 350)].format(day=1 + row % 28)
        lines.append(f"{'unknown' if row == 57 else row},{when},{'inf' if row == 99 else row % 7},")
    (tmp_path / "odd.csv").write_text("\n".join(lines) + "\n")
    done = shell("learn", "odd.csv", "--model", "m", "--out", "p.yaml")
    assert done.code == 0, done.err
    assert "odd.csv, row 58, column 'price': the text 'unknown'" in done.out
    assert "odd.csv, row 100, column 'stock': an infinite number" in done.out
    assert (
        "'when' holds dates in 3 forms: '2024-01-01' (odd.csv, row 1), '5/01/2024' (odd.csv, row 201)"
        in done.out
    )
    assert "'empty' has no value in any row" in done.out
    assert shell("profile", "show", "p.yaml").code == 0


def test_a_profile_edited_into_nonsense_is_refused_with_its_place(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("x,y\n" + "".join(f"{n % 50 + 0.5},{n}\n" for n in range(500)))
    assert shell("learn", "d.csv", "--model", "m", "--out", "p.yaml").code == 0
    good = (tmp_path / "p.yaml").read_text()
    for old, new, words in (
        ("profile: 1", "profile: 2", "3:10"),
        ("kind: number", "kind: numbr", "number"),
        ("    low: ", "    low: 9e9 # ", ".low is 9e+09"),
        ("features:", "featurs:", "featur"),
        ("alpha: ", "alpha: -", "alpha"),
        ("source:", "sauce:", ""),
    ):
        if old not in good:
            continue
        (tmp_path / "p.yaml").write_text(good.replace(old, new, 1))
        for command in (
            ("profile", "show", "p.yaml"),
            ("profile", "approve", "p.yaml", "--by", "x"),
            ("serve", "--upstream", "http://127.0.0.1:9", "--model", "m", "--profile", "p.yaml"),
        ):
            done = shell(*command)
            assert done.code == 2, command
            assert "p.yaml:" in done.err
            assert words in done.err


def test_a_full_disk_leaves_the_old_profile(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("x,y\n" + "".join(f"{n % 50},{n}\n" for n in range(500)))
    script = (
        "mount -t tmpfs -o size=4k tmpfs small && echo mine > small/p.yaml && "
        f"{sys.executable} -m guardproxy learn d.csv --model m --out small/p.yaml; "
        "echo code $?; cat small/p.yaml; ls -A small"
    )
    (tmp_path / "small").mkdir()
    done = subprocess.run(
        unshared("sh", "-c", script),
        cwd=tmp_path, env=child_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split("\n") == ["code 2", "mine", "p.yaml", ""]
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_learner_leaves_the_old_profile(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("mine")
    (tmp_path / "d.csv").write_text("x,y\n" + "".join(f"{n % 50},{n}\n" for n in range(500)))
    # It stops when its bytes are written and have not taken their place yet.
    script = (
        "import os, sys, time; from guardproxy.cli import main\n"
        "def stop(_): print('written', flush=True); time.sleep(60)\n"
        "os.fsync = stop; sys.argv = ['guardproxy', 'learn', 'd.csv', '--model', 'm', '--out', 'p.yaml']; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=child_environment(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    assert (tmp_path / "p.yaml").read_text() == "mine"


def test_what_is_read_is_never_replaced(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(ROWS)
    (tmp_path / "link").symlink_to("d.csv")
    for out in ("d.csv", "link"):
        assert "replace the data" in shell("learn", "d.csv", "--model", "m", "--out", out).err
    assert (tmp_path / "d.csv").read_bytes() == ROWS
