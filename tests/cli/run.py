"""The command line as a shell sees it: arguments in; exit code, standard output and standard error out."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardproxy.cli import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Shell:
    """Runs commands in this process, through the same `main` as the installed script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Done:
        self._capsys.readouterr()
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", ["guardproxy", *(str(each) for each in arguments)])
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        said = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        assert "Traceback" not in said.err
        return Done(code, said.out, said.err)


def child(
    *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None, timeout: float = 60
) -> Done:
    """Run a command in a process of its own, in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "guardproxy", *(str(each) for each in arguments)],
        cwd=folder,
        env=child_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without its GUARDPROXY_ variables, in which the package is found anywhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GUARDPROXY_")}
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}
