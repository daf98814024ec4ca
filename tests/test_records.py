"""Records: what was written before there were any is read and written alike, and another file is refused in a sentence.

`tests/written/` holds one file of each kind, of a tiny line that the stages wrote when each still had a writer of
its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from operator import methodcaller
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest

from gaitforge.provenance import Provenance
from gaitforge.records import FILES, PUBLIC
from gaitforge.records.__main__ import SCHEMAS, main
from gaitforge.records.confirm import REFIT, SCORES, WORKER, WorkerOf
from gaitforge.records.export import CARD, export_identity
from gaitforge.records.json_file import JsonFile, Newer, Unreadable, plain
from gaitforge.records.search import FRONT, GATE, PACKING, Gate, GateStudent, Need, Packing
from gaitforge.records.shortcuts import SHORTCUTS, ColumnFacts, ShortcutFacts, Telling
from gaitforge.records.teacher import (
    LIVE,
    TEACHER,
    TRAINING,
    LiveEpoch,
    TeacherEpoch,
    TrainingState,
)
from gaitforge.records.trial import TRIAL
from gaitforge.records.values import ABSENT, Count
from gaitforge.records.windows import WINDOWS
from tests.made import WRITTEN, kind_of


def written(name: str) -> Path:
    return WRITTEN / name


SAMPLES = [path for path in sorted(WRITTEN.rglob("*.json")) if path.name != "settings.json"]
FRONT_FILE = written("runs/main/search/front.json")


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a sample with something changed."""
    content = json.loads(path.read_text())
    change(content)
    copy = folder / path.name
    copy.write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.relative_to(WRITTEN)))
def test_a_file_is_read_and_written_again_byte_by_byte(path: Path) -> None:
    kind = kind_of(path.relative_to(WRITTEN))
    assert kind.as_json(kind.read(path)) == path.read_bytes()


