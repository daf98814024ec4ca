"""summary.json: the agreed keys, null where a stage has not run, and split by split where there are several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gaitforge.outdated import explain_outdated_answer
from gaitforge.recipe import Distillation, Recipe
from gaitforge.records.confirm import POOLED, REFIT, SCORES
from gaitforge.records.export import CARD, export_identity
from gaitforge.records.search import FRONT, SEARCH
from gaitforge.records.split import SPLIT, Split
from gaitforge.records.store import STORE as STORE_FILE
from gaitforge.records.store import HowRead
from gaitforge.records.summary import SUMMARY
from gaitforge.records.teacher import OUTPUTS, TEACHER
from gaitforge.records.trial import State, Trial
from gaitforge.summary import write_summary
from gaitforge.trials import TrialLog
from gaitforge.weights import write_weights
from gaitforge.work import WorkFolder, read_json, write_json
from tests.made import made

STORE = {"recordings": 8, "people": 4, "classes": ["ill", "well"], "quarantined": 1, "version": 0}
TEACHER_SCORES = {"macro_f1": 0.9, "interval": [0.8, 0.95], "accuracy": 0.91}
EXPORT = {
    "trial": 0, "onnx": "student.onnx", "onnx_bytes": 5000, "max_abs_difference": 1e-7,
    "latency_ms_p50": 0.2, "latency_ms_p95": 0.3,
}  # fmt: skip
MEMBER = {
    "trial": 0, "family": "tcn", "params": 500, "macro_f1": 0.88, "interval": None,
    "accuracy": 0.9, "p_on_front": 1.0, "noninferior": True, "seeds": 3,
}  # fmt: skip
AGAINST = {
    "against_reference": {"difference": 0.16, "difference_interval": [0.02, 0.3]},
    "against_chance": {"difference": 0.56, "difference_interval": [0.4, 0.7]},
}
NETWORK = {
    "seed": 10_001, "macro_f1": 0.86, "interval": None, "difference": -0.04, "difference_interval": [-0.09, 0.01],
    "noninferior": False, **AGAINST,
}  # fmt: skip
BESIDE = {"macro_f1": 0.7, "interval": [0.6, 0.8], "accuracy": 0.72}
ALWAYS = {"macro_f1": 0.3, "interval": None, "accuracy": 0.5}
VERDICT = {
    "word": "ship",
    "sentence": "Ship: trial 0.",
    "rests_on": [{"about": "people", "says": "good", "text": "30 people confirm."}],
}
IN_FRONT = {
    "trial": 0, "family": "tcn", "params": 500, "macs": 9000, "val_macro_f1": 0.85, "val_accuracy": 0.86,
}  # fmt: skip
CURRENT = {"answer": None, "export": None}
PARTS = (
    "store", "teacher", "search", "failures", "searched_front", "confirm_teacher", "reference", "chance",
    "confirmed_front", "verdict", "times_scored", "export", "exported",
)  # fmt: skip


def summary_of(work: WorkFolder) -> dict[str, Any]:
    return SUMMARY.as_dict(write_summary(work))


def write_store(work: WorkFolder) -> None:
    STORE_FILE.write(work.store_head, made(STORE_FILE, fingerprint="f", **STORE))


def write_split(work: WorkFolder, split: str) -> None:
    roles = {"p1": "train", "p2": "validation", "p3": "confirm"}
    SPLIT.write(work.split_file(split), Split(name=split, rule={}, store="f", roles=roles))


def write_teacher(work: WorkFolder, split: str, val_macro_f1: float) -> None:
    model = made(
        TEACHER, fingerprint="t", family="stgcn", params=10_000, val_macro_f1=val_macro_f1, val_accuracy=0.5,
        seconds=10.0,
    )  # fmt: skip
    TEACHER.write(work.run(split).teacher_model, model)
    outputs = made(OUTPUTS, provenance={"made_from": {"teacher": "t"}})
    OUTPUTS.write(work.run(split).outputs.head, outputs)


def write_search(work: WorkFolder, split: str, states: list[State]) -> None:
    folder = work.run(split)
    told = {"identity": "s", "made_from": {"teacher": "t"}, "seen": [], "unknown": []}
    head = made(
        SEARCH, identity="s", rejected=2, reference=[0.0, 10_000.0], seconds=5.0, provenance=told
    )
    SEARCH.write(folder.search_head, head)
    log = TrialLog(folder)
    for number, state in enumerate(states):
        trial = Trial(
            number=number, state=state, family="tcn", sizes={}, params=500, macs=1, seed=0, hash="", suggested={},
            distributions={}, recipe=Recipe(), distill=Distillation(), epochs=4,
            reason="killed by SIGSEGV" if state == "failed" else None,
            scores={"val_macro_f1": 0.5, "val_accuracy": 0.5} if state == "finished" else None,
        )  # fmt: skip
        log.add(trial)
    front = made(FRONT, hypervolume=1.5, reference=[0.0, 10_000.0], front=[IN_FRONT], search="s")
    FRONT.write(folder.front, front)


def write_confirm(
    work: WorkFolder, split: str, times_scored: int = 1, identity: str = "c"
) -> None:
    scores = made(
        SCORES, times_scored=times_scored, reference=BESIDE, chance=ALWAYS, verdict=VERDICT, chosen=0,
        teacher={**TEACHER_SCORES, "params": 10_000, "family": "stgcn"},
        members=[{**MEMBER, "network": NETWORK}],
        provenance={"identity": identity, "made_from": {"search": "s"}},
    )  # fmt: skip
    SCORES.write(work.run(split).scores, scores)


def write_all(work: WorkFolder, split: str = "main", val_macro_f1: float = 0.8) -> None:
    write_store(work)
    write_split(work, split)
    write_teacher(work, split, val_macro_f1)
    write_search(work, split, ["finished", "failed", "finished", "stopped"])
    write_confirm(work, split)
    write_export(work, split)


def write_export(work: WorkFolder, split: str) -> None:
    """The export of what is confirmed there now."""
    folder = work.run(split)
    head = folder.refit("student", 0, 10_001)
    refit = made(REFIT, seed=10_001, family="tcn", **write_weights(head, b"weights"))
    REFIT.write(head, refit)
    card = made(CARD, **EXPORT, family="tcn", split=split, network=NETWORK, seed=refit.seed)
    identity = export_identity(refit, SCORES.read(folder.scores), card.read)
    CARD.write(work.exported.card, replace(card, identity=identity))


def write_pooled(work: WorkFolder, **teacher: float) -> None:
    """The pooled answer of what is confirmed in the splits now."""
    folders = [folder for folder in work.made_runs() if folder.scores.is_file()]
    identities = {f.root.name: SCORES.read(f.scores).provenance.identity for f in folders}
    content = {"teacher": {**TEACHER_SCORES, **teacher}, "provenance": {"made_from": identities}}
    POOLED.write(work.pooled, made(POOLED, **content))


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path)


def test_nothing_has_run_and_all_parts_are_null(work: WorkFolder) -> None:
    assert summary_of(work) == {"schema": 2, **dict.fromkeys(PARTS), "outdated": CURRENT}
    assert read_json(work.summary) == {"schema": 2, **dict.fromkeys(PARTS), "outdated": CURRENT}


def test_a_part_is_there_once_its_stage_has_run(work: WorkFolder) -> None:
    write_store(work)
    write_split(work, "main")
    write_teacher(work, "main", 0.8)
    summary = summary_of(work)
    assert [part for part in PARTS if summary[part] is None] == list(PARTS[2:])


def test_the_whole_line_is_summarised_under_the_agreed_keys(work: WorkFolder) -> None:
    write_all(work)
    expected: dict[str, Any] = {
        "schema": 2,
        "store": STORE,
        "teacher": {
            "family": "stgcn", "params": 10_000, "val_macro_f1": 0.8, "val_accuracy": 0.5, "seconds": 10.0,
        },
        "search": {
            "trials": {"finished": 2, "stopped": 1, "failed": 1}, "rejected": 2, "hypervolume": 1.5,
            "reference": [0.0, 10_000.0], "epochs": 16, "seconds": 5.0,
        },
        "failures": {
            "tcn": {"finished": 2, "stopped": 1, "failed": 1, "reasons": {"killed by SIGSEGV": 1}},
        },
        "searched_front": [IN_FRONT],
        "confirm_teacher": TEACHER_SCORES,
        "reference": BESIDE,
        "chance": ALWAYS,
        "confirmed_front": [{**MEMBER, **AGAINST}],
        "verdict": VERDICT,
        "times_scored": 1,
        "export": EXPORT,
        "exported": {"trial": 0, "split": "main", **NETWORK},
        "outdated": CURRENT,
    }  # fmt: skip
    assert summary_of(work) == expected
    assert read_json(work.summary) == expected


def test_a_search_without_a_front_yet_has_no_hypervolume(work: WorkFolder) -> None:
    write_split(work, "main")
    write_search(work, "main", ["failed"])
    (work.run("main").search / "front.json").unlink()
    summary = summary_of(work)
    assert summary["search"]["hypervolume"] is None
    assert summary["searched_front"] is None


def test_several_splits_are_added_up_and_their_rows_name_them(work: WorkFolder) -> None:
    write_all(work, "fold-1-of-2", val_macro_f1=0.8)
    write_all(work, "fold-2-of-2", val_macro_f1=0.6)
    write_pooled(work, macro_f1=0.7)
    summary = summary_of(work)
    assert summary["teacher"]["val_macro_f1"] == pytest.approx(0.7)
    assert summary["teacher"]["seconds"] == 20.0
    assert summary["search"]["trials"] == {"finished": 4, "stopped": 2, "failed": 2}
    assert summary["search"]["rejected"] == 4
    assert summary["failures"]["tcn"]["reasons"] == {"killed by SIGSEGV": 2}
    assert summary["search"]["hypervolume"] == 1.5
    assert summary["confirm_teacher"]["macro_f1"] == 0.7  # over all people, not of one split
    names = ["fold-1-of-2", "fold-2-of-2"]
    for front in ("searched_front", "confirmed_front"):
        assert [row["split"] for row in summary[front]] == names


def test_a_search_that_was_set_aside_is_not_counted(work: WorkFolder) -> None:
    write_all(work)
    aside = work.run("main").root / "until-20261120T060000"
    aside.mkdir()
    work.run("main").search.rename(aside / "search")
    work.run("main").confirm.rename(aside / "confirm")
    summary = summary_of(work)
    assert summary["search"] is None
    assert summary["confirmed_front"] is None


def test_runs_of_another_split_rule_are_not_mixed_in(work: WorkFolder) -> None:
    for split in ("fold-1-of-2", "fold-2-of-2"):
        write_all(work, split, val_macro_f1=0.1)
        work.split_file(split).unlink()  # as the split stage does when the rule has changed
    write_pooled(work, macro_f1=0.1)
    write_all(work, "main", val_macro_f1=0.8)
    summary = summary_of(work)
    assert summary["teacher"]["val_macro_f1"] == 0.8
    assert summary["confirm_teacher"] == TEACHER_SCORES
    assert [row["trial"] for row in summary["searched_front"]] == [0]
    assert "split" not in summary["confirmed_front"][0]


def test_several_splits_have_no_verdict_together_and_are_counted_by_the_one_scored_most_often(
    work: WorkFolder,
) -> None:
    write_all(work, "fold-1-of-2")
    write_all(work, "fold-2-of-2")
    write_confirm(work, "fold-2-of-2", times_scored=3)
    write_export(work, "fold-2-of-2")
    write_pooled(work)
    summary = summary_of(work)
    assert summary["verdict"] is summary["reference"] is summary["chance"] is None
    assert summary["times_scored"] == 3
    assert summary["exported"]["split"] == "fold-2-of-2"


@pytest.mark.parametrize("content", [None, "{"])
def test_scores_of_one_split_never_stand_for_a_pooled_answer_that_is_missing_or_damaged(
    work: WorkFolder, content: str | None
) -> None:
    write_all(work, "fold-1-of-2")
    write_all(work, "fold-2-of-2")
    if content is not None:
        work.pooled.write_text(content, encoding="utf-8")
    summary = summary_of(work)
    told = [summary[key] for key in ("confirm_teacher", "reference", "chance", "verdict")]
    assert told == [None] * 4
    assert "answer of all splits" in summary["outdated"]["answer"]
    assert "`gaitforge confirm run.toml`" in summary["outdated"]["answer"]
    write_pooled(work, macro_f1=0.7)
    summary = summary_of(work)
    assert summary["confirm_teacher"]["macro_f1"] == 0.7
    assert summary["outdated"]["answer"] is None


def test_a_pooled_answer_of_earlier_scores_of_a_split_is_told_to_be_so(work: WorkFolder) -> None:
    write_all(work, "fold-1-of-2")
    write_all(work, "fold-2-of-2")
    write_pooled(work)
    assert summary_of(work)["outdated"]["answer"] is None
    write_confirm(work, "fold-2-of-2", identity="c2")  # and confirm is killed before it pools
    assert summary_of(work)["outdated"]["answer"] == (
        "The answer of all splits is out of date, being of other scores than those of the splits; "
        "run `gaitforge confirm run.toml`, which keeps what is trained already."
    )


def test_splits_of_which_none_is_confirmed_lack_no_pooled_answer(work: WorkFolder) -> None:
    for split in ("fold-1-of-2", "fold-2-of-2"):
        write_split(work, split)
        write_search(work, split, ["finished"])
    assert summary_of(work)["outdated"] == CURRENT


def test_one_confirmed_split_of_several_has_a_verdict_for_itself_alone(work: WorkFolder) -> None:
    write_all(work, "fold-1-of-2")
    write_split(work, "fold-2-of-2")
    assert summary_of(work)["verdict"] is None


def test_an_answer_of_an_earlier_search_is_told_to_be_so_and_has_no_verdict(
    work: WorkFolder,
) -> None:
    write_all(work)
    path = work.run("main").search_head
    SEARCH.write(path, replace(SEARCH.read(path), identity="s2"))
    summary = summary_of(work)
    assert summary["verdict"] is summary["exported"] is None
    confirm = "run `gaitforge confirm run.toml`, which keeps what is trained already"
    assert summary["outdated"] == {
        "answer": f"The confirmed answer is out of date, being of an earlier search; {confirm}.",
        "export": (
            f"The exported student is out of date, being of an earlier search; {confirm}, then run `gaitforge export "
            "run.toml`."
        ),
    }


def test_an_export_of_an_earlier_answer_is_told_to_be_so(work: WorkFolder) -> None:
    write_all(work)
    write_confirm(work, "main", times_scored=2)
    summary = summary_of(work)
    assert summary["verdict"] == VERDICT
    assert summary["exported"] is None
    assert summary["outdated"] == {
        "answer": None,
        "export": (
            "The exported student is out of date, being of an earlier answer; run `gaitforge export run.toml`."
        ),
    }


def test_an_export_that_tells_of_another_reading_than_that_of_the_store_is_told_to_be_so(
    work: WorkFolder,
) -> None:
    write_all(work)
    store = STORE_FILE.read(work.store_head)
    STORE_FILE.write(work.store_head, replace(store, read=CARD.read(work.exported.card).read))
    assert summary_of(work)["outdated"] == CURRENT
    STORE_FILE.write(work.store_head, replace(store, read=HowRead(confidence_channel=2, fps=None)))
    assert summary_of(work)["outdated"] == {
        "answer": None,
        "export": (
            "The exported student is out of date, being of another [ingest.read] than the recordings; run `gaitforge "
            "export run.toml`."
        ),
    }


def test_of_an_answer_whose_sources_are_gone_nobody_can_tell_whether_it_is_of_now(
    work: WorkFolder,
) -> None:
    write_all(work)
    (work.run("main").search / "search.json").write_text("{", encoding="utf-8")
    sentence = explain_outdated_answer(work, "main")
    assert sentence is not None
    assert sentence.startswith(
        "Whether the confirmed answer is of what lies here now cannot be told ("
    )


def test_scores_and_an_export_of_an_older_version_are_told_to_be_so_and_count_as_none(
    work: WorkFolder,
) -> None:
    write_all(work)
    for path in (work.run("main").scores, work.exported.card):
        write_json(path, {**read_json(path), "schema": 0})
    summary = summary_of(work)
    parts = ("confirm_teacher", "confirmed_front", "verdict", "times_scored", "export", "exported")
    assert [summary[key] for key in parts] == [None] * len(parts)
    assert "its schema is 0, but must be 3" in summary["outdated"]["answer"]
    assert "its schema is 0, but must be 2" in summary["outdated"]["export"]
