"""Work out what the predictions for unseen people say about the members, with how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gaitforge.decision import Judged, judge
from gaitforge.failures import count_failures
from gaitforge.members import Member
from gaitforge.metrics import balanced_accuracy, weighted_kappa
from gaitforge.provenance import Provenance
from gaitforge.records import confirm as records
from gaitforge.records.confirm import (
    ON_FRONT,
    SCORES,
    Beaten,
    Belief,
    ByPerson,
    Compared,
    Difference,
    Flattery,
    ModelScores,
    Network,
    Optimism,
    PersonScore,
    Report,
    Scores,
    TeacherScores,
)  # fmt: skip
from gaitforge.records.json_file import parts_of
from gaitforge.records.shortcuts import ShortcutFacts
from gaitforge.reference import majority_class, recording_labels
from gaitforge.settings import ConfirmSettings
from gaitforge.stats import (
    EXACT_PEOPLE,
    Estimate,
    compare,
    draw_macro_f1,
    draw_people,
    estimate,
    estimate_optimism,
    is_too_few,
    level_at_once,
    mean_macro_f1,
    person_accuracy,
    person_confusions,
    probability_on_front,
    sign_flip_p_value,
    spread_over_seeds,
)
from gaitforge.trials import TrialLog
from gaitforge.work import SplitFolder
from trainers.confirm.answers import optimism_sentence
from trainers.confirm.refit_file import (
    ALONE,
    SEED,
    STUDENT,
    find_best_refit,
    is_distilled,
    read_validated_f1,
)
from trainers.confirm.trust import reach_verdict as verdict_of
from trainers.training.predictions import read_predictions
from trainers.training.reference import MODEL as REFERENCE
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder

Ints = NDArray[np.int64]


def write_verdict(
    settings: ConfirmSettings,
    windows: WindowFolder,
    folder: SplitFolder,
    members: Sequence[Member],
    times_scored: int,
    told: Provenance,
    shortcuts: ShortcutFacts | None = None,
) -> Scores:
    """Write `confirm/scores.json` and return its content.

    `times_scored` is how often the confirm people have been scored, this time included; `told` is the
    provenance of the scores, `shortcuts` what recorded columns tell.
    """
    report = Tables(folder, windows, settings).report(members, Teacher.read(folder), times_scored)
    verdict = verdict_of(report, count_failures(TrialLog(folder)), shortcuts)
    scores = Scores(
        **parts_of(report), verdict=verdict, sentence=verdict.sentence, provenance=told
    )
    # it may tell of another student than these scores do
    folder.folds_answer.unlink(missing_ok=True)
    SCORES.write(folder.scores, scores)
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
        self.teacher_SPKK = self.count_confusions("teacher", None, [0])
        self.people = sorted({record.person for record in windows.list_recordings("confirm")})
        self.few = is_too_few(len(self.people))

    def count_confusions(self, model: str, trial: int | None, seeds: Sequence[int]) -> Ints:
        """Count a model's confusion matrices on the confirm people, by seed and person [S, P, K, K]."""
        return np.stack(
            [
                self._person_confusions(
                    read_predictions(self.folder, "confirm", model, trial, seed)
                )
                for seed in seeds
            ]
        )

    def count_chance(self) -> Ints:
        """Return the confusion matrices [1, P, K, K] of always answering the training recordings' commonest class."""
        classes = len(self.windows.classes)
        common = majority_class(recording_labels(self.windows.open_role("train")), classes)
        always_SPKK = np.zeros_like(self.teacher_SPKK)
        always_SPKK[..., common] = self.teacher_SPKK.sum(axis=-1)
        return always_SPKK

    def report(self, members: Sequence[Member], teacher: Teacher, times_scored: int) -> Report:
        """Make the content of `confirm/scores.json` before its verdict."""
        student_MSPKK = [
            self.count_confusions(STUDENT, member.trial.number, self.seeds) for member in members
        ]
        handed_out = [
            find_best_refit(self.folder, member.trial.number, len(self.seeds)).seed
            for member in members
        ]
        network_MPKK = [
            student[self.seeds.index(seed)]
            for student, seed in zip(student_MSPKK, handed_out, strict=True)
        ]
        params = [member.trial.params for member in members]
        # what anybody could have had
        beside = {
            "reference": self.count_confusions(REFERENCE, None, [0]),
            "chance": self.count_chance(),
        }
        judged = judge(network_MPKK, self.teacher_SPKK[0], params, self.settings.margin)
        on_front = None
        if not self.few:
            weights_RP = draw_people(len(self.people), self.settings.resamples)
            draws_MR = np.stack([draw_macro_f1(student, weights_RP) for student in student_MSPKK])
            on_front = probability_on_front(draws_MR, np.array(params))
        rows = tuple(
            self._member(
                member,
                student_MSPKK[i],
                p_on_front=None if on_front is None else float(on_front[i]),
                noninferior=judged[i].noninferior,
                network=self._network(
                    network_MPKK[i], handed_out[i], judged[i], beside, len(members)
                ),
            )
            for i, member in enumerate(members)
        )
        teacher_scores = compute_scores(self.teacher_SPKK)
        return Report(
            margin=self.settings.margin,
            people=len(self.people),
            too_few=self.few,
            times_scored=times_scored,
            teacher=TeacherScores(
                **parts_of(teacher_scores), params=teacher.params, family=teacher.family
            ),
            reference=self._beside_teacher(beside["reference"]),
            chance=self._beside_teacher(beside["chance"]),
            members=rows,
            optimism=self._optimism(members, student_MSPKK),
            per_person=tuple(self._per_person(members, student_MSPKK)),
            chosen=choose(rows, teacher_scores.macro_f1, self.settings.margin),
        )

    def _member(
        self,
        member: Member,
        student_SPKK: Ints,
        *,
        p_on_front: float | None,
        noninferior: bool | None,
        network: Network,
    ) -> records.Member:
        """Score one student as a recipe: the mean of its seeds, with intervals over people and seeds."""
        trial = member.trial
        alone = None
        if self.settings.alone and is_distilled(trial):
            alone_SPKK = self.count_confusions(ALONE, trial.number, self.seeds)
            alone = join_difference(alone_SPKK, compare(student_SPKK, alone_SPKK), self.few)
        against_teacher = compare(student_SPKK, self.teacher_SPKK)
        return records.Member(
            trial=trial.number,
            family=trial.family,
            params=trial.params,
            macs=trial.macs,
            searched=member.searched,
            **parts_of(join_difference(student_SPKK, against_teacher, self.few)),
            seeds=len(student_SPKK),
            alone=alone,
            p_on_front=p_on_front,
            noninferior=noninferior,
            network=network,
        )

    def _network(
        self,
        network_PKK: Ints,
        seed: int,
        judged: Judged,
        beside: Mapping[str, Ints],
        students: int,
    ) -> Network:
        """Score the one network of a member that would be handed out, with intervals over people.

        The people choose which of the students is compared with the reference and chance, so that the
        intervals of all of them hold together; against the teacher the order of their tests does that.
        """
        level = level_at_once(students)
        against = {
            name: make_difference(compare(network_PKK, other_SPKK, level), self.few)
            for name, other_SPKK in beside.items()
        }
        by_person = None
        if len(self.people) <= EXACT_PEOPLE:
            apart_P = person_accuracy(network_PKK) - person_accuracy(self.teacher_SPKK)
            by_person = ByPerson(
                differences={
                    person: float(apart)
                    for person, apart in zip(self.people, apart_P, strict=True)
                },
                sign_flip_p=sign_flip_p_value(network_PKK, self.teacher_SPKK),
            )
        return Network(
            seed=seed,
            **parts_of(join_difference(network_PKK, judged.difference, self.few)),
            tested=judged.tested,
            against_reference=against["reference"],
            against_chance=against["chance"],
            by_person=by_person,
        )

    def _beside_teacher(self, other_SPKK: Ints) -> Beaten:
        """Score what the teacher should be better than, and by how much it is."""
        better = make_difference(compare(self.teacher_SPKK, other_SPKK), self.few)
        return Beaten(**parts_of(compute_scores(other_SPKK)), teacher_minus_this=better)

    def _optimism(self, members: Sequence[Member], student_MSPKK: Sequence[Ints]) -> Optimism:
        """Compare what the search believed, what its refits scored on the same people, and what others confirm.

        Means and intervals are over the members from the front alone: the others have not been selected.
        """
        believed_M = np.array([member.believed for member in members])
        validated_MS = np.array(
            [read_validated_f1(self.folder, member.trial.number, self.seeds) for member in members]
        )

        def over(which: Sequence[int]) -> Flattery:
            found = estimate_optimism(
                believed_M[which], validated_MS[which], [student_MSPKK[i] for i in which]
            )
            return Flattery(
                total=found.total,
                interval=found.interval,
                luck=found.luck,
                luck_interval=found.luck_interval,
                people=found.people,
            )

        beliefs = tuple(
            Belief(
                trial=member.trial.number,
                searched=member.searched,
                believed=member.believed,
                validated=float(validated_MS[i].mean()),
                confirmed=mean_macro_f1(student_MSPKK[i]),
                **parts_of(over([i])),
            )
            for i, member in enumerate(members)
        )
        front = [i for i, member in enumerate(members) if member.searched == ON_FRONT]
        found = over(front)
        return Optimism(
            **parts_of(found),
            seed_sd=spread_over_seeds(validated_MS),
            members=beliefs,
            sentence=optimism_sentence(found, len(front)),
        )

    def _per_person(
        self, members: Sequence[Member], student_MSPKK: Sequence[Ints]
    ) -> Iterator[PersonScore]:
        models: list[tuple[str, int | None, Ints]] = [("teacher", None, self.teacher_SPKK)]
        models += [
            (STUDENT, member.trial.number, student_MSPKK[i]) for i, member in enumerate(members)
        ]
        for model, trial, confusions in models:
            recordings = confusions[0].sum(axis=(1, 2))
            for person, value, count in zip(
                self.people, person_accuracy(confusions), recordings, strict=True
            ):
                yield PersonScore(
                    person=person,
                    model=model,
                    trial=trial,
                    accuracy=float(value),
                    recordings=int(count),
                )

    def _person_confusions(self, table: pa.Table) -> Ints:
        classes = list(self.windows.classes)
        rows: list[dict[str, Any]] = table.to_pylist()
        persons = [row["person"] for row in rows]
        true = np.array([classes.index(row["true_class"]) for row in rows])
        predicted = np.array([np.argmax(row["probabilities"]) for row in rows])
        return person_confusions(true, predicted, persons, sorted(set(persons)), len(classes))


