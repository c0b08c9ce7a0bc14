"""What the person watching sees: a head, a table that grows, the sentences of the rules, a summary.

Decides how things look, in a terminal and in a log. What happens is told to it; it asks nobody.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from guardproxy.demo.client import OUTCOMES, Reply
from guardproxy.demo.promises import Promise, tally
from guardproxy.demo.scenario import Phase, Step

WIDTH: Final = 100
MAX_SAYINGS: Final = 2
"""Sentences shown of each phase; more would not fit a terminal of 40 lines."""
_SHOWN: Final = OUTCOMES[:-1]
_STYLES: Final = {
    "allowed": "green",
    "warned": "yellow",
    "clamped": "cyan",
    "replaced": "cyan",
    "held": "magenta",
    "rejected": "red",
    "unguarded": "bold red",
}
_WAITING, _RUNNING, _KEPT, _BROKEN = "·", "▸", "✓", "✗"


@dataclass(slots=True)
class PhaseView:
    """A phase as it is shown: its replies so far, what rules said by rule id, its promises once it is over."""

    phase: Phase
    played: list[tuple[Step, Reply]] = field(default_factory=list)
    sayings: dict[str, str] = field(default_factory=dict)
    promises: tuple[Promise, ...] = ()

    def listen(self, rule: str, message: str) -> None:
        """Keep the first sentence of a rule, as long as there is room."""
        if len(self.sayings) < MAX_SAYINGS and rule not in self.sayings:
            # A new mapping, since the screen may be drawing the old one in its own thread.
            self.sayings = {**self.sayings, rule: message}

    @property
    def mark(self) -> str:
        """One character for how far it has come."""
        if self.promises:
            return _KEPT if all(promise.kept for promise in self.promises) else _BROKEN
        return _RUNNING if self.played else _WAITING


@dataclass(slots=True)
class Scene:
    """Everything on the screen."""

    places: tuple[tuple[str, str, str], ...] = ()
    doing: str = ""
    phases: tuple[PhaseView, ...] = ()

    def __rich__(self) -> RenderableType:
        """Draw all of it, small enough for a terminal of 100 x 40."""
        parts: list[RenderableType] = [title(), places(self.places)]
        if self.doing:
            parts.append(Text(f" {self.doing} ...", style="dim italic"))
        if self.phases:
            parts += [Text(), table(self.phases), sayings(self.phases)]
        return Padding(Group(*parts), (0, 0, 0, 1))


class Screen:
    """Shows a scene while it changes: live in a terminal, line by line anywhere else."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.scene = Scene()
        self._live = Live(self.scene, console=console, refresh_per_second=8) if console.is_terminal else None
        self._said = 0

    def __enter__(self) -> Self:
        if self._live is None:
            self.console.print(title())
        else:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self.scene.doing = ""
            self._live.stop()

    def doing(self, what: str) -> None:
        """Say what takes a moment now; the empty text ends it."""
        self.scene.doing = what
        if self._live is None and what:
            self.console.print(f"{what} ...", highlight=False)

    def place(self, name: str, what: str, where: str) -> None:
        """Add a line to the list of what is running where."""
        self.scene.places = (*self.scene.places, (name, what, where))
        if self._live is None:
            self.console.print(f"  {name:11}{what}  {where}", highlight=False, soft_wrap=True)

    def phase_over(self, view: PhaseView) -> None:
        """Say how a phase came out, where the table does not."""
        if self._live is not None:
            return
        self._said += 1
        counts = tally(view.played)
        words = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES if counts[outcome])
        head = f"\n{view.mark} phase {self._said}: {view.phase.title} ({view.phase.rows:,} rows): {words}"
        self.console.print(head, highlight=False, soft_wrap=True)
        self.console.print(f"    {view.phase.about}", highlight=False, soft_wrap=True)
        for message in view.sayings.values():
            self.console.print(f"    “{message}”", highlight=False, markup=False, soft_wrap=True)


def title() -> RenderableType:
    """Return the head line."""
    return Rule(Text(" guardproxy demo ", style="bold"), style="blue", align="left")


