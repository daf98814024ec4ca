"""The search: Ray Tune round `train_student`, one plain function trial per student."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ray import tune

from gaitforge.cost import Cost, count
from gaitforge.front import f1_params_front, f1_params_hypervolume
from gaitforge.losses import LOSSES
from gaitforge.models import Sizes
from gaitforge.settings import ClusterSettings, SearchSettings, as_dict
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder, fingerprint, read_json, write_json, write_parquet
from search_spaces import SPACES
from trainers.cluster import concurrent_trials, connect
from trainers.examples import WindowFolder
from trainers.loop import score
from trainers.predictions import write_predictions
from trainers.progress import SearchProgress
from trainers.searcher import Budget, StudySearcher
from trainers.student import StudentSpec, mapped, new_student, train_student
from trainers.teacher import Teacher


def search_students(
    settings: SearchSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
    fresh: bool = False,
) -> None:
    """Try students until `settings.trials` have ended, and write `search/`; goes on where it was stopped.

    Raises ValueError where no student can meet the budget, or where the folder holds a search with
    other settings and `fresh` was not asked for; RuntimeError where the search gave up.
    """
    teacher = Teacher.read(folder)
    budget = make_budget(settings, teacher)
    costs = CostCounter(windows)
    check_budget(settings, budget, costs)
    reference = (0.0, float(teacher.params))
    head = {
        "schema": 1, "identity": search_identity(settings, windows, teacher), "families": list(settings.families),
        "epochs": settings.fit.epochs, "seed": settings.seed, "reference": list(reference),
        "max_params": budget.params, "settings": as_dict(settings),
    }  # fmt: skip
    earlier = claim_folder(folder, head, fresh)
    log = TrialLog(folder)
    log.forget_running()
    progress = SearchProgress(log, settings, reference)

    def on_end(trial: Trial) -> None:
        progress.ended(trial)
        write_front(folder, progress.trials.values(), reference)

    searcher = StudySearcher(settings, log, budget, costs, on_end)
    started, spent = time.monotonic(), earlier.get("seconds", 0.0)
    write_json(
        folder.search / "search.json",
        {**head, "trials": settings.trials, "rejected": searcher.rejected, "seconds": spent},
    )
    remaining = settings.trials - len(searcher.ended)
    if remaining > 0:
        context = {
            "folder": str(folder.root), "windows": str(windows.folder), "outputs": str(outputs),
        }  # fmt: skip
        connect(cluster)
        run_tune(searcher, remaining, context, cluster, folder.search / "ray", progress)
    write_json(
        folder.search / "search.json",
        {
            **head,
            "trials": settings.trials,
            "rejected": searcher.rejected,
            "seconds": spent + (time.monotonic() - started if remaining > 0 else 0.0),
        },
    )
    log.compact()
    write_front(folder, log, reference)
    write_importance(folder, searcher)
    if searcher.gave_up:
        raise RuntimeError(
            f"The search gave up: {searcher.gave_up.rstrip('.')}; mend that, then start it anew with --fresh."
        )
    if len(searcher.ended) < settings.trials:  # Tune ends quietly when it is interrupted
        raise RuntimeError(
            f"The search was stopped after {len(searcher.ended)} of {settings.trials} trials; the same command goes on."
        )


def run_tune(
    searcher: StudySearcher,
    trials: int,
    context: Mapping[str, str],
    cluster: ClusterSettings,
    storage: Path,
    progress: SearchProgress,
) -> None:
    """The whole Ray side of a search: warm workers that take one student after the other."""
    # Tune's state of an earlier start; the trial log is the truth
    shutil.rmtree(storage, ignore_errors=True)
    resources = {"cpu": cluster.cpus_per_trial, "gpu": cluster.gpus_per_trial}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, context=dict(context)), resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=trials,
            max_concurrent_trials=concurrent_trials(cluster),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=f"search-{datetime.now(UTC):%Y%m%dT%H%M%S}",
            storage_path=str(storage.resolve()),
            verbose=0,
            callbacks=[],
        ),
    )
    # a trial's end is told by our own line; Tune's traceback of a killed worker says no more
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with progress:
        tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)


def run_trial(config: dict[str, Any], context: Mapping[str, str]) -> None:
    """One trial in a Tune worker: train, tell how it goes, and put the end into the log."""
    folder = SplitFolder(Path(context["folder"]))
    proposed = trial = Trial.from_dict(config["trial"], folder.trials)
    log = TrialLog(folder)
    try:
        for trial in train_trial(proposed, context, log):
            tune.report({"epoch": trial.epochs, **(trial.scores or {}), "params": trial.params})
    except (RuntimeError, ValueError, KeyError, OSError, ArithmeticError, MemoryError) as error:
        reason = (
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        )
        # `trial` stands where its last whole epoch left it, so that the curve of a failed one can be seen
        log.add(
            dataclasses.replace(trial, state="failed", reason=reason, scores=None, ended=_now())
        )


def train_trial(trial: Trial, context: Mapping[str, str], log: TrialLog) -> Any:
    """Train the student of a trial; yields the trial as it stands after each epoch, and logs its end."""
    spec = trial_spec(trial, context["windows"], context["outputs"])
    trial = dataclasses.replace(trial, started=_now())
    log.show_running(trial)
    fitting = new_student(spec)
    for metrics in train_student(spec, fitting):
        trial = dataclasses.replace(
            trial,
            curve=(*trial.curve, dataclasses.asdict(metrics)),
            scores={"val_macro_f1": metrics.val_macro_f1, "val_accuracy": metrics.val_accuracy},
            epochs=metrics.epoch,
            seconds=trial.seconds + metrics.seconds,
        )
        log.show_running(trial)
        if metrics.epoch < fitting.plan.epochs:
            yield trial
    windows = WindowFolder.open(Path(spec.windows))
    scored = score(fitting.model, mapped(spec.windows, spec.teacher_outputs)[1], 256)
    write_predictions(
        log.folder, windows, "validation", "student", trial.number, trial.seed, scored
    )
    trial = dataclasses.replace(trial, state="finished", ended=_now())
    log.add(trial)
    yield trial


def trial_spec(trial: Trial, windows: str, outputs: str) -> StudentSpec:
    """What decides the weights of a trial's student."""
    return StudentSpec(
        family=trial.family,
        sizes=trial.sizes,
        fit={**trial.recipe, "seed": trial.seed},
        weights=trial.distill["weights"],
        temperature=trial.distill["temperature"],
        windows=windows,
        teacher_outputs=outputs,
    )


