"""The console in a real browser: the whole flow without JavaScript, nothing blocked, nothing executed, nobody misled."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from guardproxy.admin import Alert
from guardproxy.decision import Meanwhile
from guardproxy.stores import sweep
from tests.admin.served import SECRETS, Served
from tests.holds.samples import FINDINGS, SLA_S, START, make_hold

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]

HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    '"><svg onload="document.title=\'owned\'">',
    "</textarea><script>document.title='owned'</script>",
    "'\" onmouseover=document.title='owned' x='",
    "javascript:document.title='owned'",
    "{{7*7}}${7*7}{%if 1%}",
    "\u202egnorw\u202c \u200b\u0000\u001b[2J",
    "a" + "\u200d" * 3000,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; where it is missing the tests are skipped, and fail on a CI machine."""
    if not Path(CHROMIUM).exists():
        sentence = f"there is no Chromium at {CHROMIUM}; set CHROMIUM"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@contextmanager
def opened(
    browser: Browser,
    served: Served,
    who: str,
    *,
    scripts: bool = False,
    width: int = 1280,
    dark: bool = False,
) -> Iterator[Page]:
    """A page of a person who has logged in; any complaint of the browser (CSP, console, script error) fails the test."""
    complaints: list[str] = []
    context = browser.new_context(
        java_script_enabled=scripts,
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
    )
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    # What is given up because the page is left is no complaint.
    page.on(
        "requestfailed",
        lambda request: (
            complaints.append(f"{request.failure}: {request.url}")
            if request.failure != "net::ERR_ABORTED"
            else None
        ),
    )
    page.goto(f"{served.url}/?token={SECRETS[who]}")
    assert page.url == f"{served.url}/"
    yield page
    context.close()
    assert [each for each in complaints if "status of 4" not in each] == []


def state_of(served: Served, hold_id: str) -> tuple[str, object]:
    """The stored state and the final answer."""
    hold = served.run(served.store.get(hold_id))
    return hold.state, hold.final


def test_the_browsers_complaints_are_heard(browser: Browser, served: Served) -> None:
    complaint = "Content Security Policy"
    for violation in (
        "document.body.setAttribute('style', 'color: red')",
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://example.com/x.png'}))",
        "console.error('Content Security Policy')",
    ):
        with pytest.raises(AssertionError, match=complaint):
            evaluate(browser, served, violation)


def evaluate(browser: Browser, served: Served, expression: str) -> None:
    """Run an expression on the queue page."""
    with opened(browser, served, "reviewer-a", scripts=True) as page:
        page.evaluate(expression)
        page.wait_for_load_state("networkidle")


