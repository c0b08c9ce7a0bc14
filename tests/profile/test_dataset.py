"""Files become columns in constant memory, whatever stands in them; what cannot be read is said in one line."""

import csv
import gzip
import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardproxy.profile.columns import Batch, NumberColumn, TextColumn, cells_of
from guardproxy.stores import dataset_file
from guardproxy.stores.dataset import DatasetError, Datasets, open_dataset
from guardproxy.table import Cell


def read(path: Path, skip: tuple[str, ...] = ()) -> tuple[dict[str, list[Cell]], list[Batch], str]:
    with open_dataset(path) as dataset:
        dataset.select(skip)
        batches = list(dataset)
        columns: dict[str, list[Cell]] = {name: [] for name in dataset.columns}
        for batch in batches:
            for name in columns:
                columns[name] += cells_of(batch[name])
    return columns, batches, dataset.sha256


def written(tmp_path: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_numbers_texts_and_missing_cells_are_told_apart(tmp_path: Path) -> None:
    text = 'x,word,"quoted, name"\n1,red,3\nNA,,-1e3\n 2.5 ,"a\nb",nan\n'
    columns, _, sha = read(written(tmp_path, text))
    assert columns == {
        "x": [1.0, None, 2.5],
        "word": ["red", None, "a\nb"],
        "quoted, name": [3.0, -1000.0, None],
    }
    assert sha == hashlib.sha256(text.encode()).hexdigest()


def test_a_column_may_change_its_type_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_file, "BLOCK_BYTES", 2_000)
    cells = [*range(500), *(f"{number}.5" for number in range(500)), *["unknown"] * 500]
    columns, batches, _ = read(written(tmp_path, "x\n" + "\n".join(map(str, cells)) + "\n"))
    assert len(batches) > 3
    assert isinstance(batches[0]["x"], NumberColumn)
    assert isinstance(batches[-1]["x"], TextColumn)
    assert columns["x"][:2] == [0.0, 1.0]
    assert columns["x"][500:502] == [0.5, 1.5]
    assert columns["x"][-1] == "unknown"


def test_digits_with_a_leading_zero_are_names(tmp_path: Path) -> None:
    columns, _, _ = read(written(tmp_path, "zip,x\n01067,0\n04103,0.5\n"))
    assert columns == {"zip": ["01067", "04103"], "x": [0.0, 0.5]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    columns, _, _ = read(written(tmp_path, f"\ufeffa{delimiter}b\n1{delimiter}2\n"))
    assert columns == {"a": [1.0], "b": [2.0]}


def test_a_gzip_file_is_read_and_hashed_as_it_is(tmp_path: Path) -> None:
    packed = gzip.compress(b"x\n1\n2\n")
    columns, _, sha = read(written(tmp_path, packed, "data.csv.gz"))
    assert columns == {"x": [1.0, 2.0]}
    assert sha == hashlib.sha256(packed).hexdigest()


def test_skipped_and_nameless_columns_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, '"",x,y\n1,2,3\n')
    with open_dataset(path) as dataset:
        assert dataset.columns == ("x", "y")
        assert any("without a name" in note for note in dataset.notes)
    assert read(path, skip=("x",))[0] == {"y": [3.0]}


def test_a_quoted_name_may_have_a_line_end(tmp_path: Path) -> None:
    assert read(written(tmp_path, '"a\nb",c\n1,2\n'))[0] == {"a\nb": [1.0], "c": [2.0]}


