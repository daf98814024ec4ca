"""`gaitforge show`: what a work folder holds, in words."""

from __future__ import annotations

from typing import Any

from gaitforge.summary import write_summary
from gaitforge.work import WorkFolder


def describe(work: WorkFolder) -> str:
    """A screen of text; raises FileNotFoundError where there is no work folder."""
    if not (work.store / "store.json").is_file():
        raise FileNotFoundError(
            f"{work.root} is no work folder with a store; run `gaitforge ingest run.toml` first."
        )
    summary = write_summary(work)
    parts = [_store(summary["store"])]
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
        parts.append(f"search: {states}; hypervolume {summary['search']['hypervolume'] or 0:.3f}")
    if summary["searched_front"]:
        parts += [
            "searched front (validation people):",
            *map(_searched, summary["searched_front"]),
        ]
    if summary["confirm_teacher"]:
        teacher = summary["confirm_teacher"]
        parts.append(
            f"confirmed (unseen people): teacher macro F1 {teacher['macro_f1']:.3f}{_interval(teacher)}"
        )
        parts += map(_confirmed, summary["confirmed_front"])
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


def _store(store: dict[str, Any]) -> str:
    return (
        f"store: {store['recordings']:,} recordings of {store['people']} people in {len(store['classes'])} classes"
        f" ({', '.join(store['classes'])}), {store['quarantined']} in quarantine, version {store['version']}"
    )


def _searched(row: dict[str, Any]) -> str:
    return (
        f"  {row.get('split', '')}trial {row['trial']:>3}  {row['family']:<6} {row['params']:>9,} parameters  "
        f"macro F1 {row['val_macro_f1']:.3f}"
    )


def _confirmed(row: dict[str, Any]) -> str:
    verdict = {True: "not inferior", False: "may be inferior", None: "too few people to tell"}[
        row["noninferior"]
    ]
    return (
        f"  {row.get('split', '')}trial {row['trial']:>3}  {row['family']:<6} {row['params']:>9,} parameters  "
        f"macro F1 {row['macro_f1']:.3f}{_interval(row)}  {verdict}"
    )


def _interval(row: dict[str, Any]) -> str:
    return (
        ""
        if row["interval"] is None
        else f" ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})"
    )
