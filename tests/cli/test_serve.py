"""`guardproxy serve` as a process of its own: flags, variables, folders, what it says, and how it ends."""

import asyncio
import itertools
import json
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.process import FREE, JSON_TYPE, Serving, get, serving, unshared, upstream_of
from tests.cli.run import child
from tests.harness.client import Incomplete, RawClient
from tests.harness.loop import run, until
from tests.harness.upstream import Recorded, RecorderUpstream, ok
from tests.proxy.serving import PATH, RULES, demand, infer, request

# ---------------------------------------------------------------- how it starts


def test_an_upstream_alone_is_a_pure_pass_through(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream(ok(b"hello")) as upstream,
            serving(tmp_path, "--upstream", f"http://127.0.0.1:{upstream.port}", *FREE) as server,
        ):
            response = await server.ask(b"x", "/any", b"PUT")
            assert response.body == b"hello"
            assert not [line for line in response.lines if line.lower().startswith(b"guardproxy-")]
            assert f"passes everything else to http://127.0.0.1:{upstream.port}" in server.said
            assert "guards" not in server.said
            assert await server.end() == 0

    run(scenario())


def test_a_model_named_by_flags_is_guarded_with_rules_of_the_folder_it_runs_in(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "etc" / "guardproxy.yaml").write_text("drain: 1s\n")
    (tmp_path / "work" / "a.guard.yaml").write_text(RULES)

    async def scenario() -> None:
        async with (
            upstream_of(-4) as upstream,
            serving(
                tmp_path / "work",
                "--config", "../etc/guardproxy.yaml", "--upstream", f"http://127.0.0.1:{upstream.port}",
                "--model", "demand", "--rules", "a.guard.yaml", "--store", "sqlite:///mine.db",
                "--on-failure", "closed", *FREE,
            ) as server,
        ):  # fmt: skip
            response = await server.ask(infer([1.0]))
            assert response.get(b"Guardproxy-Outcome") == b"replaced"
            assert b"5" in response.body
            assert f"guards {PATH} (open-inference, 4 rules, on failure closed)" in server.said
            assert (tmp_path / "work" / "mine.db").exists()
            assert not (tmp_path / "etc" / "mine.db").exists()

    run(scenario())


@pytest.mark.parametrize("model", ['de"mand', "a'b", "{x: 1}", "*", "#", "&a", "no"])
def test_an_odd_model_name_is_quoted_and_not_interpreted(tmp_path: Path, model: str) -> None:
    done = child(
        "serve",
        "--upstream",
        "http://127.0.0.1:9",
        "--model",
        model,
        "--profile",
        "nope.yaml",
        *FREE,
        folder=tmp_path,
    )
    assert done.code == 2
    assert "nope.yaml" in done.err or "path must be a path such as" in done.err
    for misread in ("unknown key", "not valid YAML", "needs the key", "must be text"):
        assert misread not in done.err


def test_a_configuration_is_found_here_and_its_paths_are_relative_to_it(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "rules" / "deep").mkdir(parents=True)
    (etc / "rules" / "deep" / "a.guard.yaml").write_text(RULES)

    async def scenario() -> None:
        async with upstream_of(5000) as upstream:
            (etc / "guardproxy.yaml").write_text(
                f"listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0', auth: none}}\nstore: sqlite:///state.db\n"
                f"rules: rules\nupstream: http://127.0.0.1:{upstream.port}\n"
                f"routes: [{{path: {PATH}, model: demand, on_failure: closed, key: [store]}}]\n"
            )
            for folder, arguments in ((tmp_path, ("--config", "etc/guardproxy.yaml")), (etc, ())):
                async with serving(folder, *arguments) as server:
                    response = await server.ask(infer([1.0]))
                    assert response.get(b"Guardproxy-Outcome") == b"held"
                    assert server.console == f"{server.admin}/"
                    assert await server.end() == 0
            assert (etc / "state.db").exists()
            assert not (tmp_path / "state.db").exists()

    run(scenario())


