"""Checks that a search makes before it trains anything."""

from __future__ import annotations

from pathlib import Path

from gaitforge.losses import LOSSES, collect_needed
from gaitforge.losses.nodes import check_joints
from gaitforge.models import FAMILIES, STREAMS
from gaitforge.records.teacher import OUTPUTS
from gaitforge.settings import SearchSettings, TeacherSettings
from gaitforge.work import (
    OutputsFolder,
    SplitFolder,
)
from search_spaces import SPACES
from trainers.training.reference import score_validation_chance
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import WindowFolder


def check_families(settings: SearchSettings) -> None:
    """Raise KeyError for a student family that is unknown or has no search space, an unknown term or stream."""
    for name in settings.families:
        if name in FAMILIES and name not in SPACES:
            raise KeyError(
                f"The family '{name}' has no search space, so that no student of it can be drawn; give it one under "
                "the same name, or search another family."
            )
    for what, names, known in (
        ("student family", settings.families, SPACES),
        ("distillation term", settings.terms, LOSSES),
        ("stream", [name for choice in settings.streams for name in choice], STREAMS),
    ):
        for name in names:
            if name not in known:
                raise KeyError(f"There is no {what} '{name}'. Known: {', '.join(sorted(known))}.")


def check_cross_fit(teacher: TeacherSettings, search: SearchSettings) -> None:
    """Raise ValueError for a term that compares features where each window is answered by another member."""
    others = [name for name in search.terms if LOSSES[name].stored != "logits"]
    if teacher.cross_fit and others:
        raise ValueError(
            f"search.terms has '{others[0]}', which reads the teacher's {LOSSES[others[0]].stored}, but with "
            "teacher.cross_fit those of different windows come from different members and cannot be compared; take "
            "terms that read logits, such as 'kd', or cross_fit = false."
        )


def check_teacher(settings: SearchSettings, windows: WindowFolder, folder: SplitFolder) -> None:
    """Refuse, before anything is written, a teacher from which there is nothing to learn.

    Raises ValueError where it is no better on the validation people than always answering the
    commonest class, unless search.allow_chance is set; FileNotFoundError where there is no teacher.
    """
    teacher = Teacher.read(folder)
    chance = score_validation_chance(windows).macro_f1
    # rounding must not tell a teacher of one answer from chance
    if teacher.val_macro_f1 <= chance + 1e-9 and not settings.allow_chance:
        raise ValueError(
            f"The teacher in {folder.teacher} has a macro F1 of {teacher.val_macro_f1:.3f} on the validation people, "
            f"but must have more than the {chance:.3f} of always answering the commonest class; train another one, or "
            "set search.allow_chance = true to search all the same."
        )


def check_classes(settings: SearchSettings, classes: int) -> None:
    """Raise ValueError, before anything is trained, for a term that teaches nothing with so few classes."""
    for name in settings.terms:
        fewest = LOSSES[name].fewest_classes
        if classes < fewest:
            raise ValueError(
                f"search.terms has '{name}', but there are {classes} classes, and it teaches nothing with fewer than "
                f"{fewest}: z-scores of two logits are always the same; take '{name.removesuffix('_standardised')}'."
            )


def check_joint_counts(settings: SearchSettings, windows: WindowFolder, outputs: Path) -> None:
    """Raise ValueError, before anything is trained, for a family whose joints cannot be matched with the teacher's.

    Only terms that read the teacher's joints ask for that.
    """
    if "joints" not in collect_needed(settings.terms, "stored"):
        return
    joints = OUTPUTS.read(OutputsFolder(outputs).head).joint_features[1]
    for family in settings.families:
        sizes = SPACES[family].smallest.as_dict()
        check_joints(windows.find_node_shape(family, sizes).joints, joints, family)
