"""Operator text: nodes that know where they stand, and the problems found in them.

Decides how a problem is told and drawn, and how nodes are read into values (see `Reader`). Where nodes come from is left
to `documents`, which keys a file may have to its reader, what to do about problems to the caller.
"""

from guardproxy.source.drawing import Paint, clean, display_width, lines_of, plain, render, render_all
from guardproxy.source.hints import duration_help, number_help, quoted
from guardproxy.source.nodes import Entry, MappingNode, Node, Place, Scalar, SequenceNode, kind_of
from guardproxy.source.problem import CODES, Problem, did_you_mean, likely
from guardproxy.source.reading import MAX_PROBLEMS, Reader

__all__ = [
    "CODES",
    "MAX_PROBLEMS",
    "Entry",
    "MappingNode",
    "Node",
    "Paint",
    "Place",
    "Problem",
    "Reader",
    "Scalar",
    "SequenceNode",
    "clean",
    "did_you_mean",
    "display_width",
    "duration_help",
    "kind_of",
    "likely",
    "lines_of",
    "number_help",
    "plain",
    "quoted",
    "render",
    "render_all",
]
