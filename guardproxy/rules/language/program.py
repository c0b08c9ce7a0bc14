"""From text to `Program`: read, check, bound.

Decides the limits that every expression meets. Evaluating is left to `scalar`, `vector` and `interpreter`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guardproxy.rules.language.checker import check
from guardproxy.rules.language.flaws import Flaw, FlawError
from guardproxy.rules.language.names import NO_CONSTANT, Kind, Names, Ref
from guardproxy.rules.language.nodes import Name, Node, children, depth, operations
from guardproxy.rules.language.parser import MAX_DEPTH, parse

MAX_CHARACTERS: Final = 2_000
MAX_OPERATIONS: Final = 256


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A checked expression.

    `tree` has the constructs as written, with kinds. `kind` is the kind of the result, `ANY` when only a row tells.
    `refs` are the names whose values a row must give, each once, in order of appearance; names that `Names` gave a
    constant for are not among them. `operations` and `depth` are its static cost.
    """

    text: str
    tree: Node
    kind: Kind
    refs: tuple[Ref, ...]
    operations: int
    depth: int


def compile_expression(text: str, names: Names, *, want: Kind | None = None) -> Program | tuple[Flaw, ...]:
    """Read and check an expression; return it ready to run, or every flaw that was found.

    `want` is the kind of value that the place needs. A name of unknown kind may still turn out wrong in a row, which
    is then a `LanguageError`.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the expression has {len(text):,} characters; {MAX_CHARACTERS:,} are allowed"
        return (Flaw("E101", message, MAX_CHARACTERS, len(text) - MAX_CHARACTERS, _SPLIT),)
    try:
        parsed = parse(text)
    except FlawError as error:
        return (error.flaw,)
    levels = depth(parsed)
    if levels > MAX_DEPTH:
        return (Flaw("E103", f"nested more than {MAX_DEPTH} deep", parsed.offset, parsed.length, _SPLIT),)
    tree, flaws = check(parsed, names, want)
    if flaws:
        return tuple(sorted(flaws, key=lambda flaw: (flaw.offset, flaw.length)))
    count = operations(tree)
    if count > MAX_OPERATIONS:
        message = f"the expression has {count} operations; {MAX_OPERATIONS} are allowed"
        return (Flaw("E102", message, tree.offset, tree.length, _SPLIT),)
    kind = want if want is not None and tree.kind is Kind.ANY else tree.kind
    return Program(text, tree, kind, tuple(dict.fromkeys(_refs(tree))), count, levels)


_SPLIT: Final = "split it into several rules, or name a part as a KPI"


def _refs(node: Node) -> Iterator[Ref]:
    if isinstance(node, Name) and node.constant is NO_CONSTANT:
        yield node.ref
    for child in children(node):
        yield from _refs(child)
