"""The tree that an expression becomes: one node class per construct.

Decides the shape. The parser makes these nodes with kind `ANY`, `Path`, `Items` and unresolved calls; the checker
makes them again with kinds and names resolved. Every node knows its span in characters of the text.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

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
    """A value written out. Numbers are floats; whole numbers that a float64 cannot hold stay int."""

    value: Cell


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
    """A resolved name. `constant` is its value when that is known at load."""

    ref: Ref
    constant: Constant = NO_CONSTANT


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


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below `node`, from left to right."""
    match node:
        case Arithmetic() | Compare() | Logic() | Coalesce():
            return node.operands
        case Negate() | IsMissing() | Not():
            return (node.operand,)
        case Within():
            return (node.operand,)
        case If():
            return (node.condition, node.yes, node.no)
        case Call():
            return node.arguments
        case _:
            return ()


def operations(node: Node) -> int:
    """Count the operations below and at `node`: one per operator, one per argument of a call."""
    below = children(node)
    own = max(1, len(below) - 1) if below else 0
    if isinstance(node, Call):
        own = max(1, len(below))
    return own + sum(operations(child) for child in below)


def depth(node: Node) -> int:
    """Return the number of nodes on the longest way down. Does not recurse, so any tree will do."""
    deepest, waiting = 0, [(node, 1)]
    while waiting:
        here, level = waiting.pop()
        deepest = max(deepest, level)
        waiting.extend((child, level + 1) for child in children(here))
    return deepest
