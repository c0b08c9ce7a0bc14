"""From a configuration to guards: reads rule files and profiles, and compiles them.

Decides which files belong to a configuration and which problems stop the start. Everything is read before anything is
used, so that one run shows every problem.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

from guardproxy.codecs import CodecOptions, make_codec
from guardproxy.codecs.signature import Signature, read_signature
from guardproxy.config import Config, RouteConfig, models_of
from guardproxy.documents import MAX_BYTES, decode
from guardproxy.guard import Guard
from guardproxy.guard.fits import named_outputs, unfit_fallbacks
from guardproxy.profile.document import MAX_BYTES as PROFILE_BYTES
from guardproxy.profile.document import parse_profile
from guardproxy.profile.model import Profile
from guardproxy.proxy.hook_files import header_of, secret_of
from guardproxy.proxy.last_good import LastGood, read_last_good
from guardproxy.proxy.rule_files import MAX_FILES, MAX_TOTAL, RULES_SUFFIX, find_rule_files, read_regular
from guardproxy.proxy.rule_tests import failing_tests
from guardproxy.proxy.unapproved import unapproved
from guardproxy.rules import Ruleset, default_ruleset, load_rulesets
from guardproxy.rules.trial import on_trial
from guardproxy.source import Problem

_T = TypeVar("_T")
FILES: Final = "files"
LAST_GOOD: Final = "last_good"
Signatures: TypeAlias = Mapping[Path, Signature]
NO_SIGNATURES: Final[Signatures] = MappingProxyType({})
GONE: Final = "the rule files are gone; to run without rules, take `rules` out of the configuration"


@dataclass(slots=True)
class RuleSets:
    """The rules below one path: by model, with the texts by file (to draw problems) and every problem.

    `source` says where they come from: the files, or (`last_good`) what was kept of them; then `problems` are those of
    the files that lie there now, and `at` (Unix seconds) is when these rules were loaded from files.
    """

    rulesets: dict[str, Ruleset] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    source: str = FILES
    at: float | None = None

    @property
    def errors(self) -> list[Problem]:
        """The problems for which these rules must not be served."""
        return [problem for problem in self.problems if problem.severity == "error"]


@dataclass(slots=True)
class Loaded:
    """What was read: rulesets and profiles by model, the texts by file (to draw problems), and every problem.

    `rules` and `candidate` are the two sets of rules, each with its own problems; those of `rules` are in `problems` too.
    `headers` holds by file the header line of a webhook, as name and value; `signatures` by file what a model takes and
    gives.
    """

    rulesets: dict[str, Ruleset] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    rules: RuleSets = field(default_factory=RuleSets)
    candidate: RuleSets | None = None
    headers: dict[str, tuple[str, str]] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    password: str | None = field(default=None, repr=False)
    signatures: dict[Path, Signature] = field(default_factory=dict)

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
        if route.signature is not None and route.signature not in loaded.signatures:
            signature = load_signature(route.signature, loaded)
            if signature is not None:
                loaded.signatures[route.signature] = signature
    _check_codecs(config, loaded)
    loaded.rules = load_rules(config, config.rules, loaded.profiles, loaded.signatures)
    loaded.rulesets = loaded.rules.rulesets
    loaded.texts.update(loaded.rules.texts)
    loaded.problems.extend(loaded.rules.problems)
    if config.rules_candidate is not None:
        loaded.candidate = load_rules(config, config.rules_candidate, loaded.profiles, loaded.signatures)
        loaded.texts.update(loaded.candidate.texts)
    _read_secrets(config, loaded)
    return loaded


def load_rules(
    config: Config,
    path: Path | None,
    profiles: Mapping[str, Profile],
    signatures: Signatures = NO_SIGNATURES,
) -> RuleSets:
    """Read and compile the rule files below a path; a model without any gets the rules that every model has."""
    read = Loaded()
    texts = {} if path is None else read_rule_files([path], read)
    found = rules_of(config, texts, profiles, signatures)
    found.problems[:0] = read.problems
    found.texts.update(read.texts)
    return found


def rules_of(
    config: Config,
    texts: Mapping[str, str],
    profiles: Mapping[str, Profile],
    signatures: Signatures = NO_SIGNATURES,
    *,
    tested: bool = True,
) -> RuleSets:
    """Compile texts by file name; check literal fallbacks against the models' signatures, and that the texts' own tests
    pass where that is `tested` and the configuration asks for it."""
    outputs = {route.model: route.outputs for route in config.routes if route.outputs}
    features = {route.model: route.features for route in config.routes if route.features}
    rulesets, problems = load_rulesets(
        texts, profiles=profiles, outputs=outputs, features=features, today=_today()
    )
    found = RuleSets(dict(rulesets), dict(texts), list(problems))
    found.problems += _unfit(config, found, signatures)
    if tested and config.reload_tests and not found.errors:
        found.problems += failing_tests(found.rulesets, profiles, time.monotonic)
    for model in models_of(config.routes):
        if model not in found.rulesets:
            found.rulesets[model] = default_ruleset(model, profiles.get(model))
    # After the tests, which say what the rules do once the profile is approved.
    found.rulesets = {model: on_trial(ruleset) for model, ruleset in found.rulesets.items()}
    return found


def note_missing_rules(config: Config, loaded: Loaded) -> None:
    """Make it an error that there is no rule file where rules were served before: a mount may have come too late."""
    if config.rules is None or loaded.rules.texts or loaded.rules.errors:
        return
    if isinstance(read_last_good(config.state_folder), LastGood):
        problem = replace(
            _problem(config.rules, GONE), help=f"or, for a fresh start, remove {config.state_folder}"
        )
        loaded.rules.problems.append(problem)
        loaded.problems.append(problem)


def last_good_rules(config: Config, loaded: Loaded) -> RuleSets | str | None:
    """Return the rules that were served before the present files, which are invalid; None where none were kept.

    A sentence says why what was kept cannot be served. The problems stay those of the files.
    """
    good = read_last_good(config.state_folder)
    if not isinstance(good, LastGood):
        return good
    unknown = sorted({*models_of(config.routes)} - {*good.rulesets})
    if unknown:
        return f"the last good rules were kept before there was a route of {unknown[0]!r}, so they cannot stand in for its rules"
    # Their tests passed when they were taken up. A new profile or a slow machine may fail them now: that refuses the files,
    # which are often these very texts, but it is no reason to serve nothing.
    found = rules_of(config, good.texts, loaded.profiles, loaded.signatures, tested=False)
    if found.errors:
        first = found.errors[0]
        place = f"{first.file}:{first.line}:{first.column}"
        return f"the last good rules cannot be served either: {place}: {first.message}"
    return RuleSets(found.rulesets, loaded.rules.texts, loaded.rules.problems, LAST_GOOD, good.at)


def guard_of(
    route: RouteConfig,
    rulesets: Mapping[str, Ruleset],
    profile: Profile | None,
    signatures: Signatures = NO_SIGNATURES,
) -> Guard:
    """Compile the guard of one route from its model's ruleset and profile, and from what signature files were read."""
    codec = make_codec(route.protocol, options_of(route, profile, signatures))
    # What the data's own keys are was said to `learn` already; a route may name others.
    key = route.key or (() if profile is None else profile.keys)
    return Guard(route.model, codec, rulesets[route.model], profile, key, time=route.time)


