"""Which files belong to a path of rules, and when they have changed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardproxy.proxy.load import Loaded, read_rule_files
from guardproxy.proxy.rule_files import MAX_FILES, digest_of, find_rule_files, read_regular, signature_of

NOBODY = 65534


def names(path: Path) -> list[str]:
    return [str(file.relative_to(path)) for file in find_rule_files(path)]


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_rule_files_are_found_at_every_depth_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    for name in (
        "b.guard.yaml",
        "a/z.guard.yaml",
        "a/b/c.guard.yaml",
        "a.yaml",
        "guard.yaml",
        "x.guard.yaml.bak",
    ):
        put(tmp_path / name)
    assert names(tmp_path) == ["a/b/c.guard.yaml", "a/z.guard.yaml", "b.guard.yaml"]
    assert find_rule_files(tmp_path / "b.guard.yaml") == [tmp_path / "b.guard.yaml"]


def test_only_regular_files_are_read_and_nothing_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "zero", "folder"):
        assert read_regular(tmp_path / name, 10) is None
    assert read_regular(put(tmp_path / "file", "0123456789ab"), 10) == b"0123456789"
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "none"):
        with pytest.raises(OSError, match=r"symbolic links|No such file"):
            read_regular(tmp_path / name, 10)


def test_a_file_swapped_for_another_kind_of_file_is_a_change(tmp_path: Path) -> None:
    file = put(tmp_path / "a.guard.yaml", "?")
    before = digest_of(tmp_path, 100)
    file.unlink()
    os.mkfifo(file)
    assert digest_of(tmp_path, 100) != before


def test_the_hidden_directories_of_a_config_map_are_not_more_files(tmp_path: Path) -> None:
    put(tmp_path / "..2026_01_07" / "a.guard.yaml")
    (tmp_path / "..data").symlink_to("..2026_01_07")
    (tmp_path / "a.guard.yaml").symlink_to("..data/a.guard.yaml")
    put(tmp_path / ".git" / "b.guard.yaml")
    assert names(tmp_path) == ["a.guard.yaml"]


def test_the_lock_of_an_editor_is_no_rule_file(tmp_path: Path) -> None:
    put(tmp_path / "a.guard.yaml")
    (tmp_path / ".#a.guard.yaml").symlink_to("somebody@somewhere.4711:1795600000")
    put(tmp_path / "._a.guard.yaml", "\0")
    put(tmp_path / ".a.guard.yaml.swp")
    assert names(tmp_path) == ["a.guard.yaml"]


def test_files_that_are_too_large_together_are_a_sentence_before_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("load", "rule_files"):
        monkeypatch.setattr(f"guardproxy.proxy.{module}.MAX_TOTAL", 2 * 1024 * 1024)
    for name in "abcde":
        put(tmp_path / f"{name}.guard.yaml", "#" * 1024 * 1024)
    loaded = Loaded()
    assert len(read_rule_files([tmp_path], loaded)) == 3
    (problem,) = loaded.problems
    assert problem.file == str(tmp_path / "c.guard.yaml")
    assert "larger than 2 MiB together" in problem.message
    for name in "ae":
        before = digest_of(tmp_path, 4 * 1024 * 1024)
        put(tmp_path / f"{name}.guard.yaml", "#")
        assert digest_of(tmp_path, 4 * 1024 * 1024) != before


def test_linked_directories_are_followed_once_though_they_lead_back_up(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.guard.yaml")
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(rules)
    assert names(rules) == ["linked/a.guard.yaml"]


def test_the_search_is_bounded(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 50):
        put(tmp_path / f"{number}.guard.yaml")
    assert len(find_rule_files(tmp_path)) == MAX_FILES + 1


def test_more_directories_than_are_searched_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardproxy.proxy.rule_files.MAX_FOLDERS", 3)
    for name in "abc":
        put(tmp_path / name / "a.guard.yaml")
    loaded = Loaded()
    assert read_rule_files([tmp_path], loaded) == {}
    assert loaded.problems[0].message == "cannot be read: there are more than 3 directories below it"


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be nobody for a while where the tests run as root, who may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


def test_a_directory_that_cannot_be_read_is_an_error_and_not_empty(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    put(tmp_path / "a" / "a.guard.yaml")
    (tmp_path / "a").chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(PermissionError):
        find_rule_files(tmp_path)


def test_every_kind_of_change_changes_signature_and_digest(tmp_path: Path) -> None:
    file = put(tmp_path / "a.guard.yaml", "one")
    seen = {(signature_of(tmp_path), digest_of(tmp_path, 100))}

    def changed() -> bool:
        now = (signature_of(tmp_path), digest_of(tmp_path, 100))
        new = all(now[0] != one[0] and now[1] != one[1] for one in seen)
        seen.add(now)
        return new

    file.write_text("two")
    assert changed()
    put(tmp_path / "b.guard.yaml")
    assert changed()
    (tmp_path / "b.guard.yaml").rename(tmp_path / "c.guard.yaml")
    assert changed()
    file.unlink()
    assert changed()
    file.symlink_to("nowhere")
    assert changed()


def test_a_touched_file_has_the_same_digest(tmp_path: Path) -> None:
    file = put(tmp_path / "a.guard.yaml")
    before = digest_of(tmp_path, 100)
    os.utime(file, (1, 1))
    assert digest_of(tmp_path, 100) == before


def test_what_cannot_be_read_neither_blocks_nor_looks_like_an_empty_file(tmp_path: Path) -> None:
    file = put(tmp_path / "a.guard.yaml", "")
    empty = digest_of(tmp_path, 100)
    file.unlink()
    os.mkfifo(file)
    assert digest_of(tmp_path, 100) != empty
    assert signature_of(tmp_path / "none") != ()
    assert digest_of(tmp_path / "none", 100) != digest_of(tmp_path, 100)
