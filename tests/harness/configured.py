"""A whole guardproxy in the test's own loop, run from the text of a configuration and of a rule file."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from guardproxy.config import parse_config
from guardproxy.proxy.load import load
from guardproxy.service import Service, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def configured(upstream_port: int, routes: str, rules: str = "") -> AsyncIterator[Service]:
    """Run guardproxy in front of a port of this machine. `routes` is the list of that key in flow or block style."""
    with TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "rules").mkdir()
        if rules:
            (base / "rules" / "a.guard.yaml").write_text(rules)
        text = (
            f"listen: 127.0.0.1:0\nadmin: {{listen: 127.0.0.1:0, auth: none}}\nstore: sqlite:///holds.db\ndrain: 1s\n"
            f"upstream: http://127.0.0.1:{upstream_port}\n{'rules: rules/' if rules else ''}\nroutes: {routes}\n"
        )
        config, problems = parse_config(text, "guardproxy.yaml", base, {})
        assert not [problem for problem in problems if problem.severity == "error"], problems
        loaded = load(config)
        assert not loaded.errors, loaded.errors
        async with running(config, loaded, None) as service:
            yield service
