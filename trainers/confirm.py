"""Confirm: the searched front's members again, with several seeds, on people that nothing has seen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray
from safetensors.torch import save

from gaitforge.front import spread_along_front
from gaitforge.settings import ClusterSettings, ConfirmSettings
from gaitforge.stats import (
    Difference,
    bootstrap_weights,
    class_strata,
    compare,
    interval,
    macro_f1_draws,
    mean_macro_f1,
    noninferior,
    person_accuracy,
    person_confusions,
    probability_on_front,
    too_few,
)
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder, fingerprint, read_json, write_json, write_whole
from trainers.cluster import connect
from trainers.examples import WindowFolder, load_examples
from trainers.loop import score
from trainers.predictions import read_predictions, write_predictions
from trainers.progress import duration, say
from trainers.search import trial_spec
from trainers.student import StudentSpec, mapped, new_student, train_student
from trainers.teacher import Teacher

SEED = 10_000  # seeds of confirmation start here, far from those of the search
STUDENT, ALONE = "student", "student_alone"
WORTH_SHARE = 0.8  # of the best macro F1 on the front
MIN_STRATUM = 10  # people of one class
DRAWS_SEED = 2026  # of the bootstrap: the same people are drawn for all models of a split


@dataclass(frozen=True, kw_only=True, slots=True)
class Refit:
    """One member trained with one seed, distilled (`student`) or not (`student_alone`)."""

    trial: int
    model: str
    seed: int
    spec: StudentSpec
    identity: str

    def done(self, folder: SplitFolder) -> bool:
        path = self.head(folder)
        return path.is_file() and read_json(path)["identity"] == self.identity

    def head(self, folder: SplitFolder) -> Path:
        return folder.confirm / "refits" / f"{self.model}-{self.trial}-seed{self.seed}.json"

    def weights(self, folder: SplitFolder) -> Path:
        return self.head(folder).with_suffix(".safetensors")


def confirm_front(
    settings: ConfirmSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
) -> None:
    """Train every refit that is not there yet, score all on the confirm people, write `confirm/`.

    Raises FileNotFoundError where there is no searched front yet, RuntimeError where it is empty.
    """
    path = folder.search / "front.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no searched front in {folder.search}; run `gaitforge search` first."
        )
    front = read_json(path)["front"]
    if not front:
        raise RuntimeError(
            "The search has finished no trial, so there is nothing to confirm; see its failed trials."
        )
    log = TrialLog(folder)
    members = [log.read(number) for number in pick_members(front, settings.members)]
    teacher = Teacher.read(folder)
    refits = [
        refit
        for member in members
        for refit in make_refits(settings, member, windows, outputs, teacher.fingerprint)
    ]
    todo = [refit for refit in refits if not refit.done(folder)]
    if len(todo) < len(refits):
        say(f"  {len(refits) - len(todo)} of {len(refits)} trainings are there already")
    if todo:
        connect(cluster)
        run_refits(todo, cluster, folder)
    score_teacher(teacher, windows, folder)
    tables = Tables(folder, windows, settings)
    write_json(folder.confirm / "scores.json", tables.report(members, teacher))


def pick_members(front: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """The trials of a searched front to confirm: spread over the sizes of those that are worth it.

    The smallest members of a front are often little better than guessing; training them again
    with several seeds would tell nobody anything.
    """
    best = max(float(member["val_macro_f1"]) for member in front)
    worth = [member for member in front if member["val_macro_f1"] >= WORTH_SHARE * best]
    chosen = spread_along_front(np.array([member["params"] for member in worth]), count)
    return [int(worth[i]["trial"]) for i in chosen]


def make_refits(
    settings: ConfirmSettings, member: Trial, windows: WindowFolder, outputs: Path, teacher: str
) -> list[Refit]:
    """The trainings that confirm one member; `teacher` is the teacher's fingerprint."""
    spec = trial_spec(member, str(windows.folder), str(outputs))
    refits = []
    for seed in range(SEED, SEED + settings.seeds):
        for model, kind in ((STUDENT, spec), (ALONE, spec.alone())):
            if model == ALONE and not (settings.alone and distilled(member)):
                continue
            seeded = kind.with_seed(seed)
            identity = fingerprint(
                {
                    **seeded.as_dict(),
                    "windows": windows.key,
                    "teacher": teacher,
                    "teacher_outputs": "",
                }
            )
            refits.append(
                Refit(trial=member.number, model=model, seed=seed, spec=seeded, identity=identity)
            )
    return refits


def distilled(member: Trial) -> bool:
    """Whether the student learned from the teacher at all; else it is its own comparison."""
    return any(weight > 0 for weight in member.distill["weights"].values())


