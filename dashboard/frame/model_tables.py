"""Tables for the page of one model, from its epochs and its predictions; pure functions.

Predictions have one row per recording and seed, as `reading.read_predictions` returns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.reading.models import interval_words, over
from dashboard.reading.trial_log import Row
from gaitforge.metrics import expected_calibration_error
from gaitforge.recording import Recording
from gaitforge.records.confirm import Member, Scores
from gaitforge.records.trial import Epoch
from gaitforge.records.values import Interval
from gaitforge.stats import estimate, estimate_recall, is_too_few

BINS = 10  # of confidence, as those of the expected calibration error
POINTS = 400  # of a line that is drawn
MOST_CLASSES = 8  # of one recording's probabilities

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model said of one recording, with probability `sure`; `teacher_said` is None without a teacher."""

    recording: str
    person: str
    true_class: str
    said_class: str
    sure: float
    teacher_said: str | None

    @property
    def words(self) -> str:
        """Return one line that tells the recording from others: name, person, true class, and a wrongly said class."""
        wrong = "" if self.said_class == self.true_class else f", said {self.said_class}"
        return f"{self.recording}: {self.person}, {self.true_class}{wrong}"


def curve_table(curve: Iterable[Row]) -> pd.DataFrame:
    """Tabulate scores by epoch: columns epoch, macro_f1, accuracy; epochs without scores are left out."""
    rows = [
        (e.epoch, e.val_macro_f1, e.val_accuracy)
        for e in map(Epoch.of, curve)
        if e.val_macro_f1 is not None
    ]
    return pd.DataFrame(rows, columns=["epoch", "macro_f1", "accuracy"])


def loss_table(curve: Iterable[Row]) -> pd.DataFrame:
    """Tabulate training losses: columns epoch, term, loss; the whole loss is the term "total"."""
    rows = []
    for epoch in map(Epoch.of, curve):
        if epoch.train_loss is not None:
            rows.append((epoch.epoch, "total", epoch.train_loss))
        rows += [(epoch.epoch, name, loss) for name, loss in epoch.terms.items()]
    return pd.DataFrame(rows, columns=["epoch", "term", "loss"])


