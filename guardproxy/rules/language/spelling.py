"""How help texts spell names and suggest likely words.

Decides the wording only; what is wrong is decided by `checker`.
"""

import difflib
import json
import re
from collections.abc import Sequence

from guardproxy.rules.language.names import AGGREGATE_SPACES, Ref


def either(words: Sequence[str]) -> str:
    """Join words with commas and `or`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def suggest(word: str, known: Sequence[str], otherwise: str) -> str:
    """Return "did you mean" with the likely word, or else `otherwise` with the known words in place of `{}`."""
    close = difflib.get_close_matches(word, known, 1)
    return f"did you mean `{close[0]}`?" if close else otherwise.format(", ".join(known[:20]))


def spelled(ref: Ref) -> str:
    """Spell a name so that it can be copied into an expression."""
    space, name = ref.space, ref.name
    if space in AGGREGATE_SPACES:
        return name
    inner, _, rest = name.partition(".")
    if space == "profile" and rest and inner in ("features", "output"):
        space, name = f"profile.{inner}", rest
    plain = re.fullmatch(r"[^\W\d]\w*", name) is not None
    written = f"{space}.{name}" if plain else f"{space}[{json.dumps(name, ensure_ascii=False)}]"
    return f"{written}.{ref.stat}" if ref.stat else written
