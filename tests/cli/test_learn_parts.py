"""Many files, parts and merging: what they come to is what one pass over all the rows comes to."""

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from guardproxy.cli import learn_parts
from guardproxy.cli.learn_out import InputError
from guardproxy.cli.learn_parts import merge_parts
from guardproxy.profile.columns import NumberColumn
from guardproxy.profile.document import parse_profile
from guardproxy.profile.learn import HOLD_BACK, Learner
from guardproxy.profile.model import Profile
from guardproxy.profile.parts import dump_part, load_part
from tests.cli.run import Shell

WORDS = ("--model", "demand", "--target", "demand", "--time", "when", "--key", "shop")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def sales(rows: int, start: int = 0) -> pa.Table:
    rng = np.random.default_rng(start)
    return pa.table(
        {
            "when": np.arange(start, start + rows) * 60.0 + 1.7e9,
            "shop": rng.integers(40, size=rows),
            "price": np.round(rng.lognormal(size=rows), 4),
            "colour": rng.choice(["red", "green", "blue"], size=rows),
            "demand": rng.poisson(20, size=rows),
        }
    )


def stored(folder: Path) -> list[str]:
    """Write three files, one of them CSV with its columns in another order."""
    for number in range(3):
        pq.write_table(sales(1_500, 1_500 * number), folder / f"{number}.parquet")
    table = sales(1_500, 1_500)
    table = table.select(table.column_names[::-1])
    pa.csv.write_csv(table, folder / "1.csv")
    return ["0.parquet", "1.csv", "2.parquet"]


def learned(path: Path) -> Profile:
    found = parse_profile(path.read_text(), path.name)
    assert isinstance(found, Profile)
    return found


def same_facts(left: Profile, right: Profile) -> None:
    """Compare what must be exact: counts, extremes, moments; and knots to within the sample."""
    assert (left.rows, left.alpha, left.keys) == (right.rows, right.alpha, right.keys)
    assert [*left.features, *left.outputs] == [*right.features, *right.outputs]
    for name, one in {**left.features, **left.outputs}.items():
        two = {**right.features, **right.outputs}[name]
        assert (one.kind, one.rows, one.missing_rate, one.minimum, one.maximum, one.distinct, one.whole) == (
            two.kind, two.rows, two.missing_rate, two.minimum, two.maximum, two.distinct, two.whole,
        )  # fmt: skip
        assert dict(one.top) == dict(two.top)
        for stat in ("mean", "std", "p50", "p99"):
            if one.stat(stat) is not None:
                assert one.stat(stat) == pytest.approx(two.stat(stat), rel=0.02)
        if one.low is not None and one.high is not None:
            assert one.low == pytest.approx(two.low, abs=0.02 * (one.high - one.low))
            assert one.high == pytest.approx(two.high, abs=0.02 * (one.high - one.low))


def test_files_of_both_kinds_are_one_table(shell: Shell, tmp_path: Path) -> None:
    files = stored(tmp_path)
    done = shell("learn", *files, *WORDS, "--out", "many.yaml")
    assert done.code == 0, done.err
    assert "4,500 rows, 2 features, 1 key, 1 output" in done.out
    pq.write_table(sales(1_500), tmp_path / "all.parquet")
    pq.write_table(
        pa.concat_tables([sales(1_500, 1_500 * number) for number in range(3)]), tmp_path / "all.parquet"
    )
    assert shell("learn", "all.parquet", *WORDS, "--out", "one.yaml").code == 0
    many, one = learned(tmp_path / "many.yaml"), learned(tmp_path / "one.yaml")
    same_facts(many, one)
    assert many.provenance.file == "0.parquet, 1.csv, 2.parquet"
    assert len(many.provenance.sha256) == 64
    assert many.provenance.sha256 != one.provenance.sha256
    assert many.provenance.command.startswith("guardproxy learn 0.parquet 1.csv 2.parquet --model demand")


def test_of_many_files_the_first_twenty_are_named(shell: Shell, tmp_path: Path) -> None:
    for number in range(25):
        pq.write_table(sales(40, 40 * number), tmp_path / f"{number:02}.parquet")
    files = [f"{number:02}.parquet" for number in range(25)]
    assert shell("learn", *files, *WORDS, "--out", "p.yaml").code == 0
    given = learned(tmp_path / "p.yaml").provenance
    assert given.file.endswith("19.parquet, and 5 more")
    assert "20.parquet" not in given.command


