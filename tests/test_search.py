"""A search without Ray: what a student must beat, which trials belong together, and what is set aside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gaitforge.cost import Cost
from gaitforge.layout import Layout
from gaitforge.losses import LOSSES
from gaitforge.normalise import Normalisation
from gaitforge.provenance import Provenance
from gaitforge.records.search import SEARCH
from gaitforge.settings import FREE_TO_CHANGE, FitPlan, SearchSettings, StoppingSettings, as_dict
from gaitforge.trials import TrialLog
from gaitforge.windows import WindowSettings
from gaitforge.work import SplitFolder, fingerprint, set_aside
from search_spaces import SPACES, TERMS_VERSION
from tests.made import made
from tests.test_trials import ended
from trainers.search.checks import check_families
from trainers.search.claim import claim_folder, search_identity
from trainers.search.search import COMPACT_EVERY, find_worst_values, keep_table, write_importance
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder

TEACHER = Teacher(
    fingerprint="t", family="stgcn", sizes={}, params=10_000, macs=1, val_macro_f1=0.9,
    val_accuracy=0.9, best_epoch=1, epochs=2, seconds=1.0, provenance=Provenance(identity="t"),
)  # fmt: skip


def windows(folder: Path) -> WindowFolder:
    layout = Layout(name="legs", joints=("hip", "left"), bones=((0, 1),))
    none: Any = None
    scale = Normalisation(mean_VC=none, std_VC=none)
    return WindowFolder(folder / "key", layout, ("ill", "well"), WindowSettings(), scale)


DEFAULTS = SearchSettings()


def head(folder: Path, settings: SearchSettings = DEFAULTS) -> dict[str, Any]:
    identity = search_identity(settings, windows(folder).key, TEACHER.fingerprint)
    return {"identity": identity, "settings": {"seed": settings.seed, "trials": settings.trials}}


# what a student must beat


def test_the_reference_is_the_teacher_in_what_it_costs_and_nothing_in_what_it_scores() -> None:
    settings = SearchSettings(
        objectives=("macro_f1", "calibration_error", "params", "macs", "bytes", "latency_ms"),
        max_latency_ms=2.5,
    )
    cost = Cost(params=10, macs=20, bytes=30)
    assert find_worst_values(settings, cost) == [0.0, 1.0, 10.0, 20.0, 30.0, 2.5]


@pytest.mark.parametrize(
    ("change", "known"),
    [({"families": ("mlp",)}, SPACES), ({"terms": ("crd",)}, LOSSES)],
    ids=["family", "term"],
)
def test_an_unknown_family_or_term_is_answered_with_the_known_ones(
    change: dict[str, Any], known: dict[str, object]
) -> None:
    with pytest.raises(KeyError, match=f"There is no .* Known: {', '.join(sorted(known))}"):
        check_families(SearchSettings(**change))


# which trials belong together


def test_more_trials_are_the_same_search(tmp_path: Path) -> None:
    more = SearchSettings(
        trials=99,
        max_failed=0.9,
        start_from=("other",),
        start_with=({"lr": 1.0},),
        allow_chance=True,
    )
    assert head(tmp_path, more)["identity"] == head(tmp_path)["identity"]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"objectives": ("macro_f1", "macs")},
        {"stopping": StoppingSettings(keep=0.5)},
        {"fit": FitPlan(epochs=9)},
        {"sampler": "random"},
        {"gate": False},
        {"max_bytes": 10_000},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_trial_or_its_place_is_another_search(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert head(tmp_path, SearchSettings(**change))["identity"] != head(tmp_path)["identity"]


def test_what_is_off_has_no_part_in_what_a_search_is_called(tmp_path: Path) -> None:
    shared = {
        key: value
        for key, value in as_dict(SearchSettings()).items()
        if key not in (*FREE_TO_CHANGE, "terms_warmup", "streams")
    }
    here = windows(tmp_path)
    told = {"windows": here.key, "teacher": TEACHER.fingerprint, "terms": TERMS_VERSION}
    then = fingerprint({"settings": shared, **told})
    assert search_identity(SearchSettings(), here.key, TEACHER.fingerprint) == then
    assert search_identity(SearchSettings(terms_warmup=0.1), here.key, TEACHER.fingerprint) != then


def test_another_teacher_or_other_windows_are_another_search(tmp_path: Path) -> None:
    here = windows(tmp_path)
    teacher = replace(TEACHER, fingerprint="u")
    cache = replace(here, folder=tmp_path / "other")
    same = search_identity(SearchSettings(), here.key, TEACHER.fingerprint)
    assert search_identity(SearchSettings(), here.key, teacher.fingerprint) != same
    assert search_identity(SearchSettings(), cache.key, TEACHER.fingerprint) != same


def test_a_folder_of_the_same_search_is_gone_on_with(tmp_path: Path) -> None:
    folder = SplitFolder(tmp_path)
    asked = head(tmp_path)
    assert claim_folder(folder, **asked, fresh=False) is None
    before = made(SEARCH, **asked, seconds=3.0)
    SEARCH.write(folder.search_head, before)
    assert claim_folder(folder, **asked, fresh=False) == before


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        ({"identity": "other", "settings": {"seed": 7}}, "search.seed has changed"),
        (
            {"identity": "other"},
            "the data, the split, the teacher or the search space has changed",
        ),
    ],
)
def test_a_folder_of_another_search_is_refused_with_what_has_changed(
    tmp_path: Path, now: dict[str, Any], sentence: str
) -> None:
    folder = SplitFolder(tmp_path)
    SEARCH.write(folder.search_head, made(SEARCH, **head(tmp_path)))
    with pytest.raises(ValueError, match=f"{sentence}.*with `gaitforge search --fresh run.toml`"):
        claim_folder(folder, **{**head(tmp_path), **now}, fresh=False)


def test_a_search_is_set_aside_with_all_that_was_made_from_it(tmp_path: Path) -> None:
    folder = SplitFolder(tmp_path)
    its = [
        "search/search.json",
        "confirm/scores.json",
        "predictions/validation-student-0.parquet",
    ]
    kept = "predictions/validation-teacher.parquet"
    for name in (*its, kept):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    set_aside(folder)
    (aside,) = tmp_path.glob("until-*")
    assert all((aside / name).is_file() for name in its)
    assert not any((tmp_path / name).exists() for name in its)
    assert (tmp_path / kept).is_file()


# the table of trials


def test_the_table_is_written_now_and_then_while_a_search_runs(tmp_path: Path) -> None:
    log = TrialLog(SplitFolder(tmp_path))
    log.add(ended())
    table = log.folder.search / "trials.parquet"
    keep_table(log, COMPACT_EVERY - 1)
    assert not table.exists()
    keep_table(log, 2 * COMPACT_EVERY)
    assert pq.read_table(table)["trial"].to_pylist() == [0]


# what mattered


class Told:
    """A searcher over one family, of which only the importance is asked."""

    def __init__(self, importance: dict[str | None, dict[str, dict[str, float]]]) -> None:
        self.study, self.settings, self.found = self, self, importance
        self.families = ("tcn",)

    def measure_importance(self, family: str | None) -> dict[str, dict[str, float]]:
        return self.found.get(family, {})


def test_importance_is_a_row_for_each_family_objective_and_value(tmp_path: Path) -> None:
    folder = SplitFolder(tmp_path)
    told: Any = Told(
        {
            None: {"macro_f1": {"lr": 0.75, "family": 0.25}, "robustness": {"lr": 1.0}},
            "tcn": {"params": {"tcn.channels": 1.0}},
        }
    )
    write_importance(folder, told)
    rows = pq.read_table(folder.search / "importance.parquet").to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (None, "macro_f1", "lr", 0.75),
        (None, "macro_f1", "family", 0.25),
        (None, "robustness", "lr", 1.0),
        ("tcn", "params", "tcn.channels", 1.0),
    ]
    assert list(rows[0]) == ["family", "objective", "name", "importance"]


def test_where_too_few_have_finished_no_importance_is_written(tmp_path: Path) -> None:
    nothing: Any = Told({})
    write_importance(SplitFolder(tmp_path), nothing)
    assert not (tmp_path / "search").exists()