def run_refits(todo: Sequence[Refit], cluster: ClusterSettings, folder: SplitFolder) -> None:
    """Train those that are not done yet, as many at a time as the cluster has room for."""
    train = ray.remote(
        num_cpus=cluster.cpus_per_trial, num_gpus=cluster.gpus_per_trial, max_retries=3
    )(train_refit)
    waiting = [train.remote(refit, str(folder.root)) for refit in todo]
    started = time.monotonic()
    for done in range(1, len(todo) + 1):
        (ready,), waiting = ray.wait(waiting, num_returns=1)
        try:
            text = ray.get(ready)
        except ray.exceptions.RayError as error:
            raise RuntimeError(
                f"Confirming failed: {str(error).strip().splitlines()[-1]}"
            ) from error
        left = (time.monotonic() - started) / done * (len(todo) - done)
        say(f"  {done}/{len(todo)}  {text}" + (f"  about {duration(left)} left" if left else ""))


def train_refit(refit: Refit, root: str) -> str:
    """Train one student, keep its weights and its predictions; a line about it."""
    folder = SplitFolder(Path(root))
    windows = WindowFolder.open(Path(refit.spec.windows))
    fitting = new_student(refit.spec)
    for metrics in train_student(refit.spec, fitting):
        last = metrics
    valid = mapped(refit.spec.windows, refit.spec.teacher_outputs)[1]
    confirm = load_examples(windows, "confirm").to(valid.label_N.device)
    for role, examples in (("validation", valid), ("confirm", confirm)):
        scored = score(fitting.model, examples, 256)
        write_predictions(folder, windows, role, refit.model, refit.trial, refit.seed, scored)
    weights = {
        name: value.cpu().contiguous() for name, value in fitting.model.state_dict().items()
    }
    write_whole(refit.weights(folder), save(weights))
    write_json(
        refit.head(folder),
        {
            "schema": 1, "identity": refit.identity, "trial": refit.trial, "model": refit.model, "seed": refit.seed,
            "family": refit.spec.family, "sizes": dict(refit.spec.sizes),
            "val_macro_f1": last.val_macro_f1, "val_accuracy": last.val_accuracy,
        },
    )  # fmt: skip
    name = "distilled" if refit.model == STUDENT else "alone"
    return f"trial {refit.trial:>3} {name:<9} seed {refit.seed}  validation macro F1 {last.val_macro_f1:.3f}"


def score_teacher(teacher: Teacher, windows: WindowFolder, folder: SplitFolder) -> None:
    """Write the teacher's predictions for the confirm people."""
    scored = score(teacher.load(folder, windows), load_examples(windows, "confirm"), 256)
    write_predictions(folder, windows, "confirm", "teacher", None, 0, scored)


class Tables:
    """The predictions for the confirm people of one split, and the statistics over them."""

    def __init__(
        self, folder: SplitFolder, windows: WindowFolder, settings: ConfirmSettings
    ) -> None:
        self.folder = folder
        self.windows = windows
        self.settings = settings
        self.teacher_SPKK = self.confusions("teacher", None, [0])
        self.people = sorted({record.person for record in windows.recordings("confirm")})
        self.weights_RP = draw_people(self.teacher_SPKK, settings.resamples)
        self.few = too_few(len(self.people))

    def confusions(self, model: str, trial: int | None, seeds: Sequence[int]) -> NDArray[np.int64]:
        """Confusion matrices by seed and person [S, P, K, K]."""
        return np.stack(
            [
                self._person_confusions(
                    read_predictions(self.folder, "confirm", model, trial, seed)
                )
                for seed in seeds
            ]
        )

    def report(self, members: Sequence[Trial], teacher: Teacher) -> dict[str, Any]:
        """The content of `confirm/scores.json`."""
        seeds = range(SEED, SEED + self.settings.seeds)
        student_MSPKK = [self.confusions(STUDENT, member.number, seeds) for member in members]
        on_front = None
        if not self.few:
            draws_MR = np.stack(
                [macro_f1_draws(student, self.weights_RP) for student in student_MSPKK]
            )
            on_front = probability_on_front(
                draws_MR, np.array([member.params for member in members])
            )
        rows = [
            self._member(
                member, student_MSPKK[i], None if on_front is None else float(on_front[i]), seeds
            )
            for i, member in enumerate(members)
        ]
        teacher_row = {
            **scores_of(self.teacher_SPKK, self.weights_RP),
            "params": teacher.params,
            "family": teacher.family,
        }
        chosen = choose(rows, teacher_row["macro_f1"], self.settings.margin)
        return {
            "schema": 1,
            "margin": self.settings.margin,
            "people": len(self.people),
            "too_few": self.few,
            "teacher": teacher_row,
            "members": rows,
            "per_person": self._per_person(members, student_MSPKK),
            "chosen": chosen,
            "sentence": sentence(
                rows, chosen, teacher_row, self.settings, len(self.people), self.few
            ),
        }

    def _member(
        self,
        member: Trial,
        student_SPKK: NDArray[np.int64],
        on_front: float | None,
        seeds: Sequence[int],
    ) -> dict[str, Any]:
        difference = compare(student_SPKK, self.teacher_SPKK, self.weights_RP)
        alone = None
        if self.settings.alone and distilled(member):
            alone_SPKK = self.confusions(ALONE, member.number, seeds)
            gain = compare(student_SPKK, alone_SPKK, self.weights_RP)
            alone = {**scores_of(alone_SPKK, self.weights_RP), **self._difference(gain)}
        return {
            "trial": member.number,
            "family": member.family,
            "params": member.params,
            "macs": member.macs,
            **scores_of(student_SPKK, self.weights_RP),
            "p_on_front": on_front,
            "noninferior": None if self.few else noninferior(difference, self.settings.margin),
            **self._difference(difference),
            "seeds": len(student_SPKK),
            "alone": alone,
        }

    def _difference(self, difference: Difference) -> dict[str, Any]:
        ends = None if self.few else [difference.low, difference.high]
        return {"difference": difference.mean, "difference_interval": ends}

    def _per_person(
        self, members: Sequence[Trial], student_MSPKK: Sequence[NDArray[np.int64]]
    ) -> list[dict[str, Any]]:
        rows = []
        models: list[tuple[str, int | None, NDArray[np.int64]]] = [
            ("teacher", None, self.teacher_SPKK)
        ]
        models += [(STUDENT, member.number, student_MSPKK[i]) for i, member in enumerate(members)]
        for model, trial, confusions in models:
            recordings = confusions[0].sum(axis=(1, 2))
            for person, value, count in zip(
                self.people, person_accuracy(confusions), recordings, strict=True
            ):
                rows.append(
                    {
                        "person": person,
                        "model": model,
                        "trial": trial,
                        "accuracy": float(value),
                        "recordings": int(count),
                    }
                )
        return rows

    def _person_confusions(self, table: pa.Table) -> NDArray[np.int64]:
        classes = list(self.windows.classes)
        rows: list[dict[str, Any]] = table.to_pylist()
        persons = [row["person"] for row in rows]
        true = np.array([classes.index(row["true_class"]) for row in rows])
        predicted = np.array([np.argmax(row["probabilities"]) for row in rows])
        return person_confusions(true, predicted, persons, sorted(set(persons)), len(classes))


