"""Export one confirmed student: weights, ONNX and card, and what it costs to run."""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from gaitforge.decision import answer_of
from gaitforge.export import card_text, export_onnx
from gaitforge.ingest import ReadOptions
from gaitforge.outdated import export_identity
from gaitforge.provenance import Provenance, read_provenance
from gaitforge.settings import ExportSettings
from gaitforge.splits import Split
from gaitforge.weights import read_weights
from gaitforge.work import SplitFolder, read_object, write_json, write_whole
from trainers.confirm.refit_file import STUDENT, refit_anew, refit_head
from trainers.confirm.verdict import SCHEMA
from trainers.terminal.say import say
from trainers.training.window_folder import WindowFolder, few_windows


def export_student(
    settings: ExportSettings,
    windows: WindowFolder,
    split: Split,
    folder: SplitFolder,
    read: ReadOptions,
    target: Path,
) -> None:
    """Write `export/` for the chosen student, or for the one that the settings name; once for the same.

    `read` is how the recordings were read: predict must read new ones in the same way.
    Raises FileNotFoundError before confirm, ValueError for the scores of an older one, KeyError for a
    trial that was not confirmed.
    """
    scores = _read_scores(folder)
    member = pick_member(settings, scores)
    # the very network that was tested
    refit = refit_head(folder, STUDENT, member["trial"], member["network"]["seed"])
    head = read_object(refit, "seed", "family", "sizes")
    kept = read_weights(refit, refit_anew(refit))
    how_read = {"confidence_channel": read.confidence_channel, "fps": read.fps}
    identity = export_identity(head, scores, how_read)
    if (target / "card.json").is_file() and read_object(target / "card.json").get(
        "identity"
    ) == identity:
        say(f"  trial {member['trial']} is there already")
        return
    weights = load(kept)
    sources = {
        name: told
        for name, file in (("scores", folder.confirm / "scores.json"), ("refit", refit))
        if (told := read_provenance(file)) is not None
    }
    model = windows.build(head["family"], head["sizes"])
    model.load_state_dict(weights)
    joints, seen = few_windows(windows)
    (target / "card.json").unlink(missing_ok=True)  # it would describe another student's files
    with tempfile.TemporaryDirectory() as near:
        onnx = Path(near) / "student.onnx"
        exported = export_onnx(model.eval(), joints, seen, onnx)
        write_whole(target / onnx.name, onnx.read_bytes())
    card = {
        "schema": 1,
        "identity": identity,
        "trial": member["trial"],
        "family": head["family"],
        "sizes": head["sizes"],
        "params": member["params"],
        "macs": member["macs"],
        "seed": head["seed"],
        **windows.as_dict(),
        "read": how_read,
        "split": split.name,
        "people": {role: len(split.people(role)) for role in ("train", "validation", "confirm")},
        "confirmed": member,
        "network": {**member["network"], "noninferior": member["noninferior"]},
        "teacher": scores["teacher"],
        "reference": scores["reference"],
        "chance": scores["chance"],
        "margin": scores["margin"],
        "too_few": scores["too_few"],
        "verdict": {"about": answer_of(scores)["trial"], **scores["verdict"]},
        "sentence": scores["sentence"],
        "provenance": Provenance.of(identity, sources).as_dict(),
        "onnx": "student.onnx",
        **dataclasses.asdict(exported),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(target / "student.safetensors", save(weights))
    write_whole(target / "card.md", card_text(card).encode())
    write_json(target / "card.json", card)
    say(
        f"  trial {member['trial']}: {exported.onnx_bytes:,} bytes, "
        f"largest difference {exported.max_abs_difference:.1e}, "
        f"{exported.latency_ms_p50:.2f} ms a window (median; 95 % within {exported.latency_ms_p95:.2f} ms) in {target}"
    )


def _read_scores(folder: SplitFolder) -> dict[str, Any]:
    path = folder.confirm / "scores.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"Nothing has been confirmed in {folder.root}; run `gaitforge confirm` first."
        )
    scores = read_object(path)
    if scores.get("schema") != SCHEMA:
        raise ValueError(
            f"The scores in {path} are of schema {scores.get('schema')}, but must be of {SCHEMA}, in which the network "
            "that is handed out was tested itself and held against chance; run `gaitforge confirm` again."
        )
    return scores


def pick_member(settings: ExportSettings, scores: dict[str, Any]) -> dict[str, Any]:
    """The member that the settings name, else the chosen one, else the best, which is then said."""
    members = {member["trial"]: member for member in scores["members"]}
    if settings.trial is not None:
        if settings.trial not in members:
            raise KeyError(
                f"export.trial is {settings.trial}, but the confirmed trials are "
                f"{', '.join(str(number) for number in members)}; name one of them."
            )
        return dict(members[settings.trial])
    if scores["chosen"] is None:
        say(
            "  no student is shown to be as good as the teacher within the margin: the best one is exported"
        )
    return answer_of(scores)
