"""`rules new`: a first rule file that passes `rules check` and `rules test` as it stands.

Decides which rules a beginner starts from: a few that fit what is known of the model, in shadow, each with a test that
breaks it. Where the file goes is left to the command.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from guardproxy.authoring.scalars import is_plain
from guardproxy.profile.model import FieldKind, FieldProfile, Profile, Role
from guardproxy.rules.model import Field
from guardproxy.rules.written import ref_text

MAX_VALUES: Final = 20

_HEAD: Final = """\
# yaml-language-server: $schema={schema}
#
# Rules for {model}. Every rule here is in shadow: it is judged and counted, and changes no answer.
#
#   guardproxy rules check {file}                  is the file well-formed, and do its names exist?
#   guardproxy rules test {file}                   do the rules do what their tests say?
#   guardproxy rules promote RULE --to 'canary 20%' {file}    let a rule act, one step at a time
#
# A rule has an id, one check (range, max_change, one_of, order, require, forbid, profile ...) and an action (warn, clamp,
# fallback, hold, reject). Inputs are features.NAME, answers output.NAME; previous.NAME is the entity's last good answer.
guardproxy: 1
model: {model}
owner: {owner}
defaults: {{severity: medium, mode: shadow}}

rules:
"""


@dataclass(frozen=True, slots=True)
class _Starter:
    """One rule with values of a field that keep and break it. `past` is the last answer of the test, if it needs one."""

    id: str
    lines: tuple[str, ...]
    field: Field
    good: str
    bad: str
    past: bool = False


def starter(
    model: str, *, schema: str, file: str, owner: str = "your-team", profile: Profile | None = None
) -> str:
    """Return a rule file for a model. `schema` and `file` are the paths that its comments name."""
    rules = [*_of_output(profile), *_of_features(profile)]
    head = _HEAD.format(schema=one_line(schema), model=text(model), owner=text(owner), file=one_line(file))
    return head + "\n\n".join("\n".join(rule.lines) for rule in rules) + "\n\n" + _tests(rules)


def text(value: str) -> str:
    """Write a text as YAML: plain where it may be, also between brackets, else quoted."""
    if is_plain(value) and not any(char in ",[]{}#:" for char in value):
        return value
    escaped = (char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}" for char in value)
    return f'"{"".join(escaped)}"'


def one_line(value: str) -> str:
    """Return what may stand in a comment."""
    return "".join(char if char.isprintable() else "?" for char in value)


def _of_output(profile: Profile | None) -> list[_Starter]:
    outputs = list(profile.outputs.values()) if profile is not None else []
    if not outputs:
        return [
            _range("prediction-possible", Field("output", "prediction"), 0.0, None, 0.0),
            *_jump("prediction", 100.0),
        ]
    first = outputs[0]
    if first.numeric and first.minimum is not None and first.maximum is not None:
        low, high = _outer(first)
        # A change is measured against something that is not zero, and an ordinary value lies within the bounds.
        base = next((value for value in (_middle(first, low, high), high, low) if value), 0.0)
        return [
            _range("prediction-possible", Field("output", first.name), low, high, _middle(first, low, high)),
            *(_jump(first.name, base) if low < high else ()),
        ]
    values = _known(first)
    return [_one_of("prediction-known", Field("output", first.name), values)] if values else []


def _of_features(profile: Profile | None) -> list[_Starter]:
    features = (
        [one for one in profile.features.values() if one.role is Role.FEATURE] if profile is not None else []
    )
    numbers = [
        one for one in features if one.numeric and one.minimum is not None and one.minimum != one.maximum
    ]
    named = [one for one in features if not one.numeric and one.closed and _known(one)]
    # A number with a fraction is a measurement; a whole one may be a code.
    numbers.sort(key=lambda one: one.kind is not FieldKind.NUMBER)
    found = []
    for one in numbers[:1]:
        low, high = _outer(one)
        field = Field("features", one.name)
        found.append(_range("input-possible", field, low, high, _middle(one, low, high), ignore=True))
    return found + [_one_of("input-known", Field("features", one.name), _known(one)) for one in named[:1]]


def _outer(one: FieldProfile) -> tuple[float, float]:
    """Return the learned bounds, else the extremes that were seen."""
    low = one.low if one.low is not None else one.minimum
    high = one.high if one.high is not None else one.maximum
    return _short(low or 0.0), _short(high or 0.0)


def _middle(one: FieldProfile, low: float, high: float) -> float:
    middle = (low + high) / 2
    return float(int(middle)) if one.kind is FieldKind.INTEGER or one.whole else _short(middle)


def _known(one: FieldProfile) -> tuple[str, ...]:
    values = one.domain if one.domain is not None and len(one.domain) <= MAX_VALUES else ()
    return tuple(value for value in values if isinstance(value, str) and value)


def _short(value: float) -> float:
    return float(f"{value:.12g}")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _range(
    name: str, field: Field, low: float, high: float | None, good: float, *, ignore: bool = False
) -> _Starter:
    bounds = f"min: {_number(low)}" + (f", max: {_number(high)}" if high is not None else "")
    reads = field.space == "output"
    lines = (
        f"  - id: {name}",
        f"    title: {'The prediction' if reads else 'An input'} is not possible",
        f"    range: {{field: {text(ref_text(field))}, {bounds}}}",
        *(("    on_unknown: ignore          # a missing value is no violation",) if ignore else ()),
        f"    action: {'clamp                # moved to the nearest allowed value' if reads else 'warn'}",
        f"    why: {'Nothing beyond these bounds has been seen.' if high is not None else 'Less than nothing cannot be.'}",
    )
    width = (high - low) if high is not None else 1.0
    bad = _short(low - max(abs(low), width, 1.0))
    return _Starter(name, lines, field, _number(good), _number(bad))


def _jump(name: str, base: float) -> list[_Starter]:
    field = Field("output", name)
    lines = (
        "  - id: prediction-jump",
        "    title: The prediction jumped against the last one",
        f"    max_change: {{field: {text(ref_text(field))}, against: previous, up: 50%, down: 50%}}",
        "    on_unknown: ignore          # the first answer of an entity has no past",
        "    action: hold                # a person decides; meanwhile the answer is served as it is",
        "    hold: {queue: review, sla: 4h, meanwhile: original, on_expiry: original}",
        "    why: A jump is news or a broken feed; a person can tell.",
    )
    return [_Starter("prediction-jump", lines, field, _number(base), _number(_short(base * 1.9)), past=True)]


def _one_of(name: str, field: Field, values: Sequence[str]) -> _Starter:
    unknown = "something else"
    lines = (
        f"  - id: {name}",
        f"    title: {'An answer' if field.space == 'output' else 'An input'} that was never seen",
        f"    one_of: {{field: {text(ref_text(field))}, values: [{', '.join(text(value) for value in values)}]}}",
        "    on_unknown: ignore          # a missing value is no violation",
        "    action: warn",
        "    why: The reference data knows no other value.",
    )
    while unknown in values:
        unknown += " else"
    return _Starter(name, lines, field, text(values[0]), text(unknown))


def _tests(rules: Sequence[_Starter]) -> str:
    ok = ", ".join(f"{rule.id}: ok" for rule in rules)
    cases = [_case("an ordinary row keeps every rule", rules, None, f"{{{ok}}}")]
    cases += [_case(f"{rule.id} is violated", rules, rule, f"{{{rule.id}: violated}}") for rule in rules]
    return "tests:\n" + "\n\n".join(cases) + "\n"


def _case(name: str, rules: Sequence[_Starter], broken: _Starter | None, verdicts: str) -> str:
    """Give every field its good value, and the broken rule's field the bad one."""
    given: dict[str, dict[str, str]] = {"features": {}, "output": {}, "previous": {}}
    for rule in rules:
        cells = given[rule.field.space]
        # Where two rules read one field, the one that compares with the past says what is ordinary.
        cells[rule.field.name] = rule.good
        if rule.past:
            given["previous"][rule.field.name] = rule.good
    if broken is not None:
        given[broken.field.space][broken.field.name] = broken.bad
    lines = [f"  - name: {name}", "    given:"]
    for space, cells in given.items():
        if cells:
            lines.append(
                f"      {space}: {{{', '.join(f'{text(key)}: {value}' for key, value in cells.items())}}}"
            )
    return "\n".join([*lines, f"    expect: {{verdicts: {verdicts}}}"])
