"""Recorded traffic on disk: a bounded sample of what was screened, kept for replay.

Decides which exchanges are kept, what is removed from them before anything is kept, and how they lie on disk. What is made of
them is left to `guard.replay` and the tools above.
"""

from guardproxy.guard.recorded import Recorded
from guardproxy.recording.draft import Draft, is_loud
from guardproxy.recording.options import Options, redaction_problem
from guardproxy.recording.read import RecordingError, Skipped, read_recording
from guardproxy.recording.recorder import Recorder, RecorderStatus

__all__ = [
    "Draft",
    "Options",
    "Recorded",
    "Recorder",
    "RecorderStatus",
    "RecordingError",
    "Skipped",
    "is_loud",
    "read_recording",
    "redaction_problem",
]
