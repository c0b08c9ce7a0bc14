"""Holds as a terminal shows them, made from the admin plane's JSON.

Decides the words and their order. Everything a model, a client or a colleague said is printed so that it cannot control
the terminal.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from guardproxy.cli.output import printable

_FEATURES: Final = 40
_ENDED: Final = ("approved", "overridden", "rejected", "expired", "cancelled")


def print_list(answer: Mapping[str, Any], states: Sequence[str], now: float) -> None:
    """Print a listing with whole ids, so that one can be copied into the next command; in a pipe one line per hold."""
    holds = answer["holds"]
    if not holds:
        print_line(f"No holds are {' or '.join(states)}.")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    titles = ("hold", "state", "severity", "expires", "rule")
    rows = [titles, *(_row(hold, now) for hold in holds)]
    wide = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    messages = ["", *(printable(hold["message"], 300) for hold in holds)]
    for row, message in zip(rows, messages, strict=True):
        line = "  ".join(f"{text:{size}}" for text, size in zip(row, wide, strict=True)).rstrip()
        if not width:
            # For a pipe: one line each.
            print_line(f"{line}  {message}".rstrip())
        else:
            print_line(click.style(line, bold=True) if row is titles else line)
            if message:
                print_line("    " + _cut(message, width - 4))
    total = sum(answer.get("counts", {}).get(state, 0) for state in states)
    if total > len(holds):
        print_line(f"{len(holds)} of {total}; --limit shows more, --format json has all fields.")


def print_hold(hold: Mapping[str, Any], now: float) -> None:
    """Print one hold: why it was held, the row, the candidates, and what can be done with it."""
    for line in _hold_lines(hold, now):
        print_line(line)


def print_line(text: str) -> None:
    """Print a line as it is, whatever its width."""
    sys.stdout.write(text + "\n")


def values(cells: Any) -> str:
    """Write a mapping of cells: `demand=120, label="a"`."""
    if not isinstance(cells, dict) or not cells:
        return "-"
    return ", ".join(f"{printable(name, 80)}={cell(value)}" for name, value in cells.items())


def cell(value: Any) -> str:
    """Write one cell of the JSON, a float with six digits; a missing one is `missing`."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return str(value.get("float", "?"))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(cell(item) for item in value[:12]) + (", …]" if len(value) > 12 else "]")
    if isinstance(value, str):
        return printable(json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


def left(expires_at: Any, now: float) -> str:
    """Write how long there is until an RFC 3339 time: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`; `due` when it is past."""
    at = _seconds(expires_at)
    if at is None:
        return "-"
    seconds = int(at - now)
    if seconds <= 0:
        return "due"
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if hours < 1:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def clock(at: Any) -> str:
    """Write an RFC 3339 time as a person reads it: `2026-03-01 14:05:09 UTC`."""
    seconds = _seconds(at)
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _seconds(at: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(at)).timestamp()
    except (ValueError, OverflowError):
        return None


def _row(hold: Mapping[str, Any], now: float) -> tuple[str, ...]:
    ended = hold["state"] in _ENDED
    rule = printable(f"{hold['model']}/{hold['rule']}", 100)
    return hold["id"], hold["state"], hold["severity"], "-" if ended else left(hold["expires_at"], now), rule


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _hold_lines(hold: Mapping[str, Any], now: float) -> Iterator[str]:
    output = hold["output"]
    yield f"{hold['id']}  {hold['state']}, {hold['severity']}" + (
        "" if hold["state"] in _ENDED else f", {_expiry(hold['expires_at'], now)}"
    )
    yield (
        f"{printable(hold['model'])}, row {hold['row']} of {hold['decision_id']},"
        f" queue {printable(hold['queue'])}, since {clock(hold['created_at'])}"
    )
    yield from _section("why", _whys(hold))
    yield from _section("answers", _answers(hold))
    yield from _section("tried in its place", _candidates(output.get("candidates", ())))
    yield from _section("the row", _features(hold))
    yield from _section("decided", _decided(hold))
    yield from _section("you may", [_command(hold, word) for word in hold["actions"]])


def _expiry(at: Any, now: float) -> str:
    until = left(at, now)
    return "its expiry is due" if until == "due" else f"expires in {until}"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)


def _whys(hold: Mapping[str, Any]) -> list[str]:
    lines = []
    for finding in sorted(hold["findings"], key=lambda each: each["rule"] != hold["rule"]):
        if finding["verdict"] == "ok":
            continue
        shadow = "" if finding["acts"] else f" ({finding['mode']}, did not act)"
        lines.append(f"{finding['rule']}{shadow}: {printable(finding['message'], 500)}")
        if finding["measured"] or finding["bound"]:
            bound = f"  asked for {printable(finding['bound'])}" if finding["bound"] else ""
            source = f" (from {printable(finding['bound_source'])})" if finding["bound_source"] else ""
            lines.append(f"  {values(finding['measured'])}{bound}{source}")
    return lines


def _answers(hold: Mapping[str, Any]) -> list[str]:
    output = hold["output"]
    source = output["provisional_source"]
    withheld = hold["meanwhile"] == "withhold" or not output["provisional"]
    provisional = "no answer: 503" if withheld else f"{values(output['provisional'])} ({printable(source)})"
    lines = [f"the model's  {values(output['original'])}", f"meanwhile    {provisional}"]
    if output["final"] is not None:
        lines.append(f"final        {values(output['final'])} ({printable(output['final_source'])})")
    return lines


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for each in candidates:
        refused = f" refused by {', '.join(each['refused_by'])}" if each["refused_by"] else ""
        note = f" ({printable(each['note'])})" if each["note"] else ""
        lines.append(f"{printable(each['source'])}: {values(each['values'])}{refused}{note}")
    return lines


def _features(hold: Mapping[str, Any]) -> list[str]:
    bands = {band["field"]: band for band in hold["bands"]}
    features = list(hold["features"].items())
    width = max((len(printable(name, 40)) for name, _ in features[:_FEATURES]), default=0)
    lines = []
    for name, value in features[:_FEATURES]:
        band = bands.get(f"features.{name}")
        learned = "" if band is None else f"learned {_end(band['lo'])} to {_end(band['hi'])}"
        outside = "  OUTSIDE" if band is not None and band.get("outside") else ""
        lines.append(f"{printable(name, 40):{width}}  {cell(value):12}  {learned}{outside}".rstrip())
    if len(features) > _FEATURES:
        lines.append(f"and {len(features) - _FEATURES} more; see --format json")
    return lines


def _command(hold: Mapping[str, Any], word: str) -> str:
    names = [printable(name) for name in hold["output"]["original"]]
    value = f" --value {'NAME' if len(names) > 1 else ''.join(names)}=VALUE" if word == "override" else ""
    return f"guardproxy holds {word} {hold['id']}{value}"


def _end(bound: Any) -> str:
    return "any" if bound is None else cell(bound)


def _decided(hold: Mapping[str, Any]) -> list[str]:
    if hold["resolution"] is None:
        return []
    because = f", {printable(hold['reason'])}" if hold["reason"] else ""
    lines = [f"{hold['resolution']} by {printable(hold['by'])} at {clock(hold['decided_at'])}{because}"]
    if hold["note"]:
        lines.append(f"“{printable(hold['note'], 2_000)}”")
    if hold["undo_until"]:
        lines.append(f"may be undone until {clock(hold['undo_until'])}")
    return lines
