"""Tables that compare two to four models, or two work folders; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from dashboard.frame.model_tables import count_confusions, curve_table, keep_network, recall_table
from dashboard.reading.models import TEACHER, Model, Setting, interval_words, many, say_tested
from dashboard.reading.work_folder import Progress, SplitResults
from gaitforge import stats
from gaitforge.records.confirm import Member, Scores
from gaitforge.records.values import Interval

MOST = 4  # models beside each other
NETWORK = "macro F1, confirm people, its network"
ROLES = {"train": 0, "validation": 1, "confirm": 2}


def settings_table(models: Sequence[Model]) -> pd.DataFrame:
    """Compare settings: columns of (their kind), setting, differs, shared, and one per model's title ("" for none).

    Settings that differ come first. The seed never counts as a difference. A model without any setting of a kind
    (a teacher has no recipe) makes no difference either, but a setting is shared only if all models have it.
    """
    groups = {model.title: {"sizes", *(s.group for s in model.settings)} for model in models}
    found: dict[tuple[str, str], dict[str, str]] = {}
    for model in models:
        family = Setting(group="sizes", name="family", value=model.family)
        for setting in (family, *model.settings):
            found.setdefault((setting.group, setting.name), {})[model.title] = setting.value
    rows = []
    for (group, name), values in found.items():
        shown = [values.get(model.title, "") for model in models]
        told = {values.get(title, "") for title, its in groups.items() if group in its}
        rows.append(
            {
                "of": group,
                "setting": name,
                "differs": len(told) > 1 and group != "trial",
                "shared": len(values) == len(models) and len(told) == 1,
                **dict(zip([model.title for model in models], shown, strict=True)),
            }
        )
    table = pd.DataFrame(rows)
    return table.sort_values("differs", ascending=False, kind="stable", ignore_index=True)


def facts_table(models: Sequence[Model], confirm: Scores | None) -> pd.DataFrame:
    """Compare the models' facts in words: column fact and one per model; facts that no model has are left out."""
    facts = {model.title: _facts(model, confirm) for model in models}
    names = list(dict.fromkeys(name for its in facts.values() for name in its))
    rows = [
        {"fact": name} | {m.title: facts[m.title].get(name, "") for m in models} for name in names
    ]
    table = pd.DataFrame(rows)
    return table[(table.drop(columns="fact") != "").any(axis=1)].reset_index(drop=True)


def score_points(models: Sequence[Model], confirm: Scores | None) -> pd.DataFrame:
    """Tabulate macro F1 on validation and confirm people: columns model, people, macro_f1, low, high.

    low and high are NaN without an interval. On confirm people a student's score is the mean of its seeds.
    """
    rows: list[dict[str, object]] = []
    for model in models:
        if model.macro_f1 is not None:
            rows.append({"model": model.title, "people": "validation", "macro_f1": model.macro_f1})
        score, ends = _confirmed(model, confirm)
        if score is not None:
            low, high = ends or (np.nan, np.nan)
            rows.append(
                {
                    "model": model.title,
                    "people": "confirm",
                    "macro_f1": score,
                    "low": low,
                    "high": high,
                }
            )
    table = pd.DataFrame(rows, columns=["model", "people", "macro_f1", "low", "high"])
    return table.astype({"macro_f1": "float64", "low": "float64", "high": "float64"})


def pairs_table(predictions: Mapping[str, pd.DataFrame], classes: tuple[str, ...]) -> pd.DataFrame:
    """Compare each pair of models: columns first, second, difference (macro F1, first minus second), low, high.

    The interval is that of gaitforge.stats.compare, as in all files and pages. A pair scored on different
    recordings has no row; low and high are NaN with too few people.
    """
    counts = {
        title: found
        for title, its in predictions.items()
        if (found := count_confusions(its, classes)) is not None
    }
    rows = []
    for (first, one), (second, other) in combinations(counts.items(), 2):
        try:
            found_difference = stats.compare(one, other)
        except ValueError:  # other recordings: nothing to pair
            continue
        few = stats.is_too_few(one.shape[-3])
        rows.append(
            {
                "first": first,
                "second": second,
                "difference": found_difference.mean,
                "low": np.nan if few else found_difference.low,
                "high": np.nan if few else found_difference.high,
            }
        )
    return pd.DataFrame(rows, columns=["first", "second", "difference", "low", "high"])