def test_variables_override_the_file_and_flags_override_them(tmp_path: Path) -> None:
    (tmp_path / "guardproxy.yaml").write_text(
        "listen: 127.0.0.1:1\nupstream: http://127.0.0.1:2\nlog: debug\n"
    )

    async def scenario() -> None:
        async with RecorderUpstream() as right:
            environment = {
                "GUARDPROXY_UPSTREAM": "http://127.0.0.1:3",
                "GUARDPROXY_LISTEN": "127.0.0.1:0",
                "GUARDPROXY_ADMIN_LISTEN": "127.0.0.1:0",
                "GUARDPROXY_ADMIN_AUTH": "none",
                "GUARDPROXY_STORE": "sqlite:///by-variable.db",
                "GUARDPROXY_LOG": "error",
            }
            async with serving(
                tmp_path, "--upstream", f"http://127.0.0.1:{right.port}", environment=environment
            ) as server:
                assert (await server.ask(b"", "/")).body == b"ok"
                assert "token=" not in server.console
                assert (tmp_path / "by-variable.db").exists()

    run(scenario())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what to stand in front of"),
        (("--profile", "x"), "--profile needs --model"),
        (("--config", "nope.yaml"), "nope.yaml"),
        (("--config", "."), "not a regular file"),
        (("--upstream", "nonsense"), "an upstream address begins with http://"),
        (("--upstream", "http://127.0.0.1:9", "--listen", "8080"), "listen must be HOST:PORT"),
        (("--upstream", "http://127.0.0.1:9", "--store", "mysql://x"), "is no store"),
        (("--upstream", "http://127.0.0.1:9", "--rules", "nope"), "nope"),
        (("--upstream", "http://127.0.0.1:9", "--on-failure", "maybe"), "maybe"),
        (("--model", "demand"), "has no upstream"),
        (("extra",), "unexpected extra argument"),
        (("--prot", "1"), "No such option"),
    ],
)
def test_what_it_cannot_start_with_is_said_and_ends_with_2(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = child("serve", *arguments, folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "internal error" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_which_store_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "guardproxy.yaml").write_text(
        "upstream: http://127.0.0.1:9\nstatistics: {store: 'sqlite:///no/such/folder.db'}\n"
    )
    done = child("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", folder=tmp_path)
    assert done.code == 2
    assert "the store of statistics: the directory of" in done.err


def test_a_broken_tokens_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "guardproxy.yaml").write_text("upstream: http://127.0.0.1:9\nadmin: {tokens_file: t.yaml}\n")
    assert "t.yaml" in child("serve", *FREE, folder=tmp_path).err
    (tmp_path / "t.yaml").write_text("- {name: reviewer-a, role: king}\n")
    done = child("serve", *FREE, folder=tmp_path)
    assert done.code == 2
    assert "t.yaml:1:" in done.err


def test_two_servers_share_no_port_and_the_second_says_which(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            RecorderUpstream() as upstream,
            serving(tmp_path, "--upstream", f"http://127.0.0.1:{upstream.port}", *FREE) as first,
        ):
            for flags in (
                ("--listen", f"127.0.0.1:{first.port}", "--admin", "127.0.0.1:0"),
                ("--listen", "127.0.0.1:0", "--admin", first.admin.removeprefix("http://")),
            ):
                done = await asyncio.to_thread(
                    child,
                    "serve",
                    "--upstream",
                    "http://127.0.0.1:9",
                    "--store",
                    "sqlite:///b.db",
                    *flags,
                    folder=tmp_path,
                )
                assert done.code == 2
                assert "cannot listen" in done.err
                assert str(first.port) in done.err or first.admin.rpartition(":")[2] in done.err

    run(scenario())


