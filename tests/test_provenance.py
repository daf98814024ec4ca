"""What an artefact tells of itself, and how often people were scored: kept, joined, held against what is there now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gaitforge.layout import LAYOUTS
from gaitforge.provenance import Provenance
from gaitforge.records.search import FRONT, SEARCH
from gaitforge.records.split import Split
from gaitforge.scorings import count_scorings, list_scored_people, record_scoring, scored_sentence
from gaitforge.splits import SplitSettings, check_rule, make_splits
from gaitforge.window_cache import build_windows, window_provenance
from gaitforge.work import SplitFolder, WorkFolder, set_aside, write_json
from tests.made import made
from tests.test_confirm import CLASSES, LEGS, WINDOWS, walks
from trainers.search.claim import join_provenances
from trainers.search.starts import check_starts, read_start_sources
from trainers.training.window_folder import WindowFolder

WINDOW = Provenance(identity="w", seen=frozenset({"ann"}))
START = Provenance(identity="s", seen=frozenset({"bob"}), unknown=("a list",))


def test_whom_a_source_has_seen_its_product_has_seen() -> None:
    made = Provenance.of("m", {"windows": WINDOW, "start": START}, ["cleo"], ["start_with"])
    assert made.made_from == {"windows": "w", "start": "s"}
    assert made.seen == {"ann", "bob", "cleo"}
    assert made.unknown == ("a list", "start_with")
    assert Provenance.of("n", {"made": made}).seen == made.seen


def test_it_comes_back_from_what_json_keeps_of_it() -> None:
    made = Provenance.of("m", {"start": START}, ["cleo"])
    assert Provenance.from_dict(json.loads(json.dumps(made.as_dict())), "it") == made
    assert made.as_dict()["seen"] == ["bob", "cleo"]
    with pytest.raises(ValueError, match=r"it does not tell what .* run its stage again"):
        Provenance.from_dict({"identity": "m"}, "it")


def test_another_source_than_that_of_now_is_named() -> None:
    made = Provenance.of("m", {"windows": WINDOW})
    made.check_made_from("The teacher", {"windows": WINDOW, "split": START}, "mend it")
    with pytest.raises(
        ValueError,
        match=r"^The teacher was made from other windows \(w\) than .* \(v\); mend it\.$",
    ):
        made.check_made_from("The teacher", {"windows": replace(WINDOW, identity="v")}, "mend it")


def test_people_who_were_seen_are_named_the_first_of_many() -> None:
    many = Provenance(identity="m", seen=frozenset(f"p{i}" for i in range(9)))
    many.check_unseen("The teacher", ["ann", "bob"], "mend it")
    with pytest.raises(ValueError, match=r"has seen 1 person who .* \(p3\); mend it\.$"):
        many.check_unseen("The teacher", ["ann", "p3"], "mend it")
    with pytest.raises(ValueError, match=r"seen 9 people .* \(p0, p1, p2, p3, …\)"):
        many.check_unseen("The teacher", many.seen, "mend it")


def test_windows_are_known_before_they_are_made(tmp_path: Path) -> None:
    roles = {"p00": "train", "p01": "train", "p02": "validation", "p03": "confirm"}
    split = Split(name="main", rule={}, store="s", roles=roles)
    told = window_provenance(split, LEGS, CLASSES, WINDOWS)
    cache = build_windows(
        tmp_path, store_fingerprint="s", split=split, layout=LEGS, classes=CLASSES, settings=WINDOWS, recordings=walks
    )  # fmt: skip
    windows = WindowFolder.open(cache.folder)
    assert windows.key == told.identity
    assert windows.provenance == told
    assert told.seen == {"p00", "p01"}  # they scale the windows of all
    assert windows.people("validation", "confirm") == {"p02", "p03"}
    for other in (
        window_provenance(replace(split, store="t"), LEGS, CLASSES, WINDOWS),
        window_provenance(
            replace(split, roles={**roles, "p01": "confirm"}), LEGS, CLASSES, WINDOWS
        ),
        window_provenance(split, LAYOUTS["coco17"], CLASSES, WINDOWS),
        window_provenance(split, LEGS, ("ill", "other"), WINDOWS),
        window_provenance(split, LEGS, CLASSES, replace(WINDOWS, length=17)),
    ):
        assert other.identity != told.identity


# the rule that made a split

PEOPLE = {f"p{i:02d}": {"ill"} for i in range(12)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, r"split.seed = 0, but the settings ask for 1; mend it\."),
        ({"fractions": (0.5, 0.25, 0.25)}, r"split.fractions = .* ask for \[0.5, 0.25, 0.25\]"),
        ({"rule": "folds"}, r"split.rule = fractions, but the settings ask for folds"),
    ],
)
def test_splits_of_another_rule_are_named_by_what_has_changed(
    change: dict[str, Any], words: str
) -> None:
    made = make_splits(SplitSettings(), PEOPLE, "s")
    check_rule(SplitSettings(), made, "mend it")
    with pytest.raises(ValueError, match=words):
        check_rule(SplitSettings(**change), made, "mend it")


def test_people_who_are_named_for_another_role_are_told() -> None:
    named: dict[str, Any] = {"rule": "people", "train": ("p00",), "validation": ("p01",)}
    settings = SplitSettings(**named, confirm=("p02",))
    made = make_splits(settings, PEOPLE, "s")
    check_rule(settings, made, "mend it")
    with pytest.raises(ValueError, match=r"'p02' has the role confirm .* give None; mend it"):
        check_rule(SplitSettings(**named, confirm=("p03",)), made, "mend it")


@pytest.mark.parametrize("rule", ["folds", "leave_one_person_out"])
def test_splits_of_which_some_were_not_written_are_not_taken_for_all(rule: str) -> None:
    settings = SplitSettings(rule=rule, folds=3)
    made = make_splits(settings, PEOPLE, "s")
    check_rule(settings, made, "mend it")
    with pytest.raises(ValueError, match=rf"are {len(made) - 1} splits, .* ask for {len(made)}"):
        check_rule(settings, made[1:], "mend it")


# a search that goes on


def test_a_search_keeps_whom_it_once_started_from() -> None:
    now = Provenance.of("m", {"windows": WINDOW})
    assert join_provenances(now, now) == now
    earlier = Provenance.of("m", {"windows": WINDOW, "start": START})
    both = join_provenances(now, earlier)
    assert (both.seen, both.unknown) == (earlier.seen, earlier.unknown)
    assert both.made_from == earlier.made_from


def test_of_values_in_the_settings_nobody_knows_whom_they_have_seen() -> None:
    (source,) = read_start_sources((), [{"lr": 0.1}]).values()
    assert (source.seen, source.unknown) == (frozenset(), ("search.start_with",))
    assert read_start_sources(()) == {}


def test_a_work_folder_has_seen_whom_its_search_has_seen_and_its_confirm_has_scored(
    tmp_path: Path,
) -> None:
    work = WorkFolder(tmp_path)
    name = f"search.start_from {tmp_path}"
    with pytest.raises(FileNotFoundError, match="no searched front is there"):
        read_start_sources([str(tmp_path)])
    FRONT.write(work.run("main").front, made(FRONT))
    assert read_start_sources([str(tmp_path)])[name].unknown == (name,)
    told = Provenance(identity="s", seen=frozenset({"ann"})).as_dict()
    SEARCH.write(work.run("main").search_head, made(SEARCH, provenance=told))
    assert read_start_sources([str(tmp_path)])[name].seen == {"ann"}
    record_scoring(work, store="s", split="main", people=["bob"], models="m")
    assert read_start_sources([str(tmp_path)])[name].seen == {"ann", "bob"}
    with pytest.raises(FileNotFoundError, match="neither a work folder nor a file"):
        read_start_sources([str(tmp_path / "none")])


# how often people were scored


def test_people_are_counted_by_the_sets_of_models_they_were_scored_by(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    assert count_scorings(work, ["ann"]) == 0
    for models, people in (("a", ["ann", "bob"]), ("a", ["bob", "ann"]), ("b", ["bob", "cleo"])):
        record_scoring(work, store="s", split="main", people=people, models=models)
    assert [count_scorings(work, [person]) for person in ("ann", "bob", "cleo")] == [1, 2, 1]
    assert count_scorings(work, ["ann", "bob"]) == 2
    record_scoring(work, store="t", split="other", people=["ann"], models="c")
    assert count_scorings(work, ["ann"]) == 2  # the same id, also in a store written anew
    assert list_scored_people(work) == {"ann", "bob", "cleo"}


def test_people_whose_ids_are_written_otherwise_are_the_same_people(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    record_scoring(work, store="s", split="main", people=["P01", "P02"], models="a")
    record_scoring(work, store="t", split="main", people=["p1", "P 3"], models="b")
    assert [count_scorings(work, [one]) for one in ("P001", "P2", "P03", "P4")] == [2, 1, 1, 0]
    FRONT.write(work.run("main").front, made(FRONT))
    path = str(tmp_path)
    with pytest.raises(ValueError, match=r"has seen 1 person who is to be confirmed .*\(P1\)"):
        check_starts([path], (), ["P1", "P4"])
    check_starts([path], (), ["P4", "P11"])


def test_scorings_are_said_once_they_are_more_than_one() -> None:
    assert scored_sentence(0) is scored_sentence(1) is None
    assert "scored 3 times in this work folder" in str(scored_sentence(3))
    assert str(scored_sentence(3)).endswith(
        "what other work folders have scored is not known here."
    )


# what is set aside


def test_all_that_was_made_of_a_split_is_set_aside_and_a_second_time_beside_it(
    tmp_path: Path,
) -> None:
    folder = SplitFolder(tmp_path / "runs" / "main")
    names = [
        "teacher/model.json", "teacher_outputs/outputs.json", "search/search.json", "confirm/scores.json",
        "folds/fold-1-of-2/teacher/model.json", "predictions/validation-teacher-seed0.parquet",
    ]  # fmt: skip
    for _ in range(2):
        for name in names:
            write_json(folder.root / name, {})
        write_json(folder.root.parent / "pooled.json", {})
        aside = set_aside(folder, everything=True)
        assert all((aside / name).is_file() for name in (*names, "pooled.json"))
        assert not any((folder.root / name).exists() for name in names)
    assert len(list(folder.root.glob("until-*"))) == 2
