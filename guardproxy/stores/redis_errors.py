"""What a Redis server's refusal or silence means, in a sentence for the operator.

Decides which errors no waiting can mend. When they are raised is left to `redis_statistics`.
"""

import re
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as BrokenError
from redis.exceptions import TimeoutError as SlowError

Failure = RedisError | OSError

HOPELESS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
"""What stays as it is until somebody changes a password or a permission."""

_SENTENCES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (
        AuthenticationError,
        "refuses the password ({error}); check `password_file` and the user in the address",
    ),
    (AuthorizationError, "wants a password ({error}); name it in `password_file`"),
    (
        NoPermissionError,
        "does not permit its user what is needed ({error}); see the ACL rules in the operations page",
    ),
    (OutOfMemoryError, "is out of memory; raise its maxmemory"),
    (ReadOnlyError, "is a replica that cannot be written; name its primary, or the sentinels"),
    (BusyLoadingError, "is still loading its data"),
    (ClusterDownError, "says that its cluster is down ({error})"),
    (SlowError, "did not answer in time"),
    (TimeoutError, "did not answer in time"),
    (BrokenError, "cannot be reached ({error})"),
    (OSError, "cannot be reached ({error})"),
)

_WRAPPED: Final = re.compile(r"\bscript\b.*[ -](OOM|READONLY|NOPERM|WRONGTYPE) ", re.DOTALL)
_KINDS: Final[dict[str, type[ResponseError]]] = {
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "NOPERM": NoPermissionError,
    "WRONGTYPE": ResponseError,
}


def unwrapped(error: ResponseError) -> ResponseError:
    """Return what a script's error is about: before release 7 the server hides it in words of its own."""
    found = _WRAPPED.search(str(error)) if type(error) is ResponseError else None
    return _KINDS[found[1]](f"{found[1]} in a script") if found else error


def sentence(error: Failure) -> str:
    """Say what is wrong, to follow the server's name."""
    for kind, text in _SENTENCES:
        if isinstance(error, kind):
            return text.format(error=_said(error))
    return f"answers with an error ({_said(error)})"


def is_wrong_type(error: Failure) -> bool:
    """Tell whether a key holds what is not ours."""
    return str(error).startswith("WRONGTYPE")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