def test_only_the_stores_folder_is_written_to(tmp_path: Path) -> None:
    mount = (
        'mount --bind "$PWD" "$PWD" && cd "$PWD" && mount -t tmpfs tmpfs state'
        ' && mount -o remount,ro,bind "$PWD" && ! touch x 2>/dev/null && exec "$@"'
    )
    before = unshared("sh", "-c", mount, "sh")
    (tmp_path / "state").mkdir()
    (tmp_path / "a.guard.yaml").write_text(RULES)

    async def scenario() -> None:
        async with (
            upstream_of(5000) as upstream,
            serving(
                tmp_path,
                "--upstream", f"http://127.0.0.1:{upstream.port}", "--model", "demand", "--rules", "a.guard.yaml",
                "--store", f"sqlite:///{tmp_path}/state/holds.db", *FREE,
                environment={"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
                before=before,
            ) as server,
        ):  # fmt: skip
            assert (await server.ask(infer([1.0]))).get(b"Guardproxy-Outcome") == b"held"
            assert await server.end() == 0

    run(scenario())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.guard.yaml", "state"]


# ---------------------------------------------------------------- what a route may look like


@pytest.fixture
def many_routes(tmp_path: Path) -> Path:
    """A configuration with 100 routes of 50 models, written when the upstream's port is known."""
    (tmp_path / "a.guard.yaml").write_text(
        RULES + "".join(
            f"---\nguardproxy: 1\nmodel: m{n}\nrules:\n  - {{id: top, range: {{field: output.qty, max: {n}}}, action: clamp}}\n"
            for n in range(49)
        )
    )  # fmt: skip
    return tmp_path


def test_a_hundred_routes_with_placeholders_stars_and_pointers_each_judge_by_their_own_model(
    many_routes: Path,
) -> None:
    routes = [
        f"  - {{path: '/m{n}/{{version}}/predict', model: m{n}, on_failure: closed, protocol: json,"
        " request: {rows: /data/rows, columns: /data/names}, response: {rows: /a~1b/0/qty}, outputs: [qty]}\n"
        f"  - {{path: /star{n}/*, model: m{n}, on_failure: closed, protocol: kserve-v1, outputs: [qty], methods: [PUT]}}\n"
        for n in range(49)
    ]
    routes.append(
        f"  - {{path: {PATH}, model: demand, on_failure: open}}\n  - {{path: /two, model: demand, on_failure: open}}\n"
    )
    body = json.dumps({"data": {"names": ["x"], "rows": [[1.0]]}}).encode()

    async def answer(got: Recorded, writer: asyncio.StreamWriter) -> None:
        pointer = b'{"a/b":[{"qty":[100.0]}]}'
        writer.write(ok(pointer if b"predict" in got.target else b'{"predictions":[100.0]}', JSON_TYPE))

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            (many_routes / "guardproxy.yaml").write_text(
                f"upstream: http://127.0.0.1:{upstream.port}\nrules: a.guard.yaml\nroutes:\n"
                + "".join(routes)
            )
            async with serving(many_routes, *FREE) as server:
                assert server.said.count("  guards /") == 100
                for n in (0, 7, 48):
                    placed = await server.ask(body, f"/m{n}/v{n}/predict")
                    assert (placed.status, json.loads(placed.body)) == (200, {"a/b": [{"qty": [float(n)]}]})
                    assert placed.get(b"Guardproxy-Outcome") == b"clamped"
                    starred = await server.ask(b'{"instances":[[1.0]]}', f"/star{n}/a/b/c?x=1", b"PUT")
                    assert (starred.status, json.loads(starred.body)) == (200, {"predictions": [float(n)]})
                    # A method that the route does not name may carry a body as well: it is never let past.
                    other = await server.ask(b'{"instances":[[1.0]]}', f"/star{n}/a", b"POST")
                    assert other.get(b"Guardproxy-Outcome") == b"clamped"
                assert (await server.ask(body, "/m0/v1/v2/predict")).get(b"Guardproxy-Outcome") is None
                reached = len(upstream.requests)
                for path in ("/M0/v1/predict", "/m0/v1/predict/", "/m0//v1/predict", "/m0/v1/%70redict"):
                    assert (await server.ask(body, path)).status == 400, path
                assert len(upstream.requests) == reached
                client = await RawClient.connect(server.port)
                head = await client.exchange(request(b"", path=PATH, method=b"HEAD"), b"HEAD")
                assert (head.status, head.body) == (200, b"")
                assert await server.end() == 0

    run(scenario())


def test_two_routes_of_one_model_share_its_memory_and_its_counts(tmp_path: Path) -> None:
    (tmp_path / "a.guard.yaml").write_text(RULES)

    async def answer(got: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(demand([321.0 if got.target == b"/one" else -1.0]), JSON_TYPE))

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            (tmp_path / "guardproxy.yaml").write_text(
                f"upstream: http://127.0.0.1:{upstream.port}\nrules: a.guard.yaml\n"
                "admin: {auth: none}\nroutes:\n"
                "  - {path: /one, model: demand, on_failure: open, key: [store]}\n"
                "  - {path: /two, model: demand, on_failure: open, key: [store]}\n"
            )
            async with serving(tmp_path, *FREE) as server:
                assert (await server.ask(infer([1.0]), "/one")).get(b"Guardproxy-Outcome") == b"allowed"
                second = await server.ask(infer([1.0]), "/two")
                assert second.get(b"Guardproxy-Outcome") == b"replaced"
                assert b"321" in second.body
                (model,) = json.loads(await get(f"{server.admin}/v1/windows"))["models"]
                assert model["outcomes"] == {"allowed": 1, "replaced": 1}

    run(scenario())


# ---------------------------------------------------------------- how it ends


@dataclass
class Load:
    """Clients that ask again and again until the server is gone."""

    port: int
    answered: int = 0

    async def run(self) -> None:
        """Each request must be answered, or its connection end before a byte of an answer."""
        while True:
            try:
                client = await RawClient.connect(self.port)
            except ConnectionError:
                return
            try:
                await self._ask(client)
            except Incomplete as cut:
                if cut.got:
                    pytest.fail(f"an answer was cut: {cut}")
            except ConnectionError:
                pass
            finally:
                client.abort()

    async def _ask(self, client: RawClient) -> None:
        while True:
            response = await client.exchange(request(infer([1.0])))
            assert response.status == 200
            assert response.get(b"Guardproxy-Outcome") in {b"allowed", b"held"}
            self.answered += 1
            if response.get(b"Connection") == b"close":
                assert await client.end() == "clean"
                return


def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    (tmp_path / "a.guard.yaml").write_text(RULES)
    seen = itertools.count(1)

    async def answer(got: Recorded, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(demand([5000.0 if next(seen) % 50 == 0 else 4.0]), JSON_TYPE))

    async def scenario() -> None:
        async with RecorderUpstream(answer) as upstream:
            flags = (
                "--upstream",
                f"http://127.0.0.1:{upstream.port}",
                "--model",
                "demand",
                "--rules",
                "a.guard.yaml",
            )
            async with serving(tmp_path, *flags, *FREE) as server:
                load = Load(server.port)
                async with asyncio.TaskGroup() as clients:
                    for _ in range(8):
                        clients.create_task(load.run())
                    await until(lambda: load.answered > 300, "the load runs")
                    assert await server.end() == 0
            # What reached the model was answered to its client.
            assert len(upstream.requests) == load.answered
            assert "Traceback" not in server.said

    run(scenario())


def test_a_second_signal_ends_at_once_what_the_first_would_wait_for(tmp_path: Path) -> None:
    async def never(got: Recorded, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async def scenario() -> None:
        async with (
            RecorderUpstream(never) as upstream,
            serving(
                tmp_path,
                "--upstream",
                f"http://127.0.0.1:{upstream.port}",
                *FREE,
                environment={"GUARDPROXY_DRAIN": "1h"},
            ) as server,
        ):
            client = await RawClient.connect(server.port)
            await client.send(request(b"", path="/slow"))
            await until(lambda: upstream.requests, "the request is in flight")
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: _refuses(server), "it no longer accepts, since it drains")
            assert server.process.returncode is None
            assert await server.end(signal.SIGTERM) == -signal.SIGKILL
            with pytest.raises(Incomplete):
                await client.response()

    run(scenario())


def _refuses(server: Serving) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_with_0_on_either_signal(tmp_path: Path, number: int) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, "--upstream", "http://127.0.0.1:9", *FREE) as server:
            assert await server.end(number) == 0
            assert "Traceback" not in server.said

    run(scenario())


@pytest.mark.parametrize(
    "command",
    ["", "serve", "demo", "learn", "explain", "profile show", "rules check", "rules test", "holds list", "holds show",
     "holds approve", "holds override", "holds reject", "holds undo", "config check", "config schema", "token new"],
)  # fmt: skip
def test_every_command_explains_itself_within_80_columns(tmp_path: Path, command: str) -> None:
    done = child(*command.split(), "--help", folder=tmp_path, environment={"COLUMNS": "80"})
    assert (done.code, done.err) == (0, "")
    assert "Usage: guardproxy" in done.out
    assert max(len(line) for line in done.out.splitlines()) <= 80
    # A help text that is cut in mid-sentence explains nothing.
    assert "..." not in "\n".join(line for line in done.out.splitlines() if not line.startswith("Usage:"))
