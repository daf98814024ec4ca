"""One student tried, or being tried: search/trials/<number>.json and search/running/<number>.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, NotRequired, Required

from pydantic import ConfigDict, GetPydanticSchema
from typing_extensions import TypedDict

from gaitforge.recipe import FitPlan
from gaitforge.records.json_file import JsonFile
from gaitforge.records.values import Count, Distilled, Number, Searched, Trained

State = Literal["finished", "stopped", "failed", "running"]
ENDED: tuple[State, ...] = ("finished", "stopped", "failed")


class EpochRow(TypedDict):
    """An epoch as it stands in a file; a search of other objectives adds their scores."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    epoch: Required[Count]
    train_loss: NotRequired[Number]
    terms: NotRequired[Mapping[str, Number]]
    val_macro_f1: NotRequired[Number]
    val_accuracy: NotRequired[Number]
    seconds: NotRequired[Number]


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One point of a learning curve, of a student or a teacher; `terms` are the named parts of the training loss."""

    epoch: int
    train_loss: float | None = None
    val_macro_f1: float | None = None
    val_accuracy: float | None = None
    terms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Epoch:
        """Make an epoch of a row of a file; keys that an epoch does not have are passed over."""
        known = (item.name for item in fields(cls))
        return cls(**{name: row[name] for name in known if name in row})


# a reader of many trials may put off reading the epochs, which are nine tenths of a file
Curve = Annotated[
    Sequence[Mapping[str, Any]],
    GetPydanticSchema(lambda _, handler: handler(tuple[EpochRow, ...])),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One student tried, or being tried.

    `state` is finished (trained to full fidelity: may enter a front), stopped early or failed
    (`reason` says why), or running. `suggested` holds the searched values under Optuna's names,
    `distributions` their ranges as Optuna's JSON, `rejected` the proposals over budget that came
    before it, and `sampler` what the sampler keeps with it, so that a study can be rebuilt. `rungs` are
    its scores at the epochs where students are compared; `violation` says how far a stopped one was
    from going on (0 for the others). Where its worker died, `killed_by` names the signal, or what else
    killed it, and `stderr` has the worker's last words; where an error ended it, `traceback` tells
    where that was raised.
    """

    number: Count
    state: State
    family: str
    sizes: Mapping[str, Any]
    params: Count
    macs: Count
    bytes: Count = 0  # of its weights, as a file
    seed: int
    hash: str  # of its settings without the seed
    suggested: Mapping[str, Searched]
    distributions: Mapping[str, str] = field(default_factory=dict)
    recipe: Trained
    distill: Distilled
    rejected: tuple[Mapping[str, Any], ...] = ()
    sampler: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Number] | None = None
    rungs: tuple[Mapping[str, int | Number], ...] = ()
    violation: Number = 0.0
    curve: Curve = ()
    reason: str | None = None
    killed_by: str | None = None
    stderr: tuple[str, ...] = ()
    traceback: str | None = None
    epochs: Count = 0
    seconds: Number = 0.0
    node: str = ""  # the machine that trained it last
    started: str = ""
    ended: str | None = None

    def __post_init__(self) -> None:
        if self.state == "finished" and self.scores is None:
            raise ValueError(f"trial {self.number} is finished, but has no scores")

    @property
    def macro_f1(self) -> float | None:
        """Return macro F1 on the validation people at the trial's end; None where it has no scores."""
        return None if self.scores is None else self.scores.get("val_macro_f1")

    @property
    def accuracy(self) -> float | None:
        """Return the accuracy on the validation people at the trial's end; None where it has no scores."""
        return None if self.scores is None else self.scores.get("val_accuracy")

    @property
    def weights(self) -> Mapping[str, float]:
        """Return the weights of the distillation terms."""
        return self.distill.weights

    @property
    def plan(self) -> FitPlan:
        """Return the recipe with the trial's seed."""
        return FitPlan.of(self.recipe, self.seed)


TRIAL = JsonFile(
    record=Trial,
    what="a trial",
    stage="gaitforge search run.toml",
    remedy="move it out of the folder, or set the search aside with `gaitforge search --fresh run.toml`",
)
