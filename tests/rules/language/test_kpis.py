"""KPIs in expressions: as if written out, and no way around the bounds."""

import pytest

from guardproxy.rules.language import (
    Flaw,
    Kind,
    LanguageError,
    OpenNames,
    Program,
    Ref,
    compile_expression,
    compile_template,
    interpret,
    scalar,
    trace,
)

A, B = Ref("features", "a"), Ref("features", "b")


def with_kpis(**texts: str) -> OpenNames:
    """Return names with KPIs, each of which may use those before it."""
    known: dict[str, Program] = {}
    for name, text in texts.items():
        program = compile_expression(text, OpenNames(kpis=dict(known)), want=Kind.NUMBER)
        assert isinstance(program, Program), program
        known[name] = program
    return OpenNames(kpis=known)


def compiled(text: str, names: OpenNames) -> Program:
    program = compile_expression(text, names)
    assert isinstance(program, Program), program
    return program


def codes(found: object) -> list[str]:
    assert isinstance(found, tuple), found
    return [flaw.code for flaw in found if isinstance(flaw, Flaw)]


def test_a_kpi_is_read_as_if_its_expression_stood_there() -> None:
    names = with_kpis(margin="(features.a - features.b) / features.a", twice="kpi.margin * 2")
    program = compiled("kpi.twice > 0.5 and features.b > 0", names)
    assert program.refs == (A, B)
    assert set(program.kpis) == {"twice"}
    assert set(program.kpis["twice"].kpis) == {"margin"}
    assert interpret(program, {A: 10.0, B: 7.0}.get) is True
    assert interpret(program, {A: 10.0, B: 8.0}.get) is False
    assert interpret(program, {A: 0.0, B: 8.0}.get) is None


def test_a_kpi_must_be_the_kind_it_was_compiled_for_wherever_it_stands() -> None:
    names = with_kpis(bare="features.a")
    for text in ("kpi.bare is missing", "kpi.bare ?? 1", 'if kpi.bare is missing then "a" else "b"'):
        program = compiled(text, names)
        with pytest.raises(LanguageError, match="a number was needed, but the value is text"):
            interpret(program, {A: "text"}.get)
        with pytest.raises(LanguageError, match="a number was needed, but the value is text"):
            scalar(program, {A: 0})(["text"])
    assert codes(compile_expression('kpi.bare == "a"', names)) == ["E123"]


def test_a_kpi_is_one_step_of_a_trace_and_has_its_own_tree() -> None:
    program = compiled("kpi.margin > 1", with_kpis(margin="features.a - features.b"))
    row = {A: 5.0, B: 2.0}
    assert [(step.text, step.value) for step in trace(program, row.get)] == [
        ("kpi.margin", 3.0),
        ("1", 1.0),
        ("kpi.margin > 1", True),
    ]
    assert [(step.text, step.value) for step in trace(program.kpis["margin"], row.get)] == [
        ("features.a", 5.0),
        ("features.b", 2.0),
        ("features.a - features.b", 3.0),
    ]


def test_a_kpi_over_rows_brings_its_functions_along() -> None:
    program = compiled("kpi.relative > 1", with_kpis(relative="features.a - batch_mean(features.b)"))
    mean = Ref("batch", "batch_mean(features.b)")
    assert program.refs == (A, mean)
    assert set(program.aggregates) == {mean}
    assert program.all_refs == (A, mean, B)
    assert interpret(program, {A: 5.0, mean: 2.0}.get) is True


def test_the_cost_of_a_kpi_counts_wherever_it_is_used() -> None:
    names = with_kpis(sum="features.a + features.b + 1")
    assert (names.kpis["sum"].operations, names.kpis["sum"].depth) == (2, 2)
    program = compiled("kpi.sum * kpi.sum > batch_mean(kpi.sum)", names)
    assert (program.operations, program.depth) == (2 + 2 + 1 + (1 + 2) + 1, 5)


MANY = " + ".join(["features.a"] * 129)
"""128 operations."""


@pytest.mark.parametrize(
    "text",
    [
        "kpi.many + kpi.many",
        "kpi.many > 1 and kpi.many > 2",
        "batch_mean(kpi.many) + kpi.many",
        "batch_mean(kpi.many + kpi.many)",
        "recent_mean(kpi.many + kpi.many, 1h)",
        f"batch_mean({MANY}) + batch_mean({MANY})",
        f"(kpi.many + {MANY}) == 1",
    ],
)
def test_operations_are_bounded_through_kpis_and_functions_over_rows(text: str) -> None:
    names = with_kpis(many=MANY)
    bound = "E102" if len(text) <= 2_000 else "E101"
    assert codes(compile_expression(text, names)) == [bound]
    assert codes(compile_template(f"{{kpi.many}} {{{text}}}", names)) == [bound]


def test_depth_is_bounded_through_kpis_and_functions_over_rows() -> None:
    deep = "features.a"
    for _ in range(19):
        deep = f"(1 + abs({deep}))"
    names = with_kpis(deep=deep)
    assert names.kpis["deep"].depth == 39
    assert compiled("kpi.deep", names).depth == 40
    assert codes(compile_expression("kpi.deep + 1", names)) == ["E103"]
    assert codes(compile_expression("batch_mean(kpi.deep)", names)) == ["E103"]
    assert codes(compile_template("{kpi.deep + 1}", names)) == ["E103"]


def test_a_chain_of_kpis_that_only_name_each_other_ends_at_the_depth() -> None:
    known: dict[str, Program] = {"k0": compiled("features.a", OpenNames())}
    for step in range(1, 40):
        known[f"k{step}"] = compiled(f"kpi.k{step - 1}", OpenNames(kpis=known))
    assert codes(compile_expression("kpi.k39", OpenNames(kpis=known))) == ["E103"]
    program = known["k39"]
    assert scalar(program, {A: 0})([3.0]) == 3.0


def test_kpis_that_double_each_other_are_refused_by_their_sums() -> None:
    known: dict[str, Program] = {"k0": compiled("features.a + 1", OpenNames())}
    for step in range(1, 60):
        found = compile_expression(f"kpi.k{step - 1} + kpi.k{step - 1}", OpenNames(kpis=known))
        if not isinstance(found, Program):
            assert step == 8
            assert codes(found) == ["E102"]
            break
        assert found.operations == 2 ** (step + 1) - 1
        known[f"k{step}"] = found
    else:
        pytest.fail("nothing stopped the doubling")
