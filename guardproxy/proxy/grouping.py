"""Events of one model that come close together are told as one.

Decides what a group says of its members. When it is due is a question of the clock that is handed in; sending it is left to
`webhooks`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_MEMBERS: Final = 200
"""Events that a group waits with; of more, what they say is left out, and they are counted in `events`."""


@dataclass(slots=True)
class _Group:
    told_at: float
    waiting: list[Mapping[str, Any]] = field(default_factory=list)
    count: int = 0


class Grouping:
    """Lets the first event of a model pass, and holds those that follow within `cooldown_s` back until it is over.

    `held_back` counts the events that did not pass by themselves: each of them is part of a group that does.
    """

    def __init__(self, cooldown_s: float) -> None:
        self.held_back = 0
        self._cooldown_s = cooldown_s
        self._groups: dict[str, _Group] = {}

    def take(self, said: Mapping[str, Any], now: float) -> Mapping[str, Any] | None:
        """Return what is to be told now of an event: itself, or nothing yet."""
        model = str(said.get("model", ""))
        group = self._groups.get(model)
        if group is None:
            self._groups[model] = _Group(now)
            return said
        self.held_back += 1
        group.count += 1
        if len(group.waiting) < MAX_MEMBERS:
            group.waiting.append(said)
        return None

    def due(self, now: float) -> list[Mapping[str, Any]]:
        """Return the groups whose time has come, and forget what has been quiet for as long."""
        found = []
        for model, group in list(self._groups.items()):
            # A clock that was set back must not hold anything back for longer than the cooldown.
            if 0.0 <= now - group.told_at < self._cooldown_s:
                continue
            if group.waiting:
                found.append(_joined(group))
                self._groups[model] = _Group(now)
            else:
                del self._groups[model]
        return found

    def rest(self) -> list[Mapping[str, Any]]:
        """Return all groups, whether due or not, at a stop."""
        found = [_joined(group) for group in self._groups.values() if group.waiting]
        self._groups.clear()
        return found


def _joined(group: _Group) -> Mapping[str, Any]:
    """Return one event for several: the newest, with the fields and the sentences of all."""
    newest = group.waiting[-1]
    if group.count == 1:
        return newest
    fields = dict.fromkeys(str(name) for said in group.waiting for name in said.get("fields", ()))
    texts = dict.fromkeys(str(said.get("text", "")) for said in group.waiting)
    return {**newest, "fields": list(fields), "events": group.count, "text": "\n".join(texts)}
