"""What a content type says: its media type, and the character set beside it.

Decides which character sets are UTF-8 by another name. Which container reads a media type is left to `codec`.
"""

import re
from typing import Final

from guardproxy.errors import OpaqueError

_CHARSET: Final = re.compile(r';[ \t]*charset[ \t]*=[ \t]*"?([^ \t";]*)', re.IGNORECASE)
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def is_utf8(content_type: str | None) -> bool:
    """Tell whether text of this content type is UTF-8; it is where no other character set is named."""
    if content_type is None or ";" not in content_type:
        return True
    return all(name.lower() in _UTF8 for name in _CHARSET.findall(content_type))


def check_charset(content_type: str | None) -> None:
    """Raise OpaqueError for lines in another character set."""
    if not is_utf8(content_type):
        raise OpaqueError("the lines are in another character set than UTF-8")


def media_of(content_type: str | None) -> str:
    """Return the media type without its parameters, in lower case."""
    return "" if content_type is None else content_type.partition(";")[0].strip().lower()