def test_logging_in_by_the_form(browser: Browser, served: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{served.url}/holds/hld_000002")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    assert "not valid" in page.inner_text("main")
    page.get_by_label("Token").fill(SECRETS["reviewer-a"])
    page.get_by_role("button", name="Log in").click()
    assert page.url == f"{served.url}/holds/hld_000002"
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{served.url}/")
    assert page.url.startswith(f"{served.url}/login")
    context.close()


def test_the_whole_flow_works_without_javascript(browser: Browser, served: Served) -> None:
    with opened(browser, served, "reviewer-a") as page:
        assert page.locator(".item").count() == 3
        page.locator(".item a").first.click()
        assert "Demand of 18,450 hires" in page.inner_text(".why")
        assert "0 to 868 hires, median 129" in page.inner_text(".why")
        assert "refused by demand-is-plausible" in page.inner_text(".answer")
        page.locator("#approve button").click()
        assert "Approved by reviewer-a." in page.inner_text(".banner")
        assert state_of(served, "hld_000001") == ("deciding", {"demand": 18450.0})

        page.get_by_role("button", name="Undo").click()
        assert state_of(served, "hld_000001") == ("open", None)

        override = page.locator("#override")
        assert override.get_by_label("demand").input_value() == "214"
        override.get_by_label("demand").fill("300")
        override.get_by_label("Reason").select_option("unit_error")
        override.get_by_label("Note").fill("thousands")
        override.get_by_role("button").click()
        assert state_of(served, "hld_000001") == ("deciding", {"demand": 300})
        served.at += 10
        served.run(sweep(served.store, served.at, 10))
        page.reload()
        assert "Overridden by reviewer-a" in page.inner_text(".banner")
        assert "thousands" in page.inner_text(".history")
        assert page.locator("form.way").count() == 0

        page.goto(f"{served.url}/holds/hld_000002")
        page.locator("#reject").get_by_label("Reason").select_option("model_wrong")
        page.locator("#reject button").click()
        assert state_of(served, "hld_000002") == ("deciding", {"demand": 214.0})
        page.goto(f"{served.url}/?view=decided")
        assert page.locator(".item").count() == 1
        page.goto(f"{served.url}/rules")
        assert "Nobody hires more bikes" in page.inner_text("main")
        page.goto(f"{served.url}/windows")
        assert "9,380" in page.inner_text("main")
        assert "open, opaque closed" in page.inner_text("main")


def test_what_is_guarded_and_what_could_not_be_judged_stand_on_the_page_of_counters(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "viewer-a", scripts=False) as page:
        page.get_by_role("link", name="3", exact=True).click()
        assert page.url == f"{served.url}/windows#unguarded"
        assert page.inner_text("#unguarded").split() == [
            "Not", "judged,", "by", "reason", "undecodable", "2", "fault", "1",
        ]  # fmt: skip
        calls = page.inner_text("section.card:has(h2:text-is('gRPC'))")
        assert (
            "calls on 127.0.0.1:8082, upstream 127.0.0.1:8001; guarded by /v2/models/bike-demand/infer"
            in calls
        )
        assert calls.split()[-4:] == ["guarded", "12", "streamed", "3"]


def test_a_rule_that_could_judge_no_row_says_so(browser: Browser, served: Served) -> None:
    with opened(browser, served, "viewer-a", scripts=False) as page:
        page.goto(f"{served.url}/rules")
        lines = page.locator("table:has(caption:text-is('Rules with their counts')) tbody tr")
        assert "could not judge a single row" in lines.filter(has_text="humidity-was-learned").inner_text()
        assert "could not judge" not in lines.filter(has_text="demand-is-plausible").inner_text()


def test_a_window_rule_says_how_it_stands(browser: Browser, served: Served) -> None:
    with opened(browser, served, "viewer-a", scripts=False) as page:
        page.goto(f"{served.url}/rules")
        lines = page.locator("table:has(caption:text-is('Rules with their counts')) tbody tr")
        firing, violated, unknown = (
            lines.filter(has_text=name).inner_text() for name in ("too-many-zeros", "mean-moved", "p99-moved")
        )
        assert "fires since" in firing
        assert "41% are <b>zero</b>" in firing
        assert "violated since" in violated
        assert "fires after 15" in violated
        assert "warming up: it needs 1h of traffic" in unknown


def test_the_flow_works_with_the_keyboard_alone(browser: Browser, served: Served) -> None:
    with opened(browser, served, "reviewer-a") as page:
        page.goto(f"{served.url}/holds/hld_000001")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.locator("#approve button:focus").count():
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("#undo")
        assert state_of(served, "hld_000001")[0] == "deciding"


def test_of_two_reviewers_the_second_reads_who_decided_and_keeps_the_note(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "reviewer-a") as first, opened(browser, served, "reviewer-b") as second:
        for page in (first, second):
            page.goto(f"{served.url}/holds/hld_000001")
        reject = second.locator("#reject")
        reject.get_by_label("Reason").select_option("policy")
        reject.get_by_label("Note").fill("I called the depot")
        first.locator("#approve button").click()
        reject.get_by_role("button").click()
        alert = second.inner_text(".alert")
        assert "Already decided: approved by reviewer-a" in alert
        assert "I called the depot" in alert
        assert second.get_by_role("button", name="Undo").count() == 0
        assert state_of(served, "hld_000001") == ("deciding", {"demand": 18450.0})


def test_a_decision_on_a_page_that_was_open_when_the_hold_expired_comes_too_late(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "reviewer-a") as page:
        page.goto(f"{served.url}/holds/hld_000001")
        served.at = START + SLA_S
        served.run(sweep(served.store, served.at, 10))
        page.locator("#approve button").click()
        assert "expired before your decision came" in page.inner_text(".alert")
        assert state_of(served, "hld_000001") == ("expired", {"demand": 214.0})


def test_a_value_that_cannot_stand_is_explained_and_what_was_typed_is_kept(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "operator-a") as page:
        page.goto(f"{served.url}/holds/hld_000001")
        override = page.locator("#override")
        override.get_by_label("demand").fill("3,5")
        override.get_by_label("Reason").select_option("policy")
        override.get_by_label("Note").fill("kept <b>note</b>")
        override.get_by_role("button").click()
        assert "write a number such as 12.5" in page.inner_text("#override")
        assert override.get_by_label("demand").input_value() == "3,5"
        assert override.get_by_label("Note").input_value() == "kept <b>note</b>"
        assert override.get_by_label("Reason").input_value() == "policy"
        override.get_by_label("demand").fill("5000")
        override.get_by_role("button").click()
        assert "violates demand-is-plausible" in page.inner_text(".alert")
        override.get_by_role("checkbox").check()
        override.get_by_role("button").click()
        assert state_of(served, "hld_000001") == ("deciding", {"demand": 5000})


def test_a_reviewer_is_not_offered_to_force_and_a_viewer_is_offered_nothing(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "reviewer-a") as page:
        page.goto(f"{served.url}/holds/hld_000001")
        page.locator("#override").get_by_label("demand").fill("5000")
        page.locator("#override").get_by_label("Reason").select_option("policy")
        page.locator("#override button").click()
        assert "violates" in page.inner_text(".alert")
        assert page.get_by_role("checkbox").count() == 0
    with opened(browser, served, "viewer-a") as page:
        page.goto(f"{served.url}/holds/hld_000001")
        assert page.locator("form.way").count() == 0
        assert "needs the role reviewer" in page.inner_text(".decide")


def test_hostile_text_is_shown_and_never_runs(browser: Browser, served: Served) -> None:
    for number, text in enumerate(HOSTILE, start=100):
        hold = make_hold(
            number,
            original={text: 1.0, "text": text},
            provisional={"text": text},
            provisional_source=text,
            features={text: text},
            rule=text,
            queue=text,
            findings=(
                replace(
                    FINDINGS[0],
                    rule=text,
                    message=text,
                    bound=text,
                    bound_source=text,
                    measured=((text, text),),
                ),
            ),
        )
        served.run(served.store.add([replace(hold, model=text, route=text, decision_id=text)]))
    with opened(browser, served, "reviewer-a", scripts=True) as page:
        for path in ("/", *(f"/holds/hld_{number:06d}" for number in range(100, 100 + len(HOSTILE)))):
            page.goto(served.url + path)
            page.mouse.move(300, 300)
            assert page.evaluate("document.title") != "owned"
            assert (
                page.evaluate(
                    "document.querySelectorAll('main script, main img, [onerror], [onload], [onmouseover], [style]').length"
                )
                == 0
            )
            assert "\u202e" not in page.inner_text("main")
        page.goto(f"{served.url}/holds/hld_000106")
        assert "{{7*7}}${7*7}" in page.inner_text(".why")
        page.goto(f"{served.url}/holds/hld_000107")
        assert "⟨U+202E⟩" in page.inner_text("main")
        # What was typed into a form comes back as text too.
        page.locator("#override textarea[name='value:text']").fill("</textarea><img src=x onerror=alert(1)>")
        page.evaluate("document.querySelector('#override select').required = false")
        page.locator("#override button").click()
        assert "`reason` must be one of" in page.inner_text(".alert")
        assert (
            page.locator("#override textarea[name='value:text']").input_value()
            == "</textarea><img src=x onerror=alert(1)>"
        )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_page_is_wider_than_its_screen(
    browser: Browser, served: Served, width: int, *, dark: bool
) -> None:
    wide = make_hold(
        50,
        original={"y" * 90: 1.0},
        features={"f" * 200: "w" * 5000, "g": 1e300},
        meanwhile=Meanwhile.WITHHOLD,
    )
    served.run(served.store.add([wide]))
    with opened(browser, served, "reviewer-a", scripts=True, width=width, dark=dark) as page:
        for path in (
            "/",
            "/holds/hld_000001",
            "/holds/hld_000050",
            "/rules",
            "/windows",
            "/signals",
            "/?view=decided",
            "/holds/none",
        ):
            page.goto(served.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_every_control_has_a_name_and_every_drawing_a_title(browser: Browser, served: Served) -> None:
    with opened(browser, served, "reviewer-a", scripts=True) as page:
        page.goto(f"{served.url}/holds/hld_000001")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('main input:not([type=hidden]), main select, main textarea')]"
            ".filter(control => !control.labels.length).length"
        )
        assert unnamed == 0
        untitled = page.evaluate(
            "[...document.querySelectorAll('svg[role=img]')].filter(drawing => !drawing.getAttribute('aria-labelledby')"
            ".split(' ').every(id => document.getElementById(id)?.textContent.trim())).length"
        )
        assert untitled == 0
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(element => element.id)")
        assert len(ids) == len(set(ids))
        assert page.locator("h1").count() == 1


