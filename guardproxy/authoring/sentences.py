"""A rule as plain sentences: what breaks it, what happens then, and who wanted it.

Decides the sentences; expressions in them are read by `english`. What a page is made of is left to `docs`.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from guardproxy.authoring.english import Words, broken, condition, reading
from guardproxy.authoring.wording import amount, cell, date, listed, number, ordinal, spaced
from guardproxy.decision import Action, Meanwhile, Mode, OnExpiry, Phase, Scope, Verdict
from guardproxy.rules.model import Check, FallbackSpec, Field, HoldSpec, Limit, Rule, TextCheck, Unless
from guardproxy.units import format_duration

_ROLLING: Final = ("mean", "p50", "p99", "share", "count")
_PII: Final[Mapping[str, str]] = {
    "card": "a card number",
    "email": "an e-mail address",
    "iban": "an IBAN",
    "phone": "a telephone number",
}
_MODES: Final[Mapping[Mode, str]] = {
    Mode.OFF: "Switched off: it is not judged.",
    Mode.SHADOW: "In shadow: it is judged and counted, and nothing happens to the row.",
    Mode.ENFORCE: "Enforced.",
}


def rule_sentence(rule: Rule, words: Words) -> str:
    """Return what breaks a rule and what happens then."""
    fault = breaking(rule, words)
    if rule.when:
        fault = f"{_grouped(condition(rule.when, words))} and {_grouped(fault)}"
    if rule.kind == "missing_share" and rule.scope is Scope.BATCH:
        lead = "If"
    elif rule.scope is Scope.BATCH:
        lead = "If, over all rows of a request,"
    elif rule.scope is Scope.WINDOW:
        lead = f"If, for at least {duration(rule.for_s)}," if rule.for_s else "If"
    else:
        lead = "If"
    return f"{lead} {fault}, {effect(rule, words)}."


def breaking(rule: Rule, words: Words) -> str:
    """Return the clause that is true when a rule is broken."""
    if rule.kind == "score":
        return f"the points of the rules that a row breaks come to {number(rule.points)} or more"
    if rule.kind == "missing_share" and rule.scope is Scope.BATCH:
        return _missing_rows(rule.check, words)
    return _BREAKING.get(rule.kind, _unknown)(rule.check, words)


def effect(rule: Rule, words: Words) -> str:
    """Return what happens to a row that breaks a rule, as a clause."""
    subject = "every prediction of the request" if rule.scope is Scope.BATCH else "the prediction"
    match rule.action:
        case Action.SCORE:
            return f"the row gets {number(rule.points)} point{'' if rule.points == 1 else 's'}"
        case Action.WARN:
            return "a warning is recorded and the answer stays as it is"
        case Action.CLAMP:
            other = f"it is replaced by {chain(rule.fallback, words)}, or " if rule.fallback else ""
            return f"{subject} is moved to the nearest allowed value; where another rule objects, {other}nothing is answered"
        case Action.FALLBACK:
            return f"{subject} is replaced by {chain(rule.fallback, words)}; where {_none_left(rule.fallback)}, nothing is answered"
        case Action.REJECT:
            return "the request is refused" if rule.phase is Phase.REQUEST else f"{subject} is refused"
        case _:
            return f"{subject} is {_held(rule.hold, rule.fallback, words)}"


def facts(rule: Rule) -> list[tuple[str, str]]:
    """Return what else is to be known of a rule, each with its label."""
    found = [("Severity", rule.severity.name.lower()), ("Mode", mode_sentence(rule))]
    found += [("Owner", rule.owner)] if rule.owner else []
    found += [("Why", rule.why)] if rule.why else []
    found += [("Runbook", rule.runbook)] if rule.runbook else []
    found += [("Tags", ", ".join(rule.tags))] if rule.tags else []
    found.append(("Judged on", _judged_on(rule)))
    if any(f"recent_{name}(" in text for text in (rule.check.wants, rule.when) for name in _ROLLING):
        found.append(
            (
                "Rolling statistics",
                "are counted over all replicas; until a window is full the rule cannot be broken",
            )
        )
    found.append(("Missing values", _unknowns(rule)))
    found += [("Limit", limit_sentence(limit)) for limit in rule.limits]
    found.append(("Revision", rule.rev))
    return found


def _judged_on(rule: Rule) -> str:
    if rule.scope is Scope.WINDOW:
        return "what all replicas counted, once a bucket of the statistics"
    return "the request, before the model is asked" if rule.phase is Phase.REQUEST else "the model's answer"


def mode_sentence(rule: Rule) -> str:
    """Return whether and how often a rule acts."""
    if rule.mode is Mode.CANARY:
        return f"Canary: it acts in {share(rule.canary)} of the requests, and is only counted in the others."
    return _MODES[rule.mode]


def in_force(rule: Rule) -> str:
    """Return how a rule's sentence begins where what it says happens in no request, or not in all."""
    if rule.mode is Mode.CANARY:
        return f"In {share(rule.canary)} of the requests: "
    if rule.mode is Mode.ENFORCE:
        return ""
    return f"Without effect ({'in shadow' if rule.mode is Mode.SHADOW else 'switched off'}); once enforced: "


