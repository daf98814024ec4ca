"""All kinds of JSON files that the stages write; each has one record, one writer and one reader.

Import a record from the file that holds it. FILES lists all kinds by where they lie, PUBLIC those that have a
JSON Schema in `docs/schemas/`. The settings of run.toml, kept as settings.json, are in settings.py.
"""

from __future__ import annotations

from typing import Any

from gaitforge.records.confirm import FOLDS, LATENCIES, POOLED, REFIT, SCORES, WORKER
from gaitforge.records.export import CARD
from gaitforge.records.json_file import JsonFile
from gaitforge.records.scoring import SCORING
from gaitforge.records.search import FRONT, GATE, PACKING, SEARCH
from gaitforge.records.shortcuts import SHORTCUTS
from gaitforge.records.split import SPLIT
from gaitforge.records.store import STORE
from gaitforge.records.summary import SUMMARY
from gaitforge.records.teacher import LIVE, OUTPUTS, REFERENCE, TEACHER, TRAINING
from gaitforge.records.trial import TRIAL
from gaitforge.records.windows import ROLE_RECORDINGS, WINDOWS

FILES: dict[str, JsonFile[Any]] = {
    "store/store.json": STORE,
    "splits/<split>.json": SPLIT,
    "scorings/<event>.json": SCORING,
    "cache/windows/<key>/meta.json": WINDOWS,
    "cache/windows/<key>/<role>/recordings.json": ROLE_RECORDINGS,
    "runs/<split>/reference/reference.json": REFERENCE,
    "runs/<split>/teacher/model.json": TEACHER,
    "runs/<split>/teacher/live.jsonl": LIVE,
    "runs/<split>/teacher/ray/.../state.json": TRAINING,
    "runs/<split>/teacher_outputs/outputs.json": OUTPUTS,
    "runs/<split>/search/search.json": SEARCH,
    "runs/<split>/search/trials/<number>.json": TRIAL,
    "runs/<split>/search/running/<number>.json": TRIAL,
    "runs/<split>/search/front.json": FRONT,
    "runs/<split>/search/gate.json": GATE,
    "runs/<split>/search/packing.json": PACKING,
    "runs/<split>/confirm/refits/<model>-<trial>-seed<seed>.json": REFIT,
    "runs/<split>/confirm/running/<refit>.json": WORKER,
    "runs/<split>/confirm/scores.json": SCORES,
    "runs/<split>/confirm/latency.json": LATENCIES,
    "runs/<split>/confirm/shortcuts.json": SHORTCUTS,
    "runs/<split>/confirm/folds.json": FOLDS,
    "runs/<split>/folds/<fold>/split.json": SPLIT,
    "runs/pooled.json": POOLED,
    "export/card.json": CARD,
    "summary.json": SUMMARY,
}
PUBLIC: dict[str, JsonFile[Any]] = {"summary": SUMMARY, "card": CARD, "trial": TRIAL}
