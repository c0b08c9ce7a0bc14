"""What can keep the demo from playing."""

from guardproxy.errors import OperatorError


class DemoError(OperatorError):
    """The demo cannot go on: an extra is not installed, a port is taken, a child process ended. Says what to do."""