def keep_networks(
    models: Sequence[Model], predictions: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Reduce each confirmed student's predictions to the one network that is handed out; leave the others unchanged."""
    seeds = {model.title: model.member.network.seed for model in models if model.member}
    return {
        title: keep_network(its, seeds[title]) if title in seeds else its
        for title, its in predictions.items()
    }


def curves_table(models: Sequence[Model]) -> pd.DataFrame:
    """Tabulate learning curves: columns model, epoch, macro_f1 (on the validation people)."""
    tables = [curve_table(model.curve).assign(model=model.title) for model in models]
    return pd.concat(tables, ignore_index=True)[["model", "epoch", "macro_f1"]]


def recalls_table(
    predictions: Mapping[str, pd.DataFrame], classes: tuple[str, ...]
) -> pd.DataFrame:
    """Tabulate recall: columns model, class, people, recordings, recall, low, high; one row per model and class."""
    tables = [
        recall_table(its, its.head(0), classes).drop(columns="teacher").assign(model=title)
        for title, its in predictions.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def people_table(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tabulate people: columns person, classes, recordings, each model's accuracy, spread; largest spread first.

    The spread is highest minus lowest accuracy, NaN for a person whom fewer than two models have scored.
    """
    table: pd.DataFrame | None = None
    for title, its in predictions.items():
        right = (its["true_class"] == its["said_class"]).groupby(its["person"]).mean()
        if table is None:
            people = its.groupby("person")
            table = pd.DataFrame(
                {
                    "classes": people["true_class"].agg(
                        lambda found: ", ".join(sorted(set(found)))
                    ),
                    "recordings": people["recording"].nunique(),
                }
            )
        table[title] = right.reindex(table.index)
    if table is None:
        return pd.DataFrame(columns=["person", "classes", "recordings", "spread"])
    scores = table[list(predictions)]
    spread = scores.max(axis=1) - scores.min(axis=1)
    table["spread"] = spread.where(scores.notna().sum(axis=1) > 1)
    return (
        table.rename_axis("person")
        .reset_index()
        .sort_values(["spread", "person"], ascending=[False, True], ignore_index=True)
    )


def long_people(table: pd.DataFrame, titles: Sequence[str]) -> pd.DataFrame:
    """Reshape the people's accuracies to one row per model: person, classes, recordings, model, accuracy."""
    keys = ["person", "classes", "recordings"]
    return table.melt(keys, list(titles), var_name="model", value_name="accuracy").dropna()


# ---------------------------------------------------------------- work folders


def folder_facts(
    titles: Sequence[str],
    all_results: Sequence[SplitResults],
    progress: Sequence[Progress],
    stores: Sequence[str],
) -> pd.DataFrame:
    """Compare the folders' facts in words: column fact and one per folder's title."""
    columns = {}
    for title, results, seen, store in zip(titles, all_results, progress, stores, strict=True):
        columns[title] = _folder(results, seen, store)
    names = list(dict.fromkeys(name for its in columns.values() for name in its))
    rows = [{"fact": name} | {t: columns[t].get(name, "") for t in titles} for name in names]
    return pd.DataFrame(rows, columns=["fact", *titles])


def front_points(titles: Sequence[str], all_results: Sequence[SplitResults]) -> pd.DataFrame:
    """Tabulate both fronts of each folder: columns folder, kind, trial, family, params, macro_f1, low, high.

    `kind` is "searched" (on validation people) or "confirmed" (on confirm people).
    """
    rows: list[dict[str, object]] = []
    for title, results in zip(titles, all_results, strict=True):
        rows += [
            {
                "folder": title,
                "kind": "searched",
                "trial": trial.number,
                "family": trial.family,
                "params": trial.params,
                "macro_f1": trial.macro_f1,
            }
            for trial in results.trials
            if trial.number in results.front and trial.macro_f1 is not None
        ]
        for member in results.confirm.members if results.confirm else ():
            low, high = member.interval or (np.nan, np.nan)
            rows.append(
                {
                    "folder": title,
                    "kind": "confirmed",
                    "trial": member.trial,
                    "family": member.family,
                    "params": member.params,
                    "macro_f1": member.macro_f1,
                    "low": low,
                    "high": high,
                }
            )
    columns = ["folder", "kind", "trial", "family", "params", "macro_f1", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(["params", "macro_f1", "low", "high"], "float64"))


def list_settings_that_differ(
    titles: Sequence[str], settings: Sequence[Iterable[Setting]]
) -> pd.DataFrame:
    """List the searches' settings that differ between folders: column setting and one per folder."""
    found: dict[str, dict[str, str]] = {}
    for title, its in zip(titles, settings, strict=True):
        for setting in its:
            found.setdefault(setting.name, {})[title] = setting.value
    rows = [
        {"setting": name} | {title: values.get(title, "") for title in titles}
        for name, values in found.items()
        if len({values.get(title, "") for title in titles}) > 1
    ]
    return pd.DataFrame(rows, columns=["setting", *titles])


def _confirmed(model: Model, confirm: Scores | None) -> tuple[float | None, Interval]:
    if model.number == TEACHER and confirm is not None:
        return confirm.teacher.macro_f1, confirm.teacher.interval
    if model.member is None:
        return None, None
    return model.member.macro_f1, model.member.interval


def _facts(model: Model, confirm: Scores | None) -> dict[str, str]:
    score, ends = _confirmed(model, confirm)
    facts = {"family": model.family, "state": model.state, "parameters": f"{model.params:,}"}
    if confirm is not None:
        facts["of the teacher's parameters"] = (
            f"{model.params / max(confirm.teacher.params, 1):.2%}"
        )
    facts |= {
        "MACs a window": "" if model.macs is None else f"{model.macs:,}",
        "macro F1, validation people": "" if model.macro_f1 is None else f"{model.macro_f1:.3f}",
    }
    member = model.member
    if member is None:
        facts[NETWORK] = _with(score, ends)
    elif confirm is not None:
        alone, network = member.alone, member.network
        facts |= {
            NETWORK: _with(network.macro_f1, network.interval),
            "its network, minus the teacher": _with(
                network.difference, network.difference_interval, signed=True
            ),
            "its network, tested": say_tested(confirm, member),
            "its network, minus the reference": _with(
                network.against_reference.difference,
                network.against_reference.difference_interval,
                signed=True,
            ),
            **(_recipe(member) if member.seeds > 1 else {}),
            "the same, not distilled": ""
            if alone is None
            else _with(alone.macro_f1, alone.interval),
            "gain of distillation": ""
            if alone is None
            else _with(alone.difference, alone.difference_interval, signed=True),
            "probability on the front": ""
            if member.p_on_front is None
            else f"{member.p_on_front:.2f}",
            "seeds": str(member.seeds),
        }
    facts["training"] = f"{many(model.epochs, 'epoch')}, {model.seconds:,.0f} s"
    return facts


def _recipe(member: Member) -> dict[str, str]:
    return {
        "macro F1, confirm people, mean of its seeds": _with(member.macro_f1, member.interval),
        "mean of its seeds, minus the teacher": _with(
            member.difference, member.difference_interval, signed=True
        ),
    }


def _folder(results: SplitResults, progress: Progress, store: str) -> dict[str, str]:
    facts = {"data": store}
    if results.split is not None:
        people = sorted(
            Counter(results.split.roles.values()).items(),
            key=lambda its: ROLES.get(its[0], len(ROLES)),
        )
        facts["people"] = ", ".join(f"{count} {role}" for role, count in people)
    teacher, confirm = results.teacher, results.confirm
    if teacher is not None:
        facts["teacher"] = f"{teacher.family}, {teacher.params:,} parameters"
        facts["teacher, macro F1 on validation people"] = f"{teacher.val_macro_f1:.3f}"
    if results.search is not None:
        facts["objectives"] = ", ".join(results.search.objectives)
    states = [
        f"{results.count(s)} {s}" for s in ("finished", "stopped", "failed") if results.count(s)
    ]
    facts["trials"] = ", ".join(states)
    facts["students on the front"] = str(len(results.front))
    if progress.hypervolume is not None:
        facts["hypervolume"] = f"{progress.hypervolume:.4f}"
    if confirm is not None:
        facts["confirm people"] = str(confirm.people)
        facts["teacher, macro F1 on confirm people"] = _with(
            confirm.teacher.macro_f1, confirm.teacher.interval
        )
        facts["reference, macro F1 on confirm people"] = _with(
            confirm.reference.macro_f1, confirm.reference.interval
        )
        facts["verdict"] = confirm.verdict.word
        member = confirm.answer
        if member is not None:
            network = member.network
            facts |= {
                "it is about": f"trial {member.trial}, {member.family}",
                "its parameters": f"{member.params:,}",
                "its network, macro F1 on confirm people": _with(
                    network.macro_f1, network.interval
                ),
                "its network, minus the teacher": _with(
                    network.difference, network.difference_interval, signed=True
                ),
                "its network, tested": say_tested(confirm, member),
            }
    return facts


def _with(score: float | None, ends: Interval, signed: bool = False) -> str:
    if score is None:
        return ""
    words = f"{score:+.3f}" if signed else f"{score:.3f}"
    return f"{words} ({interval_words(ends, signed)})" if ends else words
