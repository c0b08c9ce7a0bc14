"""The life of a model's drift alarm: raised, tried again after a cooldown, ended.

Decides when. What the evidence is, is left to `evidence`, how it is said to `drift_words`.

An alarm is raised as soon as the model's evidence reaches the level of its run length. After a cooldown the detector begins again
from nothing: if the drift goes on, the evidence reaches the level once more within the next cooldown, and the alarm stands
on without being told again; if it does not, the alarm ends. So an alarm stands for two cooldowns at least. Time passes only
with closed buckets: while a model has no traffic, nothing is learned of it, and its alarm stands.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

NEVER: Final = -1


class Alarm(NamedTuple):
    """`raised` is the bucket in which the alarm began, NEVER while there is none; `tried` the one in which the detector last
    began from nothing; `confirmed` says that the evidence has reached the level since."""

    raised: int = NEVER
    tried: int = NEVER
    confirmed: bool = False

    @property
    def stands(self) -> bool:
        """Whether there is an alarm."""
        return self.raised != NEVER


QUIET: Final = Alarm()


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """What an operator asks for: one false alarm in `run_length_s` seconds on average, buckets of `bucket_s` seconds, and a
    cooldown; how much of a share's change is tolerated; and how much more counts vary than independent rows do."""

    run_length_s: float = 30 * 86_400.0
    bucket_s: float = 60.0
    cooldown_s: float = 6 * 3_600.0
    tolerance: float = 0.05
    dispersion: float = 1.0

    @property
    def run_length(self) -> float:
        """The run length in buckets, at least one."""
        return max(1.0, self.run_length_s / self.bucket_s)

    @property
    def cooldown(self) -> int:
        """The cooldown in buckets, at least one."""
        return max(1, round(self.cooldown_s / self.bucket_s))


class Step(NamedTuple):
    """The alarm after a bucket, and whether the detector begins again from nothing."""

    alarm: Alarm
    anew: bool = False


def alarm_after(alarm: Alarm, bucket: int, *, reached: bool, cooldown: int) -> Step:
    """Return the alarm after a closed bucket; `reached` says that the model's evidence has the level."""
    if not alarm.stands:
        return Step(Alarm(bucket, bucket, confirmed=True) if reached else alarm)
    alarm = alarm._replace(confirmed=alarm.confirmed or reached)
    if bucket - alarm.tried < cooldown:
        return Step(alarm)
    if not alarm.confirmed:
        return Step(QUIET)
    return Step(Alarm(alarm.raised, bucket, confirmed=False), anew=True)
