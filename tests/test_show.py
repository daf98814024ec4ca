"""`gaitforge show`: what confirm has found out is all told, also where an older confirm said less."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.provenance import Provenance
from gaitforge.records.confirm import FOLDS, POOLED
from gaitforge.records.json_file import Unreadable
from gaitforge.records.shortcuts import SHORTCUTS, ColumnFacts, ShortcutFacts, Telling
from gaitforge.records.teacher import REFERENCE
from gaitforge.trials import TrialLog
from gaitforge.work import WorkFolder, read_json, write_json
from tests.made import made
from tests.test_store import flip, parquet_files, recording, write
from tests.test_trials import ended
from tests.toy_work import Toy, make_split, make_work
from trainers.__main__ import main
from trainers.disk import say_size
from trainers.show import describe

KILLED = "the worker process was killed by SIGSEGV"
TOY = Toy(trials=12, running=0)


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return make_work(tmp_path, TOY)


def confirm_with(work: WorkFolder, **changes: Any) -> dict[str, Any]:
    path = work.run(TOY.split).confirm / "scores.json"
    scores: dict[str, Any] = {**read_json(path), **changes}
    write_json(path, scores)
    return scores


def test_scores_of_an_older_confirm_are_said_to_be_so(work: WorkFolder) -> None:
    scores = confirm_with(work, schema=1)
    shown = describe(work)
    assert "its schema is 1, but must be 3; run `gaitforge confirm run.toml` again." in shown
    assert scores["sentence"] not in shown


def test_neighbours_and_optimism_are_shown(work: WorkFolder) -> None:
    members = confirm_with(work)["members"]
    members[0]["searched"] = "near"
    row = {
        "trial": 3, "searched": "front", "believed": 0.9, "validated": 0.86, "confirmed": 0.8, "luck": 0.04,
        "people": 0.06, "total": 0.1, "interval": [0.02, 0.15], "luck_interval": None,
    }  # fmt: skip
    optimism = confirm_with(work)["optimism"]
    confirm_with(work, members=members, optimism={**optimism, "members": [row]})
    shown = describe(work)
    assert shown.count("near the front") == 1
    assert (
        "trial   3  search 0.900, its refits 0.860 on the same people and 0.800 on others: luck +0.040, people +0.060"
        in shown
    )


def test_each_student_is_shown_as_its_network_and_as_a_recipe(work: WorkFolder) -> None:
    shown = describe(work).splitlines()
    scores = confirm_with(work)
    for member in scores["members"]:
        network = member["network"]
        start = shown.index(
            f"  trial {member['trial']:>3}  {member['family']:<6} {member['params']:>9,} parameters"
        )
        lines = [line.strip() for line in shown[start + 1 : start + 7]]
        assert lines[0].startswith(
            f"its network, seed 10002: macro F1 {network['macro_f1']:.3f} ("
        )
        assert lines[1].startswith(f"minus the teacher {network['difference']:+.3f} (")
        for line, other in ((lines[2], "the reference"), (lines[3], "chance")):
            against = network[f"against_{other.split()[-1]}"]["difference"]
            assert line.startswith(f"minus {other} {against:+.3f} (")
            assert line.endswith("), of all students at once")
        assert lines[4].startswith(
            f"as a recipe, mean of 5 seeds: macro F1 {member['macro_f1']:.3f} ("
        )
        assert lines[5].startswith(f"minus the teacher {member['difference']:+.3f} (")
    assert "  reference" in "\n".join(shown)


def test_a_student_below_one_that_failed_is_said_to_be_not_tested(work: WorkFolder) -> None:
    members = confirm_with(work)["members"]
    for member, tested in zip(members, (False, True, True), strict=True):
        member["network"]["tested"] = tested
        member["noninferior"] = tested and member is members[-1]
    confirm_with(work, members=members)
    shown = describe(work)
    assert shown.count(": not tested, since a larger student failed") == 1
    assert shown.count(": not shown to lose less than 0.05 macro F1 to the teacher") == 1
    assert shown.count(": shown to lose less than 0.05 macro F1 to the teacher") == 1


def test_the_verdict_is_told_with_each_of_its_reasons_and_how_it_speaks(work: WorkFolder) -> None:
    reasons = [
        {"about": "people", "says": "good", "text": "Many people."},
        {"about": "failures", "says": "bad", "text": "Much failed."},
        {"about": "seeds", "says": "open", "text": "One seed."},
    ]
    sentence = "Cannot tell: nobody knows."
    told = {"word": "cannot tell", "sentence": sentence, "rests_on": reasons}
    confirm_with(work, verdict=told, sentence=sentence)
    lines = describe(work).splitlines()
    start = lines.index("  Cannot tell: nobody knows.")
    assert lines[start + 1] == "  It rests on (+ speaks for it, - against it, ? open):"
    assert lines[start + 2 : start + 5] == [
        "    + Many people.", "    - Much failed.", "    ? One seed.",
    ]  # fmt: skip


def test_what_columns_tell_is_said_before_the_verdict_and_in_the_summary(work: WorkFolder) -> None:
    tells = Telling(
        measure="rank correlation", value=0.7, interval=(0.5, 0.8), chance=0.0, people=40
    )
    facts = ShortcutFacts(
        identity="a", class_from_windows=tells, says="bad", sentence="Age is told.",
        columns=(
            ColumnFacts(name="age", cannot=None, from_windows=tells, class_from_it=tells),
            ColumnFacts(name="site", cannot="nowhere known", from_windows=None, class_from_it=None),
        ),
        provenance=Provenance(identity="a"),
    )  # fmt: skip
    before = describe(work)
    assert "column" not in before
    assert "shortcuts" not in read_json(work.summary)
    SHORTCUTS.write(work.run(TOY.split).shortcuts, facts)
    lines = [line for line in describe(work).splitlines() if line not in before.splitlines()]
    assert [line.partition(", ")[0] for line in lines] == [
        "  column age: which the windows tell with rank correlation 0.70 (95 % interval 0.50 to 0.80)",
        "  column site: cannot tell",
    ]
    told = read_json(work.summary)["shortcuts"]
    assert (told["says"], told["sentence"]) == ("bad", "Age is told.")
    assert told["columns"][0]["from_windows"]["interval"] == [0.5, 0.8]
    assert told["columns"][1]["cannot"] == "nowhere known"


def test_too_few_people_are_told_one_by_one_and_nothing_is_called_shown(tmp_path: Path) -> None:
    few = Toy(trials=12, running=0, people=4, failed=0)
    work = make_work(tmp_path / "few", few)
    scores = read_json(work.run(few.split).confirm / "scores.json")
    one_by_one = scores["members"][0]["network"]["by_person"]
    shown = describe(work)
    person, apart = next(iter(one_by_one["differences"].items()))
    assert f"minus the teacher's, by person: {person} {apart:+.3f}, " in shown
    assert f"exact sign flips over people: p = {one_by_one['sign_flip_p']:.2g}" in shown
    assert ": too few people to test it" in shown
    assert "shown" not in shown


def test_folds_of_the_answer_are_told_below_the_verdict(work: WorkFolder) -> None:
    folds = made(FOLDS, sentence="Trained anew in folds.")
    FOLDS.write(work.run(TOY.split).folds_answer, folds)
    shown = describe(work).splitlines()
    *_, reason = confirm_with(work)["verdict"]["rests_on"]
    place = next(place for place, line in enumerate(shown) if line.endswith(reason["text"]))
    assert shown.index("  Trained anew in folds.") == place + 1


def test_several_splits_are_told_together_and_a_single_one_is_not(work: WorkFolder) -> None:
    POOLED.write(work.pooled, made(POOLED, sentence="Over all people, nested."))
    assert "Over all people, nested." not in describe(work)
    make_split(work, Toy(trials=12, running=0, split="other"))
    assert "Over all people, nested." in describe(work)


def test_a_damaged_answer_of_all_splits_is_refused_before_the_summary_is_written(
    work: WorkFolder,
) -> None:
    make_split(work, Toy(trials=12, running=0, split="other"))
    work.pooled.write_text("{", encoding="utf-8")
    work.summary.write_text("as before", encoding="utf-8")
    with pytest.raises(
        Unreadable, match=r"the answer of all splits.*run `gaitforge confirm run.toml` again"
    ):
        describe(work)
    assert work.summary.read_text(encoding="utf-8") == "as before"


def test_a_folder_that_may_only_be_read_is_shown(
    work: WorkFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    told = describe(work)
    work.summary.unlink()
    monkeypatch.setattr("gaitforge.records.json_file.write_whole", refuse)
    assert describe(work) == told
    assert not work.summary.exists()


def test_that_there_is_no_answer_of_all_splits_is_told(work: WorkFolder) -> None:
    make_split(work, Toy(trials=12, running=0, split="other"))
    lines = describe(work).splitlines()
    assert lines[lines.index("all splits together:") + 1].startswith("  There is no answer of all")


def test_an_answer_of_all_splits_of_earlier_scores_is_told_to_be_so(work: WorkFolder) -> None:
    make_split(work, Toy(trials=12, running=0, split="other"))
    POOLED.write(work.pooled, made(POOLED, sentence="Over all people, nested."))
    lines = describe(work).splitlines()
    place = lines.index("  Over all people, nested.")
    assert lines[place - 1].startswith("  The answer of all splits is out of date, being of other")


def test_a_search_of_four_objectives_is_shown_without_a_hypervolume(work: WorkFolder) -> None:
    path = work.run(TOY.split).search / "front.json"
    assert "; hypervolume " in describe(work)
    write_json(path, {**read_json(path), "hypervolume": None})
    assert "hypervolume" not in describe(work)


def test_the_reference_and_chance_stand_below_the_teacher(work: WorkFolder) -> None:
    assert not any(line.startswith("reference: ") for line in describe(work).splitlines())
    facts = made(
        REFERENCE, val_macro_f1=0.51, val_accuracy=0.62, chance_val_macro_f1=0.17, chance_val_accuracy=0.34
    )  # fmt: skip
    REFERENCE.write(work.run(TOY.split).reference_facts, facts)
    lines = describe(work).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("teacher: "))
    assert lines[at + 1] == "reference: validation macro F1 0.510, accuracy 0.620"
    assert lines[at + 2] == "chance: validation macro F1 0.170, accuracy 0.340"


def test_names_that_a_terminal_would_obey_are_written_out(
    work: WorkFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    path = work.store_head
    classes = ["a\x1b[2J\x07b", "Ärger", "good\nexport: trial 0"]
    write_json(path, {**read_json(path), "classes": classes})
    assert main(["show", str(work.root)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert r"(a\x1b[2J\x07b, Ärger, good\nexport: trial 0)" in first


def test_failed_students_are_counted_by_family_and_reason_with_the_file_of_one(
    work: WorkFolder,
) -> None:
    log = TrialLog(work.run(TOY.split))
    for number, reason in enumerate([KILLED, "nan", KILLED], start=100):
        log.add(ended(number, family="stgcn", state="failed", reason=reason, scores=None))
    shown = describe(work)
    of = sum(trial.family == "stgcn" for trial in log)
    assert f"  stgcn  2 of {of}: {KILLED} ({log.file(100)})" in shown
    assert f"  stgcn  1 of {of}: nan ({log.file(101)})" in shown
    assert f"most often since {KILLED}" in shown


def test_rare_reasons_of_failures_are_counted_together(work: WorkFolder) -> None:
    log = TrialLog(work.run(TOY.split))
    for number in range(100, 105):
        log.add(ended(number, family="other", state="failed", reason=f"no {number}", scores=None))
    shown = describe(work)
    assert "  other  2 of 5: 2 other reasons" in shown
    assert "no 103" not in shown


def test_a_search_in_which_nothing_failed_is_shown_without_failures(tmp_path: Path) -> None:
    work = make_work(tmp_path / "whole", Toy(trials=12, running=0, failed=0))
    assert "failed students" not in describe(work)


def test_a_store_is_told_by_class_with_people_lengths_rates_and_what_is_missing(
    tmp_path: Path,
) -> None:
    gaps = recording("b", "p1").positions_TVC.copy()
    gaps[:3, 0] = np.nan  # 9 of the 24 values of this one, 9 of 90 of all
    write(
        tmp_path / "store",
        recording("a", "p1", frames=8, fps=50.0),
        recording("b", "p1", positions_TVC=gaps, fps=50.0),
        recording("c", "p2", frames=3, fps=25.0, label="knee"),
    )
    lines = describe(WorkFolder(tmp_path)).splitlines()
    assert lines[1:5] == [
        "  healthy      1 people        2 recordings of 4 to 8 (median 6) frames, 0.0 min",
        "  knee         1 people        1 recordings of 3 frames, 0.0 min",
        "  50 Hz (2), 25 Hz (1); 2 joints of 3 coordinates, 10.0% of their values missing",
        f"  {say_size(sum(path.stat().st_size for path in parquet_files(tmp_path / 'store')))} in Parquet files",
    ]


def test_a_store_whose_recordings_are_damaged_is_shown_with_a_line_that_says_so(
    tmp_path: Path,
) -> None:
    write(tmp_path / "store", recording("a", "p1"))
    (file,) = parquet_files(tmp_path / "store")
    flip(file, -9)
    lines = describe(WorkFolder(tmp_path)).splitlines()
    assert lines[0].startswith("store: 1 recordings of 1 people")
    assert lines[1].startswith("  its recordings cannot be read: ")
    assert "damaged" in lines[1]
