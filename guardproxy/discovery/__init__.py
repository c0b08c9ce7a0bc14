"""Looking at a running model server: what it is, which models it has, and the first configuration that follows from it.

Decides nothing itself. What is asked and how the answers are read is left to `talk` and the modules of the kinds, what is
written to `draft`; both are pure. How questions travel is left to `prober`.
"""

from guardproxy.discovery.answers import Answer, Probe
from guardproxy.discovery.draft import Draft, Wishes, draft
from guardproxy.discovery.prober import MAX_ANSWER, MAX_PROBES, Looked, look_at
from guardproxy.discovery.sighting import MAX_MODELS, Asked, LeftOut, Model, Route, Sighting, name_problem
from guardproxy.discovery.talk import look

__all__ = [
    "MAX_ANSWER",
    "MAX_MODELS",
    "MAX_PROBES",
    "Answer",
    "Asked",
    "Draft",
    "LeftOut",
    "Looked",
    "Model",
    "Probe",
    "Route",
    "Sighting",
    "Wishes",
    "draft",
    "look",
    "look_at",
    "name_problem",
]
