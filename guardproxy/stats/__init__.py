"""Tallies and windows: additive counts of what passed, arithmetic only."""

from guardproxy.stats.tally import FieldTally
from guardproxy.stats.windows import ModelWindows, Sample

__all__ = ["FieldTally", "ModelWindows", "Sample"]
