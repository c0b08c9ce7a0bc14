"""The mode of a rule: off, shadow, a canary in a share of the exchanges, or enforce.

Decides how modes are written. Drawing the exchanges of a canary is left to `rollout`.
"""

import re
from typing import Final

from guardproxy.decision import Action, Mode
from guardproxy.rules.context import Context
from guardproxy.rules.foreign import ACTIONS, MODES, share_in
from guardproxy.source import MappingNode, Node, Scalar, did_you_mean, kind_of, likely

_WORDS: Final = ("off", "shadow", "canary 20%", "enforce")
_SINGLE: Final = tuple(mode.value for mode in Mode)
_ACTIONS: Final = tuple(action.name.lower() for action in Action)
_PLAIN: Final = {mode.value: mode for mode in Mode if mode is not Mode.CANARY}
_CANARY: Final = re.compile(r"canary\s+(\d{1,3}(?:\.\d{1,9})?)\s?%")
_EXAMPLE: Final = "write the share of requests in which the rule acts, such as canary 20%"


def read_mode(node: Node, context: Context, what: str) -> tuple[Mode | None, float | None]:
    """Read a mode and the share of exchanges in which it acts (0 to 1, for canaries); None where it cannot be read."""
    text = node.value if isinstance(node, Scalar) else None
    if not isinstance(text, str):
        context.reader.report("E207", f"{what} cannot be {node_text(node)}", node.place, _advice(node))
        return None, None
    if text == Mode.OFF.value:
        # The one place where this word is plain English and not a YAML 1.1 boolean.
        context.forgiven.add((node.place.line, node.place.column))
    if text in _PLAIN:
        return _PLAIN[text], 1.0
    match = _CANARY.fullmatch(text)
    if match is None:
        context.reader.report("E207", f"{what} cannot be {node_text(node)}", node.place, _advice(node))
        return None, None
    share = float(match.group(1)) / 100
    if not 0.0 < share <= 1.0:
        message = f"a canary must act in more than 0% and up to 100% of the requests, got {match.group(1)}%"
        advice = "write shadow to act in none" if share == 0.0 else _EXAMPLE
        context.reader.report("E208", message, node.place, advice)
        return None, None
    return Mode.CANARY, share


def node_text(node: Node) -> str:
    """Return what was written, short enough for a message."""
    return node.raw[:60] if isinstance(node, Scalar) and node.raw else kind_of(node)


def _advice(node: Node) -> str:
    """Say which mode is meant: `canary 0.2`, `"20 %"` and `{canary: 20%}` are canary 20%, `dry-run` is shadow."""
    text = node.raw.strip("'\"") if isinstance(node, Scalar) else ""
    if isinstance(node, MappingNode) and node.entries:
        key, entry = next(iter(node.entries.items()))
        text = f"{key} {entry.value.raw}" if isinstance(entry.value, Scalar) else key
    word = re.split(r"[\s:=@(-]", text.strip(), maxsplit=1)[0]
    if likely(word, _SINGLE) == Mode.CANARY.value or re.fullmatch(r"[0-9.,]+\s?(?:%|percent)?", text.strip()):
        share = share_in(text)
        return f"write canary {share}" if share else _EXAMPLE
    if text.casefold() in MODES:
        return f"write {MODES[text.casefold()]}"
    if (likely(text, _ACTIONS) is not None or text.casefold() in ACTIONS) and likely(text, _SINGLE) is None:
        return "that is an action: write it behind action:"
    return did_you_mean(text, _WORDS) if text else f"allowed: {', '.join(_WORDS)}"