def test_files_whose_columns_differ_are_both_named_with_the_columns(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("y,z\n1,2\n")
    done = shell("learn", "a.csv", "b.csv", "--model", "m", "--out", "p.yaml")
    assert done.code == 2
    assert "a.csv and b.csv have different columns: 'x' only in a.csv; 'z' only in b.csv" in done.err
    done = shell("learn", "a.csv", "./a.csv", "--model", "m", "--out", "p.yaml")
    assert "given twice" in done.err
    assert not (tmp_path / "p.yaml").exists()


def test_merged_parts_are_what_one_pass_would_learn(shell: Shell, tmp_path: Path) -> None:
    files = stored(tmp_path)
    assert shell("learn", *files, *WORDS, "--out", "one.yaml").code == 0
    for number, file in enumerate(files):
        done = shell("learn", file, *WORDS, "--part", "--out", f"{number}.part")
        assert done.code == 0, done.err
        assert "a part of model demand, 1,500 rows" in done.out
    done = shell("learn", "--merge", "0.part", "1.part", "2.part", "--out", "merged.yaml")
    assert done.code == 0, done.err
    merged = learned(tmp_path / "merged.yaml")
    same_facts(merged, learned(tmp_path / "one.yaml"))
    assert merged.provenance.file == "0.part, 1.part, 2.part"
    assert merged.provenance.command == "guardproxy learn --merge 0.part 1.part 2.part"
    # The time column says which rows are the most recent, whatever the order; and a part of parts is a part.
    assert shell("learn", "--merge", "--part", "2.part", "0.part", "--out", "02.part").code == 0
    assert shell("learn", "--merge", "02.part", "1.part", "--out", "tree.yaml").code == 0
    same_facts(learned(tmp_path / "tree.yaml"), merged)
    assert learned(tmp_path / "tree.yaml").calibration == merged.calibration


@pytest.mark.parametrize(
    ("words", "differs"),
    [
        (("--model", "other", *WORDS[2:]), "model"),
        ((*WORDS, "--alpha", "0.01"), "alpha"),
        (WORDS[:6], "key"),
        ((*WORDS, "--skip", "colour"), "colour"),
    ],
)
def test_parts_that_do_not_belong_together_are_both_named(
    shell: Shell, tmp_path: Path, words: tuple[str, ...], differs: str
) -> None:
    stored(tmp_path)
    assert shell("learn", "0.parquet", *WORDS, "--part", "--out", "a.part").code == 0
    assert shell("learn", "2.parquet", *words, "--part", "--out", "b.part").code == 0
    done = shell("learn", "--merge", "a.part", "b.part", "--out", "p.yaml")
    assert done.code == 2
    assert done.err.count("\n") == 1
    for word in ("a.part", "b.part", differs):
        assert word in done.err
    assert not (tmp_path / "p.yaml").exists()


def test_what_is_no_part_is_refused(shell: Shell, tmp_path: Path) -> None:
    stored(tmp_path)
    assert shell("learn", "0.parquet", *WORDS, "--part", "--out", "a.part").code == 0
    data = (tmp_path / "a.part").read_bytes()
    (tmp_path / "same.part").write_bytes(data)
    (tmp_path / "cut.part").write_bytes(data[: len(data) // 2])
    for other, words in (
        ("cut.part", "cut.part"),
        ("0.parquet", "this is no part"),
        ("none.part", "no such file"),
        (".", "no file"),
        ("same.part", "the same part"),
    ):
        done = shell("learn", "--merge", "a.part", other, "--out", "p.yaml")
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert words in done.err
    assert "replace the data" in shell("learn", "--merge", "a.part", "--out", "a.part").err
    assert (tmp_path / "a.part").read_bytes() == data


def test_a_part_is_shown_and_cannot_be_approved(shell: Shell, tmp_path: Path) -> None:
    stored(tmp_path)
    assert shell("learn", "0.parquet", *WORDS, "--part", "--out", "a.part").code == 0
    shown = shell("profile", "show", "a.part")
    assert shown.code == 0
    for word in ("demand  a part", "1,500 rows", "time: when", "colour", "guardproxy learn --merge a.part"):
        assert word in shown.out
    assert '"rows": 1500' in shell("profile", "show", "a.part", "--format", "json").out
    assert "merge it first" in shell("profile", "approve", "a.part", "--by", "me").err


@pytest.mark.parametrize(
    "words",
    [
        ("--merge", "--out", "p"),
        ("--merge", "a.part", "--model", "m", "--out", "p"),
        ("--merge", "a.part", "--provisional", "--out", "p"),
        ("--from-traffic", "r", "d.csv", "--model", "m", "--out", "p"),
        ("--from-traffic", "r", "--model", "m", "--target", "y", "--out", "p"),
        ("--from-traffic", "r", "--model", "m", "--part", "--out", "p"),
        ("d.csv", "--out", "p"),
        ("d.csv", "--model", "m", "--provisional", "--out", "p"),
        ("--model", "m", "--out", "p"),
    ],
)
def test_options_that_do_not_go_together_are_usage_mistakes(
    shell: Shell, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = shell("learn", *words)
    assert done.code == 2
    assert "Error: " in done.err
    assert list(tmp_path.iterdir()) == []


def test_many_parts_are_merged_in_the_memory_of_a_few(tmp_path: Path) -> None:
    parts = []
    for number in range(60):
        learner = Learner("demand", rng=np.random.default_rng(number))
        learner.update({"x": NumberColumn(np.random.default_rng(number).normal(size=HOLD_BACK))})
        parts.append(tmp_path / f"{number}.part")
        parts[-1].write_bytes(dump_part(learner.state()))
    tracemalloc.start()
    states = [load_part(part.read_bytes(), part.name) for part in parts]
    together = tracemalloc.get_traced_memory()[0]
    del states
    tracemalloc.reset_peak()
    merge_parts(tuple(parts), tmp_path / "whole.part", part=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert load_part((tmp_path / "whole.part").read_bytes(), "whole").rows == 60 * HOLD_BACK
    assert peak < together / 2


def test_a_part_that_changes_between_two_looks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tuple(tmp_path / f"{number}.part" for number in range(2))
    for number, part in enumerate(parts):
        learner = Learner("demand", rng=np.random.default_rng(number))
        learner.update({"x": NumberColumn(np.arange(200.0) + number)})
        part.write_bytes(dump_part(learner.state()))

    def then_changed(paths: tuple[Path, ...], hashes: list[str]) -> None:
        paths[1].write_bytes(paths[0].read_bytes())

    monkeypatch.setattr(learn_parts, "_refuse_twice", then_changed)
    with pytest.raises(InputError, match="changed while it was read"):
        merge_parts(parts, tmp_path / "whole.part", part=True)
    assert not (tmp_path / "whole.part").exists()
