"""Rule files that mean harm or are no rule files at all; `python -m tests.rules.hostile_files` says what each one costs.

Each is read in a process of its own, forked from one that has everything imported, so that the memory it takes is its own.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from guardproxy.documents import decode
from guardproxy.rules import load_rulesets

HEAD = "guardproxy: 1\nmodel: demand\nowner: o\n"
MIB = 1024 * 1024


def _rule(text: str) -> str:
    return f"{HEAD}rules:\n  - id: a\n    {text}\n"


def _laughs(width: int, depth: int) -> str:
    lines = [f"a0: &a0 [{', '.join(['ha'] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return HEAD + "\n".join(lines) + "\nrules: []\n"


def _kpis(number: int) -> str:
    lines = "".join(f"  k{n}: {{expr: kpi.k{n - 1} + kpi.k{n - 1}}}\n" for n in range(1, number))
    return f"{HEAD}kpis:\n  k0: {{expr: output.demand}}\n{lines}rules:\n  - {{id: a, require: kpi.k{number - 1} > 0}}\n"


def _many(line: str, size: int = 4 * MIB - 200) -> str:
    return line * (size // len(line))


# Made only when it is read: together they have more than a hundred million characters.
FILES: Mapping[str, Callable[[], str | bytes]] = {
    "billion-laughs": lambda: _laughs(9, 10),
    "aliases-of-a-long-list": lambda: HEAD + "x: &x [" + "1," * 9_000 + "1]\nrules: [" + "*x," * 900 + "*x]\n",
    "alias-of-itself": lambda: HEAD + "rules: &a [*a]\n",
    "200,000-brackets": lambda: "[" * 200_000,
    "200,000-braces": lambda: "{" * 200_000,
    "200,000-braces-with-keys": lambda: "{a: " * 200_000,
    "200,000-dashes": lambda: "- " * 200_000,
    "200,000-brackets-in-an-expression": lambda: _rule("require: " + "(" * 200_000),
    "10-MB": lambda: _many("# nothing\n", 10_000_000),
    "10-MB-of-one-line": lambda: "a" * 10_000_000,
    "4-MB-of-numbers": lambda: HEAD + "rules: [" + _many("1,") + "1]",
    "4-MB-of-keys": lambda: HEAD + "".join(f"k{n}: 1\n" for n in range(300_000)),
    "4-MB-of-one-key": lambda: HEAD + _many("a: 1\n"),
    "4-MB-in-a-key": lambda: HEAD + "k" * (4 * MIB - 200) + ": 1\n",
    "4-MB-of-spaces": lambda: HEAD + "a" + " " * (4 * MIB - 200) + "b: c: d\n",
    "4-MB-of-colons": lambda: HEAD + _many("a: b"),
    "4-MB-of-tags": lambda: HEAD + "x: [" + _many("!t 1,") + "1]\n",
    "4-MB-of-quotes": lambda: HEAD + _many("a: '\n"),
    "4-MB-of-brackets-that-close": lambda: HEAD + "x: [" + _many("[],") + "1 2: 3]\n",
    "4-MB-of-documents": lambda: _many("--- a\n"),
    "4-MB-of-bad-rules": lambda: HEAD + "rules:\n" + _many("  - {id: a, requier: x}\n"),
    "4-MB-of-bad-expressions": lambda: HEAD + "rules:\n" + _many("  - {id: a, require: x.y &&}\n"),
    "1,000-of-the-longest-expressions": lambda: HEAD + "rules:\n" + "".join(
        f"  - {{id: r{n}, require: 'output.demand > {'+'.join(['features.x'] * 150)} and'}}\n" for n in range(1_000)
    ),
    "4-MB-of-text": lambda: _rule("title: " + "x" * (4 * MIB - 200)),
    "4-MB-of-a-list": lambda: HEAD + "lists: {l: [" + "".join(f"a{n}," for n in range(500_000)) + "a]}\nrules: []\n",
    "kpis-that-double": lambda: _kpis(60),
    "python-tags": lambda: HEAD + "rules: !!python/object/apply:os.system ['echo harm']\n",
    "deep-nesting": lambda: HEAD + "rules:\n" + "".join(" " * n + "a:\n" for n in range(2_000)),
    "nots": lambda: _rule("require: " + "not " * 495 + "true"),
    "minuses": lambda: _rule("require: output.demand > " + "-" * 1_900 + "1"),
    "regex-bomb": lambda: _rule("text: {field: output.t, must_match: '((((a{99}){99}){99}){99})+$'}"),
    "regex-bomb-in-an-expression": lambda: _rule("require: 'matches(output.t, \"((a{999}){999}){9}\")'"),
    "regex-of-4,000-brackets": lambda: _rule("text: {field: output.t, must_match: '" + "(" * 4_000 + "'}"),
    "number-of-5,000-digits": lambda: _rule("range: {field: output.demand, max: " + "9" * 5_000 + "}"),
    "number-of-5,000-digits-in-an-expression": lambda: _rule("require: output.demand < " + "9" * 5_000),
    "number-of-5,000-digits-in-a-version": lambda: "guardproxy: " + "1" * 5_000 + "\nmodel: m\nrules: []\n",
    "number-of-5,000-digits-as-a-share": lambda: _rule("mode: canary " + "9" * 5_000 + "%\n    require: output.x > 0"),
    "number-of-5,000-digits-as-a-duration": lambda: _rule("require: recent_mean(output.x, " + "9" * 1_900 + "d) > 0"),
    "exponent-of-9,999": lambda: _rule("range: {field: output.demand, max: 1e9999}"),
    "message-of-braces": lambda: _rule("require: output.demand > 0\n    message: '" + "{" * 3_999 + "'"),
    "schema-that-refers-to-itself": lambda: _rule("json_schema: {field: output.t, schema: {$ref: '#'}}"),
    "schema-of-elsewhere": lambda: _rule("json_schema: {field: output.t, schema: {$ref: 'http://127.0.0.1:9/s'}}"),
    "schema-that-is-deep": lambda: _rule("json_schema: {field: output.t, schema: " + "{not: " * 30 + "3" + "}" * 30 + "}"),
    "binary": lambda: bytes(range(256)) * 40_000,
    "zeros": lambda: bytes(1_000_000),
    "utf-16": lambda: HEAD.encode("utf-16"),
    "gzip": lambda: b"\x1f\x8b\x08\x00" + bytes(100),
    "prometheus": lambda: "groups:\n  - name: a\n    rules: [{alert: A, expr: up == 0}]\n",
    "kubernetes": lambda: "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
    "nothing": lambda: "",
    "null": lambda: "---\n~\n---\n",
    "a-word": lambda: "guardproxy",
    "escape-codes": lambda: "guardproxy: 1\nmodel: \x1b]0;x\x07\nrules: []\n",
}  # fmt: skip

# These are odd, and still rule files: nothing in them is wrong.
FINE = frozenset({"schema-that-refers-to-itself"})


def read(name: str) -> list[dict[str, Any]]:
    """Read one of the files and return its problems."""
    data = FILES[name]()
    text, problems = decode(data if isinstance(data, bytes) else data.encode(), "a.guard.yaml")
    if not problems:
        _, problems = load_rulesets({"a.guard.yaml": text})
    return [problem.as_json() for problem in problems]


def measure(name: str) -> dict[str, Any]:
    """Read a file in a forked process: its problems, the seconds and the MiB that it took."""
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(receive)
        with os.fdopen(send, "w") as pipe:
            before, start = _peak(), time.perf_counter()
            problems = read(name)
            said = {"name": name, "seconds": time.perf_counter() - start, "mib": _peak() - before}
            json.dump({**said, "problems": problems}, pipe)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        written = pipe.read()
    _, status = os.waitpid(process, 0)
    if status or not written:
        return {"name": name, "seconds": 0.0, "mib": 0.0, "problems": [], "died": status}
    found: dict[str, Any] = json.loads(written)
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _main(names: list[str]) -> None:
    for name in names or list(FILES):
        found = measure(name)
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps(found) + "\n")
        else:
            first = (
                found["problems"][0]
                if found["problems"]
                else {"code": "-", "line": 0, "column": 0, "message": ""}
            )
            sys.stdout.write(
                f"{found['seconds']:6.3f} s {found['mib']:6.1f} MiB  {name}: {first['code']} "
                f"{first['line']}:{first['column']} {first['message'][:90]} ({len(found['problems'])})\n"
            )


if __name__ == "__main__":
    _main([each for each in sys.argv[1:] if not each.startswith("--")])
