"""The verdict: what the predictions for unseen people say about the members, with how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaitforge.metrics import balanced_accuracy, weighted_kappa
from gaitforge.settings import ConfirmSettings
from gaitforge.stats import (
    Difference,
    compare,
    draw_people,
    interval,
    macro_f1_draws,
    mean_macro_f1,
    noninferior,
    optimism,
    person_accuracy,
    person_confusions,
    probability_on_front,
    spread_over_seeds,
    too_few,
)
from gaitforge.work import SplitFolder, write_json
from trainers.answers import optimism_sentence, sentence
from trainers.confirm import ALONE, FRONT, SEED, STUDENT, Member, distilled, validated
from trainers.examples import WindowFolder
from trainers.predictions import read_predictions
from trainers.teacher import Teacher

Ints = NDArray[np.int64]


def write_verdict(
    settings: ConfirmSettings,
    windows: WindowFolder,
    folder: SplitFolder,
    members: Sequence[Member],
    told: Mapping[str, Any],
) -> dict[str, Any]:
    """Write `confirm/scores.json` and return its content; `told` is what it says besides scores."""
    report = Tables(folder, windows, settings).report(members, Teacher.read(folder))
    scores = {**report, **told}
    # it may tell of another student than these scores do
    (folder.confirm / "folds.json").unlink(missing_ok=True)
    write_json(folder.confirm / "scores.json", scores)
    return scores


class Tables:
    """The predictions for the confirm people of one split, and the statistics over them."""

    def __init__(
        self, folder: SplitFolder, windows: WindowFolder, settings: ConfirmSettings
    ) -> None:
        self.folder = folder
        self.windows = windows
        self.settings = settings
        self.seeds = range(SEED, SEED + settings.seeds)
        self.teacher_SPKK = self.confusions("teacher", None, [0])
        self.people = sorted({record.person for record in windows.recordings("confirm")})
        self.weights_RP = draw_people(self.teacher_SPKK, settings.resamples)
        self.few = too_few(len(self.people))

    def confusions(self, model: str, trial: int | None, seeds: Sequence[int]) -> Ints:
        """Confusion matrices by seed and person [S, P, K, K]."""
        return np.stack(
            [
                self._person_confusions(
                    read_predictions(self.folder, "confirm", model, trial, seed)
                )
                for seed in seeds
            ]
        )

    def report(self, members: Sequence[Member], teacher: Teacher) -> dict[str, Any]:
        """The content of `confirm/scores.json`."""
        student_MSPKK = [
            self.confusions(STUDENT, member.trial.number, self.seeds) for member in members
        ]
        draws_MR = on_front = None
        if not self.few:
            draws_MR = np.stack(
                [macro_f1_draws(student, self.weights_RP) for student in student_MSPKK]
            )
            on_front = probability_on_front(
                draws_MR, np.array([member.trial.params for member in members])
            )
        rows = [
            self._member(member, student_MSPKK[i], None if on_front is None else on_front[i])
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
            "optimism": self._optimism(members, student_MSPKK, draws_MR),
            "per_person": self._per_person(members, student_MSPKK),
            "chosen": chosen,
            "sentence": sentence(
                rows, chosen, teacher_row, self.settings.margin, len(self.people), self.few
            ),
        }

    def _member(
        self, member: Member, student_SPKK: Ints, on_front: np.floating[Any] | None
    ) -> dict[str, Any]:
        trial = member.trial
        difference = compare(student_SPKK, self.teacher_SPKK, self.weights_RP)
        alone = None
        if self.settings.alone and distilled(trial):
            alone_SPKK = self.confusions(ALONE, trial.number, self.seeds)
            gain = compare(student_SPKK, alone_SPKK, self.weights_RP)
            alone = {**scores_of(alone_SPKK, self.weights_RP), **difference_of(gain, self.few)}
        return {
            "trial": trial.number,
            "family": trial.family,
            "params": trial.params,
            "macs": trial.macs,
            "searched": member.searched,
            **scores_of(student_SPKK, self.weights_RP),
            "p_on_front": None if on_front is None else float(on_front),
            "noninferior": None if self.few else noninferior(difference, self.settings.margin),
            **difference_of(difference, self.few),
            "seeds": len(student_SPKK),
            "alone": alone,
        }

    def _optimism(
        self,
        members: Sequence[Member],
        student_MSPKK: Sequence[Ints],
        draws_MR: NDArray[np.float64] | None,
    ) -> dict[str, Any]:
        """What the search believed, what its refits had on the same people, and what others confirm.

        Means and interval are over the members from the front alone: the others have not been selected.
        """
        believed_M = np.array([member.believed for member in members])
        validated_MS = np.array(
            [validated(self.folder, member.trial.number, self.seeds) for member in members]
        )
        confirmed_M = np.array([mean_macro_f1(student) for student in student_MSPKK])

        def over(which: Sequence[int]) -> dict[str, Any]:
            found = optimism(
                believed_M[which],
                validated_MS[which],
                confirmed_M[which],
                None if draws_MR is None else draws_MR[which],
            )
            return {
                "total": found.total,
                "interval": found.interval and list(found.interval),
                "luck": found.luck,
                "people": found.people,
            }

        rows = [
            {
                "trial": member.trial.number,
                "searched": member.searched,
                "believed": member.believed,
                "validated": float(validated_MS[i].mean()),
                "confirmed": float(confirmed_M[i]),
                **over([i]),
            }
            for i, member in enumerate(members)
        ]
        front = [i for i, member in enumerate(members) if member.searched == FRONT]
        report = {**over(front), "seed_sd": spread_over_seeds(validated_MS), "members": rows}
        return {**report, "sentence": optimism_sentence(report, len(front))}

    def _per_person(
        self, members: Sequence[Member], student_MSPKK: Sequence[Ints]
    ) -> list[dict[str, Any]]:
        rows = []
        models: list[tuple[str, int | None, Ints]] = [("teacher", None, self.teacher_SPKK)]
        models += [
            (STUDENT, member.trial.number, student_MSPKK[i]) for i, member in enumerate(members)
        ]
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

    def _person_confusions(self, table: pa.Table) -> Ints:
        classes = list(self.windows.classes)
        rows: list[dict[str, Any]] = table.to_pylist()
        persons = [row["person"] for row in rows]
        true = np.array([classes.index(row["true_class"]) for row in rows])
        predicted = np.array([np.argmax(row["probabilities"]) for row in rows])
        return person_confusions(true, predicted, persons, sorted(set(persons)), len(classes))


def scores_of(confusions_SPKK: Ints, weights_RP: Ints) -> dict[str, Any]:
    """Macro F1, its interval (None with too few people) and other scores, over all people and seeds."""
    summed = confusions_SPKK.sum(axis=(0, 1))
    few = too_few(confusions_SPKK.shape[1])
    kappa = weighted_kappa(summed)
    return {
        "macro_f1": mean_macro_f1(confusions_SPKK),
        "interval": None if few else list(interval(macro_f1_draws(confusions_SPKK, weights_RP))),
        "accuracy": float(np.trace(summed) / summed.sum()),
        "balanced_accuracy": balanced_accuracy(summed),
        # as the search has it: without a value where truth and answer are all one class
        "weighted_kappa": 0.0 if math.isnan(kappa) else kappa,
    }


def difference_of(difference: Difference, few: bool) -> dict[str, Any]:
    """A difference as the reports hold it, without its interval where people are too few."""
    ends = None if few else [difference.low, difference.high]
    return {"difference": difference.mean, "difference_interval": ends}


def choose(members: Sequence[Mapping[str, Any]], teacher_f1: float, margin: float) -> int | None:
    """The smallest member that is not inferior; where people are too few to tell, by the scores alone.

    Each member is held against the margin by itself: the more there are, the likelier that one passes
    by luck, which is why a few are confirmed and not the whole front.
    """
    good = [
        member
        for member in members
        if member["noninferior"]
        or (member["noninferior"] is None and member["macro_f1"] >= teacher_f1 - margin)
    ]
    return min(good, key=lambda member: member["params"])["trial"] if good else None


def answer_of(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The member that a verdict comes to: the chosen one, or the best where none was good enough."""
    for member in scores["members"]:
        if member["trial"] == scores["chosen"]:
            return dict(member)
    return dict(max(scores["members"], key=lambda member: float(member["macro_f1"])))
