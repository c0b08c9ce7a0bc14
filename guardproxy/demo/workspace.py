"""The directory that the demo works in: every file a user would have, written where it can be looked at.

Decides names and contents of the files. Starting something from them is left to `stage`.
"""

import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import guardproxy
from guardproxy.demo.dataset import TARGET, Dataset, write_csv
from guardproxy.demo.errors import DemoError
from guardproxy.demo.model import OUTPUTS
from guardproxy.demo.model_server import MODEL

RULE_FILE: Final = "departures.guard.yaml"
INFER_PATH: Final = f"/v2/models/{MODEL}/infer"
REVIEWER: Final = "demo-reviewer"

_PACKAGE: Final = Path(guardproxy.__file__).parent
_RULE_PLACES: Final = (_PACKAGE.parent / "rules", _PACKAGE / "demo" / "rules")
"""A checkout has the rules at its top, a wheel inside the package."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The files of one run, by what they are for, and the token that opens the console."""

    root: Path
    token: str

    @property
    def training(self) -> Path:
        """The hours to learn from."""
        return self.root / "data" / "training.csv"

    @property
    def production(self) -> Path:
        """The hours that come after them."""
        return self.root / "data" / "production.csv"

    @property
    def profile(self) -> Path:
        """What `guardproxy learn` writes."""
        return self.root / "profiles" / f"{MODEL}.profile.yaml"

    @property
    def rules(self) -> Path:
        """The directory of rule files."""
        return self.root / "rules"

    @property
    def config(self) -> Path:
        """The configuration of `guardproxy serve`."""
        return self.root / "guardproxy.yaml"

    @property
    def tokens(self) -> Path:
        """The hashes of the console's tokens."""
        return self.root / "tokens.yaml"

    def log(self, name: str) -> Path:
        """Return where the child process called `name` writes what it says."""
        return self.root / "logs" / f"{name}.log"


def make_workspace(root: Path, dataset: Dataset) -> Workspace:
    """Write the data, the rules and the tokens below `root`. Raises DemoError when that cannot be done."""
    workspace = Workspace(root, secrets.token_urlsafe(24))
    try:
        for directory in ("data", "profiles", "rules", "logs"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        write_csv(dataset.training(), workspace.training)
        write_csv(dataset.production(), workspace.production)
        shutil.copyfile(rule_file(), workspace.rules / RULE_FILE)
        _write_private(workspace.tokens, _token_list(workspace.token))
    except OSError as error:
        raise DemoError(f"the demo's files cannot be written: {error}") from error
    return workspace


def rule_file() -> Path:
    """Return where the demo's rules are. Raises DemoError."""
    for place in _RULE_PLACES:
        if (place / RULE_FILE).is_file():
            return place / RULE_FILE
    raise DemoError(
        f"{RULE_FILE} is not there; looked in {' and '.join(str(place) for place in _RULE_PLACES)}"
    )


def config_text(workspace: Workspace, *, model_port: int, port: int, admin_port: int) -> str:
    """Return the configuration that puts guardproxy in front of the model server."""
    outputs = ", ".join(OUTPUTS)
    return f"""\
# Written by `guardproxy demo`. Start it again with: guardproxy serve --config {workspace.config.name}
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin_port}, tokens_file: {workspace.tokens.name}}}
store: sqlite:///guardproxy.db
rules: rules/
upstream: http://127.0.0.1:{model_port}
statistics: {{bucket: 1h}}         # five weeks are played in a minute: minute by minute all of it would be called drift
holds: {{undo: 2s}}               # a decision can be taken back for so long; short, so that the demo can show its end
routes:
  - path: {INFER_PATH}
    model: {MODEL}
    protocol: open-inference
    profile: {workspace.profile.relative_to(workspace.root)}
    key: [airport, weekday, hour]   # the entity whose last good forecast is the fallback `previous`
    outputs: [{outputs}]
    on_failure: open
"""


def learn_arguments(workspace: Workspace) -> list[str]:
    """Return the arguments of the `guardproxy` command that learns the profile."""
    options = {
        "--model": MODEL,
        "--target": TARGET,
        "--time": "time",
        "--key": "airport",
        "--out": str(workspace.profile),
    }
    return ["learn", str(workspace.training), *(word for pair in options.items() for word in pair)]


def _token_list(token: str) -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f"- {{name: {REVIEWER}, role: operator, sha256: {digest}}}\n"


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        os.fsync(file.fileno())