def test_signals_put_what_drifts_first_and_say_the_same_in_the_drawing_and_the_table(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "viewer-a") as page:
        page.goto(f"{served.url}/signals")
        assert page.inner_text(".head p") == "1 field drifts, 1 being watched"
        names = [each.split(" ")[0] for each in page.locator(".signal h3").all_inner_texts()]
        assert names == ["temperature", "weather<script>", "humidity", "station"]
        drifting = page.locator(".signal").first
        assert "moved up: 41 % of rows lie above 26" in drifting.inner_text()
        drawn = drifting.locator("svg.cells path.c-out").count()
        drifting.locator("summary").click()
        told = drifting.locator("tbody tr.out").all_inner_texts()
        assert drawn == len(told) == 5
        assert "41 %" in told[-1]
        assert page.locator(".signal").nth(1).locator("svg.cells circle").count() == 0


def test_a_cell_without_rows_in_the_hour_is_a_dash_not_a_zero(browser: Browser, served: Served) -> None:
    with opened(browser, served, "viewer-a") as page:
        page.goto(f"{served.url}/signals")
        watched = page.locator(".signal").nth(1)
        watched.locator("summary").click()
        first = watched.locator("tbody tr").first.inner_text().split("\t")
        assert first[0] == "clear"
        assert first[-2:] == ["–", "25 %"]