def exception_sentence(exception: Unless, words: Words) -> str:
    """Return a named exception with its end, its owner and its reason."""
    clause = condition(exception.when, words)
    return f"Not where {clause}, until the end of {date(exception.until)} in UTC ({exception.owner}): {exception.why}"


def limit_sentence(limit: Limit, *, of_model: bool = False) -> str:
    """Return what the breaker allows to one rule, or to all rules of a model with that action, and what comes beyond."""
    verb, met = _MET.get(limit.action, ("act", "met"))
    whom, rule = (
        (f"all rules that {verb} only warn", "") if of_model else ("the rule only warns", " by this rule")
    )
    return f"At most {share(limit.share)} of the rows of {duration(limit.window_s)} may be {met}{rule}; beyond that {whom}"


_MET: Final[Mapping[Action, tuple[str, str]]] = {
    Action.HOLD: ("hold", "held"),
    Action.REJECT: ("refuse", "refused"),
    Action.FALLBACK: ("replace", "replaced"),
    Action.CLAMP: ("move", "moved"),
}


def chain(links: Sequence[FallbackSpec], words: Words) -> str:
    """Return a fallback chain."""
    told = [_link(link, words) for link in links]
    if len(told) == 1:
        return told[0]
    return f"the first of these that is there and passes the rules: {'; '.join(told)}"


def _none_left(links: Sequence[FallbackSpec]) -> str:
    return "none is" if len(links) > 1 else "that is missing or breaks a rule"


def share(value: float) -> str:
    """Return a share as per cent."""
    return f"{number(round(value * 100, 6))}%"


def duration(seconds: float) -> str:
    """Return seconds in words."""
    return amount(format_duration(seconds))


def _grouped(clause: str) -> str:
    return f"({clause})" if " or " in clause or ", otherwise " in clause else clause


def _named(named: Field, words: Words) -> str:
    return words.field(named.space, named.name)


def _max_change(check: Check, words: Words) -> str:
    subject = _named(check.fields[0], words)
    moves = " or ".join(_move(text) for _, text in check.terms)
    base = reading(check.bound.rpartition(" from ")[2], words)
    by = listed([spaced(name) for name in check.by])
    floor = _floor(check)
    least = f" (of {reading(floor, words)}, where that is smaller)" if floor else ""
    return f"{subject} is {moves} from {base}{f' of the same {by}' if by else ''}{least}"


def _move(term: str) -> str:
    """Return `more than 60% down` for `more than 0.6 down` as well."""
    match = re.fullmatch(r"more than ([0-9.]+) (up|down)", term)
    return term if match is None else f"more than {share(float(match.group(1)))} {match.group(2)}"


