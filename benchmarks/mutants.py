"""Mutation testing of the rule language: `python -m benchmarks.mutants [--per-file N] [--seed N] [--jobs N] ...`.

Changes one operator, constant, result or statement at a time in a copy of the package, and runs the tests of the
language against it. A mutant that no test notices is a sentence of the language that no test says, unless it means the
same as the original. The figure is the share of mutants that were noticed. Nothing is written to this checkout.
"""

import argparse
import ast
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from benchmarks.machine import describe

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = Path("guardproxy/rules/language")
TESTS: Final = "tests/rules/language"
FILES: Final = ("parser", "helps", "checker", "naming", "semantics", "interpreter", "kernels", "aggregates")
TIMEOUT_S: Final = 90.0

# A law that fails has noticed: nobody reads its smallest example here, and none is kept for the next mutant.
_SEARCH: Final = """
from hypothesis import Phase

settings.register_profile("mutants", deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
settings.load_profile("mutants")
"""

Change: TypeAlias = Callable[[Any], None]

_PAIRS: Final[tuple[tuple[type[ast.AST], type[ast.AST]], ...]] = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.And, ast.Or), (ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.BitAnd, ast.BitOr)),
)
_SWAPS: Final[Mapping[type[ast.AST], type[ast.AST]]] = MappingProxyType(
    {**dict(_PAIRS), **{second: first for first, second in _PAIRS}}
)


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, what it was and what it became, and the whole file with it."""

    file: str
    line: int
    what: str
    source: str


def main() -> None:
    """Make the mutants, run them, and print which ones lived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-file", type=int, default=42, help="how many mutants of each file to try")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument(
        "--jobs", type=int, default=1, help="how many to try at a time, each on a copy of its own"
    )
    parser.add_argument("--only", choices=FILES, action="append", help="this file only")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    mutants = list(_sampled(options.only or FILES, options.per_file, options.seed))
    with tempfile.TemporaryDirectory() as folder:
        copies = SimpleQueue[Path]()
        for number in range(max(1, options.jobs)):
            copies.put(_copy(Path(folder, str(number))))
        if not _noticed_nothing(copied := copies.get()):
            sys.exit("the tests fail on the code as it is")
        copies.put(copied)
        with ThreadPoolExecutor(copies.qsize()) as pool:
            lives = list(pool.map(lambda mutant: _lives(mutant, copies), mutants))
    lived = [mutant for mutant, one in zip(mutants, lives, strict=True) if one]
    print(f"{len(mutants)} mutants, {len(mutants) - len(lived)} noticed, {len(lived)} lived")
    if options.out is not None:
        survivors = [{k: v for k, v in asdict(one).items() if k != "source"} for one in lived]
        result = {"mutants": len(mutants), "noticed": len(mutants) - len(lived), "lived": survivors}
        options.out.write_text(json.dumps({"machine": describe(), "results": [result]}, indent=2) + "\n")


def _sampled(files: Sequence[str], per_file: int, seed: int) -> Iterator[Mutant]:
    for name in files:
        found = list(mutants_of(name, (ROOT / PACKAGE / f"{name}.py").read_text()))
        yield from random.Random(seed).sample(found, min(per_file, len(found)))


def _copy(folder: Path) -> Path:
    for part in ("guardproxy", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / "tests/conftest.py").open("a") as conftest:
        conftest.write(_SEARCH)
    return folder


def _lives(mutant: Mutant, copies: SimpleQueue[Path]) -> bool:
    folder = copies.get()
    path = folder / PACKAGE / f"{mutant.file}.py"
    original = path.read_text()
    path.write_text(mutant.source)
    try:
        lives = _noticed_nothing(folder)
    finally:
        path.write_text(original)
        copies.put(folder)
    print(f"{'LIVES  ' if lives else 'noticed'} {mutant.file}.py:{mutant.line}  {mutant.what}", flush=True)
    return lives


def _noticed_nothing(folder: Path) -> bool:
    """Run the tests on a copy; one that hangs has noticed."""
    options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    # Two versions of a file within a second and of one size would share their bytecode.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", TESTS, *options]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def mutants_of(name: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source."""
    tree = ast.parse(source)
    untouched = _left_alone(tree)
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in untouched:
            continue
        for what, change in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(each for at, each in enumerate(ast.walk(changed)) if at == position)
            change(target)
            line = getattr(node, "lineno", 0)
            yield Mutant(name, line, f"{what}: {source.splitlines()[line - 1].strip()}", ast.unparse(changed))


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """Yield the changes that a node allows, each as a function that makes it in a copy of the node."""
    match node:
        case ast.Compare():
            for place, sign in enumerate(node.ops):
                other = _SWAPS[type(sign)]
                yield f"{_word(sign)} becomes {other.__name__}", _setting("ops", other(), place)
        case ast.BoolOp() | ast.BinOp() if type(node.op) in _SWAPS:
            other = _SWAPS[type(node.op)]
            yield f"{_word(node.op)} becomes {other.__name__}", _setting("op", other())
        case ast.Constant(value=bool() | int() | float() as value):
            new = not value if isinstance(value, bool) else value + 1
            yield f"{value} becomes {new}", _setting("value", new)
        case ast.Return(value=ast.expr() as value) if getattr(value, "value", value) is not None:
            yield "None is returned", _setting("value", ast.Constant(None))
        case _ if type(node) in _REWRITES:
            yield _REWRITES[type(node)]
        case _:
            return


def _word(node: ast.AST) -> str:
    return type(node).__name__


def _setting(field: str, value: object, place: int | None = None) -> Change:
    def change(node: Any) -> None:
        if place is None:
            setattr(node, field, value)
        else:
            getattr(node, field)[place] = value

    return change


def _emptied(node: Any) -> None:
    operand = node.operand
    node.__class__ = type(operand)
    node.__dict__.clear()
    node.__dict__.update(operand.__dict__)


def _turned(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _dropped(node: Any) -> None:
    node.__class__ = ast.Pass
    place = {key: node.__dict__[key] for key in ("lineno", "col_offset") if key in node.__dict__}
    node.__dict__.clear()
    node.__dict__.update(place)


_REWRITES: Final[Mapping[type[ast.AST], tuple[str, Change]]] = MappingProxyType(
    {
        ast.UnaryOp: ("the sign is dropped", _emptied),
        ast.If: ("the condition is turned round", _turned),
        ast.IfExp: ("the condition is turned round", _turned),
        ast.Expr: ("the statement is dropped", _dropped),
        ast.AugAssign: ("the statement is dropped", _dropped),
    }
)


def _left_alone(tree: ast.Module) -> frozenset[int]:
    """Return the nodes whose change would say nothing: docstrings, annotations, and the words of messages."""
    found: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        match node:
            case ast.JoinedStr():
                parts.append(node)
            case ast.Expr(value=ast.Constant(value=str())):
                parts.append(node)
            case _:
                pass
        for part in parts:
            if part is not None:
                found |= {id(each) for each in ast.walk(part)}
    return frozenset(found)


if __name__ == "__main__":
    main()
