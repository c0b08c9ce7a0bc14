"""How a name of the operator's is written where a store's own marks (braces, colons, spaces) have a meaning.

Decides that it is percent-encoded. Where it stands in a key is left to each store.
"""

from urllib.parse import quote, unquote


def safe_name(name: str) -> str:
    """Return `name` in letters, digits and `_.-~%` only; two names never become one, whatever characters they have."""
    return quote(name, safe="", errors="surrogatepass")


def plain_name(name: str) -> str:
    """Return what `safe_name` was given."""
    return unquote(name, errors="surrogatepass")