def _floor(check: Check) -> str:
    """Return the least that a change is measured against, as an expression; nothing where there is none."""
    match = re.search(r"max\(abs\([^()]+\), (.+)\)$", check.low or check.high)
    return "" if match is None else match.group(1)


def _order(check: Check, words: Words) -> str:
    pairs = zip(check.fields, check.fields[1:], strict=False)
    return " or ".join(f"{_named(low, words)} is above {_named(high, words)}" for low, high in pairs)


def _probabilities(check: Check, words: Words) -> str:
    of = listed([_named(one, words) for one in check.fields])
    total = f"add up to {number(check.total)} (give or take {number(check.tolerance)})"
    return f"the members of {of} do not all lie between 0 and 1, or do not {total}"


def _confidence(check: Check, words: Words) -> str:
    of = listed([_named(one, words) for one in check.fields])
    parts = (
        [f"the most likely class of {of} has less than {share(check.least_top)}"] if check.least_top else []
    )
    if check.least_margin:
        lead = "it is" if parts else f"the most likely class of {of} is"
        parts.append(f"{lead} less than {share(check.least_margin)} ahead of the second")
    return " or ".join(parts)


def _text(check: Check, words: Words) -> str:
    text = check.text or TextCheck()
    how = " as a whole word" if text.whole_words else ""
    how += "" if text.case_sensitive else " (in upper or lower case)"
    parts = [f"contains {_literals(text.must_not_contain, 'or')}{how}"] if text.must_not_contain else []
    parts += (
        [
            f"contains {'neither' if len(text.must_contain) == 2 else 'none of'} {_literals(text.must_contain, 'nor')}{how}"
        ]
        if text.must_contain
        else []
    )
    parts += [f"matches the pattern {cell(text.must_not_match)}"] if text.must_not_match else []
    parts += [f"does not match the pattern {cell(text.must_match)}"] if text.must_match else []
    parts += [f"has fewer than {_characters(text.min_chars)}"] if text.min_chars else []
    parts += [f"has more than {_characters(text.max_chars)}"] if text.max_chars is not None else []
    parts += [f"holds {listed([_PII.get(kind, kind) for kind in text.pii], 'or')}"] if text.pii else []
    return f"{_named(check.fields[0], words)} {', or '.join(parts)}"


def _characters(count: int) -> str:
    return f"{number(count)} character{'' if count == 1 else 's'}"


def _literals(texts: Sequence[str], joint: str) -> str:
    if len(texts) > 8:
        return f"any of {len(texts):,} texts ({', '.join(cell(text) for text in texts[:4])}, ...)"
    return listed([cell(text) for text in texts], joint)


def _json_schema(check: Check, words: Words) -> str:
    schema = json.loads(check.schema) if check.schema else {}
    title = schema.get("title") if isinstance(schema, dict) else None
    named = f"its schema {cell(title)}" if isinstance(title, str) else "its schema"
    return f"{_named(check.fields[0], words)} is not JSON, or not as {named} demands"


def _missing_share(check: Check, words: Words) -> str:
    if check.every:
        of = "the features" if check.every == "features" else "the predictions"
    else:
        of = f"these fields ({listed([_named(one, words) for one in check.fields])})"
    return f"more than {share(check.share)} of {of} are missing"


def _missing_rows(check: Check, words: Words) -> str:
    """A batch is judged field by field, each over all rows."""
    if check.every:
        of = "one of the features" if check.every == "features" else "one of the predictions"
    else:
        of = listed([_named(one, words) for one in check.fields], "or")
    return f"{of} is missing in more than {share(check.share)} of the rows of a request"


def _profile(check: Check, words: Words) -> str:
    where = "what was learned from the training data"
    if check.outside is not None:
        low, high = check.outside
        where = f"the {_rank(low)} to {_rank(high)} percentile of the training data"
    least = f"at least {check.at_least} of " if check.at_least > 1 else "one of "
    if not check.every:
        of = listed([_named(one, words) for one in check.fields])
        return f"{least if len(check.fields) > 1 else ''}{of} lies outside {where}"
    of = "the features" if check.every == "features" else "the predictions"
    return f"{least}{of} lie{'' if check.at_least > 1 else 's'} outside {where}"