def confusion_table(predictions: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Count all K x K pairs of classes: true_class, said_class, recordings (mean over seeds), share.

    The share is that of the true class's recordings, NaN for a class without any.
    """
    seeds = max(int(predictions["seed"].nunique()), 1)
    counts = (
        predictions.groupby(["true_class", "said_class"])
        .size()
        .reindex(
            pd.MultiIndex.from_product([classes, classes], names=["true_class", "said_class"]),
            fill_value=0,
        )
    )
    table = (counts / seeds).rename("recordings").reset_index()
    whole = table.groupby("true_class")["recordings"].transform("sum")
    table["share"] = table["recordings"] / whole.where(whole > 0)
    return table


def people_table(predictions: pd.DataFrame, teacher: pd.DataFrame) -> pd.DataFrame:
    """Tabulate people, lowest accuracy first: columns person, classes, recordings, accuracy, teacher (NaN without)."""
    rows = [
        {
            "person": person,
            "classes": ", ".join(sorted(its["true_class"].unique())),
            "recordings": int(its["recording"].nunique()),
            "accuracy": float((its["true_class"] == its["said_class"]).mean()),
        }
        for person, its in predictions.groupby("person")
    ]
    table = pd.DataFrame(rows, columns=["person", "classes", "recordings", "accuracy"])
    right = teacher["true_class"] == teacher["said_class"]
    table["teacher"] = (
        table["person"].map(right.groupby(teacher["person"]).mean()).astype("float64")
    )
    return table.sort_values(["accuracy", "person"], ignore_index=True)


def recall_table(
    predictions: pd.DataFrame, teacher: pd.DataFrame, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Tabulate recall by class: columns class, people, recordings, recall, low, high, teacher.

    low and high are the 95 % interval of gaitforge.stats, NaN if the class has too few people. recall and teacher
    are NaN without recordings of the class.
    """
    counts_SPKK = count_confusions(predictions, classes)
    rows = []
    for place, name in enumerate(classes):
        its = predictions[predictions["true_class"] == name]
        found = None if counts_SPKK is None else estimate_recall(counts_SPKK, place)
        ends = (np.nan, np.nan) if found is None else (found.low, found.high)
        rows.append(
            {
                "class": name, "people": int(its["person"].nunique()), "recordings": int(its["recording"].nunique()),
                "recall": _share_right(its), "low": ends[0], "high": ends[1],
                "teacher": _share_right(teacher[teacher["true_class"] == name]),
            }
        )  # fmt: skip
    columns = ["class", "people", "recordings", "recall", "low", "high", "teacher"]
    return pd.DataFrame(rows, columns=columns)


HELD_COLUMNS = [
    "model", "macro_f1", "interval", "difference", "difference_interval", "reference", "reference_interval", "over",
]  # fmt: skip


def held_against_table(confirm: Scores, member: Member | None) -> pd.DataFrame:
    """Compare a student on the confirm people with the teacher, the reference and chance.

    Columns model, over (what the intervals are over), macro_f1, interval, and, in words, the difference to the
    teacher and to the reference with their intervals. Rows: the network that is handed out, the mean of the
    recipe's seeds, the same student trained without distillation, the teacher, the reference, the commonest
    class. Without a member only the last three.
    """
    rows = []
    if member is not None:
        network, alone = member.network, member.alone
        beside = network.against_reference
        rows.append(
            {
                **_make_row(f"its network, seed {network.seed}", over(1), network.macro_f1, network.interval),
                **_make_difference("difference", network.difference, network.difference_interval),
                **_make_difference("reference", beside.difference, beside.difference_interval),
            }
        )  # fmt: skip
        if member.seeds > 1:
            rows.append(
                {
                    **_make_row(f"mean of {member.seeds} seeds", over(member.seeds), member.macro_f1, member.interval),
                    **_make_difference("difference", member.difference, member.difference_interval),
                }
            )  # fmt: skip
        if alone is not None:
            rows.append(
                _make_row(
                    "the same, not distilled", over(member.seeds), alone.macro_f1, alone.interval
                )
            )
    teacher = _make_row("teacher", over(1), confirm.teacher.macro_f1, confirm.teacher.interval)
    reference, chance = confirm.reference, confirm.chance
    better = reference.teacher_minus_this
    rows += [
        {
            **teacher,
            **_make_difference("reference", better.difference, better.difference_interval),
        },
        _make_row("reference: ridge regression", over(1), reference.macro_f1, reference.interval),
        _make_row("always the commonest class", over(1), chance.macro_f1, chance.interval),
    ]
    return pd.DataFrame(rows, columns=HELD_COLUMNS)


def _make_row(model: str, over_what: str, f1: float, ends: Interval) -> dict[str, object]:
    empty: dict[str, object] = dict.fromkeys(HELD_COLUMNS, "")
    return empty | {
        "model": model,
        "over": over_what,
        "macro_f1": f1,
        "interval": interval_words(ends),
    }


def _make_difference(column: str, difference: float, ends: Interval) -> dict[str, object]:
    return {
        column: f"{difference:+.3f}",
        f"{column}_interval": interval_words(ends, signed=True),
    }


def keep_network(predictions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Keep the predictions of the one training (seed) that is handed out."""
    return predictions[predictions["seed"] == seed].reset_index(drop=True)


def calibration_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Bin predictions by confidence: mean confidence and accuracy per bin, and its share of all rows; no empty bins.

    Confidence is the largest probability; a value on an edge belongs to the bin below.
    """
    confidence_N = _probabilities(predictions).max(axis=1)
    right_N = (predictions["true_class"] == predictions["said_class"]).to_numpy(dtype=np.float64)
    bin_N = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence_N, side="left")
    table = pd.DataFrame({"bin": bin_N, "confidence": confidence_N, "accuracy": right_N})
    found = table.groupby("bin").agg(
        confidence=("confidence", "mean"),
        accuracy=("accuracy", "mean"),
        recordings=("accuracy", "size"),
    )
    found["share"] = found["recordings"] / max(len(predictions), 1)
    return found.drop(columns="recordings").reset_index(drop=True)


def calibration_error(predictions: pd.DataFrame, classes: tuple[str, ...]) -> float | None:
    """Compute the expected calibration error as the mean over seeds, since one seed alone would be used.

    None if there are no predictions, or if true classes are unknown.
    """
    errors = []
    for _, its in predictions.groupby("seed"):
        true_N = _numbers(its["true_class"], classes)
        if (true_N >= 0).all():
            errors.append(expected_calibration_error(_probabilities(its), true_N, BINS))
    return float(np.mean(errors)) if errors else None


def robustness_table(said: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Tabulate macro F1 by model and share of hidden joints: columns model, hidden, macro_f1, low, high.

    low and high are the 95 % interval of gaitforge.stats, NaN with too few people.
    """
    rows = []
    for (model, hidden), its in said.groupby(["model", "hidden"]):
        counts_SPKK = count_confusions(its, classes)
        if counts_SPKK is None:
            continue
        found = estimate(counts_SPKK)
        few = is_too_few(counts_SPKK.shape[1])
        rows.append(
            {
                "model": model, "hidden": hidden, "macro_f1": found.mean,
                "low": np.nan if few else found.low, "high": np.nan if few else found.high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "hidden", "macro_f1", "low", "high"])


def recording_table(
    student: pd.DataFrame, teacher: pd.DataFrame, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Tabulate recordings: columns recording, person, true_class, said_class, sure, teacher_said (None without).

    A model says the class with the largest probability, averaged over its seeds; `sure` is that probability.
    """
    said = _answers(student, classes)
    of_teacher = _answers(teacher, classes).set_index("recording")["said_class"]
    said["teacher_said"] = said["recording"].map(of_teacher).astype(object)
    said["teacher_said"] = said["teacher_said"].where(said["teacher_said"].notna(), None)
    return said.sort_values(["person", "recording"], ignore_index=True)


def collect_answers(table: pd.DataFrame) -> dict[str, Answer]:
    """Turn the rows of `recording_table` into answers by recording, in the same order."""
    return {
        str(row["recording"]): Answer(
            recording=str(row["recording"]),
            person=str(row["person"]),
            true_class=str(row["true_class"]),
            said_class=str(row["said_class"]),
            sure=float(row["sure"]),
            teacher_said=None if row["teacher_said"] is None else str(row["teacher_said"]),
        )
        for row in table.to_dict("records")
    }


def probability_table(
    models: Mapping[str, pd.DataFrame], recording: str, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Tabulate the probabilities for one recording: columns model, class, probability, low, high, true.

    probability is the mean over the model's seeds, low and high its least and greatest. With many classes only
    the MOST_CLASSES with the largest probability by any model are kept, and the true one.
    """
    rows = []
    for model, predictions in models.items():
        its = predictions[predictions["recording"] == recording]
        if its.empty:
            continue
        values_SK = _probabilities(its)
        truth = str(its["true_class"].iloc[0])
        rows += [
            {
                "model": model, "class": name, "probability": float(values_SK[:, k].mean()),
                "low": float(values_SK[:, k].min()), "high": float(values_SK[:, k].max()),
                "true": name == truth,
            }
            for k, name in enumerate(classes)
        ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["model", "class", "probability", "low", "high", "true"])
    largest = table.groupby("class")["probability"].max().nlargest(MOST_CLASSES).index
    return table[table["class"].isin(largest) | table["true"].astype(bool)]


def channel_table(
    recording: Recording, nodes: Sequence[str], channels: Sequence[str]
) -> pd.DataFrame:
    """Tabulate a recording without an up axis (no body in space) as lines: columns time, node, channel, value.

    Time is in seconds, or in per cent of the recording if it has no frame rate. At most POINTS frames are kept.
    """
    values_TVC = recording.positions_TVC
    frames = len(values_TVC)
    kept_T = np.unique(np.linspace(0, frames - 1, min(frames, POINTS)).round().astype(int))
    scale = 100 / (frames - 1) if recording.fps is None else 1 / recording.fps
    tables = [
        pd.DataFrame(
            {"time": kept_T * scale, "node": node, "channel": channel, "value": values_TVC[kept_T, v, c]}
        )
        for v, node in enumerate(nodes)
        for c, channel in enumerate(channels)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True).dropna(subset=["value"])


def count_confusions(predictions: pd.DataFrame, classes: tuple[str, ...]) -> Ints | None:
    """Count confusion matrices by seed and person [S, P, K, K], people ordered by name.

    None without predictions, with an unknown class, or if the seeds did not all score the same people.
    """
    true_N = _numbers(predictions["true_class"], classes)
    said_N = _numbers(predictions["said_class"], classes)
    seed_N, seeds = pd.factorize(predictions["seed"], sort=True)
    person_N, people = pd.factorize(predictions["person"], sort=True)
    counts_SPKK = np.zeros((len(seeds), len(people), len(classes), len(classes)), dtype=np.int64)
    known_N = (true_N >= 0) & (said_N >= 0)
    if not known_N.all() or counts_SPKK.size == 0:
        return None
    np.add.at(counts_SPKK, (seed_N, person_N, true_N, said_N), 1)
    return counts_SPKK if (counts_SPKK.sum(axis=(2, 3)) > 0).all() else None


def _answers(predictions: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Average over seeds: columns recording, person, true_class, said_class, sure; one row per recording."""
    columns = ["recording", "person", "true_class", "said_class", "sure"]
    if predictions.empty:
        return pd.DataFrame(columns=columns)
    values_NK = _probabilities(predictions)
    means = pd.DataFrame(values_NK).groupby(predictions["recording"].to_numpy()).mean()
    first = predictions.drop_duplicates("recording").set_index("recording")
    table = first.loc[means.index, ["person", "true_class"]]
    table["said_class"] = [classes[k] for k in means.to_numpy().argmax(axis=1)]
    table["sure"] = means.to_numpy().max(axis=1)
    return table.rename_axis("recording").reset_index()[columns]


def _share_right(predictions: pd.DataFrame) -> float:
    if predictions.empty:
        return float("nan")
    return float((predictions["true_class"] == predictions["said_class"]).mean())


def _numbers(names: pd.Series[str], classes: tuple[str, ...]) -> Ints:
    """Return the index of each name among the classes [N], -1 for an unknown name."""
    return pd.Index(classes).get_indexer(pd.Index(names)).astype(np.int64)


def _probabilities(predictions: pd.DataFrame) -> NDArray[np.float64]:
    return np.array(predictions["probabilities"].tolist(), dtype=np.float64)
