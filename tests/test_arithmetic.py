"""Rules of a machine's arithmetic: looked at once and kept, mended where oneDNN is at fault, else refused."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gaitforge.models import FAMILIES
from gaitforge.settings import ClusterSettings
from gaitforge.work import read_json
from trainers.arithmetic import check as arithmetic
from trainers.arithmetic import machines
from trainers.arithmetic.check import (
    Asked,
    Found,
    Outcome,
    Refused,
    compare,
    examine,
    find_kept_folder,
    trust,
)
from trainers.arithmetic.machines import check_arithmetic
from trainers.doctor import report_gradients
from trainers.training.window_folder import WindowFolder

RIGHT = Found(error=1e-6, parameter="w")
OFF = Found(error=1.3, parameter="blocks.1.shortcut.0.weight")
DEAD = Found(error=math.inf, died="died of SIGSEGV")
HERE = ClusterSettings()


class Child:
    """In place of the child process: what it finds with oneDNN, and without."""

    def __init__(self, found: Found, without: Found = RIGHT) -> None:
        self.found, self.without = found, without
        self.calls: list[bool] = []

    def __call__(self, asked: Asked, threads: int, *, onednn: bool = True) -> Found:
        self.calls.append(onednn)
        return self.found if onednn else self.without


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.node", lambda: "tin")
    arithmetic._examine_once.cache_clear()
    before = torch.backends.mkldnn.enabled
    yield
    torch.backends.mkldnn.enabled = before
    arithmetic._examine_once.cache_clear()


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(found: Found, without: Found = RIGHT) -> Child:
        made = Child(found, without)
        monkeypatch.setattr(arithmetic, "compare", made)
        return made

    return put


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> WindowFolder:
    """All that is asked of windows here is what a family's models for them are."""
    monkeypatch.setattr(Asked, "for_windows", lambda family, *_: Asked.typical(family))
    monkeypatch.setattr(WindowFolder, "open", lambda path: None)
    return None  # type: ignore[return-value]


def test_a_machine_is_looked_at_once_and_anew_only_when_asked(child: Any) -> None:
    there = child(RIGHT)
    outcomes = [examine(Asked.typical("tcn"), 1) for _ in range(3)]
    assert outcomes == [Outcome(machine="tin", family="tcn", state="right", error=1e-6)] * 3
    assert there.calls == [True]
    examine(Asked.typical("tcn"), 1, anew=True)
    assert there.calls == [True, True]


def test_what_is_refused_is_looked_at_again_by_the_next_process(child: Any) -> None:
    child(DEAD, DEAD)
    assert examine(Asked.typical("tcn"), 1).state == "wrong"
    child(RIGHT)
    assert examine(Asked.typical("tcn"), 1).state == "right"


@pytest.mark.parametrize(
    ("death", "kept"),
    [
        ("died of SIGKILL", False),
        ("ended with status 1", False),
        ("had not ended after 1200 s", False),
        ("died of SIGABRT: double free", True),
        ("came to no end", True),
    ],
)
def test_a_process_that_others_may_have_ended_proves_nothing_for_the_next(
    child: Any, death: str, kept: bool
) -> None:
    child(Found(error=math.inf, died=death))
    assert examine(Asked.typical("tcn"), 1).state == "mended"
    child(RIGHT)
    assert examine(Asked.typical("tcn"), 1).state == ("mended" if kept else "right")


def test_what_cannot_be_kept_is_told_all_the_same(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arithmetic, "write_json", full)
    there = child(OFF)
    assert [examine(Asked.typical("tcn"), 1).state for _ in range(2)] == ["mended"] * 2
    assert there.calls == [True, False] * 2


