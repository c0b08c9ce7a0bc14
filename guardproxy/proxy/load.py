"""From a configuration to guards: reads rule files and profiles, and compiles them.

Decides which files belong to a configuration and which problems stop the start. Everything is read before anything is
used, so that one run shows every problem.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.config import Config, RouteConfig, models_of
from guardproxy.documents import MAX_BYTES
from guardproxy.guard import Guard
from guardproxy.profile.document import parse_profile
from guardproxy.profile.model import Profile
from guardproxy.rules import Ruleset, default_ruleset, load_rulesets
from guardproxy.source import Problem

RULES_SUFFIX: Final = ".guard.yaml"
MAX_FILES: Final = 1_000


@dataclass(slots=True)
class Loaded:
    """What was read: rulesets and profiles by model, the texts by file (to draw problems), and every problem."""

    rulesets: dict[str, Ruleset] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a start; warnings and notes do not."""
        return [problem for problem in self.problems if problem.severity == "error"]


def load(config: Config) -> Loaded:
    """Read the profiles and rule files of a configuration."""
    loaded = Loaded()
    for route in config.routes:
        if route.profile is not None and route.model not in loaded.profiles:
            profile = load_profile(route.profile, loaded)
            if profile is not None:
                loaded.profiles[route.model] = profile
    texts = {} if config.rules is None else read_rule_files([config.rules], loaded)
    outputs = {route.model: route.outputs for route in config.routes if route.outputs}
    features = {route.model: route.features for route in config.routes if route.features}
    rulesets, problems = load_rulesets(texts, profiles=loaded.profiles, outputs=outputs, features=features)
    loaded.problems.extend(problems)
    loaded.rulesets = rulesets
    for model in models_of(config.routes):
        if model not in loaded.rulesets:
            loaded.rulesets[model] = default_ruleset(model, loaded.profiles.get(model))
    return loaded


def make_guard(route: RouteConfig, loaded: Loaded) -> Guard:
    """Compile the guard of one route from what was loaded without errors."""
    profile = loaded.profiles.get(route.model)
    options = CodecOptions(
        features=route.features,
        profile_order=() if profile is None else tuple(profile.features),
        outputs=route.outputs,
        request_rows=route.request_rows,
        request_columns=route.request_columns,
        response_rows=route.response_rows,
    )
    codec = make_codec(route.protocol, options)
    # What the data's own keys are was said to `learn` already; a route may name others.
    key = route.key or (() if profile is None else profile.keys)
    return Guard(route.model, codec, loaded.rulesets[route.model], profile, key)


def read_rule_files(paths: Sequence[Path], loaded: Loaded) -> Mapping[str, str]:
    """Read every rule file below the paths, sorted by name; what cannot be read becomes a problem."""
    texts: dict[str, str] = {}
    for path in paths:
        if path.is_dir():
            found = sorted(path.rglob(f"*{RULES_SUFFIX}"))[: MAX_FILES + 1]
            if not found:
                loaded.problems.append(
                    _problem(path, f"there is no *{RULES_SUFFIX} file in this directory", severity="warning")
                )
        else:
            found = [path]
        for file in found:
            text = read_text(file, loaded)
            if text is not None:
                texts[str(file)] = text
    if len(texts) > MAX_FILES:
        loaded.problems.append(_problem(paths[0], f"more than {MAX_FILES} rule files"))
    return texts


def load_profile(path: Path, loaded: Loaded) -> Profile | None:
    """Read one profile; problems are added to `loaded`."""
    text = read_text(path, loaded)
    if text is None:
        return None
    found = parse_profile(text, str(path))
    if isinstance(found, Profile):
        return found
    loaded.problems.extend(found)
    return None


def read_text(path: Path, loaded: Loaded) -> str | None:
    """Read a text file of bounded size; None and a problem when that cannot be done."""
    try:
        # A FIFO or a device would block or never end.
        if path.exists() and not path.is_file():
            loaded.problems.append(_problem(path, "cannot be read: not a regular file"))
            return None
        with path.open("rb") as file:
            text = _bounded(file.read(MAX_BYTES + 1)).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        loaded.problems.append(_problem(path, f"cannot be read: {reason}"))
        return None
    loaded.texts[str(path)] = text
    return text


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1024**2} MiB")
    return data


def _problem(path: Path, message: str, severity: str = "error") -> Problem:
    return Problem("E200", message, str(path), 1, 1, severity=severity)
