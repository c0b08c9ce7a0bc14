"""Tallies, windows and the breaker: additive counts of what passed, arithmetic only."""

from guardproxy.stats.breaker import Breaker, Change, Seen
from guardproxy.stats.tally import FieldTally
from guardproxy.stats.windows import ModelWindows, Sample

__all__ = ["Breaker", "Change", "FieldTally", "ModelWindows", "Sample", "Seen"]
