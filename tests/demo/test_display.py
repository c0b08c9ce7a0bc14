"""What the person watching sees."""

import io

import pytest
from rich.console import Console

from guardproxy.demo import display
from guardproxy.demo.display import MAX_SAYINGS, WIDTH, PhaseView, Scene, Screen
from guardproxy.demo.promises import Promise, judge
from guardproxy.demo.scenario import Phase
from tests.demo.replies import perfect

PLACES = (
    ("data", "25,776 real hours at EWR, JFK and LGA in 2013", "/somewhere/guardproxy-demo-abcdefgh"),
    ("guardproxy", "what the client talks to", "http://127.0.0.1:65535"),
)
LONG = "pressure 101,730 looks like pascal; in hectopascal it would be 1,017.3 " * 3


@pytest.fixture
def views(real_phases: dict[str, Phase]) -> tuple[PhaseView, ...]:
    """All phases, played to the end, with more sentences than there is room for."""
    found = tuple(PhaseView(p, [(s, perfect(s)) for s in p.steps]) for p in real_phases.values())
    for view in found:
        for number in range(MAX_SAYINGS + 3):
            view.listen(f"rule-{number}", LONG)
        view.promises = judge(view.phase, view.played)
    return found


def drawn(thing: object, *, terminal: bool = False) -> str:
    """A thing as text in a console of the demo's width."""
    console = Console(width=WIDTH, file=io.StringIO(), force_terminal=terminal, color_system=None)
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_whole_scene_fits_a_terminal_of_100_by_40(views: tuple[PhaseView, ...]) -> None:
    scene = Scene((*PLACES, *PLACES, PLACES[1]), "comparing what was counted", views)
    lines = drawn(scene).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= WIDTH


def test_the_table_has_a_row_per_phase_with_its_counts(views: tuple[PhaseView, ...]) -> None:
    lines = drawn(display.table(views)).splitlines()
    (unit,) = (line for line in lines if "a unit error" in line)
    assert unit.split()[:1] == ["✓"]
    assert unit.split()[-5:] == ["147", "48", "24", "75", "1.0"]


def test_a_phase_is_marked_by_how_far_it_has_come(real_phases: dict[str, Phase]) -> None:
    view = PhaseView(real_phases["unit"])
    marks = [view.mark]
    view.played.append((view.phase.steps[0], perfect(view.phase.steps[0])))
    marks.append(view.mark)
    view.promises = (Promise(kept=True, text="a", figures=""), Promise(kept=False, text="b", figures=""))
    marks.append(view.mark)
    view.promises = (Promise(kept=True, text="a", figures=""),)
    assert [*marks, view.mark] == ["·", "▸", "✗", "✓"]


def test_each_rule_is_heard_once_and_only_while_there_is_room(real_phases: dict[str, Phase]) -> None:
    view = PhaseView(real_phases["unit"])
    for rule, message in (("a", "first"), ("a", "again"), ("b", "second"), ("c", "third")):
        view.listen(rule, message)
    assert view.sayings == {"a": "first", "b": "second"}


def test_the_summary_has_a_line_per_promise_and_the_count(views: tuple[PhaseView, ...]) -> None:
    text = drawn(
        display.summary(
            [
                (
                    "afterwards",
                    (
                        Promise(kept=True, text="kept", figures="1 of 1"),
                        Promise(kept=False, text="bent", figures="0"),
                    ),
                )
            ],
            12.3,
        )
    )
    assert "✓ kept" in text
    assert "✗ bent" in text
    assert "1 of 2 promises kept, in 12 s" in text
    text = drawn(display.summary([(view.phase.title, view.promises) for view in views], 30.0))
    assert "✗" not in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_the_consoles_address_is_printed_in_one_piece() -> None:
    url = "http://127.0.0.1:41113/?token=" + "x" * 100
    console = Console(width=60, file=io.StringIO())
    display.invite(console, url, "/somewhere", 17)
    assert url in console.file.getvalue()  # type: ignore[attr-defined]


def test_model_text_in_a_sentence_is_no_markup(real_phases: dict[str, Phase]) -> None:
    view = PhaseView(real_phases["unit"])
    view.played.append((view.phase.steps[0], perfect(view.phase.steps[0])))
    view.listen("rule", "[bold]a name[/bold] that is [/] odd")
    assert "[bold]a name[/bold] that is [/] odd" in drawn(display.sayings((view,)))


def test_without_a_terminal_there_are_plain_lines(views: tuple[PhaseView, ...]) -> None:
    console = Console(width=WIDTH, file=io.StringIO())
    with Screen(console) as screen:
        screen.doing("starting")
        screen.place(*PLACES[0])
        for view in views:
            screen.phase_over(view)
        screen.doing("")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in text
    assert "starting ..." in text
    assert "✓ phase 2: a unit error (147 rows): 48 allowed, 24 replaced, 75 rejected" in text
    assert LONG in text


def test_in_a_terminal_the_scene_is_drawn_live(views: tuple[PhaseView, ...]) -> None:
    console = Console(width=WIDTH, height=40, file=io.StringIO(), force_terminal=True)
    with Screen(console) as screen:
        screen.place(*PLACES[0])
        screen.scene.phases = views
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a model talking nonsense" in text
