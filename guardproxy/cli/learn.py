"""`guardproxy learn`: from reference data, from parts or from recorded traffic to a profile.

Decides which options go together. What is done with them is left to `learn_files`, `learn_parts` and `learn_traffic`.
"""

from pathlib import Path
from typing import Final

import click

from guardproxy.cli.learn_files import Wanted, learn_files
from guardproxy.cli.learn_out import InputError
from guardproxy.cli.learn_parts import merge_parts
from guardproxy.cli.learn_traffic import learn_traffic

_WAYS: Final = (
    "name FILEs of reference data, or PARTs with --merge, or recorded traffic with --from-traffic FOLDER"
)


@click.command()
@click.argument("data", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--model", help="The model's name.")
@click.option(
    "--target", multiple=True, metavar="COL", help="A column that the model predicts; may be repeated."
)
@click.option("--time", metavar="COL", help="The column that says when; it is no feature.")
@click.option(
    "--key", multiple=True, metavar="COL", help="A column that names an entity; its values are not enforced."
)
@click.option("--skip", multiple=True, metavar="COL", help="A column that no request carries (a row number).")
@click.option(
    "--alpha",
    type=click.FloatRange(1e-6, 0.1),
    help="The share of clean rows that may be flagged (0.001 by default).",
)
@click.option("--part", is_flag=True, help="Write a part, to be merged with others, in place of a profile.")
@click.option("--merge", is_flag=True, help="The FILEs are parts: learn from all of them together.")
@click.option(
    "--from-traffic",
    "traffic",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Learn from what the proxy recorded; may be repeated. Rules on such a profile only count until it is approved.",
)
@click.option(
    "--provisional", is_flag=True, help="With --from-traffic: be content with few rows; bounds are wider."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Where the profile goes; replaced if there."
)
def learn(
    data: tuple[Path, ...],
    model: str | None,
    target: tuple[str, ...],
    time: str | None,
    key: tuple[str, ...],
    skip: tuple[str, ...],
    alpha: float | None,
    part: bool,
    merge: bool,
    traffic: tuple[Path, ...],
    provisional: bool,
    out: Path,
) -> None:
    """Learn a profile from FILEs, CSV or Parquet with the same columns, the oldest rows first.

    Parts are learned where the data lie (--part) and merged (--merge). Where there are no data, learn from recorded traffic
    (--from-traffic).
    """
    given = {
        "--model": model is not None,
        "--target": bool(target),
        "--time": time is not None,
        "--key": bool(key),
        "--skip": bool(skip),
        "--alpha": alpha is not None,
        "--part": part,
        "--merge": merge,
        "--from-traffic": bool(traffic),
        "--provisional": provisional,
    }
    _refuse_clashes(target, time, key, skip)
    if merge:
        _refuse(
            given,
            "--merge",
            ("--model", "--target", "--time", "--key", "--skip", "--alpha"),
            "the parts say it",
        )
        _refuse(given, "--merge", ("--from-traffic", "--provisional"), "parts hold reference data")
        if not data:
            raise click.UsageError(
                "--merge needs the parts: guardproxy learn --merge A.part B.part --out FILE"
            )
        merge_parts(data, out, part=part)
        return
    if bool(data) == bool(traffic):
        raise click.UsageError(_WAYS if not data else f"FILEs and --from-traffic do not go together: {_WAYS}")
    if model is None:
        raise click.UsageError("say whose profile this is: --model NAME")
    wanted = Wanted(model, target, time, key, skip, 0.001 if alpha is None else alpha)
    if traffic:
        _refuse(given, "--from-traffic", ("--target", "--time", "--part"), "the recording says what is what")
        learn_traffic(traffic, wanted, out, provisional=provisional)
        return
    if provisional:
        raise click.UsageError("--provisional goes with --from-traffic")
    learn_files(data, wanted, out, part=part)


def _refuse(given: dict[str, bool], way: str, others: tuple[str, ...], why: str) -> None:
    found = [option for option in others if given[option]]
    if found:
        raise click.UsageError(f"{way} and {found[0]} do not go together: {why}")


def _refuse_clashes(
    target: tuple[str, ...], time: str | None, key: tuple[str, ...], skip: tuple[str, ...]
) -> None:
    roles: dict[str, str] = {}
    given = (
        ("--target", target),
        ("--time", () if time is None else (time,)),
        ("--key", key),
        ("--skip", skip),
    )
    for option, names in given:
        for name in names:
            if name in roles:
                raise InputError(f"the column '{name}' is given to both {roles[name]} and {option}")
            roles[name] = option
