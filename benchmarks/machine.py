"""What machine this is, in words that mean something elsewhere."""

import os
import platform
from pathlib import Path
from typing import Any

import guardproxy


def describe() -> dict[str, Any]:
    """Return processor, cores, kernel, Python and version."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "guardproxy": guardproxy.__version__,
    }
