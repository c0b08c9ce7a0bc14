"""A message: the body of a request or a response with the little that a codec needs to know about it.

Decides nothing. Content codings are undone before a message is made.
"""

from typing import NamedTuple


class Message(NamedTuple):
    """A decoded-on-demand body. `content_type` is the header's value as it came, or None when there was none.

    `identity` is what a retry of the same request has in common with it (an idempotency key); the body where empty.
    `json_length` is how many bytes of the body are JSON, where a header said so (the rest are binary tensors); -1 when
    that header could not be read.
    """

    body: bytes
    content_type: str | None = None
    identity: bytes = b""
    json_length: int | None = None
