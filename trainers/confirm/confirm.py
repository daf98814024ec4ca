"""Confirm: train the members of the searched front, and what lies just below it, again with several seeds.

What the trainings amount to is worked out in `verdict.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from safetensors.torch import save

from gaitforge.duration import say_duration
from gaitforge.extensions import load_extensions
from gaitforge.failures import find_top_frame
from gaitforge.members import Member, picked_words, read_front, read_members
from gaitforge.records.confirm import REFIT, RefitHead
from gaitforge.scorings import record_scoring
from gaitforge.settings import ClusterSettings, ConfirmSettings
from gaitforge.weights import write_weights
from gaitforge.work import (
    NO_ROOM,
    SplitFolder,
    WorkFolder,
    fingerprint,
    open_path,
    write_whole,
)
from search_spaces import SPACES
from trainers.arithmetic.check import Refused, trust
from trainers.arithmetic.machines import check_arithmetic
from trainers.cluster.blind_gpus import check_gpus
from trainers.cluster.connection import connect, wait_for_room
from trainers.cluster.deaths import (
    LIVES,
    LOST_NODES,
    NODE,
    Death,
    add_worker,
    find_death,
    speak_when_dying,
    tell_worker,
)
from trainers.confirm.refit_file import (
    STUDENT,
    Refit,
    check_unseen,
    fitted_provenance,
    hash_models,
    make_all_refits,
)
from trainers.search.claim import read_search_provenance
from trainers.search.gpu_shares import keep_to_share, read_kept_share
from trainers.terminal.say import say
from trainers.training.examples import hold_examples, load_examples
from trainers.training.predictions import write_predictions
from trainers.training.reference import score_reference
from trainers.training.scoring import score
from trainers.training.student import new_student, train_student
from trainers.training.teacher_file import Teacher
from trainers.training.window_folder import NodeData, WindowFolder


def confirm_front(
    settings: ConfirmSettings,
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
    work: WorkFolder,
) -> list[Member]:
    """Train every refit that is not there yet, score all on the confirm people; return the members, smallest first.

    The work folder's log records first that these people are scored. Raises FileNotFoundError where there is no
    searched front yet, ValueError where anything that confirm starts from has seen one of these people,
    RuntimeError where the front is empty.
    """
    members = read_members(settings, folder)
    say(f"  {picked_words(read_front(folder), settings.members)}")
    trials = [member.trial for member in members]
    check_unseen(folder, windows.people("confirm"))
    origin = fitted_provenance(windows, folder, search=read_search_provenance(folder))
    refits = make_all_refits(settings, trials, windows, outputs, folder, origin)
    if windows.split is not None:
        record_scoring(
            work,
            store=windows.split.store,
            split=folder.root.name,
            people=windows.people("confirm"),
            # who moves the margin after a look has chosen by these people as well
            models=fingerprint([hash_models(refits), settings.margin]),
        )
    train_refits(refits, cluster, windows, outputs, folder)
    return members


def train_refits(
    refits: Sequence[Refit],
    cluster: ClusterSettings,
    windows: WindowFolder,
    outputs: Path,
    folder: SplitFolder,
) -> None:
    """Train the refits that are not there yet; write the predictions of all, of the teacher and of the reference."""
    todo = [refit for refit in refits if not refit.is_done(folder)]
    if len(todo) < len(refits):
        say(f"  {len(refits) - len(todo)} of {len(refits)} trainings are there already")
    if todo:
        connect(cluster, folder.root)
        families = sorted({refit.spec.family for refit in todo})
        check_arithmetic(
            cluster, families, windows, cluster.cpus_per_trial, read_kept_share(cluster, folder)
        )
        terms = {term for refit in todo for term in refit.spec.distillation.terms}
        data = windows.on_nodes("train", "validation", "confirm", outputs=outputs, terms=terms)
        run_refits(todo, cluster, folder, data)
    score_teacher(Teacher.read(folder), windows, folder)
    score_reference(windows, folder)


def run_refits(
    todo: Sequence[Refit], cluster: ClusterSettings, folder: SplitFolder, data: NodeData | None
) -> None:
    """Train the given refits, as many at a time as the cluster has room for.

    Raises RuntimeError where a training fails, its worker dies twice, or its node is lost too often; else
    what was trained on a lost node is trained elsewhere.
    """
    gpus = read_kept_share(cluster, folder)
    check_gpus(gpus)
    train = ray.remote(
        num_cpus=cluster.cpus_per_trial, num_gpus=gpus, max_retries=0,
        scheduling_strategy="SPREAD" if cluster.placement == "spread" else "DEFAULT",
    )(refit_in_worker)  # fmt: skip
    # of the workers of each refit, with their node or without
    deaths: Counter[tuple[str, bool]] = Counter()
    with wait_for_room(cluster, "A student", 1, cluster.cpus_per_trial, gpus):

        def begin(refit: Refit) -> Any:
            refit.worker(folder).unlink(missing_ok=True)
            return train.remote(refit, str(folder.root), data)

        refits = {begin(refit): refit for refit in todo}
        started = time.monotonic()
        done = 0
        while refits:
            (ready,), _ = ray.wait(list(refits), num_returns=1)
            refit = refits.pop(ready)
            try:
                text = ray.get(ready)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)  # of what the function itself raised
                if isinstance(cause, Refused):
                    raise RuntimeError(str(cause)) from error
                told = str(error).strip()
                death = find_death(add_worker(told, refit.worker(folder)))
                if death is None:
                    file = refit.last_words(folder)
                    write_whole(file, told.encode())
                    raise RuntimeError(
                        f"Confirming failed at {refit.describe()}: {told.splitlines()[-1].rstrip('.')}; all of it is "
                        f"in {file}."
                    ) from error
                with_node = death.by == NODE
                key = refit.head(folder).stem, with_node
                deaths[key] += 1
                if deaths[key] > (LOST_NODES if with_node else LIVES):
                    raise RuntimeError(_died_again(refit, death, folder)) from error
                say(f"  {refit.describe()}: {death.reason}; it is trained once more")
                refits[begin(refit)] = refit
                continue
            done += 1
            left = (time.monotonic() - started) / done * (len(todo) - done)
            say(
                f"  {done}/{len(todo)}  {text}"
                + (f"  about {say_duration(left)} left" if left else "")
            )


def _died_again(refit: Refit, death: Death, folder: SplitFolder) -> str:
    """Write a worker's last words to a file; return a sentence that says what it died of."""
    file = refit.last_words(folder)
    write_whole(file, "\n".join(death.words).encode())
    frame = find_top_frame(death.words)
    return (
        f"Confirming failed at {refit.describe()}: {death.reason}{f', in {frame}' if frame else ''}, and it was not "
        f"the first one; its last words are in {file}, and the same command tries it again."
    )


