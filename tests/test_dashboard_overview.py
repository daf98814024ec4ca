"""The overview: the answer with its numbers, what was searched, how long it takes yet, what failed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.frame.progress import search_words, teacher_words
from dashboard.frame.states import find_remedy
from dashboard.fronts.overview import join_few
from dashboard.reading.work_folder import Problem, Progress
from gaitforge.duration import say_duration
from gaitforge.records.confirm import POOLED
from gaitforge.records.teacher import LiveEpoch
from gaitforge.work import WorkFolder, read_json, write_json
from tests.made import made
from tests.toy_work import Toy, make_split, make_work
from tests.try_page import APP, Show, open_page, table, words


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    def run(*works: WorkFolder, page: str = "overview", query: str = "") -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), *(str(work.root) for work in works)])
        return open_page(page, query)

    return run


def facts(app: AppTest) -> dict[str, str]:
    """What the cards say: names and values alternate."""
    texts = [text.value for text in app.text]
    start = texts.index("Recordings")
    return dict(zip(texts[start::2], texts[start + 1 :: 2], strict=False))


def answer_of(scores: dict[str, Any]) -> dict[str, Any]:
    member: dict[str, Any] = next(m for m in scores["members"] if m["trial"] == scores["chosen"])
    return member


def test_the_verdict_stands_first_with_the_numbers_of_the_network_that_is_handed_out(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work")
    app = show(work)
    scores = read_json(work.run("people").confirm / "scores.json")
    member = answer_of(scores)
    network = member["network"]
    low, high = network["difference_interval"]
    # the word stands above, and once is enough
    sentence = scores["sentence"].removeprefix("Ship: trial")
    assert [text.value for text in app.text[1:3]] == ["Ship", f"Trial{sentence}"]
    metrics = {metric.label: (metric.value, metric.delta) for metric in app.metric}
    assert metrics["Macro F1, 12 unseen people"][0] == f"{network['macro_f1']:.3f}"
    assert metrics["Minus the teacher, points"] == (
        f"{100 * network['difference']:+.1f}",
        f"95 %: {100 * low:+.1f} to {100 * high:+.1f}",
    )
    low, high = network["against_reference"]["difference_interval"]
    assert (
        metrics["Minus the reference, points"][1] == f"95 %: {100 * low:+.1f} to {100 * high:+.1f}"
    )
    assert metrics["Parameters"][1] == f"1 / {1_284_100 / member['params']:,.0f} of the teacher's"
    assert "The network of seed 10002, which is handed out" in words(app)


def test_each_reason_of_the_verdict_stands_on_a_line_of_its_own_with_its_mark(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work")
    path = work.run("people").confirm / "scores.json"
    scores = read_json(path)
    scores["verdict"]["rests_on"] = [
        {"about": "people", "says": "good", "text": "Many people."},
        {"about": "failures", "says": "bad", "text": "Much **failed**."},
        {"about": "seeds", "says": "open", "text": "One seed."},
    ]
    write_json(path, scores)
    texts = [text.value for text in show(work).text]
    start = texts.index("✓")
    assert texts[start : start + 9] == [
        "✓", "People", "Many people.", "✗", "Failures", "Much **failed**.", "?", "Seeds", "One seed.",
    ]  # fmt: skip


@pytest.mark.slow
def test_too_few_people_are_told_one_by_one_and_nothing_is_called_shown(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=6, people=4, failed=0))
    scores = read_json(work.run("people").confirm / "scores.json")
    each = answer_of(scores)["network"]["by_person"]
    for page in ("overview", "trade-off", "student", "compare"):
        app = show(work, page=page)
        assert "shown" not in words(app)
        if page == "overview":
            assert app.text[1].value == "Cannot tell"
            assert dict(table(app, "person").to_numpy().tolist()) == each["differences"]
            assert f"in {each['sign_flip_p']:.0%} of cases" in words(app)
            assert {m.delta for m in app.metric if m.label != "Parameters"} == {"no interval"}


def test_scores_of_an_older_confirm_are_said_to_be_so_in_one_sentence(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work")
    path = work.run("people").confirm / "scores.json"
    write_json(path, {**read_json(path), "schema": 1})
    app = show(work)
    assert "run `gaitforge confirm run.toml` again" in app.warning[0].value
    assert "No confirmed answer yet" not in words(app)
    problems = table(app, "Why")
    assert problems["Why"].tolist() == ["its schema is 1, but must be 3"]
    assert problems["What to do"][0].startswith("Run gaitforge confirm run.toml again")


def test_what_was_searched_is_told(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work")
    told = facts(show(work))
    assert told["Recordings"] == "416"
    assert told["People"] == "52"
    assert told["4 classes"] == "ataxia, healthy, knee osteoarthritis, parkinson"
    assert told["Confirm people"] == "12"
    assert told["Families"] == "stgcn, tcn"
    assert told["Budget"] == "200,000 parameters"
    assert told["Trials"] == "38 of 60 ended, after at most 30 epochs"
    # what the rungs stopped has not seen all of them
    trials = [read_json(path) for path in work.run("people").trials.glob("*.json")]
    whole = sum(trial["epochs"] == 30 for trial in trials)
    assert 0 < whole < 38
    assert told["To the end"] == f"{whole} trained for 30 epochs"
    assert told["Over budget"] == "11 proposals were never trained"


def test_many_classes_are_named_in_part() -> None:
    assert join_few(["a", "b"]) == "a, b"
    assert join_few(list("abcdefgh")) == "a, b, c, d, e, f and 2 more"


def test_where_no_student_is_good_enough_the_best_is_told_of(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work")
    path = work.run("people").confirm / "scores.json"
    scores = read_json(path)
    told = {**scores["verdict"], "word": "cannot tell", "sentence": "No student is shown."}
    write_json(path, {**scores, "chosen": None, "verdict": told})
    app = show(work)
    assert [text.value for text in app.text[1:3]] == ["Cannot tell", "No student is shown."]
    best = max(m["network"]["macro_f1"] for m in scores["members"])
    assert {m.label: m.value for m in app.metric}["Macro F1, 12 unseen people"] == f"{best:.3f}"


def test_answers_over_more_people_are_shown_as_they_were_written(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=6, running=0))
    pooled = made(POOLED, sentence="Over all 30 people of 5 splits, **nested**.")
    POOLED.write(work.pooled, pooled)
    assert "Over all 30 people of 5 splits, **nested**." in [t.value for t in show(work).text]


def test_an_answer_over_all_splits_of_earlier_scores_is_told_to_be_so(
    tmp_path: Path, show: Show
) -> None:
    work = make_work(tmp_path / "work", Toy(trials=6, running=0))
    make_split(work, Toy(trials=6, running=0, split="other"))
    POOLED.write(work.pooled, made(POOLED, sentence="Over all 30 people."))
    shown = [t.value for t in show(work).text]
    place = shown.index("Over all 30 people.")
    assert shown[place - 1].startswith("The answer of all splits is out of date, being of other")


def with_families_and_failures(work: WorkFolder) -> None:
    """Of stgcn two in six fail, of tcn all four."""
    for number in range(10):
        path = work.run("people").trials / f"{number}.json"
        family = "tcn" if number >= 6 else "stgcn"
        changes: dict[str, object] = {"family": family}
        if number in (1, 5) or family == "tcn":
            reason = "the loss was not finite" if number in (1, 5) else "killed by SIGSEGV"
            changes |= {"state": "failed", "scores": None, "reason": reason}
        write_json(path, {**read_json(path), **changes})


def test_failed_trials_are_counted_by_family_and_reason(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work", Toy(trials=10, running=0, failed=0, stopped=0))
    with_families_and_failures(work)
    app = show(work)
    assert "6 trials of 10 failed" in words(app)
    assert table(app, "example").to_numpy().tolist() == [
        ["tcn", 4, 4, 6, "killed by SIGSEGV"],
        ["stgcn", 2, 6, 1, "the loss was not finite"],
    ]


def test_before_the_verdict_a_family_of_which_nothing_finished_is_named(
    tmp_path: Path, show: Show
) -> None:
    toy = Toy(trials=10, running=0, failed=0, stopped=0, confirmed=False)
    work = make_work(tmp_path / "work", toy)
    with_families_and_failures(work)
    (note,) = [t.value for t in show(work).text if "none finished" in t.value]
    assert "of the 4 students of tcn none finished (0 stopped early, 4 failed)" in note
    assert "of the 6 students of stgcn 2 failed (33 %)" in note


def test_a_search_that_gave_up_is_said_to_have(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work", Toy(trials=10, running=0, failed=0, stopped=0))
    run = work.run("people")
    for number in range(6):
        path = run.trials / f"{number}.json"
        write_json(path, {**read_json(path), "state": "failed", "scores": None, "reason": "boom"})
    head = read_json(run.search / "search.json")
    write_json(run.search / "search.json", {**head, "settings": {"max_failed": 0.5}})
    said = words(show(work))
    assert "The search gave up: 6 of 10 ended trials failed" in said
    assert "--fresh" in said


def test_a_search_with_trials_to_come_of_which_none_runs_stands_still(
    tmp_path: Path, show: Show
) -> None:
    said = words(show(make_work(tmp_path / "work", Toy(trials=6, running=0, wanted=20))))
    assert "No trial is running" in said


def test_a_running_search_tells_the_time_left(tmp_path: Path, show: Show) -> None:
    work = make_work(tmp_path / "work", Toy(trials=12, running=1, wanted=21, failed=0, stopped=0))
    now = datetime.now(UTC)
    for number in range(11):
        path = work.run("people").trials / f"{number}.json"
        ended = now - timedelta(seconds=30 * (11 - number))
        write_json(path, {**read_json(path), "ended": ended.isoformat(timespec="seconds")})
    (bar,) = show(work).get("progress")
    assert "11 of 21 trials have ended, 1 running" in bar.proto.text
    assert "about 5 min 00 s left" in bar.proto.text


def test_a_search_that_does_not_work_is_told_no_time() -> None:
    progress = Progress(
        wanted=10, epochs=3, ended=4, running=(), hypervolume=None, teacher=()
    )  # fmt: skip
    assert search_words(progress, 30.0, works=False).endswith("none is running")


def test_a_teacher_in_training_tells_its_epoch_and_at_most_how_long() -> None:
    curve = [
        LiveEpoch(
            epoch=n, train_loss=1.0, val_macro_f1=0.5, val_accuracy=0.5, seconds=20.0, epochs=30
        )
        for n in (1, 2, 3)
    ]
    assert teacher_words(curve) == (
        "The teacher is training: epoch 3 of 30 has ended, macro F1 0.500 on validation people, at most 9 min 00 s "
        "left."
    )


@pytest.mark.parametrize(
    ("seconds", "expected"), [(42.4, "42 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min")]
)
def test_a_duration_is_said_as_people_do(seconds: float, expected: str) -> None:
    assert say_duration(seconds) == expected


@pytest.mark.parametrize(
    ("file", "reason", "expected"),
    [
        ("runs/a/search/front.json", "its schema is 9, but must be 1", "version of gaitforge"),
        ("runs/a/confirm/scores.json", "its schema is 1, but must be 3", "Run gaitforge confirm"),
        ("runs/a/search/trials/3.json", "it lacks 'number'", "out of the folder"),
        ("runs/a/search/trials/x.txt", "only .json files belong here; it was passed over", "elsewhere"),
        ("runs/a/search/front.json", "it is not JSON", "gaitforge search run.toml again"),
        ("runs/a/teacher/model.json", "it is not JSON", "gaitforge teacher run.toml again"),
        ("runs/a/confirm/scores.json", "it is not JSON", "gaitforge confirm run.toml again"),
        ("runs/a/predictions/x.parquet", "it is not a whole Parquet file", "the stage that wrote it"),
        ("runs/a", "it leads out of the work folder, and is not followed", "itself into the folder"),
    ],
)  # fmt: skip
def test_for_every_file_that_cannot_be_used_there_is_a_remedy(
    file: str, reason: str, expected: str
) -> None:
    assert expected in find_remedy(Problem(file, reason))
