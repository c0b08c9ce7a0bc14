"""What an operator may choose about recording, with the bounds that hold where nothing is chosen.

Decides the bounds. Holding to them is left to `recorder` and `segments`, reading a configuration to `config`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_DAY_S: Final = 86_400.0

SPACES: Final = ("features", "output", "request")
"""Where a field that is redacted may stand."""
REQUEST_FIELDS: Final = ("caller", "model_version")
"""What of the request's own facts may be redacted; its time may not."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where and how much is recorded. Raises ValueError with a sentence for the operator.

    `per_minute` exchanges are kept per model and minute: one half of those places is for exchanges on which a rule had
    something to say, the other for the rest. All files together take at most `max_bytes` of the disk and none is kept for
    longer than `max_age_s` seconds; the oldest go first. `redact` names the fields (`features.NAME`, `output.NAME`,
    `request.caller`; `features.*` for all) whose cells are removed before anything is kept.

    An exchange of more than `max_rows` rows or `max_record_bytes` in memory is not recorded. A minute of one model holds at
    most `max_slice_rows` rows; all that waits for the disk, `max_pending_bytes`. Nothing is written while the disk has less
    than `low_water_bytes` free (0: down to the last byte): holds need that room more.
    """

    directory: Path
    per_minute: int = 200
    max_bytes: int = 1024 * _MIB
    max_age_s: float = 30 * _DAY_S
    redact: tuple[str, ...] = ()
    max_rows: int = 1_000
    max_slice_rows: int = 50_000
    max_record_bytes: int = 8 * _MIB
    max_pending_bytes: int = 128 * _MIB
    low_water_bytes: int = 64 * _MIB

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name in self.redact:
            problem = redaction_problem(name)
            if problem is not None:
                raise ValueError(problem)


_LEAST: Final = {
    "per_minute": 2,
    "max_bytes": 64 * _KIB,
    "max_age_s": 60.0,
    "max_rows": 1,
    "max_slice_rows": 1,
    "max_record_bytes": 1,
    "max_pending_bytes": 1,
    "low_water_bytes": 0,
}


def redaction_problem(name: str) -> str | None:
    """Return a sentence on what is wrong with a name in `redact`, or None."""
    space, dot, field = name.partition(".")
    if space not in SPACES or not dot or not field:
        return f"{name!r} names no field; write features.NAME, output.NAME or request.caller"
    if space == "request" and field not in REQUEST_FIELDS:
        return f"{name!r} cannot be redacted; of the request that is {' and '.join(REQUEST_FIELDS)}"
    return None