class CostCounter:
    """Parameters and multiply-accumulates of a student, counted without building it."""

    def __init__(self, windows: WindowFolder) -> None:
        self.windows = windows

    def __call__(self, sizes: Sizes) -> Cost:
        windows = self.windows
        return count(sizes, windows.layout, windows.channels, len(windows.classes), windows.length)


def make_budget(settings: SearchSettings, teacher: Teacher) -> Budget:
    """The tighter of the limits in parameters and in shares of the teacher."""
    limits = [settings.max_params] if settings.max_params is not None else []
    if settings.max_params_share is not None:
        limits.append(int(settings.max_params_share * teacher.params))
    return Budget(params=min(limits) if limits else None, macs=settings.max_macs)


def check_families(settings: SearchSettings) -> None:
    """Refuse a student family or a distillation term that does not exist."""
    for what, names, known in (
        ("student family", settings.families, SPACES),
        ("distillation term", settings.terms, LOSSES),
    ):
        for name in names:
            if name not in known:
                raise KeyError(f"There is no {what} '{name}'. Known: {', '.join(sorted(known))}.")


def check_budget(settings: SearchSettings, budget: Budget, costs: CostCounter) -> None:
    """Refuse, before any work, a budget that the smallest student of a family breaks."""
    smallest = {family: costs(SPACES[family].smallest) for family in settings.families}
    for family, cost in smallest.items():
        if not budget.allows(cost):
            raise ValueError(
                f"The search allows at most {budget}, but the smallest {family} student has {cost.params:,} parameters "
                f"and {cost.macs:,} multiply-accumulates; raise the budget or leave {family} out of search.families."
            )


def search_identity(settings: SearchSettings, windows: WindowFolder, teacher: Teacher) -> str:
    """A hash of all that the trials of one search must share; more trials are the same search."""
    shared = {
        key: value
        for key, value in as_dict(settings).items()
        if key not in ("trials", "max_failed")
    }
    return fingerprint(
        {"settings": shared, "windows": windows.key, "teacher": teacher.fingerprint}
    )


def claim_folder(folder: SplitFolder, head: Mapping[str, Any], fresh: bool) -> dict[str, Any]:
    """Make sure that the folder's trials belong to this search; what search.json said before, or {}."""
    path = folder.search / "search.json"
    if not path.is_file():
        return {}
    if fresh:
        set_aside(folder)
        return {}
    before: dict[str, Any] = read_json(path)
    if before["identity"] == head["identity"]:
        return before
    changed = _changed_keys(before.get("settings", {}), head["settings"])
    what = f"search.{changed[0]}" if changed else "the data, the split or the teacher"
    raise ValueError(
        f"{folder.search} holds a search with other settings ({what} has changed), and trials of both must not "
        "be mixed; undo the change, choose another work folder, or set the old search aside with --fresh."
    )


def set_aside(folder: SplitFolder) -> None:
    """Move a search, and all that was made from it, out of the way of another."""
    aside = folder.root / f"until-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    (aside / "predictions").mkdir(parents=True)
    for path in (folder.search, folder.confirm):
        if path.is_dir():
            path.rename(aside / path.name)
    for path in folder.predictions.glob("*-student*.parquet"):
        path.rename(aside / "predictions" / path.name)


def write_front(
    folder: SplitFolder, trials: Iterable[Trial], reference: tuple[float, float]
) -> None:
    """`search/front.json`: the finished trials that nothing beats on the validation people."""
    finished = [
        trial for trial in trials if trial.state == "finished" and trial.scores is not None
    ]
    f1 = np.array([trial.scores["val_macro_f1"] for trial in finished if trial.scores])
    params = np.array([trial.params for trial in finished])
    members = f1_params_front(f1, params).tolist() if finished else []
    write_json(
        folder.search / "front.json",
        {
            "schema": 1,
            "hypervolume": f1_params_hypervolume(f1, params, reference) if finished else 0.0,
            "reference": list(reference),
            "front": [
                {
                    "trial": finished[i].number, "family": finished[i].family, "params": finished[i].params,
                    "macs": finished[i].macs, **(finished[i].scores or {}),
                }
                for i in members
            ],
        },
    )  # fmt: skip


def write_importance(folder: SplitFolder, searcher: StudySearcher) -> None:
    """`search/importance.parquet`: how much of macro F1's variation each searched value explains (PED-ANOVA)."""
    importance = searcher.importance()
    if importance:
        rows = [{"name": name, "importance": value} for name, value in importance.items()]
        write_parquet(folder.search / "importance.parquet", pa.Table.from_pylist(rows))


def _changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        key for key in now if key not in ("trials", "max_failed") and before.get(key) != now[key]
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
