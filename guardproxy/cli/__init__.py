"""The command line: parse, call one function, print.

Decides names of commands and exit codes (0 ok, 1 a check or test failed, 2 usage or invalid input, 3 internal). Each
command's module is imported only when it runs, so that `guardproxy rules check` does not pay for pyarrow.
"""

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import click

from guardproxy import __version__
from guardproxy.cli.lazy import LazyGroup

INTERNAL: Final = 3

ONE_THREAD: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
)
"""How many threads numpy's linear algebra takes, unless the environment says otherwise.

Our matrices are of a few hundred numbers. With more threads, those wait for one another by turning: a guarded request then costs a sixth
more processor time.
"""

_COMMANDS: Final = {
    "config": ("guardproxy.cli.config", "config", "Check a configuration, or print its schema."),
    "demo": ("guardproxy.cli.demo", "demo", "Watch guardproxy protect a real model."),
    "drift": ("guardproxy.cli.drift", "drift", "Say which models and fields drift."),
    "explain": ("guardproxy.cli.explain", "explain", "Say what a problem's code means."),
    "holds": ("guardproxy.cli.holds", "holds", "List held predictions and decide about them."),
    "init": ("guardproxy.cli.init", "init", "Look at a model server and write a first guardproxy.yaml."),
    "learn": ("guardproxy.cli.learn", "learn", "Learn a profile from reference data or traffic."),
    "profile": ("guardproxy.cli.profile", "profile", "Look at a learned profile, or approve one."),
    "rules": ("guardproxy.cli.rules", "rules", "Write, check, test, explain and replay rule files."),
    "serve": ("guardproxy.cli.serve", "serve", "Run the proxy beside a model server."),
    "token": ("guardproxy.cli.token", "token", "Make tokens for the admin plane."),
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="guardproxy")
def cli() -> None:
    """A sidecar that checks what goes into a model server and what comes out, row by row."""


def main() -> None:
    """Run a command; an exception that nobody expected is exit code 3."""
    for name, threads in ONE_THREAD.items():
        # Numpy reads them when it is imported, which no command has done yet.
        os.environ.setdefault(name, threads)
    try:
        code = cli.main(standalone_mode=False, prog_name="guardproxy")
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has had enough; that is no failure of ours.
        sys.exit(0)
    except Exception as error:
        click.echo(f"guardproxy: internal error: {type(error).__name__}: {error}", err=True)
        if "--debug" in sys.argv:
            raise
        sys.exit(INTERNAL)
    sys.exit(code if isinstance(code, int) else 0)
