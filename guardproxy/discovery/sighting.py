"""What was seen of a model server: its kind, its models, and the routes that follow from them.

Decides which names of a server may stand in a path, and how they are written there. How a kind is recognised is left to
`talk`, what is written of it to `draft`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from guardproxy.codecs.signature import Signature
from guardproxy.source import did_you_mean

MAX_MODELS: Final = 50
MAX_NAME: Final = 200
MAX_PATH: Final = 1_000
MAX_SIGNATURES: Final = 20
"""Models that are asked for their signature: each takes a question."""

MODEL: Final = "{model}"
"""Where a form of path has the model's name. Other names in braces stay: they are the route's own placeholders."""

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator said: the names of the models to guard (none: all there are)."""

    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """One model. `note` says what its reader should know, such as a state that is not ready."""

    name: str
    signature: Signature | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One route for a configuration.

    The rows are JSON Pointers of `protocol: json`, None where they are not told. A route that is not `active` is written as
    a comment, because it needs something that nobody said; `remark` says what.
    """

    path: str
    model: str
    protocol: str
    request_rows: str | None = None
    response_rows: str | None = None
    batch_axis: bool = True
    upstream_path: str = ""
    active: bool = True
    remark: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of the server that gets no route, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a server is. `kind` is a word for scripts (`triton`, `mlserver`, ... `unknown`, `unreachable`), `title` for people.

    `problem` is a sentence when no route can be guarded as things are, and `help` what to try then.
    """

    kind: str
    title: str = ""
    version: str = ""
    models: tuple[Model, ...] = ()
    routes: tuple[Route, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    help: str = ""

    @property
    def said(self) -> str:
        """The kind with its version, as people say it."""
        return f"{self.title} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class Names:
    """The models to make routes of, and what was left out."""

    kept: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def asked_for_signature(self) -> tuple[str, ...]:
        """Those that are asked for a signature."""
        return self.kept[:MAX_SIGNATURES]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence where not all are asked."""
        if len(self.kept) <= MAX_SIGNATURES:
            return ()
        return (
            f"only the first {MAX_SIGNATURES} models were asked for their signature; name others with --model",
        )


def name_problem(name: Any, *, in_path: bool = True) -> str:
    """Say why a model's name gets no route; nothing when it is good. `in_path` says that its path would hold it."""
    if not isinstance(name, str) or not name.strip():
        return "it is no name"
    if len(name) > MAX_NAME:
        return f"its name is longer than {MAX_NAME} characters"
    if not name.isprintable() or name != name.strip():
        return "its name has characters that cannot be shown"
    if in_path and (name in {".", ".."} or "/" in name or "\\" in name):
        return "its name cannot stand in a path"
    return ""


def path_problem(path: Any) -> str:
    """Say why a path that a server names gets no route; nothing when it is good."""
    if not isinstance(path, str) or not path.startswith("/") or len(path) > MAX_PATH:
        return "it is no path"
    if (
        any(not "!" <= char <= "~" for char in path)
        or set(path) & {"?", "#", "*"}
        or "//" in path
        or "/." in path
    ):
        return "its path has characters that no route may have"
    return ""


def choose(listed: Iterable[Any], asked: Asked, *, in_path: bool = True) -> Names:
    """Return the models to make routes of: those the operator named, else all that the server lists.

    A name that the server does not list is left out where it lists any.
    """
    good: dict[str, None] = {}
    left: dict[str, LeftOut] = {}
    known = [name for name in listed if not name_problem(name, in_path=in_path)] if asked.models else []
    for name in asked.models or listed:
        why = name_problem(name, in_path=in_path)
        if not why and known and name not in known:
            why = f"the server does not list it; {did_you_mean(name, known)}"
        if why:
            left[shown(name)] = LeftOut(shown(name), why)
        else:
            good[name] = None
    kept = tuple(good)
    if len(kept) > MAX_MODELS:
        more = len(kept) - MAX_MODELS
        left["\0more"] = LeftOut(
            f"{more} more", f"a first configuration has at most {MAX_MODELS} models; name others with --model"
        )
    return Names(kept[:MAX_MODELS], tuple(left.values())[: MAX_MODELS + 1])


def routes_of(models: Iterable[str], forms: Sequence[tuple[str, str]], **more: Any) -> tuple[Route, ...]:
    """Return a route for each model and form; a form is a path with MODEL in it, and a protocol."""
    return tuple(
        Route(path.replace(MODEL, in_path(name)), name, protocol, **more)
        for name in models
        for path, protocol in forms
    )


def guesses(forms: Sequence[tuple[str, str]], remark: str) -> tuple[Route, ...]:
    """Return the routes of a model that nobody named, to be filled in."""
    return tuple(
        Route(path.replace(MODEL, "NAME"), "NAME", protocol, active=False, remark=remark)
        for path, protocol in forms
    )


def in_path(name: str) -> str:
    """Write a model's name as one segment of a path."""
    return quote(name, safe="")


def shown(name: Any) -> str:
    """Return a name that may be anything for a person to read: short, printable, on one line."""
    text = name if isinstance(name, str) else type(name).__name__
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return "".join(char if char.isprintable() else "?" for char in cut) or "(empty)"
