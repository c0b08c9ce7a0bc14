"""What kind of file a YAML document is, told by its keys.

Decides which well-known files are recognised, so that a wrong one gets one line instead of a page of unknown keys. That
it is the wrong one is left to the reader, who knows what was wanted.
"""

from collections.abc import Callable
from typing import Final

from guardproxy.source import MappingNode, Node, Scalar, SequenceNode

Look = Callable[[MappingNode], bool]


def other_kind(node: Node) -> str | None:
    """Name the well-known kind of file that a document's root looks like (`a Kubernetes manifest`); None for no such."""
    if isinstance(node, SequenceNode):
        return _kind_of_list(node)
    if not isinstance(node, MappingNode) or "guardproxy" in node.entries:
        return None
    return next((name for name, look in _KINDS if look(node)), None)


def _has(*keys: str) -> Look:
    wanted = frozenset(keys)
    return lambda node: wanted <= node.entries.keys()


def _text(node: MappingNode, key: str) -> str:
    entry = node.entries.get(key)
    value = entry.value if entry is not None else None
    return value.value if isinstance(value, Scalar) and isinstance(value.value, str) else ""


def _below(node: MappingNode, key: str, *keys: str) -> bool:
    """Tell whether the first item of a list under `key` has one of the given keys."""
    entry = node.entries.get(key)
    items = entry.value.items if entry is not None and isinstance(entry.value, SequenceNode) else ()
    first = items[0] if items else None
    return isinstance(first, MappingNode) and bool(first.entries.keys() & set(keys))


def _api(part: str) -> Look:
    return lambda node: part in _text(node, "apiVersion")


# The most particular first: a Kyverno policy is a Kubernetes manifest too.
_KINDS: Final[tuple[tuple[str, Look], ...]] = (
    ("a Kyverno policy", _api("kyverno.io")),
    ("Prometheus rules for its operator", _api("monitoring.coreos.com")),
    ("a Gatekeeper template or constraint", _api("gatekeeper.sh")),
    ("a Kubernetes manifest", _has("apiVersion", "kind")),
    ("Prometheus rules", lambda node: _below(node, "groups", "rules", "interval")),
    ("a Prometheus configuration", _has("scrape_configs")),
    ("an Alertmanager configuration", _has("route", "receivers")),
    ("an OpenAPI description", lambda node: bool(node.entries.keys() & {"openapi", "swagger"})),
    ("a GitHub workflow", lambda node: "jobs" in node.entries and bool(node.entries.keys() & {"on", "name"})),
    ("a GitLab pipeline", _has("stages")),
    ("a Compose file", lambda node: "services" in node.entries and "rules" not in node.entries),
    ("a dbt file", lambda node: bool(node.entries.keys() & {"models", "sources", "seeds", "snapshots"})
                                and "version" in node.entries),
    ("a Soda check file", lambda node: any(key.startswith("checks for ") for key in node.entries)),
    ("a Great Expectations suite", _has("expectations")),
    ("Semgrep rules", lambda node: _below(node, "rules", "languages", "pattern", "patterns")),
    ("a Sigma rule", _has("logsource", "detection")),
    ("an Ansible or Helm values file", _has("replicaCount")),
    ("a pre-commit configuration", lambda node: _below(node, "repos", "repo")),
)  # fmt: skip


def _kind_of_list(node: SequenceNode) -> str | None:
    first = node.items[0] if node.items else None
    if not isinstance(first, MappingNode):
        return None
    keys = first.entries.keys()
    if keys & {"condition", "macro", "list", "required_engine_version"} and (
        keys & {"rule", "macro", "list", "required_engine_version"}
    ):
        return "Falco rules"
    return "an Ansible playbook" if keys >= {"hosts", "tasks"} else None