def places(lines: Sequence[tuple[str, str, str]]) -> RenderableType:
    """Return what is running where."""
    grid = Table.grid(padding=(0, 2))
    for name, what, where in lines:
        grid.add_row(Text(f" {name}", style="bold"), Text(what, style="dim"), Text(where, style="blue"))
    return grid


def table(views: Sequence[PhaseView]) -> RenderableType:
    """Return the table of phases: rows by outcome, and the median time a client waited, in milliseconds."""
    grid = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=False, collapse_padding=True)
    grid.add_column("", width=1)
    grid.add_column("phase", width=28, no_wrap=True)
    grid.add_column("rows", justify="right", min_width=6)
    for outcome in _SHOWN:
        grid.add_column(Text(outcome, style=f"bold {_STYLES[outcome]}"), justify="right", min_width=5)
    grid.add_column("ms", justify="right", min_width=5)
    for number, view in enumerate(views, start=1):
        grid.add_row(*_cells(number, view))
    return grid


def sayings(views: Sequence[PhaseView]) -> RenderableType:
    """Return, for each phase that has begun, what is wrong in it and an example of what the rules said."""
    lines: list[RenderableType] = []
    for number, view in enumerate(views, start=1):
        if view.played:
            lines += [Text(), Text(f"{number} {view.phase.about}", style="dim" if view.promises else "")]
            told = [f"“{message}”" for message in view.sayings.values()] or [view.phase.hope]
            lines += [_indented(sentence) for sentence in told]
    return Group(*lines)


def summary(chapters: Sequence[tuple[str, Sequence[Promise]]], seconds: float) -> RenderableType:
    """Return one line per promise under the title of its chapter, and how many were kept."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", max_width=42)
    for heading, promises in chapters:
        grid.add_row("", Text(heading, style="bold"))
        for promise in promises:
            mark = Text(_KEPT, style="green") if promise.kept else Text(_BROKEN, style="bold red")
            grid.add_row(mark, promise.text, Text(promise.figures, style="dim" if promise.kept else "red"))
    every = [promise for _, promises in chapters for promise in promises]
    kept = sum(promise.kept for promise in every)
    verdict = Text(
        f"{kept} of {len(every)} promises kept, in {seconds:.0f} s",
        style="bold green" if kept == len(every) else "bold red",
    )
    head = Rule(Text(" what was promised ", style="bold"), style="blue", align="left")
    return Padding(Group(Text(), head, grid, Text(), verdict), (0, 0, 0, 1))


def invite(console: Console, console_url: str, workspace: str, holds: int) -> None:
    """Print what a person can do while everything keeps running."""
    console.print()
    console.print(Rule(Text(" your turn ", style="bold"), style="blue", align="left"))
    console.print(f" {holds} predictions wait for a person. Decide about them in the console:")
    # Never wrapped: an address in two pieces cannot be clicked.
    console.print(Text(f"   {console_url}", style="bold blue"), soft_wrap=True)
    console.print(
        f" Data, profile, rules, configuration and logs are in {workspace}", markup=False, soft_wrap=True
    )
    console.print(Text(" Ctrl-C ends it all.", style="dim"))


def _cells(number: int, view: PhaseView) -> list[RenderableType]:
    counts = tally(view.played)
    style = {_KEPT: "green", _BROKEN: "bold red", _RUNNING: "bold"}.get(view.mark, "dim")
    rows = sum(step.rows for step, _ in view.played)
    waits = [reply.seconds * 1000 for _, reply in view.played]
    return [
        Text(view.mark, style=style),
        Text(f"{number} {view.phase.title}", style="dim" if not view.played else ""),
        Text(f"{rows:,}" if rows else ""),
        *(Text(f"{counts[o]:,}" if counts[o] else "", style=_STYLES[o]) for o in _SHOWN),
        Text(f"{statistics.median(waits):.1f}" if waits else "", style="dim"),
    ]


def _indented(text: str) -> RenderableType:
    return Padding(Text(text, style="italic", no_wrap=True, overflow="ellipsis"), (0, 0, 0, 2))
