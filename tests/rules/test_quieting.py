import numpy as np
import pytest

from guardproxy.decision import Verdict
from guardproxy.rules.quieting import is_loud

LOUD = {Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.ERROR}


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_is_loud_unless_it_is_ok_or_skipped(verdict: Verdict) -> None:
    assert is_loud(verdict) is (verdict in LOUD)


def test_codes_are_as_loud_as_their_verdicts() -> None:
    codes = np.array([list(Verdict), list(reversed(Verdict))], dtype=np.uint8)
    assert is_loud(codes).tolist() == [[Verdict(code) in LOUD for code in row] for row in codes.tolist()]