EPOCH: dict[str, Any] = {
    "epoch": 1,
    "train_loss": 0.5,
    "val_macro_f1": 0.25,
    "val_accuracy": 0.5,
    "seconds": 0.1,
}
NEED = Need(device="H200", device_bytes=10, bytes=4, outside_bytes=1, step_s=0.1, busy=None)
TELLING: dict[str, Any] = {
    "measure": "rank correlation", "value": 0.5, "interval": [0.25, 0.75], "chance": 0.0, "people": 40,
}  # fmt: skip
TOLD = Telling(**{**TELLING, "interval": (0.25, 0.75)})
MADE: list[tuple[JsonFile[Any], Any, dict[str, Any]]] = [
    (LIVE, LiveEpoch(**EPOCH, epochs=3), {**EPOCH, "epochs": 3}),
    (
        TRAINING,
        TrainingState(epoch=1, step=2, best_epoch=1, history=[TeacherEpoch(**EPOCH)], time=5.5),
        {"epoch": 1, "step": 2, "best_epoch": 1, "history": [EPOCH], "time": 5.5},
    ),
    (
        PACKING,
        Packing(identity="abc", students=2, share=0.5, needs={"": NEED}),
        {
            "schema": 1, "identity": "abc", "students": 2, "share": 0.5,
            "needs": {
                "": {
                    "device": "H200", "device_bytes": 10, "bytes": 4, "outside_bytes": 1, "step_s": 0.1, "busy": None,
                }
            },
        },
    ),
    (
        SHORTCUTS,
        ShortcutFacts(
            identity="abc", class_from_windows=TOLD, says="open", sentence="Nobody knows.",
            columns=(
                ColumnFacts(name="age", cannot=None, from_windows=TOLD, class_from_it=TOLD),
                ColumnFacts(name="site", cannot="nowhere known", from_windows=None, class_from_it=None),
            ),
            provenance=Provenance(identity="abc"),
        ),
        {
            "schema": 1, "identity": "abc", "class_from_windows": TELLING,
            "columns": [
                {"name": "age", "cannot": None, "from_windows": TELLING, "class_from_it": TELLING},
                {"name": "site", "cannot": "nowhere known", "from_windows": None, "class_from_it": None},
            ],
            "says": "open", "sentence": "Nobody knows.",
            "provenance": {"identity": "abc", "made_from": {}, "seen": [], "unknown": []},
        },
    ),
    (
        GATE,
        Gate(
            search="abc", teaches=True, sentence="There is.", teacher=0.5, reference=0.25,
            student=GateStudent(
                family="tcn", sizes={"layers": 2}, params=9, epochs=8, seed=0, val_macro_f1=0.25,
                val_accuracy=0.5, seconds=1.5,
            ),
        ),
        {
            "schema": 1, "search": "abc", "teaches": True, "sentence": "There is.", "teacher": 0.5,
            "reference": 0.25,
            "student": {
                "family": "tcn", "sizes": {"layers": 2}, "params": 9, "epochs": 8, "seed": 0,
                "val_macro_f1": 0.25, "val_accuracy": 0.5, "seconds": 1.5,
            },
        },
    ),
    (WORKER, WorkerOf(pid=7, address="10.0.0.1"), {"pid": 7, "address": "10.0.0.1"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "record", "content"), MADE, ids=lambda it: getattr(it, "what", "")
)
def test_what_no_finished_line_holds_is_written_key_by_key(
    kind: JsonFile[Any], record: Any, content: dict[str, Any], tmp_path: Path
) -> None:
    assert list(kind.as_dict(record).items()) == list(content.items())
    kind.write(tmp_path / "file.json", record)
    assert kind.as_json(kind.read(tmp_path / "file.json")) == kind.as_json(record)


def test_every_kind_is_among_the_samples_or_made_here() -> None:
    seen = {kind_of(path.relative_to(WRITTEN)) for path in SAMPLES} | {kind for kind, _, _ in MADE}
    assert set(FILES.values()) == seen


# what is refused


def test_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = changed(FRONT_FILE, tmp_path, lambda front: front.update(schema=0))
    with pytest.raises(Unreadable) as refused:
        FRONT.read(path)
    assert str(refused.value) == (
        f"{path} cannot be used as a searched front: its schema is 0, but must be 1; "
        "run `gaitforge search run.toml` again."
    )
    assert refused.value.found == "its schema is 0, but must be 1"
    FRONT.check_version(path)


def test_what_a_later_version_wrote_is_not_to_be_written_again(tmp_path: Path) -> None:
    path = changed(FRONT_FILE, tmp_path, lambda front: front.update(schema=9))
    for look in (FRONT.read, FRONT.find, FRONT.check_version):
        with pytest.raises(
            Newer, match="its schema is 9, but must be 1; use the version of"
        ) as refused:
            look(path)
        assert refused.value.found == "its schema is 9, but must be 1"


@pytest.mark.parametrize("damage", [None, b"", b"{", b'{"schema": "9"}', b'{"schema": true}'])
def test_what_is_damaged_or_missing_is_of_no_later_version(
    damage: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "front.json"
    if damage is not None:
        path.write_bytes(damage)
    FRONT.check_version(path)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("1", '"1"'),
        (True, "true"),
        (None, "null"),
        ([1], "[1]"),
        (2**70, "1180591620717411303424"),
    ],
)
def test_a_schema_that_only_looks_alike_is_refused_as_it_stands_there(
    told: object, shown: str, tmp_path: Path
) -> None:
    path = changed(FRONT_FILE, tmp_path, lambda front: front.update(schema=told))
    with pytest.raises(Unreadable) as refused:
        FRONT.read(path)
    assert refused.value.found == f"its schema is {shown}, but must be 1"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda front: front.pop("schema"), "it tells no schema, but must be of schema 1"),
        (lambda front: front.pop("search"), "it lacks 'search'"),
        (lambda front: front["front"][0].pop("trial"), "it lacks 'front[0].trial'"),
        (
            lambda front: front["front"][0].update(trial="1"),
            "its 'front[0].trial' is \"1\", but must be a whole number",
        ),
        (
            lambda front: front["front"][0].update(trial=True),
            "its 'front[0].trial' is true, but must be a whole number",
        ),
        (
            lambda front: front["front"][0].update(params=-1),
            "its 'front[0].params' is -1, but must be at least 0",
        ),
        (
            lambda front: front.update(hypervolume=float("nan")),
            "its 'hypervolume' is NaN, but must be a finite number",
        ),
        (lambda front: front.update(front={}), "its 'front' is {}, but must be a list"),
        (lambda front: front.update(search=3), "its 'search' is 3, but must be a text"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    change: Callable[[dict[str, Any]], None], found: str, tmp_path: Path
) -> None:
    with pytest.raises(Unreadable) as refused:
        FRONT.read(changed(FRONT_FILE, tmp_path, change))
    assert refused.value.found == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{", r"it is not JSON \(EOF while parsing an object"),
        (b"\xff\xfe", r"it is not JSON \("),
        (b"[1]", "it holds no JSON object"),
        (b"null", "it holds no JSON object"),
    ],
)
def test_what_is_no_object_is_refused(text: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "front.json"
    path.write_bytes(text)
    with pytest.raises(
        Unreadable, match=f"front.json cannot be used as a searched front: {found}"
    ):
        FRONT.read(path)


def test_a_choice_tells_what_it_may_be(tmp_path: Path) -> None:
    scores = written("runs/main/confirm/scores.json")
    path = changed(scores, tmp_path, lambda it: it["verdict"]["rests_on"][0].update(says="so"))
    with pytest.raises(Unreadable, match="is \"so\", but must be one of 'good', 'bad', 'open'"):
        SCORES.read(path)


def test_a_part_that_cannot_be_is_refused_by_its_own_reason(tmp_path: Path) -> None:
    model = written("runs/main/teacher/model.json")
    path = changed(model, tmp_path, lambda it: it["layout"].update(up="down"))
    with pytest.raises(
        Unreadable, match=r"its 'layout' cannot be .*must be one of x, y, z, -x, -y, -z, none"
    ):
        TEACHER.read(path)
    path = changed(model, tmp_path, lambda it: it["normalisation"]["std"][0].__setitem__(0, 0.0))
    with pytest.raises(
        Unreadable, match=r"its 'normalisation' cannot be .*each deviation above 0"
    ):
        TEACHER.read(path)


def test_who_has_been_seen_is_never_nobody_by_default(tmp_path: Path) -> None:
    model = written("runs/main/teacher/model.json")
    path = changed(model, tmp_path, lambda it: it["provenance"].pop("seen"))
    with pytest.raises(Unreadable, match=r"it lacks 'provenance.seen'"):
        TEACHER.read(path)


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        (CARD, "export/card.json", "windows"),
        (TEACHER, "runs/main/teacher/model.json", "windows"),
        (WINDOWS, "cache/windows/8767786ff2df/meta.json", "settings"),
    ],
    ids=["card", "teacher", "windows"],
)
def test_how_windows_are_cut_is_never_a_default(
    kind: JsonFile[Any], name: str, part: str, tmp_path: Path
) -> None:
    whole = json.loads(written(name).read_text())[part]
    for key in ("size", "center", "min_confidence", "length"):
        rest = {other: its for other, its in whole.items() if other != key}
        path = changed(written(name), tmp_path, methodcaller("update", {part: rest}))
        with pytest.raises(Unreadable, match=f"it lacks '{part}.{key}'"):
            kind.read(path)
    path = changed(written(name), tmp_path, lambda it: it.update({part: {}}))
    with pytest.raises(Unreadable, match=f"it lacks '{part}.mode'"):
        kind.read(path)
    path = changed(written(name), tmp_path, lambda it: it[part].update(size="leg"))
    with pytest.raises(Unreadable, match=f"its '{part}' cannot be .*must be one of body, none"):
        kind.read(path)


