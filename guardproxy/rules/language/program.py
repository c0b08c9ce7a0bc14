"""From text to `Program`: read, check, bound.

Decides the limits that every expression meets. Evaluating is left to `scalar`, `vector` and `interpreter`.
"""

from typing import Final

from guardproxy.decision import Scope
from guardproxy.rules.language.assembling import assemble
from guardproxy.rules.language.checker import check
from guardproxy.rules.language.flaws import Flaw, FlawError
from guardproxy.rules.language.names import Kind, Names
from guardproxy.rules.language.nodes import Program, depth, operations
from guardproxy.rules.language.parser import MAX_DEPTH, parse

MAX_CHARACTERS: Final = 2_000
MAX_OPERATIONS: Final = 256


def compile_expression(
    text: str, names: Names, *, want: Kind | None = None, scope: Scope = Scope.ROW
) -> Program | tuple[Flaw, ...]:
    """Read and check an expression; return it ready to run, or every flaw that was found.

    `want` is the kind of value that the place needs. A name of unknown kind may still turn out wrong in a row, which
    is then a `LanguageError`. `scope` is what one value is about: in a row everything may stand; over a batch what
    differs from row to row needs a `batch_*` around it; over a window only `recent_*`, facts of the request and the
    profile are known.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the expression has {len(text):,} characters; {MAX_CHARACTERS:,} are allowed"
        return (Flaw("E101", message, MAX_CHARACTERS, len(text) - MAX_CHARACTERS, _SPLIT),)
    try:
        parsed = parse(text)
    except FlawError as error:
        return (error.flaw,)
    if depth(parsed) > MAX_DEPTH:
        return (Flaw("E103", f"nested more than {MAX_DEPTH} deep", parsed.offset, parsed.length, _SPLIT),)
    tree, flaws = check(text, parsed, names, want, scope)
    if flaws:
        return tuple(sorted(flaws, key=lambda flaw: (flaw.offset, flaw.length)))
    # Counted again, with what KPIs and arguments of functions over rows add. A KPI knows its cost since it was
    # compiled, so KPIs that use KPIs are refused by the sums, long before anything walks what they stand for.
    count, levels = operations(tree), depth(tree)
    if count > MAX_OPERATIONS:
        message = f"the expression has {count} operations; {MAX_OPERATIONS} are allowed"
        return (Flaw("E102", message, tree.offset, tree.length, _SPLIT),)
    if levels > MAX_DEPTH:
        message = f"nested {levels} deep with the KPIs it uses; {MAX_DEPTH} are allowed"
        return (Flaw("E103", message, tree.offset, tree.length, _SPLIT),)
    return assemble(text, tree, want)


_SPLIT: Final = "split it into several rules, or name a part as a KPI"
