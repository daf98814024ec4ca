"""`gaitforge show`: what a work folder holds, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gaitforge.quarantine import in_words
from gaitforge.summary import write_summary
from gaitforge.work import WorkFolder, read_json
from trainers.answers import between


def describe(work: WorkFolder) -> str:
    """A screen of text; raises FileNotFoundError where there is no work folder."""
    if not (work.store / "store.json").is_file():
        raise FileNotFoundError(
            f"{work.root} is no work folder with a store; run `gaitforge ingest run.toml` first."
        )
    summary = write_summary(work)
    reasons = read_json(work.store / "store.json").get("reasons", {})
    parts = [_store(summary["store"], reasons)]
    if summary["teacher"]:
        teacher = summary["teacher"]
        parts.append(
            f"teacher: {teacher['family']}, {teacher['params']:,} parameters, validation macro F1 "
            f"{teacher['val_macro_f1']:.3f}, accuracy {teacher['val_accuracy']:.3f}"
        )
    if summary["search"]:
        states = ", ".join(
            f"{count} {state}" for state, count in summary["search"]["trials"].items()
        )
        volume = summary["search"]["hypervolume"]
        parts.append(
            f"search: {states}" + ("" if volume is None else f"; hypervolume {volume:.3f}")
        )
    if summary["searched_front"]:
        parts += [
            "searched front (validation people):",
            *map(_searched, summary["searched_front"]),
        ]
    for path in sorted(work.splits.glob("*.json")):
        scores = work.run(path.stem).confirm / "scores.json"
        if scores.is_file():
            parts += [
                f"confirmed on people never seen before, split {path.stem}:",
                *_confirmed(read_json(scores)),
            ]
        folds = work.run(path.stem).confirm / "folds.json"
        if folds.is_file():
            parts.append(f"  {read_json(folds)['sentence']}")
    # with a single split it would be of an earlier rule
    if work.pooled.is_file() and len(list(work.splits.glob("*.json"))) > 1:
        pooled = read_json(work.pooled)
        parts += (
            ["all splits together:", f"  {pooled['sentence']}"] if "sentence" in pooled else []
        )
    if summary["export"]:
        export = summary["export"]
        parts.append(
            f"export: trial {export['trial']}, {export['onnx_bytes']:,} bytes, "
            f"{export['latency_ms_p50']:.2f} ms a window"
        )
    missing = [
        name for name in ("teacher", "search", "confirm_teacher", "export") if not summary[name]
    ]
    if missing:
        parts.append(
            f"not there yet: {', '.join(name.removesuffix('_teacher') for name in missing)}"
        )
    return "\n".join(parts)


def _store(store: dict[str, Any], reasons: dict[str, int]) -> str:
    why = f" ({in_words(reasons)})" if reasons else ""
    return (
        f"store: {store['recordings']:,} recordings of {store['people']} people in {len(store['classes'])} classes"
        f" ({', '.join(store['classes'])}), {store['quarantined']} in quarantine{why}, version {store['version']}"
    )


def _searched(row: dict[str, Any]) -> str:
    return (
        f"  {row.get('split', '')}trial {row['trial']:>3}  {row['family']:<6} {row['params']:>9,} parameters  "
        f"macro F1 {row['val_macro_f1']:.3f}"
    )


def _confirmed(scores: dict[str, Any]) -> Iterator[str]:
    teacher = scores["teacher"]
    yield f"  {'teacher':<9}  {teacher['family']:<6} {_scores(teacher, teacher['params'])}"
    for row in scores["members"]:
        verdict = {
            True: "not inferior",
            False: "not shown to be as good",
            None: "too few people to tell",
        }
        # a row of an older confirm is of the front
        near = ", near the front" if row.get("searched", "front") == "near" else ""
        yield f"  trial {row['trial']:>3}  {row['family']:<6} {_scores(row, row['params'])}{near}"
        yield f"{'':<20}against the teacher {_difference(row)}: {verdict[row['noninferior']]}"
        if row["alone"] is not None:
            alone = row["alone"]
            yield f"{'':<20}alone {alone['macro_f1']:.3f}{_interval(alone)}, distillation adds {_difference(alone)}"
    if scores["too_few"]:
        for model, trial in [
            ("teacher", None),
            *(("student", row["trial"]) for row in scores["members"]),
        ]:
            each = [r for r in scores["per_person"] if (r["model"], r["trial"]) == (model, trial)]
            name = model if trial is None else f"trial {trial}"
            yield f"  accuracy of {name} by person: " + ", ".join(
                f"{r['person']} {r['accuracy']:.3f}" for r in each
            )
    yield from _optimism(scores.get("optimism"))
    yield f"  {scores['sentence']}"


def _optimism(optimism: dict[str, Any] | None) -> Iterator[str]:
    """What became of the search's scores; nothing for a confirm that did not ask yet."""
    if optimism is None:
        return
    for row in optimism["members"]:
        yield (
            f"  trial {row['trial']:>3}  {'search':<6} {row['believed']:.3f}, its refits {row['validated']:.3f} on the "
            f"same people and {row['confirmed']:.3f} on others: luck {row['luck']:+.3f}, people {row['people']:+.3f}"
        )
    if optimism["seed_sd"] is not None:
        yield f"  validation macro F1 of refits spreads over seeds by {optimism['seed_sd']:.3f} (standard deviation)"
    yield f"  {optimism['sentence']}"


def _scores(row: dict[str, Any], params: int) -> str:
    return f"{params:>9,} parameters  macro F1 {row['macro_f1']:.3f}{_interval(row)}  accuracy {row['accuracy']:.3f}"


def _difference(row: dict[str, Any]) -> str:
    ends = row["difference_interval"]
    text = f"{row['difference']:+.3f}"
    return text if ends is None else f"{text} ({between(ends)})"


def _interval(row: dict[str, Any]) -> str:
    return (
        ""
        if row["interval"] is None
        else f" ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})"
    )
