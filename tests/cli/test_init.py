"""`guardproxy init`: a running server in, a first guardproxy.yaml out, and nothing lost on the way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from guardproxy.cli.init import init
from guardproxy.codecs.signature import read_signature
from tests.cli.process import FREE
from tests.cli.process import serving as asked
from tests.cli.run import Done, Shell
from tests.codecs.exchanges import exchanges
from tests.discovery import servers
from tests.discovery.servers import Table, reply, serving
from tests.discovery.test_look import HOSTILE_NAMES
from tests.harness.loop import run as run_loop


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def run(shell: Shell, table: Table, *arguments: str | Path, otherwise: bytes = b"") -> Done:
    with serving(table, otherwise) as server:
        return shell("init", "--upstream", server.address, "--timeout", "20s", *arguments)


def test_what_was_seen_is_said_and_what_was_written_can_be_served(shell: Shell, here: Path) -> None:
    with serving(servers.mlserver()) as server:
        done = shell("init", "--upstream", server.address, "--timeout", "20s")
    assert done.code == 0
    assert done.out.splitlines() == [
        f"{server.address} is MLServer 1.7.1: 3 models",
        "  zoo: 2 inputs, 1 output",
        "      /v2/models/zoo/infer",
        "      /v2/models/zoo/versions/{version}/infer",
        "  diab: the server tells no signature",
        "      /v2/models/diab/infer",
        "      /v2/models/diab/versions/{version}/infer",
        "  wine: the server tells no signature",
        "      /v2/models/wine/infer",
        "      /v2/models/wine/versions/{version}/infer",
        "wrote guardproxy.yaml and 1 signature file in signatures",
        "next: guardproxy serve --config guardproxy.yaml; the file says what comes after that",
    ]
    assert done.err == ""
    assert files_in(here) == ["guardproxy.yaml", "signatures/zoo.json"]
    checked = shell("config", "check", "guardproxy.yaml")
    assert (checked.code, checked.out) == (0, "guardproxy.yaml: ok, 6 guarded routes, 3 models, 0 rules\n")


def test_the_written_configuration_guards_the_server_it_was_written_for(shell: Shell, here: Path) -> None:
    exchange = exchanges()["oip_v2_mlserver/zoo_ndarray#0"]

    async def through() -> None:
        async with asked(here, "--config", "guardproxy.yaml", *FREE) as running:
            response = await running.ask(exchange.request.body, exchange.target)
            assert response.get(b"Guardproxy-Outcome") == b"allowed"
            assert response.body == exchange.response.body
            passed = await running.ask(b"", "/v2", b"GET")
            assert passed.get(b"Guardproxy-Outcome") is None
            assert b'"mlserver"' in passed.body

    with serving({**servers.mlserver(), f"POST {exchange.target}": exchange.response.raw}) as server:
        assert shell("init", "--upstream", server.address, "--timeout", "20s").code == 0
        run_loop(through())


KINDS: list[tuple[str, Callable[[], tuple[Table, bytes]], tuple[str, ...], int]] = [
    ("triton", lambda: (servers.triton(), b""), (), 4),
    ("mlserver", lambda: (servers.mlserver(), b""), ("zoo",), 3),
    ("kserve", lambda: (servers.kserve(), b""), (), 2),
    ("kserve", lambda: (servers.kserve_v1(), b""), (), 1),
    ("mlflow", lambda: (servers.mlflow(), b""), ("demand",), 1),
    ("tensorflow-serving", servers.tensorflow, ("half_plus_two",), 4),
    ("torchserve", servers.torchserve, ("m",), 2),
    ("bentoml", lambda: (servers.bentoml(), b""), (), 2),
    ("seldon", lambda: (servers.seldon(), b""), (), 3),
    ("sagemaker", lambda: (servers.sagemaker(), b""), ("m",), 1),
    ("openai", lambda: (servers.vllm(), b""), (), 2),
    ("openapi", lambda: (servers.fastapi(), b""), (), 3),
]


@pytest.mark.parametrize(
    ("kind", "made", "models", "routes"), KINDS, ids=[f"{kind}-{count}" for kind, _, _, count in KINDS]
)
def test_every_kind_of_server_gets_a_configuration_that_passes_its_check(
    shell: Shell,
    here: Path,
    kind: str,
    made: Callable[[], tuple[Table, bytes]],
    models: tuple[str, ...],
    routes: int,
) -> None:
    table, otherwise = made()
    named = [word for model in models for word in ("--model", model)]
    done = run(shell, table, *named, "--format", "json", otherwise=otherwise)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["server"]["kind"] == kind
    assert told["problem"] is None
    assert told["probes"] <= 30
    assert told["config"] == Path("guardproxy.yaml").read_text()
    assert sorted(told["files"]) == files_in(here)
    active = [route for route in told["routes"] if route["active"]]
    assert [route["path"] for route in yaml.safe_load(told["config"])["routes"]] == [
        route["path"] for route in active
    ]
    assert len(active) == routes
    checked = shell("config", "check")
    assert checked.code == 0, checked.err
    assert f"{routes} guarded route" in checked.out


def test_an_mlmodel_file_names_the_columns_of_the_one_model(shell: Shell, here: Path) -> None:
    (here / "models").mkdir()
    signature = {
        "inputs": json.dumps([{"name": "a", "type": "double"}]),
        "outputs": json.dumps([{"type": "long"}]),
    }
    (here / "models" / "MLmodel").write_text(yaml.safe_dump({"flavors": {}, "signature": signature}))
    done = run(
        shell, servers.mlflow(), "--model", "demand", "--mlmodel", "models/MLmodel", "--out", "deploy/g.yaml"
    )
    assert done.code == 0, done.err
    assert "demand: 1 input, 1 output" in done.out
    assert "--mlmodel" not in done.out + done.err
    (route,) = yaml.safe_load(Path("deploy/g.yaml").read_text())["routes"]
    named = here / "deploy" / route["signature"]
    assert named.resolve() == here / "models" / "MLmodel"
    assert read_signature(named.read_text(), "x").inputs[0].name == "a"
    assert shell("config", "check", "deploy/g.yaml").code == 0


def test_an_mlmodel_file_for_several_models_is_wrong_usage(shell: Shell, here: Path) -> None:
    Path("s.json").write_text('{"inputs": [{"name": "a", "type": "double"}]}')
    done = run(shell, servers.mlserver(), "--mlmodel", "s.json")
    assert done.code == 2
    assert "there are 3: say which with --model NAME" in done.err
    assert files_in(here) == ["s.json"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "UTF-16"),
        (b"{", "line 1, column 2"),
        (b"a: 1\n", "has no signature"),
        (b"[" * 99_999, "too deep"),
    ],
)
def test_an_mlmodel_file_that_is_none_stops_before_anything_is_asked(
    shell: Shell, here: Path, content: bytes | None, part: str
) -> None:
    if content is not None:
        Path("MLmodel").write_bytes(content)
    with serving(servers.mlflow()) as server:
        done = shell("init", "--upstream", server.address, "--mlmodel", "MLmodel")
        assert server.asked == []
    assert done.code == 2
    assert part in done.err


def test_a_file_that_is_there_is_left_alone_unless_it_is_forced(shell: Shell, here: Path) -> None:
    Path("guardproxy.yaml").write_text("mine\n")
    with serving(servers.mlserver()) as server:
        done = shell("init", "--upstream", server.address, "--timeout", "20s")
        assert server.asked == []
    assert (done.code, done.out) == (1, "")
    assert "guardproxy.yaml exists already; nothing was written" in done.err
    assert "--force" in done.err
    assert Path("guardproxy.yaml").read_text() == "mine\n"
    assert files_in(here) == ["guardproxy.yaml"]
    assert run(shell, servers.mlserver(), "--force").code == 0
    assert "MLServer" in Path("guardproxy.yaml").read_text()


def test_a_signature_that_is_there_and_says_something_else_stops_all_files(shell: Shell, here: Path) -> None:
    (here / "signatures").mkdir()
    own = here / "signatures" / "zoo.json"
    own.write_text("mine\n")
    done = run(shell, servers.mlserver())
    assert done.code == 1
    assert "signatures/zoo.json exists already" in done.err
    assert files_in(here) == ["signatures/zoo.json"]
    assert own.read_text() == "mine\n"
    assert run(shell, servers.mlserver(), "--yes").code == 0
    assert read_signature(own.read_text(), "zoo").inputs
    # What is there already as it would be written is in nobody's way.
    Path("guardproxy.yaml").unlink()
    assert run(shell, servers.mlserver()).code == 0


def test_a_link_to_nowhere_is_a_file_that_is_there(shell: Shell, here: Path) -> None:
    (here / "guardproxy.yaml").symlink_to(here / "elsewhere.yaml")
    done = run(shell, servers.mlserver())
    assert done.code == 1
    assert "exists already" in done.err
    assert files_in(here) == []


def test_a_folder_that_cannot_be_written_is_said(shell: Shell, here: Path) -> None:
    (here / "signatures").write_text("a file\n")
    done = run(shell, servers.mlserver())
    assert done.code == 3
    assert "cannot be written" in done.err
    assert files_in(here) == ["signatures"]


def test_rules_that_are_there_are_named(shell: Shell, here: Path) -> None:
    (here / "my rules").mkdir()
    assert run(shell, servers.mlserver(), "--rules", "my rules", "--out", "etc/guardproxy.yaml").code == 0
    assert yaml.safe_load((here / "etc" / "guardproxy.yaml").read_text())["rules"] == "../my rules/"
    assert shell("config", "check", "etc/guardproxy.yaml").code == 0
    done = run(shell, servers.mlserver(), "--rules", "later")
    assert "there is no folder later yet" in done.err
    assert "# rules: later/\n" in Path("guardproxy.yaml").read_text()
    assert shell("config", "check").code == 0


def test_names_meant_to_harm_reach_neither_a_file_name_nor_the_configuration_nor_the_terminal(
    shell: Shell, here: Path
) -> None:
    signature = {"inputs": [{"name": "x\\", "datatype": "FP64", "shape": [-1]}]}
    names = [*HOSTILE_NAMES, 'a"b', "it's", "{a: b}", "# x", "yes", "- y", "a: b", "..a"]
    table = {
        "GET /v2": reply({"name": "triton", "version": "1\n\x1b[2J"}),
        "POST /v2/repository/index": reply([{"name": name, "state": "READY\nroutes: []"} for name in names]),
    }
    done = run(shell, table, otherwise=reply(signature))
    assert done.code == 0, done.err
    assert "\x1b" not in done.out + done.err
    assert {route["model"] for route in yaml.safe_load(Path("guardproxy.yaml").read_text())["routes"]} == set(
        names[-8:]
    )
    for name in files_in(here):
        assert name == "guardproxy.yaml" or (
            name.startswith("signatures/") and name.isascii() and ".." not in name
        )
    assert shell("config", "check").code == 0


def test_nothing_reachable_is_a_sentence_with_what_to_try(shell: Shell, here: Path) -> None:
    with serving({}) as server:
        address = server.address
    done = shell("init", "--upstream", address)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"{address} cannot be reached: Connection refused\n"
        "  is the model server running, and is this its HTTP port? See --upstream\n"
    )
    told = json.loads(shell("init", "--upstream", address, "--format", "json").out)
    assert (told["server"]["kind"], told["config"], told["files"]) == ("unreachable", None, [])
    assert told["problem"] == "cannot be reached: Connection refused"
    assert files_in(here) == []


@pytest.mark.parametrize(
    ("made", "part"),
    [
        (lambda: ({}, b""), "is an unknown HTTP server: it is no model server that guardproxy knows"),
        (servers.torchserve, "is TorchServe 0.12.0: it lists no model"),
        (servers.tensorflow, "is TensorFlow Serving: it lists no model"),
        (lambda: (servers.fastapi(typed=False), b""), "does not say where rows stand"),
    ],
)
def test_without_a_route_nothing_is_written_and_the_draft_is_shown(
    shell: Shell, here: Path, made: Callable[[], tuple[Table, bytes]], part: str
) -> None:
    table, otherwise = made()
    done = run(shell, table, otherwise=otherwise)
    assert done.code == 1
    assert part in done.err
    assert "nothing was written. A configuration would begin like this:" in done.err
    assert files_in(here) == []
    # What is shown is a configuration too, if only one that passes everything on.
    Path("shown.yaml").write_text(done.out)
    checked = shell("config", "check", "shown.yaml")
    assert (checked.code, checked.out) == (0, "shown.yaml: ok, 0 guarded routes, 0 models, 0 rules\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Missing option '--upstream'"),
        (["--upstream", "ftp://x"], "begins with http://"),
        (["--upstream", "http://user:pw@127.0.0.1:1"], "no user name or password"),
        (["--upstream", "http://127.0.0.1:1/v2"], "ends after the port"),
        (["--upstream", "http://127.0.0.1:1", "--timeout", "soon"], "is not a duration"),
        (["--upstream", "http://127.0.0.1:1", "--timeout", "2h"], "between 50ms and 60s"),
        (["--upstream", "http://127.0.0.1:1", "--model", ""], "it is no name"),
        (["--upstream", "http://127.0.0.1:1", "--model", "a\nb"], "cannot be shown"),
        (["--upstream", "http://127.0.0.1:1", "--model", "x" * 201], "longer than 200"),
        (["--upstream", "http://127.0.0.1:1", "--out", "."], "is a directory"),
    ],
)
def test_wrong_usage_is_exit_code_2_before_anything_is_asked(
    shell: Shell, here: Path, arguments: list[str], part: str
) -> None:
    done = shell("init", *arguments)
    assert (done.code, done.out) == (2, "")
    assert part in done.err
    assert files_in(here) == []


def test_the_help_names_the_exit_codes() -> None:
    shown = " ".join(CliRunner().invoke(init, ["--help"]).output.split())
    for part in ("0 written", "1 nothing was written", "2 wrong usage", "30 questions", "--mlmodel"):
        assert part in shown
