"""How many threads numpy may take in a process of guardproxy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = """
import os, sys
from guardproxy.cli import main
early = "numpy" in sys.modules
sys.argv = ["guardproxy", "--version"]
try:
    main()
except SystemExit:
    import numpy
    numpy.ones((300, 300)) @ numpy.ones((300, 300))
    print(early, os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.parametrize(("given", "threads"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_one_thread_unless_the_environment_says_otherwise_and_said_before_numpy_is_there(
    given: dict[str, str], threads: str
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**kept, **given},
    )
    assert done.stdout.splitlines()[-1] == f"False {threads}"
