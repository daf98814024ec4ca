"""Rules of pseudonyms: no id is left in a work folder, the same key gives the same, and only its user has the key."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import numpy as np
import pytest

from gaitforge.pseudonyms import VARIABLE, draw_key, find_key, pseudonym, pseudonymise, read_key
from gaitforge.recording import Recording, Rejected
from gaitforge.store import SkeletonStore
from tests.small_line import write_recordings, write_run
from tests.test_cli import must_say, one_sentence
from trainers.__main__ import main

KEY = bytes(range(32))
FILES: dict[str, object] = {"files": ["walks.npz"], "layout": "coco17"}


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "outside" / "key"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def recording(columns: dict[str, str | int]) -> Recording:
    return Recording(
        recording="smith_1", person="smith", label="ill", columns=columns,
        positions_TVC=np.ones((2, 1, 2), np.float32),
    )  # fmt: skip


def test_a_pseudonym_is_the_keyed_hash_of_kind_and_name() -> None:
    wanted = hmac.new(KEY, b"person\0smith", hashlib.sha256).hexdigest()[:16]
    assert pseudonym(KEY, "person", "smith") == f"person-{wanted}"
    assert pseudonym(KEY, "person", "smith") != pseudonym(KEY[::-1], "person", "smith")
    assert wanted not in pseudonym(KEY, "recording", "smith")


def test_ids_go_and_numbers_stay() -> None:
    (item,) = pseudonymise([recording({"age": 50})], KEY, ())
    assert isinstance(item, Recording)
    assert (item.person, item.recording) == (
        pseudonym(KEY, "person", "smith"), pseudonym(KEY, "recording", "smith_1"),
    )  # fmt: skip
    assert (item.label, dict(item.columns)) == ("ill", {"age": 50})


def test_text_is_refused_unless_it_is_named() -> None:
    told = recording({"note": "the baker's wife", "side": "left"})
    with pytest.raises(ValueError, match=r"'note' is text.* name it in ingest\.keep_columns"):
        list(pseudonymise([told], KEY, ("side",)))
    (item,) = pseudonymise([told], KEY, ("side", "note"))
    assert isinstance(item, Recording)
    assert item.columns["note"] == "the baker's wife"


def test_what_is_rejected_names_nobody_either() -> None:
    rejected = Rejected(
        source="/walks/smith.npz", position=3, person="smith", label="ill",
        reason="the id occurs twice: 'smith_1'", recording="smith_1",
    )  # fmt: skip
    (item,) = pseudonymise([rejected], KEY, ())
    assert "smith" not in repr(item)
    assert isinstance(item, Rejected)
    assert (item.reason, item.position) == ("the id occurs twice", 3)


def test_a_key_is_drawn_once_and_is_this_users_alone(key_file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"The key of pseudonyms .* does not exist"):
        read_key(find_key())
    draw_key(find_key())
    first = read_key(find_key())
    draw_key(find_key())
    assert len(first) == 32
    assert read_key(find_key()) == first
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert key_file.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"", b"abc", b"00" * 31, b"\xff" * 64])
def test_a_file_that_is_no_key_is_refused_and_left_as_it_is(
    content: bytes, key_file: Path
) -> None:
    key_file.parent.mkdir()
    key_file.write_bytes(content)
    with pytest.raises(ValueError, match=f"holds no key of 32 bytes in hex; let {VARIABLE}"):
        read_key(find_key())
    assert key_file.read_bytes() == content


def test_the_key_lies_below_the_home_where_no_other_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_key() == tmp_path / ".gaitforge" / "pseudonym.key"


def test_no_id_of_a_file_is_left_in_the_work_folder_and_the_same_key_keeps_the_store(
    tmp_path: Path, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recordings(tmp_path / "walks.npz")
    settings = write_run(
        tmp_path, {"ingest": FILES | {"pseudonymise": True}, "ingest.synthetic": None}
    )
    assert main(["ingest", str(settings)]) == 0
    store = SkeletonStore.open(tmp_path / "work" / "store")
    index = store.read_index()
    people = set(index.column("person").to_pylist())
    key = read_key(find_key())
    assert people == {pseudonym(key, "person", f"s{n}") for n in range(1, 7)}
    assert set(index.column("recording").to_pylist()) == {
        pseudonym(key, "recording", f"walks-{n:05d}") for n in range(6)
    }
    capsys.readouterr()
    assert main(["ingest", str(settings)]) == 0
    assert "are there already" in capsys.readouterr().out
    assert os.environ[VARIABLE] == str(key_file)
    key_file.write_text("11" * 32)
    assert main(["ingest", str(settings)]) == 0
    again = SkeletonStore.open(tmp_path / "work" / "store").read_index()
    assert people.isdisjoint(again.column("person").to_pylist())


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (FILES | {"keep_columns": ["side"]}, "which is off"),
        ({"pseudonymise": True}, "are nobody"),
    ],
)
def test_keys_that_can_only_be_a_slip_are_refused(
    keys: dict[str, object], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables: dict[str, dict[str, object] | None] = {"ingest": keys}
    if "files" in keys:
        tables["ingest.synthetic"] = None
    assert main(["ingest", str(write_run(tmp_path, tables))]) == 2
    must_say(one_sentence(capsys.readouterr().err), words)
