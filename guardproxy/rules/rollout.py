"""Who acts in an exchange: which canaries the draw fell on, and whose action the breaker has taken down.

Decides that a retry is treated as the request it repeats: the draw depends on the request's identity and the rule's id,
and on nothing else. How many exchanges a breaker lets a rule act in is left to `stats`.
"""

import hashlib
from dataclasses import replace
from typing import Final

from guardproxy.decision import Action, Mode
from guardproxy.rules.model import Rule, View

DIGEST_BYTES: Final = 16
_DRAW_BYTES: Final = 8


def digest_of(identity: bytes) -> bytes:
    """Return at most 16 bytes that stand for a request's identity; an identity that is no longer is its own digest."""
    return identity if len(identity) <= DIGEST_BYTES else hashlib.blake2b(identity, digest_size=16).digest()


def draw(rule_id: str, identity: bytes) -> float:
    """Return a number in [0, 1), the same for the same rule and request, and independent between rules."""
    mixed = hashlib.blake2b(rule_id.encode(), key=digest_of(identity), digest_size=_DRAW_BYTES)
    return int.from_bytes(mixed.digest()) / 2.0 ** (8 * _DRAW_BYTES)


def drawn(rules: tuple[Rule, ...], identity: bytes) -> frozenset[str]:
    """Return those of some canaries that act in the exchange with this identity; all of them where it is empty."""
    if not rules:
        return frozenset()
    short = digest_of(identity)
    return frozenset(rule.id for rule in rules if not short or draw(rule.id, short) < rule.canary)


def acts_in(rule: Rule, view: View) -> bool:
    """Tell whether a rule acts in the exchange of a view."""
    if rule.mode is Mode.CANARY:
        chosen = drawn((rule,), view.identity) if view.drawn is None else view.drawn
        return rule.id in chosen
    return rule.mode is Mode.ENFORCE


def is_demoted(rule: Rule, view: View) -> bool:
    """Tell whether the breaker has turned a rule's action into a warning."""
    return rule.id in view.demoted and rule.action > Action.WARN


def as_demoted(rules: tuple[Rule, ...], view: View) -> tuple[Rule, ...]:
    """Return the rules with the actions that they have in the exchange of a view."""
    if not view.demoted:
        return rules
    return tuple(replace(rule, action=Action.WARN) if is_demoted(rule, view) else rule for rule in rules)
