"""Recorded traffic and past reviews, as commands are given them.

Decides how a recording and a stretch of time are named on a command line, and how what could not be read is told.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from guardproxy.cli.author_files import INVALID, fail
from guardproxy.cli.output import printable
from guardproxy.errors import StoreError
from guardproxy.guard.recorded import Recorded
from guardproxy.guard.rejudge import Key, likely_key
from guardproxy.holds import Hold
from guardproxy.profile.model import Profile
from guardproxy.recording import RecordingError, Skipped, read_recording
from guardproxy.recording.names import segments_in
from guardproxy.rules import Ruleset
from guardproxy.source import did_you_mean
from guardproxy.stores.reading import read_holds
from guardproxy.units import parse_duration

SQLITE: Final = "sqlite:///"
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")
_F = TypeVar("_F", bound=Callable[..., Any])


class _Moment(click.ParamType):  # type: ignore[type-arg]
    """A moment: so long ago (`7d`), a date or a time (UTC). The base class has a type argument in later releases only."""

    name = "7d|DATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            if _DATE.fullmatch(value):
                moment = datetime.fromisoformat(value)
                return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
            return time.time() - parse_duration(value)
        except ValueError as error:
            self.fail(f"{error} (or write a date such as 2026-01-07)", param, ctx)


def recorded_option(*, required: bool = True, name: str = "--recorded") -> Callable[[_F], _F]:
    """Add the option that names recordings."""
    return click.option(
        name,
        "recorded",
        multiple=True,
        required=required,
        type=click.Path(path_type=Path),
        help="Recorded traffic: a folder or a file of it. May be repeated.",
    )


SINCE = click.option("--since", type=_Moment(), help="Only traffic since so long ago (7d), or a date.")
UNTIL = click.option("--until", type=_Moment(), help="Only traffic until so long ago, or a date.")
MODEL = click.option("--model", help="Only this model.")
KEY = click.option(
    "--key",
    "key",
    multiple=True,
    metavar="FEATURE",
    help="A feature that names the entity, as the route's `key` says it. May be repeated.",
)
STORE = click.option(
    "--store",
    metavar="sqlite:///FILE",
    help="Where holds live, to see how people resolved these rows; it is only read.",
)


@dataclass(slots=True)
class Traffic:
    """Recordings of a stretch of time. `skipped` counts what could not be read."""

    paths: tuple[Path, ...]
    since: float | None = None
    until: float | None = None
    skipped: Skipped = field(default_factory=Skipped)

    def of(self, model: str) -> Iterator[Recorded]:
        """Stream one model's exchanges. Ends the command with 2 when there is no recording at all."""
        try:
            yield from read_recording(
                self.paths, model=model, since=self.since, until=self.until, skipped=self.skipped
            )
        except RecordingError as error:
            fail(str(error), INVALID)

    def again(self, model: str) -> Iterator[Recorded]:
        """Stream one model's exchanges a second time, without counting anew what cannot be read."""
        try:
            yield from read_recording(self.paths, model=model, since=self.since, until=self.until)
        except RecordingError as error:
            fail(str(error), INVALID)

    def only_model(self) -> str:
        """Return the model that was recorded. Ends the command with 2 when there are several, or none."""
        try:
            spelt = {one.model for path in self.paths for one in segments_in(path)}
            first = next(read_recording(self.paths, since=self.since, until=self.until), None)
        except (OSError, RecordingError) as error:
            fail(str(error), INVALID)
        if first is None:
            self.nothing(())
        if len(spelt) > 1:
            fail(f"several models were recorded, '{first.model}' among them: say which with --model", INVALID)
        return first.model

    def key_of(self, model: str, rulesets: Iterable[Ruleset], profile: Profile | None, key: Key) -> Key:
        """Return the features that name an entity: as given, as the profile knows, else as the recording shows."""
        if key or (profile is not None and profile.keys):
            return key or (() if profile is None else profile.keys)
        first = next(self.again(model), None)
        found = () if first is None else likely_key(first, rulesets)
        if found:
            names = printable(", ".join(found))
            click.echo(
                f"note: an entity of '{printable(model)}' is taken to be a {names}; --key says it", err=True
            )
        return found

    def tell_skipped(self) -> None:
        """Say what could not be read."""
        for sentence in self.skipped.sentences:
            click.echo(f"note: {printable(sentence, 400)}", err=True)

    def nothing(self, models: Iterable[str]) -> NoReturn:
        """End the command: there is no exchange of these models. A sentence says of which."""
        self.tell_skipped()
        named = ", ".join(f"'{printable(model)}'" for model in models) or "any model"
        where = ", ".join(map(str, self.paths))
        limits = "" if self.since is None and self.until is None else " in that stretch of time"
        fail(f"there is no recorded traffic of {named}{limits} in {where}{self._other()}", INVALID)

    def _other(self) -> str:
        """Say of which model the traffic is that was recorded."""
        try:
            spelt = {one.model for path in self.paths for one in segments_in(path)}
            first = next(read_recording(self.paths), None)
        except (OSError, RecordingError):
            return ""  # the command ends with a sentence on this already
        more = f" and {len(spelt) - 1:,} more" if len(spelt) > 1 else ""
        return "" if first is None else f", which is of '{printable(first.model)}'{more}"


@dataclass(slots=True)
class Reviews:
    """How people resolved held rows, by decision and row."""

    words: dict[tuple[str, int], str] = field(default_factory=dict)

    def resolution(self, decision: str, row: int) -> str | None:
        """Return the word of a row's resolution, `open` while undecided; None when it was not held."""
        return self.words.get((decision, row))


def read_reviews(store: str | None, since: float | None) -> Reviews | None:
    """Read the reviews of a store; None without one. Ends the command with 2 when it cannot be read."""
    if store is None:
        return None
    reviews = Reviews()
    for hold in stored_holds(store, since):
        word = hold.state.value if hold.state.terminal else "open"
        reviews.words[hold.decision_id, hold.row] = word
    return reviews


def stored_holds(store: str, since: float | None, model: str | None = None) -> Iterator[Hold]:
    """Stream the holds of a store. Ends the command with 2 when it cannot be read."""
    if not store.startswith(SQLITE) or store == SQLITE:
        raise click.UsageError(f"--store must be {SQLITE}FILE (four slashes for an absolute path)")
    try:
        yield from read_holds(Path(store.removeprefix(SQLITE)), model=model, since=since or 0.0)
    except StoreError as error:
        fail(str(error), INVALID)


def ask_for_model(model: str | None, known: Iterable[str]) -> None:
    """End the command with 2 when a model was named that the rule files do not have."""
    names = list(known)
    if model is not None and model not in names:
        click.echo(
            f"there are no rules of model '{printable(model)}'; {did_you_mean(model, names)}", err=True
        )
        sys.exit(INVALID)