def test_signals_as_json_are_what_the_page_is_made_of(served: Served) -> None:
    assert served.call("GET", "/v1/signals", "viewer-a").json["models"][0]["fields"][1]["state"] == "alarm"
    assert served.call("GET", "/v1/signals").status == 401


DIAGNOSIS = (
    "error[E106]: there is no field '<img src=x onerror=alert(1)>'\n --> rules/a.guard.yaml:7:12\n  |\n7 | \u202eevil\n"
    + "x" * 400
)


def test_refused_rules_stand_on_every_page_with_their_diagnosis(browser: Browser, served: Served) -> None:
    served.alerts.append(
        Alert("bad", "The rule files are refused. Served are the last good rules.", DIAGNOSIS)
    )
    with opened(browser, served, "reviewer-a", scripts=False, width=360) as page:
        for path in ("/", "/holds/hld_000001", "/rules", "/windows", "/signals"):
            page.goto(served.url + path)
            banner = page.locator("section.banner.bad")
            assert "The rule files are refused" in banner.inner_text()
            assert "rules/a.guard.yaml:7:12" in banner.locator("pre").inner_text()
            assert banner.locator("img").count() == 0
            assert "\u202e" not in banner.inner_text()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_an_operator_lets_a_demoted_rule_act_again_on_the_rules_page(
    browser: Browser, served: Served
) -> None:
    with opened(browser, served, "operator-a", scripts=False) as page:
        page.goto(f"{served.url}/rules")
        assert "only warns since" in page.locator("main").inner_text()
        page.get_by_role("button", name="Let it act again").click()
        assert page.url == f"{served.url}/rules"
        assert served.rearmed == [("bike-demand", "demand-is-plausible", "operator-a")]
        page.get_by_role("button", name="Read the files now").click()
        assert page.url == f"{served.url}/rules"
    with opened(browser, served, "reviewer-a", scripts=False) as page:
        page.goto(f"{served.url}/rules")
        assert page.get_by_role("button", name="Let it act again").count() == 0
        assert page.get_by_role("button", name="Read the files now").count() == 0


def test_the_candidate_shows_what_it_would_change(browser: Browser, served: Served) -> None:
    with opened(browser, served, "viewer-a", scripts=False) as page:
        page.goto(f"{served.url}/rules")
        said = page.locator("main").inner_text()
    assert "400 exchanges compared, 4 rows with another outcome" in said
    assert "Violations added" in said
