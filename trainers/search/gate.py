"""The gate before a search: has the teacher anything to teach, or do reference or a student alone know as much?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ray

from gaitforge.cost import Cost
from gaitforge.extensions import load_extensions
from gaitforge.failures import describe_student
from gaitforge.models import Sizes
from gaitforge.recipe import Distillation
from gaitforge.records.search import GATE, Gate, GateStudent
from gaitforge.settings import ClusterSettings, SearchSettings
from gaitforge.work import SplitFolder, open_path
from search_spaces import SPACES
from trainers.arithmetic.check import Refused, trust
from trainers.arithmetic.machines import check_arithmetic
from trainers.cluster.blind_gpus import check_gpus
from trainers.cluster.connection import connect, gpus_per_trial, wait_for_room
from trainers.cluster.deaths import LIVES, speak_when_dying
from trainers.search.budget import Budget
from trainers.search.gpu_shares import find_largest_students, keep_to_share
from trainers.terminal.say import say
from trainers.training.reference import write_reference
from trainers.training.student import StudentSpec, new_student, train_student
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import NodeData, WindowFolder


def pass_gate(
    settings: SearchSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    folder: SplitFolder,
    search: str,
    outputs: Path,
    largest: Callable[[], StudentSpec],
) -> SearchSettings:
    """Return the settings to search with: without terms where the teacher has nothing to teach.

    `search` is the identity of the search and `largest` gives the largest student that it may try, which is trained
    alone once. What was found is kept in `search/gate.json`: the same command decides alike, also after a kill.
    Raises RuntimeError where that student cannot be trained.
    """
    if not (settings.gate and settings.terms):
        return settings
    kept = GATE.find(folder.gate)
    if kept is None or kept.search != search:
        teacher = Teacher.read(folder).val_macro_f1
        reference = write_reference(windows, folder).val_macro_f1
        student = None
        if is_ahead(teacher, reference):  # else nothing that a student scores could open the gate
            spec = largest()
            say(f"  the gate: {describe_student(spec.family, spec.sizes)} learns alone first")
            student = train_alone(spec, cluster, windows, outputs, folder)
        kept = decide(search, teacher, reference, student)
        GATE.write(folder.gate, kept)
    say(f"  {kept.sentence}")
    return settings if kept.teaches else replace(settings, terms=())


def is_ahead(teacher: float, other: float) -> bool:
    """Tell whether the teacher scores more; rounding must not tell equal scores apart."""
    return teacher > other + 1e-9


def decide(search: str, teacher: float, reference: float, student: GateStudent | None) -> Gate:
    """Decide by macro F1 on the validation people; `student` is None where it was not needed to decide."""
    behind = []
    if not is_ahead(teacher, reference):
        behind.append(f"the reference's {reference:.3f}")
    ahead = f"the reference's {reference:.3f}"
    if student is not None:
        alone = (
            f"the {student.val_macro_f1:.3f} that the largest student ({student.family}, {student.params:,} "
            "parameters) reaches alone"
        )
        ahead += f" and of {alone}"
        if not is_ahead(teacher, student.val_macro_f1):
            behind.append(alone)
    people = "on the validation people the teacher's macro F1"
    return Gate(
        search=search, teaches=not behind, teacher=teacher, reference=reference, student=student,
        sentence=f"There is nothing to teach: {people} of {teacher:.3f} is not ahead of {behind[0]}; students learn "
        "from labels alone."
        if behind
        else f"There is something to teach: {people} of {teacher:.3f} is ahead of {ahead}.",
    )  # fmt: skip


def find_largest_student(
    settings: SearchSettings,
    windows: WindowFolder,
    outputs: Path,
    budget: Budget,
    count_cost: Callable[[Sizes], Cost],
) -> StudentSpec:
    """Return the largest student of all families within the budget, to be trained alone by the search's own recipe.

    It is the one with the most multiply-accumulates of some that are drawn of each family.
    """
    found = find_largest_students(settings.families, budget, count_cost)
    family = max(found, key=lambda name: count_cost(found[name]).macs)
    return StudentSpec(
        family=family, sizes=found[family].as_dict(), plan=settings.fit, distillation=Distillation(),
        windows=str(windows.folder), teacher_outputs=str(windows.mapped_outputs(outputs)),
    )  # fmt: skip


def train_alone(
    spec: StudentSpec,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
) -> GateStudent:
    """Train the student in a Ray worker, as a trial is; raises RuntimeError where that fails."""
    connect(cluster, folder.root)
    gpus = gpus_per_trial(cluster)
    check_arithmetic(cluster, [spec.family], windows, cluster.cpus_per_trial, gpus)
    check_gpus(gpus)
    data = windows.on_nodes(
        "train", "validation", outputs=outputs
    )  # all training windows lie with logits
    task = ray.remote(num_cpus=cluster.cpus_per_trial, num_gpus=gpus, max_retries=LIVES)(
        train_in_worker
    )
    try:
        with wait_for_room(cluster, "The gate's student", 1, cluster.cpus_per_trial, gpus):
            trained: GateStudent = ray.get(task.remote(spec, str(folder.root), data))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)  # of what the function itself raised
        if isinstance(cause, Refused):
            raise RuntimeError(str(cause)) from error
        raise RuntimeError(
            f"The gate's student ({describe_student(spec.family, spec.sizes)}) could not be trained: "
            f"{str(error).strip().splitlines()[-1].rstrip('.')}; the same command tries it again, and "
            "search.gate = false searches without."
        ) from error
    return trained


def train_in_worker(spec: StudentSpec, root: str, data: NodeData | None) -> GateStudent:
    """Run `train_here` in a Ray worker, which keeps to its share of a GPU."""
    speak_when_dying()
    load_extensions(SPACES)
    keep_to_share(SplitFolder(open_path(root)))
    if data is not None:
        data.bring()
    trust(spec.family, spec.windows)
    return train_here(spec)


def train_here(spec: StudentSpec) -> GateStudent:
    """Train the student to the end of its plan in this process; return it with its last epoch's scores."""
    fitting = new_student(spec)
    seconds = 0.0
    for last in train_student(spec, fitting):
        seconds += last.seconds
    return GateStudent(
        family=spec.family, sizes=spec.sizes, params=sum(w.numel() for w in fitting.model.parameters()),
        epochs=last.epoch, seed=spec.plan.seed, val_macro_f1=last.val_macro_f1, val_accuracy=last.val_accuracy,
        seconds=seconds,
    )  # fmt: skip
