"""A second reading of JSON, for judging the first: the standard library's values, and where each stands in its text.

Decides nothing about rows. It shares no code with `guardproxy.codecs`, so that the two can disagree.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

_TOKEN: Final = re.compile(r'[ \t\r\n]*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^ \t\r\n{}\[\]:,"]+)', re.DOTALL)


@dataclass(slots=True)
class Node:
    """One value and its span. `keys` and `nodes` are the members of an object, `nodes` alone the items of an array."""

    value: Any
    start: int
    end: int
    nodes: list["Node"] = field(default_factory=list)
    keys: list[str] | None = None

    def __getitem__(self, step: str | int) -> "Node":
        """Return a member (the last of that key) or an item."""
        if isinstance(step, int):
            return self.nodes[step]
        keys = self.keys or []
        return self.nodes[len(keys) - 1 - keys[::-1].index(step)]

    def leaves(self) -> Iterator["Node"]:
        """Yield the scalars in it, in the order of the text."""
        if isinstance(self.value, (list, dict)):
            for node in self.nodes:
                yield from node.leaves()
        else:
            yield self


def read(text: str) -> Node:
    """Read a text that the standard library reads. Raises ValueError for any other."""
    json.loads(text)
    tokens = list(_TOKEN.finditer(text))
    return _value(tokens, 0)[0]


def pieces(text: str) -> list[str]:
    """Split a JSON text into its tokens (values, keys and marks: every second piece) and the space between them.

    Joined they are the text; the first and the last piece are space, which may be empty.
    """
    found: list[str] = []
    at = 0
    for token in _TOKEN.finditer(text):
        found += (text[at : token.start(1)], token[1])
        at = token.end(1)
    return [*found, text[at:]]


def _value(tokens: list[re.Match[str]], at: int) -> tuple[Node, int]:
    token = tokens[at]
    if token[1] not in "{[":
        return Node(json.loads(token[1]), token.start(1), token.end(1)), at + 1
    is_object = token[1] == "{"
    node = Node({} if is_object else [], token.start(1), 0, keys=[] if is_object else None)
    at += 1
    while tokens[at][1] not in "}]":
        if tokens[at][1] == ",":
            at += 1
        if node.keys is not None:
            node.keys.append(json.loads(tokens[at][1]))
            at += 2
        member, at = _value(tokens, at)
        node.nodes.append(member)
    node.value = (
        [member.value for member in node.nodes]
        if node.keys is None
        else dict(zip(node.keys, (member.value for member in node.nodes), strict=True))
    )
    node.end = tokens[at].end(1)
    return node, at + 1