def test_a_card_without_classes_is_refused(tmp_path: Path) -> None:
    path = changed(written("export/card.json"), tmp_path, lambda it: it.update(classes=[]))
    with pytest.raises(Unreadable, match=r"its 'classes' is \[\], but must be not empty"):
        CARD.read(path)


def test_a_finished_trial_has_scores(tmp_path: Path) -> None:
    sample = next(path for path in SAMPLES if path.parent.name == "trials")
    path = changed(sample, tmp_path, lambda it: it.update(state="finished", scores=None))
    with pytest.raises(Unreadable, match="trial 2 is finished, but has no scores"):
        TRIAL.read(path)


def test_a_file_that_is_not_there_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "front.json"
    assert FRONT.find(path) is None
    with pytest.raises(
        FileNotFoundError, match=r"no file .*front.json \(a searched front\); run `gaitforge"
    ):
        FRONT.read(path)


def test_what_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, below = tmp_path / "front.json", tmp_path / "file" / "search" / "front.json"
    folder.mkdir()
    (tmp_path / "file").write_text("{}")
    for read in (FRONT.read, FRONT.find):
        with pytest.raises(IsADirectoryError) as refused:
            read(folder)
        assert str(refused.value) == (
            f"{folder} cannot be read as a searched front: it is a folder, but must be a file; "
            "move it away, then run `gaitforge search run.toml` again."
        )
        assert refused.value.strerror == "Is a directory"
        with pytest.raises(NotADirectoryError, match=r"/file is a file, but must be a folder"):
            read(below)

    def forbidden(path: Path, flags: int) -> int:  # root may read what nobody else may
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", forbidden)
    for read in (FRONT.read, FRONT.find):
        with pytest.raises(PermissionError, match=r"this user may not read it; let its owner"):
            read(FRONT_FILE)


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = changed(FRONT_FILE, tmp_path, lambda front: front.update(later=1))
    assert FRONT.read(path) == FRONT.read(FRONT_FILE)


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    front = replace(FRONT.read(FRONT_FILE), hypervolume=float("inf"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        FRONT.write(tmp_path / "front.json", front)
    assert not (tmp_path / "front.json").exists()


def test_many_are_read_at_once_or_none(tmp_path: Path) -> None:
    sample = next(path for path in SAMPLES if path.parent.name == "trials")
    trial, text = TRIAL.read(sample), sample.read_text()
    assert TRIAL.parse_many([text, text]) == [trial, trial]
    assert TRIAL.parse_many([]) == []
    with pytest.raises(ValueError, match="schema"):
        TRIAL.parse_many([text, "{}"])


# how records are written


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A record whose name comes later."""

    name: str
    note: str | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted(Named):
    """And its count before it."""

    FIRST: ClassVar[tuple[str, ...]] = ("count",)

    count: Count
    seen: frozenset[str]


def test_keys_stand_in_the_order_of_the_file() -> None:
    made = Counted(name="a", count=1, seen=frozenset({"b", "a"}))
    assert list(plain(made).items()) == [("count", 1), ("name", "a"), ("seen", ["a", "b"])]
    assert list(plain(replace(made, note="n"))) == ["count", "name", "note", "seen"]


def test_an_answer_is_the_chosen_member_or_the_best_network() -> None:
    scores = SCORES.read(written("runs/main/confirm/scores.json"))
    first = scores.members[0]
    best = replace(first, trial=99, network=replace(first.network, macro_f1=1.0))
    both = replace(scores, members=(first, best))
    assert replace(both, chosen=first.trial).answer == first
    assert replace(both, chosen=None).answer == best


def test_an_export_is_known_by_its_refit_its_scores_and_how_it_was_read() -> None:
    scores = SCORES.read(written("runs/main/confirm/scores.json"))
    card = CARD.read(written("export/card.json"))
    refit = REFIT.read(next(WRITTEN.glob("runs/main/confirm/refits/*.json")))
    before = export_identity(refit, scores, card.read)
    assert export_identity(refit, scores, card.read) == before
    assert export_identity(replace(refit, seed=1), scores, card.read) != before
    assert export_identity(refit, replace(scores, margin=0.5), card.read) != before
    assert export_identity(refit, scores, replace(card.read, fps=1.5)) != before


# schemas for readers of other programs


def test_the_schemas_in_docs_are_those_of_the_code(tmp_path: Path) -> None:
    """After a change: python -m gaitforge.records"""
    main(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in SCHEMAS.iterdir()}


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("summary", "summary.json"),
        ("card", "export/card.json"),
        ("trial", "runs/main/search/trials/2.json"),
    ],
)
def test_a_public_file_keeps_to_its_schema(name: str, sample: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    content = json.loads(written(sample).read_text())
    checker = jsonschema.Draft202012Validator(schema)
    checker.check_schema(schema)
    checker.validate(content)
    assert not checker.is_valid({**content, "schema": 9})
    first = PUBLIC[name].json_schema()["required"][1]
    assert not checker.is_valid({key: its for key, its in content.items() if key != first})
