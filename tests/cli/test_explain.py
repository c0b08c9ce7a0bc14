"""`guardproxy explain`: every code has a page, whose examples do what they say."""

import json
from datetime import date

import pytest

from guardproxy.cli.pages import Page, pages
from guardproxy.rules import CODES, load_rulesets
from guardproxy.source import Problem, render
from tests.cli.run import Shell
from tests.rules.build import PROFILE

RULE = "guardproxy: 1\nmodel: demand\nowner: planning\nrules:\n  - id: demand-plausible\n"
TODAY = date(2026, 11, 25)

# No example of a few lines has these, or none that is the same on every machine.
WITHOUT = {
    "E101": "2,000 characters", "E102": "256 operations", "E103": "40 parentheses", "E104": "1,000 items",
    "E141": "RE2 is installed here", "E142": "jsonschema is installed here", "E153": "2,000 characters",
    "E308": "a thousand rules", "E309": "a model's signature", "E330": "a proxy that loads the rules", "N414": "a profile", "W404": "a command line", "W405": "recorded traffic", "W406": "recorded traffic",
}  # fmt: skip


def problems_of(example: str) -> list[Problem]:
    lines = "".join(f"    {line}\n" for line in example.splitlines())
    text = example if example.startswith("guardproxy:") else RULE + lines
    return load_rulesets({"a.guard.yaml": text}, profiles={"demand": PROFILE}, today=TODAY)[1]


@pytest.mark.parametrize("page", pages().values(), ids=lambda page: page.code)
def test_a_pages_examples_have_its_problem_and_have_it_no_more(page: Page) -> None:
    assert page.summary == CODES[page.code]
    if page.code not in WITHOUT:
        assert page.bad, f"{page.code} has no example"
        assert page.good, f"{page.code} has no repair"
    if page.bad:
        found = problems_of(page.bad)
        assert page.code in {problem.code for problem in found}
        # An example of one mistake has no second one.
        assert {p.code for p in found if p.severity == "error"} <= {page.code}
    if page.good:
        found = problems_of(page.good)
        assert page.code not in {problem.code for problem in found}
        assert not [render(p, page.good) for p in found if p.severity == "error"]


def test_a_code_that_no_example_shows_is_one_that_no_example_could() -> None:
    assert {page.code for page in pages().values() if not page.bad} == set(WITHOUT) & set(CODES)


def test_the_page_of_a_code_is_printed_whatever_its_case(shell: Shell) -> None:
    done = shell("explain", "e106")
    assert done.code == 0
    assert done.out.startswith("E106: A name that does not exist")
    assert "    require: output.demnd <= 3 * profile.output.demand.p99\n" in done.out
    assert "    require: output.demand <= 3 * profile.output.demand.p99\n" in done.out
    assert max(map(len, done.out.splitlines())) <= 88


def test_a_code_is_taken_as_it_was_printed(shell: Shell) -> None:
    assert shell("explain", "error[E106]").out == shell("explain", "E106").out


def test_an_unknown_code_gets_the_likely_one(shell: Shell) -> None:
    done = shell("explain", "e1o6")
    assert done.code == 2
    assert "there is no code E1O6; did you mean 'E1" in done.err


def test_without_a_code_all_are_listed_each_on_its_line(shell: Shell) -> None:
    done = shell("explain")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(CODES)


def test_pages_as_json_have_the_examples(shell: Shell) -> None:
    one = json.loads(shell("explain", "E106", "--format", "json").out)
    every = json.loads(shell("explain", "--format", "json").out)["codes"]
    assert one in every
    assert one["bad"] == "require: output.demnd <= 3 * profile.output.demand.p99"
    assert len(every) == len(CODES)
