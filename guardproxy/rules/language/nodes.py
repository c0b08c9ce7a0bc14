"""The tree that an expression becomes: one node class per construct, and the program around it.

Decides the shape. The parser makes these nodes with kind `ANY`, `Path`, `Items` and unresolved calls; the checker
makes them again with kinds and names resolved. Every node knows its span in characters of the text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from guardproxy.rules.language.names import NO_CONSTANT, Constant, Kind, Ref
from guardproxy.table import Cell


@dataclass(frozen=True, slots=True)
class Span:
    """What every node has: its place in the text and the kind of its value."""

    offset: int
    length: int
    kind: Kind

    @property
    def end(self) -> int:
        """Return the offset just past the node."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Literal(Span):
    """A value written out. Numbers are floats; whole numbers that a float64 cannot hold stay int.

    `written` is a number as it stands in the text (`30%`, `15m`), empty where there is no such text.
    """

    value: Cell
    written: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Path(Span):
    """A dotted name as written; only between parser and checker."""

    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Items(Span):
    """A list as written; only between parser and checker."""

    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Name(Span):
    """A resolved name. `constant` is its value when that is known at load.

    A call of a function over a batch or over time is a name too, whose value someone else works out from `aggregate`.
    """

    ref: Ref
    constant: Constant = NO_CONSTANT
    aggregate: "Aggregate | None" = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class KpiValue(Span):
    """`kpi.NAME`: evaluated as if the KPI's expression stood here. `kind` is what the KPI must give."""

    name: str
    program: "Program" = field(compare=False)

    @property
    def body(self) -> "Node":
        """The KPI's tree. Its places are those in the KPI's own text."""
        return self.program.tree


@dataclass(frozen=True, slots=True)
class Arithmetic(Span):
    """`a + b - c` or `a * b / c`, from left to right; one operator fewer than operands."""

    operators: tuple[str, ...]
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Negate(Span):
    """`-a`."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Compare(Span):
    """`a <= b < c`, true when each pair is; one operator fewer than operands."""

    operators: tuple[str, ...]
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Members:
    """The values of a list by kind, so that 1 and true stay apart. `kind` is `ANY` when they are mixed."""

    kind: Kind
    numbers: frozenset[float | int]
    texts: frozenset[str]
    flags: frozenset[bool]


@dataclass(frozen=True, slots=True)
class Within(Span):
    """`a in list`, `a not in list`. After the checker `members` holds the values; None: not known, so unknown."""

    operand: "Node"
    items: "Node"
    negated: bool
    members: Members | None = None


@dataclass(frozen=True, slots=True)
class IsMissing(Span):
    """`a is missing`, `a is not missing`."""

    operand: "Node"
    negated: bool


@dataclass(frozen=True, slots=True)
class Logic(Span):
    """`a and b and c`, `a or b or c`."""

    operator: str
    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not(Span):
    """`not a`."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class If(Span):
    """`if condition then yes else no`."""

    condition: "Node"
    yes: "Node"
    no: "Node"


@dataclass(frozen=True, slots=True)
class Coalesce(Span):
    """`a ?? b ?? c` and `coalesce(a, b, c)`: the first that is not missing."""

    operands: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Call(Span):
    """A function with its arguments. `pattern` is the compiled RE2 pattern of `matches`."""

    function: str
    arguments: tuple["Node", ...]
    name_length: int
    pattern: Any = None


Node: TypeAlias = (
    Literal
    | Path
    | Items
    | Name
    | KpiValue
    | Arithmetic
    | Negate
    | Compare
    | Within
    | IsMissing
    | Logic
    | Not
    | If
    | Coalesce
    | Call
)


_NO_AGGREGATES: Final[Mapping[Ref, "Aggregate"]] = MappingProxyType({})
_NO_KPIS: Final[Mapping[str, "Program"]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A checked expression.

    `tree` has the constructs as written, with kinds. `kind` is the kind of the result, `ANY` when only a row tells.
    `refs` are the names whose values a row must give, each once, in order of appearance, those of its KPIs among them;
    names that `Names` gave a constant for are not. `operations` and `depth` are its static cost, that of its KPIs and
    of the arguments of its aggregates included. `aggregates` says of each name of the spaces `batch` and `recent` in
    `refs` what it stands for. `kpis` are the KPIs that the text itself names.
    """

    text: str
    tree: Node
    kind: Kind
    refs: tuple[Ref, ...]
    operations: int
    depth: int
    aggregates: Mapping[Ref, "Aggregate"] = field(default_factory=lambda: _NO_AGGREGATES)
    kpis: Mapping[str, "Program"] = field(default_factory=lambda: _NO_KPIS)

    @property
    def all_refs(self) -> tuple[Ref, ...]:
        """Return `refs` followed by the names that the arguments of the aggregates read, each once."""
        inner = (ref for one in self.aggregates.values() for ref in one.argument.all_refs)
        return tuple(dict.fromkeys((*self.refs, *inner)))


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """One call of a function over rows: `batch_*` over those of an exchange, `recent_*` over those of `window_s` seconds.

    `argument` is evaluated for every row, its `kind` is the one that the function takes. `window_s` is None for `batch_*`.
    """

    function: str
    argument: Program
    window_s: float | None


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below `node`, from left to right; the tree of a KPI is not below its name."""
    match node:
        case Arithmetic() | Compare() | Logic() | Coalesce():
            return node.operands
        case Negate() | IsMissing() | Not() | Within():
            return (node.operand,)
        case If():
            return (node.condition, node.yes, node.no)
        case Call():
            return node.arguments
        case _:
            return ()


def operations(node: Node) -> int:
    """Count the operations at and below `node`: one per operator, one per argument of a call, all those of a KPI.

    The cost of a KPI is known from when it was compiled, so a chain of KPIs is as cheap to count as its last link.
    """
    below = children(node)
    own = max(1, len(below) - 1) if below else 0
    match node:
        case Call():
            own = max(1, len(below))
        case KpiValue():
            own = node.program.operations
        case Name(aggregate=Aggregate() as aggregate):
            own = 1 + aggregate.argument.operations
    return own + sum(operations(child) for child in below)


def depth(node: Node) -> int:
    """Return the number of nodes on the longest way down. Does not recurse, so any tree will do."""
    deepest, waiting = 0, [(node, 1)]
    while waiting:
        here, level = waiting.pop()
        deepest = max(deepest, level + _hidden(here))
        waiting.extend((child, level + 1) for child in children(here))
    return deepest


def _hidden(node: Node) -> int:
    """Return the depth of the tree that a name stands for."""
    match node:
        case KpiValue():
            return node.program.depth
        case Name(aggregate=Aggregate() as aggregate):
            return aggregate.argument.depth
        case _:
            return 0
