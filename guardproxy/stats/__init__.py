"""Tallies, windows and the breaker: additive counts of what passed, arithmetic only.

Decides how exchanges are added up, and when a rule acts on too much of them. Clocks, queues and what is told to whom are left
to the proxy.
"""

from guardproxy.stats.breaker import Breaker, Change, Seen
from guardproxy.stats.tally import FieldTally
from guardproxy.stats.windows import ModelWindows, Sample

__all__ = ["Breaker", "Change", "FieldTally", "ModelWindows", "Sample", "Seen"]
