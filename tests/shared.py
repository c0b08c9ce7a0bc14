"""Material beside the checkout (captures, data, hostile inputs): read where it is at hand, skipped without it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_file(name: str) -> Path:
    """Return a file of `../shared`; the test is skipped where there is none."""
    path = ROOT.parent / "shared" / name
    if not path.exists():
        pytest.skip(f"../shared/{name} is not here")
    return path
