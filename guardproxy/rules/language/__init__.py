"""The expression language of rules: text to `Program`, and three ways to run one.

`scalar` makes a Python function for a row, `vector` a numpy function for many rows, `interpret` walks the tree and is
what the other two are measured against. What a rule does with the result is left to `rules`.
"""

from guardproxy.rules.language.aggregates import aggregate, aggregate_cells
from guardproxy.rules.language.columns import (
    ERROR,
    NO,
    UNKNOWN,
    YES,
    Column,
    column_from_cells,
    column_from_table,
    constant_column,
    one_code,
)
from guardproxy.rules.language.flaws import CODES, Flaw, LanguageError
from guardproxy.rules.language.functions import AGGREGATES, text_was_cut
from guardproxy.rules.language.interpreter import Step, interpret, trace
from guardproxy.rules.language.names import (
    AGGREGATE_SPACES,
    NO_CONSTANT,
    PROFILE_STATS,
    REQUEST_KINDS,
    SPACES,
    Constant,
    Kind,
    Names,
    NoConstant,
    OpenNames,
    Ref,
)
from guardproxy.rules.language.nodes import Aggregate, KpiValue, Program
from guardproxy.rules.language.program import compile_expression
from guardproxy.rules.language.repairing import repair
from guardproxy.rules.language.scalar import scalar
from guardproxy.rules.language.spell import spell
from guardproxy.rules.language.template import Template, compile_template
from guardproxy.rules.language.vector import vector

__all__ = [
    "AGGREGATES",
    "AGGREGATE_SPACES",
    "CODES",
    "ERROR",
    "NO",
    "NO_CONSTANT",
    "PROFILE_STATS",
    "REQUEST_KINDS",
    "SPACES",
    "UNKNOWN",
    "YES",
    "Aggregate",
    "Column",
    "Constant",
    "Flaw",
    "Kind",
    "KpiValue",
    "LanguageError",
    "Names",
    "NoConstant",
    "OpenNames",
    "Program",
    "Ref",
    "Step",
    "Template",
    "aggregate",
    "aggregate_cells",
    "column_from_cells",
    "column_from_table",
    "compile_expression",
    "compile_template",
    "constant_column",
    "interpret",
    "one_code",
    "repair",
    "scalar",
    "spell",
    "text_was_cut",
    "trace",
    "vector",
]
