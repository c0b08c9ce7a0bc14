"""The last good rules: kept on disk, served when the files are broken at a start, and never half written."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardproxy.config import Config, RouteConfig
from guardproxy.decision import FailureMode, FailurePolicy
from guardproxy.proxy.last_good import NAME, LastGood, read_last_good, write_last_good
from guardproxy.proxy.load import RuleSets, last_good_rules, load
from tests.harness.loop import PATIENCE_S, run, until
from tests.harness.upstream import RecorderUpstream
from tests.proxy.serving import PATH, infer
from tests.proxy.test_reload import NEGATIVE, rules, served_value

GOOD = LastGood(1_700_000_000.0, {"demand": "0123456789ab"}, {"rules/a.guard.yaml": rules(5), "ü": "\ud800"})


def test_what_was_kept_is_read_back_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    write_last_good(folder, GOOD)
    assert read_last_good(folder) == GOOD
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == [NAME]


def test_nothing_kept_is_no_complaint(tmp_path: Path) -> None:
    assert read_last_good(tmp_path / "none") is None


HEAD = b'{"format": "guardproxy last good rules 1", "at": %s, "files": %s, "rulesets": {}, "digest": "0"}'


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"{}", "not a file of last good rules"),
        (b'{"format": "guardproxy last good rules 9"}', "not a file of last good rules"),
        (b'{"format": "guardproxy last good rules 1", "at": "x", "files": {}, "rulesets": {}}', "not a file"),
        (b'{"format": "guardproxy last good rules 1", "at": 1, "files": [1], "rulesets": {}}', "not a file"),
        *((HEAD % (at, b'{"a": "b"}'), "is damaged") for at in (b"NaN", b"Infinity", b"-1", b"1e12", b"9" * 400)),
        (HEAD % (b"1", b"{}"), "is damaged"),
        (b'{"format": "guardproxy last good rules 1", "at": 1, "files": {"a": "b"}, "rulesets": {}, "digest": "0"}', "is damaged"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_believed_is_a_sentence(tmp_path: Path, body: bytes, sentence: str) -> None:
    (tmp_path / NAME).write_bytes(body)
    found = read_last_good(tmp_path)
    assert isinstance(found, str)
    assert sentence in found


def test_a_changed_text_is_damage(tmp_path: Path) -> None:
    write_last_good(tmp_path, GOOD)
    (tmp_path / NAME).write_text((tmp_path / NAME).read_text().replace("min: 0", "min: 9"))
    assert read_last_good(tmp_path) == f"{tmp_path / NAME} is damaged"


def test_a_directory_in_its_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert read_last_good(tmp_path) == f"{tmp_path / NAME} is not a regular file"


WRITER = """
import sys
from pathlib import Path
from guardproxy.proxy.last_good import LastGood, write_last_good
for number in range(10_000_000):
    texts = {"a.guard.yaml": f"# {number}\\n" * 20_000}
    write_last_good(Path(sys.argv[1]), LastGood(float(number), {"m": str(number)}, texts))
    if number == 0:
        print("began", flush=True)
"""


def test_kill_9_while_it_is_written_leaves_the_old_file_or_the_new_one_whole(tmp_path: Path) -> None:
    seen = set()
    for turn in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"began\n"
            # Somewhere inside one of the writes that follow: each takes about as long as these delays differ by.
            time.sleep(0.003 * turn)
            writer.kill()
        found = read_last_good(tmp_path)
        assert isinstance(found, LastGood)
        assert found.texts == {"a.guard.yaml": f"# {found.rulesets['m']}\n" * 20_000}
        seen.add(found.at)
    write_last_good(tmp_path, GOOD)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert len(seen) > 1


FULL = """
import resource, sys
from pathlib import Path
from guardproxy.proxy.last_good import LastGood, write_last_good
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_last_good(Path(sys.argv[1]), LastGood(1.0, {}, {"a.guard.yaml": "x" * 100_000}))
except OSError as error:
    print(error.strerror)
