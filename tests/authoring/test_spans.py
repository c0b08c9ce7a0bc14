"""Where every node of a text stands."""

import pytest
import yaml

from guardproxy.authoring.layout import edited
from guardproxy.authoring.spans import Part, parse_parts, resolved, walk

TEXT = """\
# head
a: &x
  b: 1
  "c: d": 'q''q'   # no - dash
l:
-  # a-b
   one
- &k {e: [x, y], f}
- *k
- >-
  folded
  text

# after
- plain
  more
- - nested
empty:
---
é: |+
  ü

"""


def parts() -> list[Part]:
    return [part for root in parse_parts(TEXT) for part in walk(root)]


def test_scalars_are_cut_out_of_the_text_exactly() -> None:
    shown = [TEXT[part.start : part.end] for part in parts() if part.kind == "scalar"]
    assert shown == [
        *("a", "b", "1", '"c: d"', "'q''q'", "l", "one", "e", "x", "y", "f", ""),
        *(">-\n  folded\n  text", "plain\n  more", "nested", "empty", "", "é", "|+\n  ü\n\n"),
    ]


def test_anchors_stand_before_their_node_and_aliases_find_it() -> None:
    root = parse_parts(TEXT)[0]
    named = [part for part in walk(root) if part.prefix]
    assert [(part.prefix, TEXT[part.start]) for part in named] == [("&x", "b"), ("&k", "{")]
    (alias,) = [part for part in walk(root) if part.kind == "alias"]
    assert TEXT[alias.start : alias.end] == "*k"
    assert resolved(alias, root) is named[1]


def test_a_block_list_begins_at_its_first_dash() -> None:
    lists = [part for part in parts() if part.kind == "sequence" and not part.flow]
    assert [TEXT[part.start] for part in lists] == ["-", "-"]
    assert lists[0].start == TEXT.index("-  # a-b")


def test_every_document_has_a_root() -> None:
    assert [root.kind for root in parse_parts(TEXT)] == ["mapping", "mapping"]


def test_what_is_no_yaml_raises() -> None:
    with pytest.raises(yaml.YAMLError):
        parse_parts("a: [")


def test_edits_leave_every_other_character_alone() -> None:
    assert edited("abcdef", [(4, 5, "X"), (1, 1, "-"), (2, 3, "")]) == "a-bdXf"
