"""Refits, which are confirmed students trained once more: what each is made from, and where its files lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from gaitforge.failures import describe_student
from gaitforge.members import advise_refit
from gaitforge.provenance import Provenance
from gaitforge.records.confirm import REFIT, RefitHead
from gaitforge.records.search import SEARCH
from gaitforge.records.teacher import OUTPUTS, REFERENCE, TEACHER
from gaitforge.records.trial import Trial
from gaitforge.settings import ConfirmSettings, as_dict
from gaitforge.weights import find_weights_fault, hash_file
from gaitforge.work import (
    SplitFolder,
    fingerprint,
)
from trainers.training.kept_weights import load_kept
from trainers.training.student import StudentSpec
from trainers.training.teacher_file import Teacher, read_outputs_provenance
from trainers.training.window_folder import WindowFolder

SEED = 10_000  # seeds of confirmation start here, far from those of the search
STUDENT, ALONE = "student", "student_alone"
PREDICTED = ("validation", "confirm")  # the people whom a refit answers
NOTHING_TOLD = Provenance(identity="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Refit:
    """One member trained with one seed, distilled (`student`) or not (`student_alone`)."""

    trial: int
    model: str
    seed: int
    spec: StudentSpec
    identity: str
    made_from: Provenance = NOTHING_TOLD

    @property
    def provenance(self) -> Provenance:
        return replace(self.made_from, identity=self.identity)

    def is_done(self, folder: SplitFolder) -> bool:
        """Tell whether the refit is there, with its predictions, which are made by training it once more.

        Raises ValueError where its weights or sizes are not those that its head tells of.
        """
        path = self.head(folder)
        told = REFIT.find(path)
        if told is None or told.identity != self.identity:
            return False
        check_refit(path)
        if told.family != self.spec.family or told.sizes != dict(self.spec.sizes):
            raise ValueError(
                f"{path} tells of other sizes than its trial has; {advise_refit(path)}."
            )
        return all(self._predicted(folder, told, role) for role in PREDICTED)

    def _predicted(self, folder: SplitFolder, told: RefitHead, role: str) -> bool:
        path = folder.predicted(role, self.model, self.trial, self.seed)
        return path.is_file() and hash_file(path) == told.predictions_sha256.get(role)

    def head(self, folder: SplitFolder) -> Path:
        return folder.refit(self.model, self.trial, self.seed)

    def worker(self, folder: SplitFolder) -> Path:
        """Return the file that says which process trains it; a training that ends well removes it."""
        return folder.refit_worker(self.head(folder))

    def last_words(self, folder: SplitFolder) -> Path:
        """Return the file of what was said where its training failed."""
        return folder.refit_failed(self.head(folder))

    def describe(self) -> str:
        kind = "" if self.model == STUDENT else ", alone"
        student = describe_student(self.spec.family, self.spec.sizes)
        return f"trial {self.trial}, {student}, seed {self.seed}{kind}"


def check_refit(head: Path) -> None:
    """Raise ValueError where the weights of a refit are not those that its head tells of."""
    REFIT.read(head)  # a damaged one is said to be that
    fault = find_weights_fault(head)
    if fault is not None:
        raise ValueError(f"{fault}; {advise_refit(head)}.")


def load_refit(windows: WindowFolder, head: Path) -> nn.Module:
    """Load a refit's model, in evaluation mode, on the CPU; raises ValueError where its files do not fit together."""
    told = REFIT.read(head)
    model = windows.build(told.family, told.sizes)
    load_kept(model, head, advise_refit(head))
    return model.eval()


def check_refits(folder: SplitFolder) -> None:
    """Run `check_refit` on all refits that are there."""
    for head in sorted(folder.refits.glob("*.json")):
        check_refit(head)


def read_validated_f1(folder: SplitFolder, trial: int, seeds: Iterable[int]) -> list[float]:
    """Read the validation macro F1 of a member's distilled refits, one for each seed."""
    return [REFIT.read(folder.refit(STUDENT, trial, seed)).val_macro_f1 for seed in seeds]