"""


def test_a_disk_that_takes_no_more_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    write_last_good(tmp_path, GOOD)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "File too large\n"
    assert read_last_good(tmp_path) == GOOD
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


CONFIG = """\
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", auth: none}}
store: sqlite:///holds.db
upstream: http://127.0.0.1:{port}
rules: rules
reload: {{every: 1h}}
routes: [{{path: {path}, model: demand, on_failure: closed, key: [store]}}]
"""


@dataclass
class Running:
    """`guardproxy serve` in a process of its own, with all it said."""

    process: asyncio.subprocess.Process
    said: bytes = b""
    port: int = 0
    admin: int = 0

    @classmethod
    async def start(cls, folder: Path, *arguments: str) -> "Running":
        command = [sys.executable, "-m", "guardproxy", "serve", *arguments]
        self = cls(await asyncio.create_subprocess_exec(*command, cwd=folder, stderr=asyncio.subprocess.PIPE))
        await self.until(rb"console: http://127.0.0.1:(\d+)")
        found = re.search(rb"listens on http://[^:]+:(\d+)", self.said)
        console = re.search(rb"console: http://[^:]+:(\d+)", self.said)
        assert found is not None
        assert console is not None
        self.port, self.admin = int(found.group(1)), int(console.group(1))
        return self

    async def until(self, what: bytes) -> None:
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while not re.search(what, self.said):
                line = await self.process.stderr.readline()
                assert line, self.said.decode()
                self.said += line

    async def ask(self) -> float:
        def fetch() -> float:
            call = urllib.request.Request(
                f"http://127.0.0.1:{self.port}{PATH}", infer([1.0]), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(call, timeout=20) as answer:
                return served_value(answer.read())

        return await asyncio.to_thread(fetch)

    async def get(self, path: str) -> str:
        def fetch() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=20) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(fetch)

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()


def laid_out(folder: Path, port: int, text: str) -> Path:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "guardproxy.yaml").write_text(CONFIG.format(port=port, path=PATH))
    path = folder / "rules" / "a.guard.yaml"
    path.write_text(text)
    return path


@pytest.mark.timeout(180)
def test_broken_files_at_a_start_serve_the_last_good_rules_and_say_so_everywhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(NEGATIVE) as upstream:
            path = laid_out(tmp_path, upstream.port, rules(5))
            proxy = await Running.start(tmp_path)
            assert await proxy.ask() == 5

            path.write_text(rules(6))
            proxy.process.send_signal(signal.SIGHUP)
            await proxy.until(b"rules.reload_asked")
            assert await proxy.ask() == 6
            path.write_text(rules(7).replace("range:", "rnage:"))
            proxy.process.send_signal(signal.SIGHUP)
            await proxy.until(b'"diagnosis".*did you mean')
            assert await proxy.ask() == 6
            await proxy.stop()

            proxy = await Running.start(tmp_path)
            assert await proxy.ask() == 6
            assert b"THE RULE FILES ARE INVALID. Serving the last good rules" in proxy.said
            assert b"did you mean 'range'?" in proxy.said
            assert "kept from an earlier run" in json.loads(await proxy.get("/readyz"))["degraded"][0]
            assert 'guardproxy_rules_from_last_good{rules="rules"} 1.0' in await proxy.get("/metrics")
            assert "kept from an earlier run" in await proxy.get("/rules")
            standing = json.loads(await proxy.get("/v1/rules"))["reload"]
            assert (standing["ok"], standing["source"]) == (False, "last_good")

            path.write_text(rules(8))
            proxy.process.send_signal(signal.SIGHUP)
            await proxy.until(b"rules.reload_asked")
            assert await proxy.ask() == 8
            assert json.loads(await proxy.get("/v1/rules"))["reload"]["source"] == "files"
            await proxy.stop()

    run(scenario())


def refused(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "guardproxy", "serve", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "listens on" not in done.stderr
    return done.stderr


def test_without_last_good_rules_or_when_told_to_be_strict_it_does_not_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(NEGATIVE) as upstream:
            path = laid_out(tmp_path, upstream.port, "rules: [")
            assert "E200" in await asyncio.to_thread(refused, tmp_path)
            path.write_text(rules(5))
            proxy = await Running.start(tmp_path)
            await proxy.stop()
            path.write_text("rules: [")
            assert "LAST GOOD" not in (await asyncio.to_thread(refused, tmp_path, "--strict")).upper()
            kept = tmp_path / "holds-state" / NAME
            kept.write_text("this is a letter")
            assert "last_good.json is damaged" in await asyncio.to_thread(refused, tmp_path)
            # Nor do good rules that are kept make up for a wrong configuration.
            write_last_good(kept.parent, GOOD)
            with (tmp_path / "guardproxy.yaml").open("a") as file:
                file.write("lisen: 1\n")
            assert "did you mean 'listen'?" in await asyncio.to_thread(refused, tmp_path)

    run(scenario())


def test_last_good_rules_do_not_stand_in_for_those_of_a_model_they_never_knew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(NEGATIVE) as upstream:
            path = laid_out(tmp_path, upstream.port, rules(5))
            await (await Running.start(tmp_path)).stop()
            path.write_text("rules: [")
            config = tmp_path / "guardproxy.yaml"
            more = ", {path: /new, model: churn, on_failure: closed}]"
            config.write_text(config.read_text().strip().removesuffix("]") + more)
            assert "before there was a route of 'churn'" in await asyncio.to_thread(refused, tmp_path)

    run(scenario())


def test_last_good_rules_are_served_though_their_tests_would_fail_by_now(tmp_path: Path) -> None:
    route = RouteConfig("/x", "demand", FailurePolicy(FailureMode.CLOSED))
    config = Config(rules=tmp_path / "rules", store=tmp_path / "holds.db", routes=(route,))
    failing = rules(6, more="tests:\n  - {name: n, given: {output: {demand: -1}}, expect: {outcome: held}}\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "a.guard.yaml").write_text(failing)
    loaded = load(config)
    assert [problem.code for problem in loaded.errors] == ["E330"]
    write_last_good(config.state_folder, LastGood(1.0, {"demand": "0"}, {"a.guard.yaml": failing}))
    found = last_good_rules(config, loaded)
    assert isinstance(found, RuleSets)
    assert found.rulesets["demand"].rule("not-negative") is not None
    assert [problem.code for problem in found.errors] == ["E330"]


def test_a_hangup_before_it_serves_does_not_end_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(NEGATIVE) as upstream:
            laid_out(tmp_path, upstream.port, rules(5))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", HELD_UP, "serve"), cwd=tmp_path, stderr=asyncio.subprocess.PIPE
            )
            proxy = Running(process)
            await proxy.until(b"loading")
            process.send_signal(signal.SIGHUP)
            await proxy.until(b"console: ")
            await proxy.stop()
            assert process.returncode == 0

    run(scenario())


HELD_UP = """
import os, signal, sys, time
import guardproxy.cli.serve as serving
from guardproxy.cli import main

