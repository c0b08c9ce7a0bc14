"""`guardproxy demo`: watch guardproxy protect a real model.

Decides the flags and the exit code: 0 all promises kept, 1 one was broken, 2 the demo could not play.
"""

import sys
from pathlib import Path

import click
from rich.console import Console

from guardproxy.demo.display import WIDTH

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--once", is_flag=True, help="Play it without resting, print the summary and end.")
@click.option("--port", type=_PORT, default=0, help="The proxy's port (default: any free one).")
@click.option("--admin-port", type=_PORT, default=0, help="The console's port (default: any free one).")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write all files to DIR and leave them there.",
)
def demo(once: bool, port: int, admin_port: int, keep: Path | None) -> None:
    """Train a forecast on real data, put guardproxy before it, and let things go wrong.

    Afterwards everything keeps running, with the held predictions waiting in the console, until Ctrl-C.
    """
    from guardproxy.demo.errors import DemoError
    from guardproxy.demo.play import Options, run

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, WIDTH))
    try:
        sys.exit(run(Options(once, port, admin_port, keep), console))
    except DemoError as error:
        console.print(f"guardproxy demo: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("\nended before the end", style="dim")
        sys.exit(130)
