"""`rules docs`: pages for experts and auditors, in Markdown and HTML."""

import re
from html.parser import HTMLParser

import pytest

from guardproxy.authoring.docs import file_name, page
from guardproxy.authoring.markup import HTML, MARKDOWN
from guardproxy.rules import Ruleset, load_rulesets

TEXT = """\
guardproxy: 1
model: card-fraud
owner: fraud-ops
limits: {hold: 5% per 10m, then: warn}
lists: {promises: [guarantee, risk-free]}
kpis:
  margin: {title: Gross margin, expr: output.price - features.cost, unit: EUR, owner: pricing, expect: {min: 2}}
rules:
  - id: too-high
    title: The price is too high
    range: {field: output.price, max: 100}
    severity: high
    mode: canary 20%
    why: A price above 100 was a unit error twice.
    unless:
      - {id: sale, when: features.sale, until: 2030-01-06, owner: sales, why: PR-88}
  - id: no-promise
    forbid: features.text in lists.promises
    mode: off
tests:
  - name: far too high
    given: {features: {cost: 3}, output: {price: 250}}
    expect: {verdicts: {too-high: violated}, outcome: warned}
"""


def ruleset(text: str = TEXT) -> Ruleset:
    rulesets, problems = load_rulesets({"a.guard.yaml": text})
    assert not [problem for problem in problems if problem.severity == "error"], problems
    return next(iter(rulesets.values()))


class Reader(HTMLParser):
    """Collects the tags and texts of a page, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


def test_a_page_says_all_that_an_auditor_asks_for() -> None:
    rules = ruleset()
    text = page(rules, MARKDOWN).text.replace("\\", "")
    rule = rules.rule("too-high")
    assert rule is not None
    for said in (
        "# Rules of card-fraud",
        f"**Ruleset:** {rules.fingerprint}",
        "At most 5% of the rows of 10 minutes may be held; beyond that all rules that hold only warn",
        "### The price is too high (`too-high`)",
        "In 20% of the requests: if the predicted price is above 100, a warning is recorded and the answer stays as it is.",
        "- Not where the sale is “yes”, until the end of 6 January 2030 in UTC (sales): PR-88",
        "**Severity:** high",
        "Canary: it acts in 20% of the requests",
        "**Owner:** fraud-ops",
        "**Why:** A price above 100 was a unit error twice.",
        f"**Revision:** {rule.rev}",
        "a.guard.yaml, line 9",
        "- far too high: With the predicted price 250. The rule is broken; by all rules together the row is warned.",
        "Switched off: it is not judged.",
        "### No promise (`no-promise`)",
        "### Gross margin (`kpi.margin`)",
        "It is the predicted price minus the cost, in EUR.",
        "**Expected:** at least 2",
        "the rule kpi-margin, in shadow",
        "2 values: “guarantee”, “risk-free”.",
        "## Rules that every model has",
    ):
        assert said in text, said


def test_both_forms_say_the_same() -> None:
    def words(text: str) -> list[str]:
        return re.findall(r"\w+", text)

    html = " ".join(
        t for t in read(page(ruleset(), HTML).text).texts if "{" not in t or "color-scheme" not in t
    )
    markdown = words(page(ruleset(), MARKDOWN).text.replace("\\", ""))
    assert [word for word in markdown if word not in words(html)] == []


def test_html_stands_alone_and_runs_nothing() -> None:
    found = read(page(ruleset(), HTML).text)
    assert {tag for tag, _ in found.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3"),
        *("p", "ul", "li", "dl", "dt", "dd", "code"),
    }
    assert not any(
        name in ("src", "href", "style") or name.startswith("on") for _, attrs in found.tags for name in attrs
    )
    assert "@media print" in page(ruleset(), HTML).text


HOSTILE = "</h3><script>alert(1)</script> & \\\"'` [x](javascript:a) <!-- *b* | ${7*7}"


def hostile() -> Ruleset:
    quoted = "'" + HOSTILE.replace("'", "''") + "'"
    text = TEXT.replace("The price is too high", quoted).replace(
        "A price above 100 was a unit error twice.", quoted
    )
    text = text.replace("far too high", quoted).replace("model: card-fraud", f"model: {quoted}")
    return ruleset(text.replace("Gross margin", quoted).replace("[guarantee, risk-free]", f"[{quoted}]"))


def test_hostile_texts_are_texts_in_html() -> None:
    found = read(page(hostile(), HTML).text)
    assert "script" not in {tag for tag, _ in found.tags}
    assert HOSTILE in found.texts
    assert any(HOSTILE in text and text.startswith("Rules of") for text in found.texts)


def test_hostile_texts_are_texts_in_markdown() -> None:
    text = page(hostile(), MARKDOWN).text
    assert "<script" not in text.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(", text)
    assert not re.search(r"(?<!\\)<", text)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("demand", "demand"),
        ("../../etc/passwd", "-..-etc-passwd"),
        ("..", "model"),
        ("a b/c", "a-b-c"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_models_name_never_makes_a_path(model: str, name: str) -> None:
    assert file_name(model) == name


def test_long_lists_are_cut_and_counted() -> None:
    values = ", ".join(f"v{number}" for number in range(200))
    text = page(ruleset(TEXT.replace("guarantee, risk-free", values)), MARKDOWN).text
    assert "200 values: " in text
    assert "and 150 more" in text


def test_an_example_shows_what_the_rule_reads_also_through_a_kpi() -> None:
    text = TEXT.replace("range: {field: output.price, max: 100}", "require: kpi.margin <= 100")
    assert "far too high: With the cost 3, the predicted price 250. " in page(ruleset(text), MARKDOWN).text


def test_an_example_shows_the_request_the_statistics_and_the_rolling_values_that_decide() -> None:
    text = """\
