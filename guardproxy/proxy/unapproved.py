"""What is said of a profile that nobody has approved.

Decides the sentence and its place. That no rule acts on such a profile is left to `rules.trial`.
"""

from pathlib import Path

from guardproxy.profile.model import Profile
from guardproxy.source import Problem


def unapproved(profile: Profile, text: str, path: Path) -> Problem:
    """Say that a profile counts only, at the place where it says what it was learned from."""
    lines = text.splitlines()
    line = next((number for number, said in enumerate(lines, start=1) if said.startswith("source:")), 1)
    why = "nobody has approved it"
    if profile.approved is not None:
        why = f"it was edited after {profile.approved.by} approved version {profile.approved.version}"
    message = f"the profile of '{profile.model}' was learned from recorded traffic and {why}: rules on it count and do not act"
    help_ = f"look at it, then run guardproxy profile approve {path}"
    return Problem("N414", message, str(path), line, 1, help=help_, severity="note")