def _rank(percentile: float) -> str:
    return ordinal(f"p{percentile:g}".replace(".", "_"))


def _unusual(check: Check, words: Words) -> str:
    who = f" by {listed([spaced(name) for name in check.by])}" if check.by else ""
    return (
        f"{_named(check.fields[0], words)} is further from what is usual of its entity{who} than all but "
        f"{share(check.false_alarms)} of the answers are"
    )


def _wanted(check: Check, words: Words) -> str:
    return broken(check.wants, words)


def _forbid(check: Check, words: Words) -> str:
    return condition(check.wants, words)


def _finite(check: Check, words: Words) -> str:  # noqa: ARG001 - one signature for all
    return "a prediction is missing, infinite or not a number"


def _unknown(check: Check, words: Words) -> str:
    return (
        f"it is not so that {condition(check.wants, words)}"
        if check.wants
        else f"its check ({check.kind}) fails"
    )


_BREAKING: Final[Mapping[str, Callable[[Check, Words], str]]] = {
    "range": _wanted,
    "max_change": _max_change,
    "one_of": _wanted,
    "order": _order,
    "probabilities": _probabilities,
    "confidence": _confidence,
    "text": _text,
    "json_schema": _json_schema,
    "missing_share": _missing_share,
    "profile": _profile,
    "unusual": _unusual,
    "require": _wanted,
    "forbid": _forbid,
    "predictions-finite": _finite,
}


_REMEMBERED: Final[Mapping[str, str]] = {
    "previous": "the last good prediction",
    "last_good": "the last good prediction",
    "rolling_median": "the median of the last good predictions",
    "seasonal": "what is usual of the entity in this phase of its season",
    "auto": "whichever estimate from the entity's past errs least for this model",
}


def _held(hold: HoldSpec, links: Sequence[FallbackSpec], words: Words) -> str:
    queue = "a reviewer" if hold.queue == "default" else f"a reviewer of the queue “{hold.queue}”"
    stands = chain(links, words) if links else "the fallback"
    meanwhile = {
        Meanwhile.FALLBACK: f"meanwhile the answer is {stands}, or nothing where {_none_left(links)}",
        Meanwhile.ORIGINAL: "meanwhile the model's own prediction is answered",
        Meanwhile.WITHHOLD: "meanwhile nothing is answered",
    }[hold.meanwhile]
    end = {
        OnExpiry.FALLBACK: "what stood in for it becomes final",
        OnExpiry.ORIGINAL: "the model's own prediction becomes final",
        OnExpiry.REJECT: "it is refused",
    }[hold.on_expiry]
    return f"held for {queue} for up to {duration(hold.sla_s)}; {meanwhile}; if nobody decides, {end}"


def _link(link: FallbackSpec, words: Words) -> str:
    if link.kind in _REMEMBERED:
        aged = "" if link.max_age_s is None else f" if it is no older than {duration(link.max_age_s)}"
        return f"{_REMEMBERED[link.kind]}{aged}"
    if link.kind == "profile":
        return reading(f"profile.{link.stat}", words)
    told: Mapping[str, str] = {name: reading(text, words) for name, text in link.exprs.items()} or {
        name: cell(value) for name, value in link.values.items()
    }
    return listed([f"{spaced(name)}: {text}" if name else text for name, text in told.items()])


def _unknowns(rule: Rule) -> str:
    if rule.kind == "missing_share":
        return "are what this rule counts"
    unknown, error = Verdict.UNKNOWN in rule.counts, Verdict.ERROR in rule.counts
    if unknown and error:
        return "count as a violation, and so do values of the wrong kind"
    if unknown or error:
        return f"{'count' if unknown else 'do not count'} as a violation; values of the wrong kind {'do' if error else 'do not'}"
    return "do not count as a violation, nor do values of the wrong kind"
