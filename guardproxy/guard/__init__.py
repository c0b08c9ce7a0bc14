"""The guard: what a route runs on every exchange. Two pure functions, `screen_request` and `screen_response`."""

from guardproxy.guard.guard import Guard, Past
from guardproxy.guard.screen import Screening, screen_request, screen_response

__all__ = ["Guard", "Past", "Screening", "screen_request", "screen_response"]