def options_of(route: RouteConfig, profile: Profile | None, signatures: Signatures) -> CodecOptions:
    """Return what a route says about its messages."""
    return CodecOptions(
        features=route.features,
        profile_order=() if profile is None else tuple(profile.features),
        outputs=route.outputs,
        signature=None if route.signature is None else signatures.get(route.signature),
        request_rows=route.request_rows or "",
        request_columns=route.request_columns or "",
        request_fields=route.request_fields,
        response_rows=route.response_rows or "",
        response_columns=route.response_columns or "",
        response_fields=route.response_fields,
        batch_axis=route.batch_axis,
    )


def _check_codecs(config: Config, loaded: Loaded) -> None:
    """Make it a problem of the configuration when a codec cannot use what a route says."""
    for route in config.routes:
        try:
            make_codec(route.protocol, options_of(route, loaded.profiles.get(route.model), loaded.signatures))
        except ValueError as error:
            place = route.place
            said = f"the route {route.path}: {error}"
            loaded.problems.append(Problem("E208", said, config.file, place.line, place.column))


def _unfit(config: Config, found: RuleSets, signatures: Signatures) -> list[Problem]:
    """Return a problem for each literal fallback that an output's type can never hold."""
    problems: dict[tuple[str, str], Problem] = {}
    for route in config.routes:
        signature = None if route.signature is None else signatures.get(route.signature)
        ruleset = found.rulesets.get(route.model)
        if signature is not None and ruleset is not None:
            for rule, problem in unfit_fallbacks(ruleset, named_outputs(signature.outputs, route.outputs)):
                problems.setdefault((route.model, rule), problem)
    return list(problems.values())


