"""summary.json: the whole result for machines, gathered from what the stages wrote."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gaitforge.failures import count_failures
from gaitforge.outdated import outdated_answer, outdated_export
from gaitforge.trials import Trial, TrialLog
from gaitforge.work import SplitFolder, WorkFolder, read_object, write_json


def write_summary(work: WorkFolder) -> dict[str, Any]:
    """Write `summary.json` anew; a part is null where its stage has not run.

    With several splits the scores are those of `runs/pooled.json`, over all people, and each row of
    a front names its split; what only a single split has (a verdict) is then null. An answer or an export
    that is not of what lies in the folder now is told to be so under `outdated`, and has no verdict.
    docs/summary.md lists all keys.
    """
    # not all of runs/: it may hold what was made for the splits of another rule
    folders = [work.run(path.stem) for path in sorted(work.splits.glob("*.json"))]
    searches = [
        (folder, head, list(TrialLog(folder)))
        for folder in folders
        if (head := _read(folder.search / "search.json"))
    ]
    trials = {folder.root.name: ended for folder, _, ended in searches}
    outdated = {
        "answer": next(
            (
                sentence
                for folder in folders
                if (
                    sentence := outdated_answer(
                        work, folder.root.name, trials.get(folder.root.name)
                    )
                )
            ),
            None,
        ),
        "export": outdated_export(work, trials),
    }
    summary = {
        "schema": 2,
        "store": _store(work),
        "teacher": _teacher(folders),
        "search": _search(searches),
        "failures": count_failures(trial for _, _, trials in searches for trial in trials)
        if searches
        else None,
        "searched_front": _searched(folders),
        "confirm_teacher": _confirm_scores(work, folders, "teacher"),
        "reference": _confirm_scores(work, folders, "reference"),
        "chance": _confirm_scores(work, folders, "chance"),
        "confirmed_front": _confirmed(folders),
        "verdict": None if outdated["answer"] else _verdict(folders),
        "times_scored": _times_scored(folders),
        "export": _export(work),
        "exported": None if outdated["export"] else _exported(work),
        "outdated": outdated,
    }
    write_json(work.summary, summary)
    return summary


def _store(work: WorkFolder) -> dict[str, Any] | None:
    info = _read(work.store / "store.json")
    return info and _pick(info, "recordings", "people", "classes", "quarantined", "version")


def _teacher(folders: list[SplitFolder]) -> dict[str, Any] | None:
    models = [model for folder in folders if (model := _read(folder.teacher / "model.json"))]
    if not models:
        return None
    first = _pick(models[0], "family", "params")
    means = {
        key: sum(model[key] for model in models) / len(models)
        for key in ("val_macro_f1", "val_accuracy")
    }
    return {**first, **means, "seconds": sum(model["seconds"] for model in models)}


def _search(
    searches: list[tuple[SplitFolder, dict[str, Any], list[Trial]]],
) -> dict[str, Any] | None:
    """What all searches together did, from each one's folder, search.json and ended trials."""
    if not searches:
        return None
    trials = [trial for _, _, ended in searches for trial in ended]
    states = Counter(trial.state for trial in trials)
    fronts = [front for folder, _, _ in searches if (front := _read(folder.search / "front.json"))]
    volumes = [volume for front in fronts if (volume := front["hypervolume"]) is not None]
    return {
        "trials": {state: states[state] for state in ("finished", "stopped", "failed")},
        "rejected": sum(head["rejected"] for _, head, _ in searches),
        # of more than three objectives there is none
        "hypervolume": sum(volumes) / len(fronts) if len(volumes) == len(fronts) > 0 else None,
        "reference": searches[0][1]["reference"],
        "epochs": sum(trial.epochs for trial in trials),
        "seconds": sum(head["seconds"] for _, head, _ in searches),
    }


def _confirm_scores(
    work: WorkFolder, folders: list[SplitFolder], model: str
) -> dict[str, Any] | None:
    """Of a model on the confirm people, over all of them where there are several splits."""
    pooled = _read(work.pooled) if len(folders) > 1 else None
    scores = (pooled or next(iter(_scores(folders)), {})).get(model)
    return scores and _pick(scores, "macro_f1", "interval", "accuracy")


def _verdict(folders: list[SplitFolder]) -> dict[str, Any] | None:
    """Of several splits each has its own, on a part of the people, and together they have none."""
    return (
        _scores(folders)[0].get("verdict") if len(folders) == len(_scores(folders)) == 1 else None
    )


def _times_scored(folders: list[SplitFolder]) -> int | None:
    """The largest of the splits."""
    counts = [scores["times_scored"] for scores in _scores(folders) if "times_scored" in scores]
    return max(counts, default=None)


def _scores(folders: list[SplitFolder]) -> list[dict[str, Any]]:
    """What confirm has written, split by split; an older one lacks some of it."""
    return [
        scores
        for folder in folders
        if (scores := _read(folder.confirm / "scores.json")) is not None
    ]


def _searched(folders: list[SplitFolder]) -> list[dict[str, Any]] | None:
    keys = ("trial", "family", "params", "macs", "val_macro_f1", "val_accuracy")
    rows = _rows(folders, "search/front.json", "front")
    extra = ("split",) if len(folders) > 1 else ()
    return rows and [_pick(row, *keys, *extra) for row in rows]


def _confirmed(folders: list[SplitFolder]) -> list[dict[str, Any]] | None:
    keys = (
        "trial",
        "family",
        "params",
        "macro_f1",
        "interval",
        "accuracy",
        "p_on_front",
        "noninferior",
        "seeds",
    )
    rows = _rows(folders, "confirm/scores.json", "members")
    extra = ("split",) if len(folders) > 1 else ()
    return rows and [
        {**_pick(row, *keys, *extra), **_against(row.get("network", {}))} for row in rows
    ]


def _against(network: dict[str, Any]) -> dict[str, Any]:
    """A network minus what anybody could have had; null where an older confirm did not tell it."""
    return {key: network.get(key) for key in ("against_reference", "against_chance")}


def _rows(folders: list[SplitFolder], file: str, key: str) -> list[dict[str, Any]] | None:
    found = [(folder, data) for folder in folders if (data := _read(folder.root / file))]
    if not found:
        return None
    several = len(folders) > 1
    return [
        {**row, **({"split": folder.root.name} if several else {})}
        for folder, data in found
        for row in data[key]
    ]


def _export(work: WorkFolder) -> dict[str, Any] | None:
    card = _read(work.export / "card.json")
    keys = (
        "trial",
        "onnx",
        "onnx_bytes",
        "max_abs_difference",
        "latency_ms_p50",
        "latency_ms_p95",
    )
    return card and _pick(card, *keys)


def _exported(work: WorkFolder) -> dict[str, Any] | None:
    """The very network of `export/`, as it was tested; null for an export of before networks were."""
    card = _read(work.export / "card.json")
    if card is None or "network" not in card:
        return None
    keys = ("seed", "macro_f1", "interval", "difference", "difference_interval", "noninferior")
    network = card["network"]
    return {**_pick(card, "trial", "split"), **_pick(network, *keys), **_against(network)}


def _read(path: Path) -> Any:
    return read_object(path) if path.is_file() else None


def _pick(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: data[key] for key in keys}