guardproxy: 1
model: m
rules:
  - id: night
    forbid: features.new and request.hour < 5
  - id: high
    require: output.x <= profile.output.x.p99
  - id: rose
    scope: window
    require: recent_mean(output.x, 1h) < 5
tests:
  - name: at three
    given:
      features: {new: true}
      output: {x: 7}
      request: {hour: 3, caller: c}
      profile: {output.x.p99: 9, output.x.p1: 2}
      recent: {"recent_mean(output.x, 1h)": 6}
    expect: {verdicts: {night: violated, high: ok, rose: violated}}
"""
    shown = page(ruleset(text), MARKDOWN).text
    assert (
        "- at three: With the new yes, the hour of the request (UTC) 3. The rule is broken."
        in shown.replace("\\", "")
    )
    assert (
        "With the predicted x 7, the 99th percentile of x in the training data 9. The rule is kept." in shown
    )
    assert "the average over the last hour of the predicted x 6. The rule is broken." in shown
    assert (
        "**Rolling statistics:** are counted over all replicas; until a window is full the rule cannot be broken"
        in shown
    )


def test_a_rule_without_effect_says_so_where_its_sentence_begins() -> None:
    text = TEXT.replace("mode: canary 20%", "mode: shadow")
    shown = page(ruleset(text), MARKDOWN).text
    assert "Without effect (in shadow); once enforced: if the predicted price is above 100" in shown
    assert "Without effect (switched off); once enforced: if the text is in the list" in shown


def test_numbers_of_a_list_have_no_commas_of_their_own() -> None:
    text = "guardproxy: 1\nmodel: m\nlists: {codes: [4829, 60511]}\nrules:\n  - {id: r, forbid: features.c in codes}\n"
    assert "2 values: 4829, 60511." in page(ruleset(text), MARKDOWN).text


def test_a_model_without_rule_files_has_a_page() -> None:
    rulesets, _ = load_rulesets({"a.guard.yaml": "guardproxy: 1\nmodel: m\n"})
    assert "**Rules:** none in files" in page(rulesets["m"], MARKDOWN).text