def test_parquet_types_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "whole": pa.array([1, None, 3], pa.int32()),
            "part": pa.array([0.5, float("nan"), 2.0]),
            "flag": pa.array([True, False, None]),
            "digits": pa.array(["1", "2", None]),
            "coded": pa.array(["a", "b", "a"]).dictionary_encode(),
            "when": pa.array([0, 10**6, None], pa.timestamp("us", tz="UTC")),
            "empty": pa.nulls(3),
            "many": pa.array([[1, 2], None, []]),
            "pair": pa.array([[1.5, None], None, [3, 4]], pa.list_(pa.float32(), 2)),
            "deep": pa.array([{"a": 1}, None, {"a": 2}]),
        }
    )
    path = tmp_path / "data.parquet"
    pq.write_table(table, path)
    columns, batches, sha = read(path)
    assert columns["whole"] == [1.0, None, 3.0]
    assert columns["part"] == [0.5, None, 2.0]
    assert columns["flag"] == ["true", "false", None]
    assert columns["digits"] == ["1", "2", None]
    assert columns["coded"] == ["a", "b", "a"]
    assert columns["empty"] == [None] * 3
    assert str(columns["when"][0]).startswith("1970-01-01")
    assert columns["many"] == [(1.0, 2.0), None, ()]
    assert columns["pair"] == [(1.5, None), None, (3.0, 4.0)]
    assert "deep" not in columns
    assert isinstance(batches[0]["part"], NumberColumn)
    assert batches[0]["part"].nulls is None
    assert batches[0]["whole"].nulls.tolist() == [False, True, False]  # type: ignore[union-attr]
    assert isinstance(batches[0]["digits"], TextColumn)
    assert sha == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_position_moves_to_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, "x\n" + "1\n" * 50_000)
    with open_dataset(path) as dataset:
        assert dataset.position == 0
        assert sum(len(cells_of(batch["x"])) for batch in dataset) == 50_000
        assert dataset.position == dataset.size == path.stat().st_size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "name the columns"),
        (b"a,b\n1,2\n3\n", "as many values"),
        (b",".join(b"c%d" % number for number in range(5_000)) + b"\n", "more than 4,000"),
        (b"a,a\n1,2\n", "two columns are called 'a'"),
        (b"\xff\xfe\x00\x01\n", "not UTF-8"),
        (b"a\n\xff\xff\n", "UTF-8"),
        (b"PAR1 but no more", "data.csv"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, text: bytes, words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(written(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_broken_gzip_are_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        open_dataset(tmp_path / "nothing.csv")
    with pytest.raises(DatasetError):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="gzip"):
        read(written(tmp_path, b"no gzip", "data.csv.gz"))
    whole = gzip.compress(b"x\n" + np.random.default_rng(0).bytes(50_000).hex().encode() + b"\n1\n")
    with pytest.raises(DatasetError):
        read(written(tmp_path, whole[: len(whole) // 2], "cut.csv.gz"))


def test_an_unknown_column_gets_the_likely_name(tmp_path: Path) -> None:
    with (
        open_dataset(written(tmp_path, "temperature,hum\n1,2\n")) as dataset,
        pytest.raises(DatasetError, match="did you mean 'temperature'"),
    ):
        dataset.select(("temprature",))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DatasetError, match=r"guardproxy\[learn\]"):
        open_dataset(written(tmp_path, "x\n1\n"))


CELLS = st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), st.integers(-9, 9)),
                 min_size=1, max_size=40)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(CELLS, st.integers(0, 40), st.booleans())
def test_files_in_a_row_read_like_one_file_whatever_is_quoted(
    tmp_path: Path, rows: list[tuple[str, int]], cut: int, packed: bool
) -> None:
    def stored(name: str, part: list[tuple[str, int]]) -> Path:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows([("a", "n"), *part])
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.getvalue().encode()) if packed else text.getvalue().encode())
        return path

    def cells(*paths: Path) -> list[tuple[Cell, ...]]:
        data = Datasets(paths)
        data.select(())
        return [row for batch in data for row in zip(cells_of(batch["a"]), cells_of(batch["n"]), strict=True)]

    one = cells(stored("one.csv", rows))
    assert [number for _, number in one] == [number for _, number in rows]
    two = cells(stored("a.csv", rows[:cut]), stored("b.csv", rows[cut:]))
    assert [number for _, number in two] == [number for _, number in rows]
    # Whether digits are a number is decided by what stands beside them in the file, which may differ; whether there is a cell, is not.
    assert [text is None for text, _ in two] == [text is None for text, _ in one]


def test_a_stray_quote_inside_a_cell_is_just_a_character(tmp_path: Path) -> None:
    columns, _, _ = read(written(tmp_path, 'size,n\n5" pipe,1\n6" pipe,2\n7" pipe,3\n'))
    assert columns == {"size": ['5" pipe', '6" pipe', '7" pipe'], "n": [1.0, 2.0, 3.0]}


def test_a_hash_of_several_files_is_that_of_their_lines_in_sha256sum(tmp_path: Path) -> None:
    paths = [written(tmp_path, f"x\n{number}\n", f"{number}.csv") for number in range(3)]
    data = Datasets(paths)
    data.select(())
    assert len(list(data)) == 3
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    assert data.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert data.position == data.size == sum(path.stat().st_size for path in paths)
