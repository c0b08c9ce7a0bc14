"""The admin plane: JSON API, console, metrics and health, on a port of its own.

Decides how people and programs look at holds, rules and windows and decide holds. What they see is made elsewhere and
arrives through `AdminServices`.
"""

from guardproxy.admin.access import ENDPOINTS, Endpoint, Principal
from guardproxy.admin.app import make_app
from guardproxy.admin.services import AdminServices, Alert
from guardproxy.admin.tokens import NO_AUTH, Role, Token, TokenBook, new_token, read_tokens

__all__ = [
    "ENDPOINTS",
    "NO_AUTH",
    "AdminServices",
    "Alert",
    "Endpoint",
    "Principal",
    "Role",
    "Token",
    "TokenBook",
    "make_app",
    "new_token",
    "read_tokens",
]