def scores_of(confusions_SPKK: NDArray[np.int64], weights_RP: NDArray[np.int64]) -> dict[str, Any]:
    """Macro F1, its interval (None with too few people) and accuracy, over all people and seeds."""
    summed = confusions_SPKK.sum(axis=(0, 1))
    few = too_few(confusions_SPKK.shape[1])
    return {
        "macro_f1": mean_macro_f1(confusions_SPKK),
        "interval": None if few else list(interval(macro_f1_draws(confusions_SPKK, weights_RP))),
        "accuracy": float(np.trace(summed) / summed.sum()),
    }


def draw_people(confusions_SPKK: NDArray[np.int64], resamples: int) -> NDArray[np.int64]:
    """Bootstrap weights [R, P] over people, within classes where each class has people enough for it.

    With fewer than MIN_STRATUM people in a class, resampling within it makes intervals too narrow (a
    simulation with three classes of three people covered 81 % instead of 95): then all are drawn together.
    """
    strata = class_strata(confusions_SPKK)
    if strata is not None and min(Counter(strata).values()) < MIN_STRATUM:
        strata = None
    people = confusions_SPKK.shape[1]
    return bootstrap_weights(strata, people, resamples, np.random.default_rng(DRAWS_SEED))


def choose(members: Sequence[Mapping[str, Any]], teacher_f1: float, margin: float) -> int | None:
    """The smallest member that is not inferior; where people are too few to tell, by the scores alone."""
    good = [
        member
        for member in members
        if member["noninferior"]
        or (member["noninferior"] is None and member["macro_f1"] >= teacher_f1 - margin)
    ]
    return min(good, key=lambda member: member["params"])["trial"] if good else None


def sentence(
    members: Sequence[Mapping[str, Any]],
    chosen: int | None,
    teacher: Mapping[str, Any],
    settings: ConfirmSettings,
    people: int,
    few: bool,
) -> str:
    """The answer of the whole line in words."""
    if chosen is None:
        best = max(members, key=lambda member: float(member["macro_f1"]))
        what = "scores within" if few else "is shown to be within"
        start = (
            f"No confirmed student {what} {settings.margin:g} macro F1 of the teacher; the best"
        )
        return start + _against(best, teacher) + _people(people, few)
    member = next(member for member in members if member["trial"] == chosen)
    what = "that scores at most" if few else "that is not worse than the teacher by more than"
    more = " macro F1 below the teacher" if few else " macro F1"
    return (
        f"The smallest student {what} {settings.margin:g}{more}"
        + _against(member, teacher)
        + _people(people, few)
    )


def _against(member: Mapping[str, Any], teacher: Mapping[str, Any]) -> str:
    share = 100 * member["params"] / teacher["params"]
    return (
        f" has {member['params']:,} parameters ({share:.1f} % of the teacher's {teacher['params']:,}) and macro F1 "
        f"{member['macro_f1']:.3f} against {teacher['macro_f1']:.3f}"
    )


def _people(people: int, few: bool) -> str:
    end = (
        ": too few people for an interval, so other people may well turn it round." if few else "."
    )
    return f", on {people} people never seen before{end}"