def compute_scores(confusions_SPKK: Ints) -> ModelScores:
    """Compute macro F1, its interval (None with too few people) and other scores, over all people and seeds."""
    confusions_SPKK = confusions_SPKK.reshape(-1, *confusions_SPKK.shape[-3:])
    summed = confusions_SPKK.sum(axis=(0, 1))
    found = estimate(confusions_SPKK)
    kappa = weighted_kappa(summed)
    return ModelScores(
        macro_f1=found.mean,
        interval=None if is_too_few(confusions_SPKK.shape[1]) else (found.low, found.high),
        accuracy=float(np.trace(summed) / summed.sum()),
        balanced_accuracy=balanced_accuracy(summed),
        # as the search has it: without a value where truth and answer are all one class
        weighted_kappa=0.0 if math.isnan(kappa) else kappa,
    )


def make_difference(difference: Estimate, few: bool) -> Difference:
    """Convert a difference to the form of the reports, without its interval where people are too few."""
    ends = None if few else (difference.low, difference.high)
    return Difference(difference=difference.mean, difference_interval=ends)


def join_difference(confusions_SPKK: Ints, difference: Estimate, few: bool) -> Compared:
    """Join a model's scores with the difference to what it is compared with."""
    return Compared(
        **parts_of(compute_scores(confusions_SPKK)), **parts_of(make_difference(difference, few))
    )


def choose(members: Sequence[records.Member], teacher_f1: float, margin: float) -> int | None:
    """Return the trial of the smallest member whose network is not inferior to the teacher; None where there is none.

    Where people are too few to tell, a network counts whose macro F1 is within the margin of the teacher's.
    """
    good = [
        member
        for member in members
        if member.noninferior
        or (member.noninferior is None and member.network.macro_f1 >= teacher_f1 - margin)
    ]
    return min(good, key=lambda member: member.params).trial if good else None
