"""`guardproxy rules ...`: everything that people do with rule files.

Decides which commands there are; each stands in a module of its own, imported when it runs.
"""

from typing import Final

import click

from guardproxy.cli.lazy import LazyGroup

_AUTHOR: Final = "guardproxy.cli.rules_author"
_COMMANDS: Final = {
    "new": (_AUTHOR, "new", "Write a rule file to start from."),
    "check": ("guardproxy.cli.rules_check", "check", "Say what is wrong with rule files."),
    "test": ("guardproxy.cli.rules_test", "test", "Run the tests in rule files."),
    "explain": ("guardproxy.cli.rules_explain", "explain", "Show how each rule judged a decision or a row."),
    "replay": ("guardproxy.cli.rules_replay", "replay", "Show what rules would do to recorded traffic."),
    "suggest": ("guardproxy.cli.rules_suggest", "suggest", "Propose rules from recorded traffic."),
    "promote": (_AUTHOR, "promote", "Change a rule's mode, one step up or any number down."),
    "diff": (_AUTHOR, "diff", "Compare rule files by meaning."),
    "fmt": (_AUTHOR, "fmt", "Put rule files into their usual form, comments kept."),
    "docs": (_AUTHOR, "docs", "Write a page per model in plain sentences."),
    "schema": (_AUTHOR, "schema", "Print the JSON Schema of rule files, for editors."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def rules() -> None:
    """Write, check, test, explain and replay rule files."""