def read_rule_files(paths: Sequence[Path], loaded: Loaded) -> Mapping[str, str]:
    """Read every rule file below the paths, sorted by name; what cannot be read becomes a problem."""
    texts: dict[str, str] = {}
    total = 0
    for path in paths:
        try:
            found = find_rule_files(path)
        except OSError as error:
            loaded.problems.append(_problem(path, f"cannot be read: {error.strerror or error}"))
            continue
        if not found:
            loaded.problems.append(
                _problem(path, f"there is no *{RULES_SUFFIX} file in this directory", severity="warning")
            )
        for file in found[:MAX_FILES]:
            text = read_text(file, loaded)
            if text is not None:
                texts[str(file)] = text
            total += len(loaded.texts.get(str(file), ""))
            if total > MAX_TOTAL:
                large = f"the rule files are larger than {MAX_TOTAL // 1024**2} MiB together; this one and those after it are not read"
                loaded.problems.append(_problem(file, large))
                return texts
        if len(found) > MAX_FILES or len(texts) > MAX_FILES:
            loaded.problems.append(_problem(path, f"more than {MAX_FILES} rule files"))
            break
    return texts


def load_profile(path: Path, loaded: Loaded) -> Profile | None:
    """Read one profile; problems are added to `loaded`."""
    text = read_text(path, loaded, PROFILE_BYTES)
    if text is None:
        return None
    found = parse_profile(text, str(path))
    if isinstance(found, Profile):
        if not found.acts:
            loaded.problems.append(unapproved(found, text, path))
        return found
    loaded.problems.extend(found)
    return None


def load_signature(path: Path, loaded: Loaded) -> Signature | None:
    """Read one signature file; problems are added to `loaded`."""
    text = read_text(path, loaded, PROFILE_BYTES)
    if text is None:
        return None
    try:
        return read_signature(text, path.name)
    except ValueError as error:
        loaded.problems.append(_problem(path, str(error)))
        return None


def read_text(path: Path, loaded: Loaded, most: int = MAX_BYTES) -> str | None:
    """Read a text file of bounded size; None and a problem when that cannot be done."""
    try:
        data = read_regular(path, most + 1)
        if data is None:
            loaded.problems.append(_problem(path, "cannot be read: not a regular file"))
            return None
        if len(data) > most:
            loaded.problems.append(_problem(path, f"cannot be read: larger than {most // 1024**2} MiB"))
            return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        loaded.problems.append(_problem(path, f"cannot be read: {reason}"))
        return None
    text, problems = decode(data, str(path))
    loaded.texts[str(path)] = text
    loaded.problems.extend(problems)
    return None if problems else text


def _read_secrets(config: Config, loaded: Loaded) -> None:
    for hook in config.webhooks:
        _read_secret(hook.header_file, header_of, loaded.headers, loaded)
        _read_secret(hook.secret_file, secret_of, loaded.secrets, loaded)
    if config.statistics_password_file is not None:
        loaded.password = _read_secret_line(config.statistics_password_file, loaded)


def _read_secret(path: Path | None, read: Callable[[str], _T], kept: dict[str, _T], loaded: Loaded) -> None:
    if path is None:
        return
    line = _read_secret_line(path, loaded)
    if line is not None:
        try:
            kept[str(path)] = read(line)
        except ValueError as error:
            loaded.problems.append(_problem(path, str(error)))


def _read_secret_line(path: Path, loaded: Loaded) -> str | None:
    """Read a file that holds a secret; None and a problem when that cannot be done."""
    line = read_text(path, loaded)
    # Its content is a secret: no problem may draw it.
    loaded.texts.pop(str(path), None)
    return None if line is None else line.strip()


def _today() -> date:
    return datetime.now(UTC).date()


def _problem(path: Path, message: str, severity: str = "error") -> Problem:
    return Problem("E200", message, str(path), 1, 1, severity=severity)
