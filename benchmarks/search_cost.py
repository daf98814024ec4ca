"""What the search itself costs: trials that train nothing, ours beside stock Tune's, and a long log.

    python benchmarks/search_cost.py                 # --trials 200 --log 5000

Stock: Ray Tune with `reuse_actors` and OptunaSearch, trials that report once. Ours: the real searcher,
counting of sizes, rungs, trial log and terminal lines; its trials report at a rung and write their
end, as those of a search do. They run in turn on the same Ray, twice; the second turn counts.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import logging
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from gaitforge.cost import Cost, count
from gaitforge.layout import read_layout
from gaitforge.models import Sizes
from gaitforge.objectives import SearchedFront
from gaitforge.records.search import FRONT
from gaitforge.records.trial import TRIAL, State, Trial
from gaitforge.settings import ClusterSettings, FitPlan, SearchSettings, StoppingSettings
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder
from trainers.cluster.connection import connect, count_concurrent_trials
from trainers.search.budget import Budget
from trainers.search.search import propose, run_tune
from trainers.search.searcher import StudySearcher
from trainers.terminal.progress import SearchProgress

EPOCHS = 9
REFERENCE = (0.0, 1e6)


def count_cost(sizes: Sizes) -> Cost:
    """What a search counts before each trial, for a body of 17 joints."""
    return count(sizes, read_layout("coco17"), 3, 4, 64)


def made_up(trial: Trial, state: State = "finished") -> Trial:
    """A trial as a worker ends it, with scores that depend on its searched values."""
    f1 = 0.9 - 0.5 * trial.params**-0.1 - trial.recipe.lr
    scores = {"val_macro_f1": f1, "val_accuracy": f1}
    curve = tuple(
        {"epoch": e, "train_loss": 1.0, "seconds": 0.0, **scores} for e in range(1, EPOCHS + 1)
    )
    rungs = tuple({"epoch": e, **scores} for e in (1, 3))
    return dataclasses.replace(
        trial, state=state, scores=scores, curve=curve, rungs=rungs, epochs=EPOCHS
    )


def train_nothing(config: dict[str, Any], folder: str) -> None:
    log = TrialLog(SplitFolder(Path(folder)))
    trial = TRIAL.parse(config["trial"], Path(folder))
    log.show_running(trial)
    ended = made_up(trial)
    tune.report({"rung": dict(ended.rungs[0])})
    log.add(ended)


def report_once(config: dict[str, Any]) -> None:
    tune.report({"val_macro_f1": 0.5, "params": 1000.0})


def our_searcher(folder: Path, settings: SearchSettings) -> tuple[StudySearcher, SearchProgress]:
    log = TrialLog(SplitFolder(folder))
    front = SearchedFront(settings.objectives, REFERENCE)
    progress = SearchProgress(log, settings, front)

    def on_end(trial: Trial) -> None:
        if front.add(trial):
            FRONT.write(log.folder.front, front.as_record("s"))
        progress.print_ended(trial)

    searcher = StudySearcher(
        settings, log, Budget(), partial(propose, settings), count_cost, on_end
    )
    for trial in searcher.ended.values():
        front.add(trial)
    return searcher, progress


def search_settings(trials: int) -> SearchSettings:
    stopping = StoppingSettings(first=1, keep=0.999)  # nothing is stopped: a stop saves time
    return SearchSettings(trials=trials, fit=FitPlan(epochs=EPOCHS), stopping=stopping)


def time_ours(trials: int, cluster: ClusterSettings) -> float:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        searcher, progress = our_searcher(Path(folder), search_settings(trials))
        trainable = tune.with_parameters(train_nothing, folder=folder)
        started = time.monotonic()
        run_tune(searcher, trainable, cluster, 0.0, Path(folder) / "ray", progress)
        assert len(searcher.ended) == trials
        return time.monotonic() - started


def time_stock(
    trials: int, cluster: ClusterSettings, sampler: optuna.samplers.BaseSampler
) -> float:
    with tempfile.TemporaryDirectory() as folder:
        search = OptunaSearch(
            space=partial(_stock_space, search_settings(trials)), metric=["val_macro_f1", "params"],
            mode=["max", "min"], sampler=sampler,
        )  # fmt: skip
        tuner = tune.Tuner(
            tune.with_resources(report_once, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=trials, max_concurrent_trials=count_concurrent_trials(cluster, 0.0),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[]),
        )  # fmt: skip
        started = time.monotonic()
        tuner.fit()
        return time.monotonic() - started


def _stock_space(settings: SearchSettings, trial: optuna.Trial) -> None:
    propose(settings, trial)


def time_long_log(trials: int, folder: Path) -> tuple[float, float, float]:
    """Seconds to start a search with a log of so many trials; median and 95th percentile of ask and tell together."""
    settings = search_settings(trials + 60)
    random = dataclasses.replace(settings, sampler="random")
    with contextlib.redirect_stdout(io.StringIO()):
        searcher, _ = our_searcher(folder, random)
        searcher.count_cost = lambda sizes: Cost(params=1000, macs=1000)  # to make it sooner
        searcher.on_end = lambda trial: None
        finished = np.random.default_rng(0).choice([True, False], p=[0.2, 0.8], size=trials)
        for number in range(trials):
            trial = TRIAL.parse(searcher.suggest(str(number))["trial"], folder)
            searcher.log.add(made_up(trial, "finished" if finished[number] else "stopped"))
            searcher.on_trial_complete(str(number))
        started = time.monotonic()
        searcher, _ = our_searcher(folder, settings)
        start_s = time.monotonic() - started
        each_s = []
        for number in range(trials, trials + 50):
            started = time.monotonic()
            trial = TRIAL.parse(searcher.suggest(str(number))["trial"], folder)
            asked_s = time.monotonic() - started
            searcher.log.add(made_up(trial))
            started = time.monotonic()
            searcher.on_trial_complete(str(number))
            each_s.append(asked_s + time.monotonic() - started)
    return start_s, float(np.median(each_s)), float(np.percentile(each_s, 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--log", type=int, default=5000)
    options = parser.parse_args()
    cluster = ClusterSettings(concurrent=2)
    logging.getLogger("ray").setLevel(logging.ERROR)
    connect(cluster, Path.cwd())
    samplers = {
        "stock, random proposals": optuna.samplers.RandomSampler(seed=0),
        "stock, TPE": optuna.samplers.TPESampler(seed=0),
    }
    for turn in ("to warm up", "that counts"):
        print(f"the turn {turn}: {options.trials} trials, 2 at a time")
        for name, sampler in samplers.items():
            stock_s = time_stock(options.trials, cluster, sampler)
            print(f"  {name:<24} {stock_s / options.trials:.3f} s a trial", flush=True)
        ours_s = time_ours(options.trials, cluster)
        print(f"  {'ours, TPE':<24} {ours_s / options.trials:.3f} s a trial", flush=True)
    folder = Path(tempfile.mkdtemp())
    start_s, median_s, p95_s = time_long_log(options.log, folder)
    shutil.rmtree(folder)
    print(
        f"a log of {options.log:,} trials: started in {start_s:.1f} s, ask and tell {median_s * 1e3:.0f} ms "
        f"(median; 95 % within {p95_s * 1e3:.0f} ms)"
    )


if __name__ == "__main__":
    main()