def find_best_refit(folder: SplitFolder, trial: int, seeds: int) -> RefitHead:
    """Return the distilled refit that did best on the validation people; the confirm people must not choose it."""
    paths = (folder.refit(STUDENT, trial, seed) for seed in range(SEED, SEED + seeds))
    return max(map(REFIT.read, paths), key=lambda head: head.val_macro_f1)


def check_unseen(folder: SplitFolder, people: Iterable[str]) -> None:
    """Raise ValueError where anything that confirm starts from tells that it has seen one of these people."""
    confirm = frozenset(people)
    remedy = "begin anew with `gaitforge run --fresh run.toml`, or give these people another role"
    heads = {
        "teacher": TEACHER.find(folder.teacher_model),
        "reference": REFERENCE.find(folder.reference_facts),
        "store of teacher outputs": OUTPUTS.find(folder.outputs.head),
        "search": SEARCH.find(folder.search_head),
        **{f"refit {path.stem}": REFIT.read(path) for path in folder.refits.glob("*.json")},
    }
    for name, head in heads.items():
        if head is not None:
            head.provenance.check_unseen(f"The {name} in {folder.root}", confirm, remedy)


def fitted_provenance(
    windows: WindowFolder, folder: SplitFolder, **configured: Provenance
) -> Provenance:
    """Return the provenance of students that learn here, before their identity is known.

    `configured` is what their configurations are made from.
    """
    teacher = Teacher.read(folder).provenance
    sources = {
        "windows": windows.provenance,
        "teacher": teacher,
        "outputs": read_outputs_provenance(folder, teacher, windows.provenance),
        **configured,
    }
    return Provenance.of("", sources, windows.people("train", "validation"))


def hash_models(refits: Iterable[Refit]) -> str:
    """Return a hash of a set of refits."""
    return fingerprint(sorted(refit.identity for refit in refits))


def make_all_refits(
    settings: ConfirmSettings,
    trials: Sequence[Trial],
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
    origin: Provenance,
) -> list[Refit]:
    """Make the refits that confirm these trials; `origin` is what they are made from."""
    teacher = Teacher.read(folder).fingerprint
    return [
        replace(refit, made_from=origin)
        for trial in trials
        for refit in make_refits(settings, trial, windows, outputs, teacher)
    ]


def make_refits(
    settings: ConfirmSettings, member: Trial, windows: WindowFolder, outputs: Path, teacher: str
) -> list[Refit]:
    """Make the refits that confirm one member: for each seed one distilled, and one alone where that is asked for.

    `teacher` is the teacher's fingerprint.
    """
    spec = StudentSpec.of(member, str(windows.folder), str(windows.mapped_outputs(outputs)))
    refits = []
    for seed in range(SEED, SEED + settings.seeds):
        for model, kind in ((STUDENT, spec), (ALONE, spec.alone())):
            if model == ALONE and not (settings.alone and is_distilled(member)):
                continue
            seeded = kind.with_seed(seed)
            identity = refit_identity(seeded, windows.key, teacher)
            refits.append(
                Refit(trial=member.number, model=model, seed=seed, spec=seeded, identity=identity)
            )
    return refits


def refit_identity(spec: StudentSpec, windows: str, teacher: str) -> str:
    """Return a hash of all that decides a refit's weights.

    `windows` is the key of the windows, `teacher` the teacher's fingerprint.
    """
    told = {"family": spec.family, "sizes": dict(spec.sizes), "fit": as_dict(spec.plan)}
    # where the outputs lie decides nothing
    made_from = {"windows": windows, "teacher": teacher, "teacher_outputs": ""}
    return fingerprint({**told, **spec.distillation.as_dict(), **made_from})


def is_distilled(member: Trial) -> bool:
    """Tell whether the student learned from the teacher at all; else it is its own comparison."""
    return bool(member.distill.terms)