load = serving.load_all

def slowly(*arguments):
    hung_up = signal.getsignal(signal.SIGHUP)
    print("loading", file=sys.stderr, flush=True)
    while hung_up is not signal.SIG_IGN:  # where it is not ignored, wait for the end
        time.sleep(0.01)
    return load(*arguments)

serving.load_all = slowly
main()
"""


def test_no_file_at_all_where_rules_were_served_is_no_start_without_rules(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(NEGATIVE) as upstream:
            path = laid_out(tmp_path, upstream.port, rules(5))
            await (await Running.start(tmp_path)).stop()
            path.unlink()
            assert "the rule files are gone" in await asyncio.to_thread(refused, tmp_path, "--strict")
            proxy = await Running.start(tmp_path)
            assert await proxy.ask() == 5
            assert b"the rule files are gone" in proxy.said
            # Nor are they a set without rules when somebody asks for another look.
            proxy.process.send_signal(signal.SIGHUP)
            await proxy.until(b"rules.reload_asked")
            assert await proxy.ask() == 5
            assert not json.loads(await proxy.get("/v1/rules"))["reload"]["ok"]
            await proxy.stop()
            shutil.rmtree(tmp_path / "holds-state")
            proxy = await Running.start(tmp_path)
            assert await proxy.ask() == -1
            await proxy.stop()

    run(scenario())


def test_rules_whose_tests_fail_are_refused_at_a_start_as_they_are_at_a_reload(tmp_path: Path) -> None:
    laid_out(
        tmp_path,
        9,
        rules(6, more="tests:\n  - {name: n, given: {output: {demand: -1}}, expect: {outcome: held}}\n"),
    )
    assert "E330" in refused(tmp_path)


def test_a_state_directory_that_cannot_be_written_is_told_and_serving_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with RecorderUpstream(NEGATIVE) as upstream:
            laid_out(tmp_path, upstream.port, rules(5))
            (tmp_path / "holds-state").write_text("in the way")
            proxy = await Running.start(tmp_path)
            await until(lambda: b"rules.not_kept" in proxy.said, "the log tells")
            assert await proxy.ask() == 5
            assert (
                "cannot be kept for the next start" in json.loads(await proxy.get("/readyz"))["degraded"][0]
            )
            await proxy.stop()

    run(scenario())
