"""Problems and test results in the forms that other programs read.

Decides which forms there are. Each has a module of its own, which knows that form and nothing else.
"""

from guardproxy.cli.formats import github, junit, sarif
from guardproxy.cli.formats.cases import Case, case_of

__all__ = ["Case", "case_of", "github", "junit", "sarif"]
