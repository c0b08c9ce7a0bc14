"""What holds for every test: no test fails because the machine was busy."""

import structlog
from hypothesis import settings

# Hypothesis fails an example that takes 200 ms unless told otherwise: a timed assertion, which no test of ours is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["tests.harness.redis_servers"]

# Where `rich` is installed, structlog draws a traceback with every local variable: ten seconds for one fault of a guard.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
