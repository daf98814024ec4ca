"""Export one confirmed student: weights, ONNX and card, and what it costs to run."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import save

from gaitforge.export import card_text, export_onnx
from gaitforge.familiar import describe_training
from gaitforge.ingest import ReadOptions
from gaitforge.layout import Layout
from gaitforge.provenance import Provenance
from gaitforge.recording import Recording
from gaitforge.records.confirm import REFIT, SCORES, Member, Scores
from gaitforge.records.export import CARD, AboutVerdict, Card, HandedOut, export_identity
from gaitforge.records.json_file import Unreadable, parts_of
from gaitforge.records.split import ROLES, Split
from gaitforge.settings import ExportSettings, tell_reading
from gaitforge.weights import hash_file
from gaitforge.work import ExportFolder, SplitFolder, write_whole
from trainers.confirm.refit_file import STUDENT, load_refit
from trainers.terminal.say import say
from trainers.training.window_folder import WindowFolder, take_few_windows


def export_student(
    settings: ExportSettings,
    windows: WindowFolder,
    split: Split,
    folder: SplitFolder,
    read: ReadOptions,
    target: Path,
    trained_on: Iterable[Recording] = (),
) -> None:
    """Write `export/` for the student that the settings name, or else the chosen one; keep one that is the same.

    What is there stays as it is until the new ONNX file is made and has been checked.
    `read` is how the recordings were read: predict must read new ones in the same way. `trained_on` are those of the
    training people, with which predict compares new ones.
    Raises FileNotFoundError before confirm, ValueError for scores of an older version, KeyError for a
    trial that was not confirmed.
    """
    scores = SCORES.read(folder.scores)
    member = pick_member(settings, scores)
    # the very network that was tested
    refit = folder.refit(STUDENT, member.trial, member.network.seed)
    head = REFIT.read(refit)
    model = load_refit(windows, refit)
    how_read = tell_reading(read)
    identity = export_identity(head, scores, how_read)
    files = ExportFolder(target)
    if _is_there(files, identity, windows.layout):
        say(f"  trial {member.trial} is there already")
        return
    joints, seen = take_few_windows(windows)
    with tempfile.TemporaryDirectory() as near:
        path = ExportFolder(Path(near)).onnx
        exported = export_onnx(model, joints, seen, path)
        onnx = path.read_bytes()
    card = Card(
        identity=identity,
        trial=member.trial,
        family=head.family,
        sizes=head.sizes,
        params=member.params,
        macs=member.macs,
        seed=head.seed,
        layout=windows.layout,
        classes=windows.classes,
        channels=windows.channels,
        windows=windows.settings,
        normalisation=windows.normalisation,
        read=how_read,
        split=split.name,
        people={role: len(split.people(role)) for role in ROLES},
        confirmed=member,
        network=HandedOut(**parts_of(member.network), noninferior=member.noninferior),
        teacher=scores.teacher,
        reference=scores.reference,
        chance=scores.chance,
        margin=scores.margin,
        too_few=scores.too_few,
        verdict=AboutVerdict(about=scores.answer.trial, **parts_of(scores.verdict)),
        sentence=scores.sentence,
        provenance=Provenance.of(
            identity, {"scores": scores.provenance, "refit": head.provenance}
        ),
        onnx=files.onnx.name,
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        **parts_of(exported),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        familiar=describe_training(trained_on, windows.layout),
    )
    text, content = card_text(card).encode(), CARD.as_json(card)
    for told in (files.card, files.card_text):  # from here on they would describe another's files
        told.unlink(missing_ok=True)
    write_whole(files.weights, save(model.state_dict()))
    write_whole(files.onnx, onnx)
    write_whole(files.card_text, text)
    write_whole(files.card, content)
    say(
        f"  trial {member.trial}: {exported.onnx_bytes:,} bytes, "
        f"largest difference {exported.max_abs_difference:.1e}, "
        f"{exported.latency_ms_p50:.2f} ms a window (median; 95 % within {exported.latency_ms_p95:.2f} ms) in {target}"
    )


def _is_there(files: ExportFolder, identity: str, layout: Layout) -> bool:
    """Tell whether the export of that identity is there, with the ONNX file that its card tells of.

    One of an older version, whose card does not tell what predict compares with, is made again.
    """
    try:
        card = CARD.find(files.card)
    except Unreadable:  # or of an older version
        return False
    if card is None or card.identity != identity or not files.onnx.is_file():
        return False
    if card.familiar is None and layout.up_axis is not None:
        return False
    return hash_file(files.onnx) == card.onnx_sha256


def pick_member(settings: ExportSettings, scores: Scores) -> Member:
    """Return the member that the settings name, else the chosen one, else the best, and then say so.

    Raises KeyError where the settings name a trial that was not confirmed.
    """
    members = {member.trial: member for member in scores.members}
    if settings.trial is not None:
        if settings.trial not in members:
            raise KeyError(
                f"export.trial is {settings.trial}, but the confirmed trials are "
                f"{', '.join(str(number) for number in members)}; name one of them."
            )
        return members[settings.trial]
    if scores.chosen is None:
        say(
            "  no student is shown to be as good as the teacher within the margin: the best one is exported"
        )
    return scores.answer