def refit_in_worker(refit: Refit, root: str, data: NodeData | None) -> str:
    """Run `train_refit` in a Ray worker, which notes its process and keeps to its share of a GPU."""
    speak_when_dying()
    load_extensions(SPACES)
    folder = SplitFolder(open_path(root))
    tell_worker(refit.worker(folder))
    keep_to_share(folder)
    try:
        text = train_refit(refit, root, data)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise Refused.for_full_disk(error) from error
    for stale in (refit.worker(folder), refit.last_words(folder)):
        stale.unlink(missing_ok=True)
    return text


def train_refit(refit: Refit, root: str, data: NodeData | None) -> str:
    """Train one student, write its weights and its predictions; return a line about it."""
    if data is not None:
        data.bring()
    trust(refit.spec.family, refit.spec.windows)
    folder = SplitFolder(open_path(root))
    windows = WindowFolder.open(Path(refit.spec.windows))
    fitting = new_student(refit.spec)
    for metrics in train_student(refit.spec, fitting):
        last = metrics
    valid = hold_examples(refit.spec.windows, refit.spec.teacher_outputs)[1]
    confirm = load_examples(windows, "confirm").to(valid.label_N.device)
    predictions = {}
    for role, examples in (("validation", valid), ("confirm", confirm)):
        scored = score(fitting.result, examples, 256)
        predictions[role] = write_predictions(
            folder, windows, role, refit.model, refit.trial, refit.seed, scored
        )
    weights = {
        name: value.cpu().contiguous() for name, value in fitting.result.state_dict().items()
    }
    head = refit.head(folder)
    head.unlink(missing_ok=True)  # it would tell of other weights if we were killed before the end
    hashed = write_weights(head, save(weights))
    told = RefitHead(
        identity=refit.identity, trial=refit.trial, model=refit.model, seed=refit.seed, family=refit.spec.family,
        sizes=refit.spec.sizes, val_macro_f1=last.val_macro_f1, val_accuracy=last.val_accuracy, **hashed,
        predictions_sha256=predictions, provenance=refit.provenance,
    )  # fmt: skip
    REFIT.write(head, told)
    name = "distilled" if refit.model == STUDENT else "alone"
    return f"trial {refit.trial:>3} {name:<9} seed {refit.seed}  validation macro F1 {last.val_macro_f1:.3f}"


def score_teacher(teacher: Teacher, windows: WindowFolder, folder: SplitFolder) -> None:
    """Write the teacher's predictions for the confirm people."""
    scored = score(teacher.load(folder, windows), load_examples(windows, "confirm"), 256)
    write_predictions(folder, windows, "confirm", "teacher", None, 0, scored)