def test_another_processor_code_or_environment_is_looked_at_again(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = child(RIGHT)
    examine(Asked.typical("tcn"), 1)
    examine(Asked.typical("tcn"), 2)
    monkeypatch.setattr(arithmetic, "_processor", lambda: "another")
    examine(Asked.typical("tcn"), 1)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    examine(Asked.typical("tcn"), 1)
    monkeypatch.setattr(arithmetic, "_code", lambda family: "edited")
    examine(Asked.typical("tcn"), 1)
    monkeypatch.setenv("LD_PRELOAD", "another-blas.so")
    examine(Asked.typical("tcn"), 1)
    monkeypatch.setattr("torch.__config__.show", lambda: "another build of one version")
    examine(Asked.typical("tcn"), 1)
    monkeypatch.setattr(arithmetic, "_numba", lambda: None)
    examine(Asked.typical("tcn"), 1)
    assert len(there.calls) == 8


def test_what_cannot_be_read_is_looked_at_again(child: Any) -> None:
    there = child(RIGHT)
    examine(Asked.typical("tcn"), 1)
    folder = find_kept_folder()
    assert folder is not None
    (path,) = folder.glob("*.json")
    assert read_json(path)["state"] == "right"
    for broken in ("", "{}", "[1]", '{"machine": "tin"'):
        path.write_text(broken, encoding="utf-8")
        assert examine(Asked.typical("tcn"), 1).state == "right"
    assert len(there.calls) == 5


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (OFF, "a relative error of 1.3 in blocks.1.shortcut.0.weight"),
        (DEAD, "the process that tried died of SIGSEGV"),
    ],
)
def test_one_sentence_names_machine_family_and_error(child: Any, found: Found, words: str) -> None:
    child(found)
    outcome = examine(Asked.typical("stgcn"), 1)
    assert outcome.state == "mended"
    assert outcome.sentence == (
        f"tin computes wrong gradients for the family 'stgcn' ({words}); without torch's oneDNN they are right, so it "
        "is turned off for this family there."
    )
    assert report_gradients("stgcn", outcome).fault == ""
    child(found, found)
    outcome = examine(Asked.typical("stgcn"), 1, anew=True)
    assert outcome.state == "wrong"
    assert outcome.sentence.startswith("tin computes wrong gradients for the family 'stgcn' (")
    assert words in outcome.sentence
    assert "and must not train it; install another torch there" in outcome.sentence
    assert report_gradients("stgcn", outcome).fault == outcome.sentence


def test_what_is_right_needs_no_word(child: Any) -> None:
    child(RIGHT)
    assert examine(Asked.typical("tcn"), 1).sentence == ""


def test_a_worker_turns_onednn_off_for_the_family_that_needs_it_alone(
    child: Any, windows: WindowFolder
) -> None:
    child(OFF)
    trust("stgcn", "windows")
    assert not torch.backends.mkldnn.enabled
    child(RIGHT)
    trust("tcn", "windows")
    assert torch.backends.mkldnn.enabled


def test_a_worker_refuses_what_its_machine_gets_wrong(child: Any, windows: WindowFolder) -> None:
    there = child(OFF, DEAD)
    for _ in range(2):
        with pytest.raises(Refused, match="tin computes wrong gradients for the family 'stgcn'"):
            trust("stgcn", "windows")
    assert there.calls == [True, False]


def test_nothing_is_trained_where_a_machine_gets_it_wrong(
    child: Any, windows: WindowFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    child(OFF)
    check_arithmetic(HERE, ["stgcn"], windows, 1, 0.0)
    assert capsys.readouterr().out.count("turned off for this family there.") == 1
    child(OFF, OFF)
    check_arithmetic(HERE, ["stgcn"], windows, 1, 1.0)  # on GPUs: not asked
    with pytest.raises(RuntimeError, match="must not train it"):
        check_arithmetic(HERE, ["stgcn", "tcn"], windows, 2, 0.0)


def test_every_node_of_a_cluster_is_asked_and_named_by_its_address(
    child: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(OFF, OFF)

    def on_two(function: Any, *arguments: Any, wait_s: float) -> dict[str, list[Outcome]]:
        wrong = function(*arguments)
        right = [replace(item, state="right", found="") for item in wrong]
        return {"10.0.0.2": wrong, "10.0.0.1": right}

    monkeypatch.setattr(machines, "run_on_every_node", on_two)
    joined = ClusterSettings(address="10.0.0.1:6379")
    outcomes = machines.ask_machines(joined, [Asked.typical("tcn")], 1)
    assert [(item.machine, item.state) for item in outcomes] == [
        ("10.0.0.1", "right"),
        ("10.0.0.2", "wrong"),
    ]


@pytest.mark.slow
def test_the_child_tells_what_it_found() -> None:
    found = compare(Asked.typical("tcn"), 1)
    assert found.error < 1e-3
    assert found.parameter
    assert not found.died


@pytest.mark.slow
def test_a_child_that_cannot_start_is_no_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        pass

    monkeypatch.setitem(FAMILIES, "elsewhere", Elsewhere)
    found = compare(Asked(family="elsewhere", problems=()), 1)
    assert found.is_wrong
    assert found.died.startswith("ended with status 1: AttributeError")


def test_what_is_kept_says_what_was_found(child: Any) -> None:
    child(DEAD)
    examine(Asked.typical("stgcn"), 1)
    folder = find_kept_folder()
    assert folder is not None
    (path,) = folder.glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "schema": 1, "machine": "tin", "family": "stgcn", "state": "mended", "error": None,
        "found": "the process that tried died of SIGSEGV",
    }  # fmt: skip
