"""run.toml as typed settings: one dataclass per table, each key checked where it enters."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from gaitforge.ingest import ReadOptions
from gaitforge.ingest.people import look_alikes
from gaitforge.ingest.synthetic import SyntheticSettings
from gaitforge.layout import read_layout
from gaitforge.objectives import DEFAULT, check_objectives
from gaitforge.quality import QualitySettings
from gaitforge.recipe import CLEAN, Disturbance, off
from gaitforge.recipe import FitPlan as FitPlan
from gaitforge.recipe import require as _must
from gaitforge.records.json_file import JsonFile, plain
from gaitforge.records.store import HowRead
from gaitforge.splits import SplitSettings
from gaitforge.toml import read_toml
from gaitforge.windows import WindowSettings
from gaitforge.work import S3, fingerprint, open_path

# Beyond what any run asks for, and within what can be counted and stored: of whole numbers, by key.
MOST: Mapping[str, int] = {
    **dict.fromkeys(("epochs", "trials", "batch", "resamples", "patience"), 1_000_000),
    **dict.fromkeys(("length", "stride", "people_per_class", "recordings_per_person"), 100_000),
    **dict.fromkeys(("first", "factor", "seconds", "fps"), 1_000_000),
    **dict.fromkeys(("views", "seeds", "members", "neighbours", "folds", "workers"), 10_000),
    **dict.fromkeys(("cpus", "concurrent", "cpus_per_trial"), 100_000),
    **dict.fromkeys(("gpus_per_trial", "gpus_per_worker"), 1_000),
    "seed": 2**32 - 1,
}
MOST_SIZE = 100_000
_SIZES = "teacher.sizes."

JOINTS_ALONE = (("joints",),)  # of search.streams: what students see unless more is asked for

SAMPLERS = ("tpe", "nsga2", "nsga3", "gp", "random")


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestSettings:
    """Where the recordings come from: files of any format that has a reader, or the synthetic cohort."""

    files: tuple[str, ...] = ()
    """Files of recordings, or patterns such as "walks/**/*.c3d", relative to the folder of run.toml."""
    layout: str = ""
    """Joints of the recordings: a built-in layout's name (coco17, kinect25, body25, h36m17, halpe26,
    kinect20, mediapipe33, mvnx23, ntu25, opencap43), or the path of a .toml file.
    """
    max_quarantined: float = 0.1
    """Share of recordings that may be unusable; with more, ingest is refused."""
    distinct_people: tuple[tuple[str, ...], ...] = ()
    """Ids that differ only in case, padding ("1", "01", "1.0"), white space or Unicode form are
    refused, unless a group here says that they are different people: [["P1", "p1"]].
    """
    pseudonymise: bool = False
    """Put keyed hashes in the place of the ids of people and recordings. The key is drawn once into
    ~/.gaitforge/pseudonym.key, or into the file that GAITFORGE_PSEUDONYM_KEY names.
    """
    keep_columns: tuple[str, ...] = ()
    """Further columns of text that go into the store although people have pseudonyms; others are
    refused.
    """
    read: ReadOptions = field(default_factory=ReadOptions)
    quality: QualitySettings = field(default_factory=QualitySettings)
    synthetic: SyntheticSettings | None = None

    def __post_init__(self) -> None:
        _must(
            bool(self.files) != (self.synthetic is not None),
            "ingest must have either 'files' or the table [ingest.synthetic], and not both; give one of them.",
        )
        _must(
            not self.files or bool(self.layout),
            "ingest.files needs ingest.layout: name a layout or a .toml file.",
        )
        _must(
            self.synthetic is None or not self.layout,
            f"ingest.layout is '{self.layout}', but that is for ingest.files; name the walkers' layout in "
            "ingest.synthetic.layout.",
        )
        _must(
            0 <= self.max_quarantined <= 1,
            f"ingest.max_quarantined is {self.max_quarantined}, but must be a share between 0 and 1.",
        )
        _must(
            self.pseudonymise or not self.keep_columns,
            "ingest.keep_columns is for ingest.pseudonymise, which is off: all columns are kept; leave it out.",
        )
        _must(
            not (self.pseudonymise and self.synthetic),
            "ingest.pseudonymise is on, but synthetic walkers are nobody; leave it out.",
        )
        for group in self.distinct_people:
            _must(
                look_alikes(group) == [tuple(sorted(group))],
                f"ingest.distinct_people has the group {list(group)}, but each must hold two or more ids that differ "
                "only in case, padding, white space or Unicode form; mend it, or leave it out.",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSettings:
    """The large model, trained by Ray Train."""

    family: str = "stgcn"
    """Kind of model: a name of the table of families."""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Sizes of the model; keys and types belong to the family, but for `streams`, which every one has."""
    # smoothed labels would level the wrong classes, whose order is what soft labels teach
    fit: FitPlan = field(default_factory=lambda: FitPlan(label_smoothing=0.0))
    patience: int = 0
    """Epochs without a better validation macro F1 before training ends; 0: never."""
    workers: int | tuple[int, int] = 1
    """Processes that share each batch; [fewest, most], as [1, 4], grows and shrinks with the
    cluster.
    """
    members: int = field(default=1, metadata=off(1))
    """Models that are trained side by side, from seeds one after the other, and answer together by the mean of their
    logits.
    """
    cross_fit: bool = field(default=False, metadata=off(False))
    """Deal the training people among the members: each trains without its part, and students learn of a window what the
    one has answered that never saw its person. For terms that read logits.
    """

    def __post_init__(self) -> None:
        _must(self.members >= 1, f"teacher.members is {self.members}, but must be at least 1.")
        _must(
            self.members > 1 or not self.cross_fit,
            "teacher.cross_fit deals people among members, but teacher.members is 1; raise it.",
        )
        _must(
            self.members == 1 or self.workers == 1,
            f"teacher.members is {self.members}, each of which is trained by one worker, but teacher.workers is "
            f"{self.workers}; make it 1.",
        )
        _must(
            self.patience >= 0,
            f"teacher.patience is {self.patience}, but must not be negative (0 = never stop early).",
        )
        if self.sizes.get("streams") == ["joints"]:  # what a model sees anyway: the same teacher
            sizes = {name: value for name, value in self.sizes.items() if name != "streams"}
            object.__setattr__(self, "sizes", sizes)
        fewest, most = self.worker_range
        _must(
            1 <= fewest <= most,
            f"teacher.workers is {self.workers}, but must be at least 1, or [fewest, most].",
        )
        _must(
            most <= self.fit.batch // 2,
            f"teacher.workers is {self.workers} for a batch of {self.fit.batch}, but each needs two windows of it; "
            "lower the one or raise the other.",
        )

    @property
    def worker_range(self) -> tuple[int, int]:
        """Return the fewest and the most workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingSettings:
    """When a student is held against others, and ended where it falls behind.

    Successive halving in its stopping form (Li et al. 2020, "A System for Massively Parallel
    Hyperparameter Tuning", sec. 3), for several objectives; the band is our own.
    """

    first: int = 3
    """Epochs before the first comparison; 0: students are never stopped."""
    factor: int = 3
    """Each comparison comes after this many times the epochs of the one before."""
    keep: float = 0.25
    """Share of the compared that goes on."""
    band: float = 1.0
    """Powers of ten of size: a student is compared with none larger, and none so much smaller."""

    def __post_init__(self) -> None:
        _must(
            self.first >= 0,
            f"search.stopping.first is {self.first}, but must not be negative (0 = never stop).",
        )
        _must(
            self.factor >= 2, f"search.stopping.factor is {self.factor}, but must be at least 2."
        )
        _must(
            0 < self.keep < 1,
            f"search.stopping.keep is {self.keep}, but must be a share between 0 and 1.",
        )
        _must(self.band > 0, f"search.stopping.band is {self.band}, but must be above 0.")

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return the epochs after which students are compared, where each is trained for `epochs`."""
        found = []
        epoch = self.first
        while 0 < epoch < epochs:
            found.append(epoch)
            epoch *= self.factor
        return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """Which students are tried, and how many."""

    families: tuple[str, ...] = ("stgcn", "tcn")
    """Families of the students."""
    trials: int = 72
    """Students that are tried; most are stopped early."""
    fit: FitPlan = field(default_factory=lambda: FitPlan(epochs=8))
    """As teacher.fit, for every student. `lr` and `weight_decay` have no effect, as they are
    searched; trial 0 has `seed`, each trial the next one.
    """
    terms: tuple[str, ...] = ("kd",)
    """Distillation terms whose weights are searched; []: students learn from labels alone; of
    several the search also chooses which.
    """
    terms_warmup: float = 0.0
    """Share of all steps over which those weights grow from 0."""
    streams: tuple[tuple[str, ...], ...] = field(default=JOINTS_ALONE, metadata=off(JOINTS_ALONE))
    """What students see of each joint, side by side, as teacher.sizes.streams; of several such lists
    the search chooses: [["joints"], ["joints", "bones"]].
    """
    teacher_sees: str = field(default="clean", metadata=off("clean"))
    """What the teacher answers where search.fit disturbs its views (jitter, joint_drop, part_drop): the "clean" view,
    or the view as "disturbed" as the student's, which then is the same in every epoch that takes it.
    """
    max_params: int | None = None
    """Parameters of the largest student."""
    max_params_share: float | None = 0.1
    """Parameters of the largest student as a share of the teacher's, or of one of its members; 1.0: up to its size."""
    max_macs: int | None = None
    """Most multiply-accumulates for one window."""
    max_bytes: int | None = None
    """Largest file of weights."""
    max_latency_ms: float | None = None
    """Slowest student: milliseconds for one window on one CPU thread, exported, before it is
    trained.
    """
    objectives: tuple[str, ...] = DEFAULT
    """Two or more of macro_f1, balanced_accuracy, weighted_kappa, calibration_error, robustness
    (macro F1 with joints missing), params, macs, bytes, latency_ms; among them a score and a
    cost.
    """
    stopping: StoppingSettings = field(default_factory=StoppingSettings)
    start_from: tuple[str, ...] = ()
    """Tried first: fronts of other work folders that have not seen who is to be confirmed here, or
    JSON files of searched values.
    """
    start_with: tuple[Mapping[str, str | int | float], ...] = ()
    """Tried after them: searched values themselves, as trials keep them under 'suggested':
    [{ family = "tcn", "tcn.layers" = 2, ... }].
    """
    sampler: str = "tpe"
    """What proposes students: tpe, random, gp, nsga2 or nsga3 (the last three learn from finished
    students only).
    """
    seed: int = 0
    """Seed of the proposals."""
    max_failed: float = 0.5
    """Share of ended trials that may fail before the search gives up."""
    allow_chance: bool = False
    """Imitate even a teacher that is no better than always answering the commonest class."""
    gate: bool = True
    """Before the first student, train the largest one alone: where the teacher is not ahead of it and
    of the reference on the validation people, all students learn without terms.
    """

    @property
    def answered(self) -> Disturbance:
        """Return how the views are disturbed that the teacher answers."""
        return self.fit.disturbance if self.teacher_sees == "disturbed" else CLEAN

    def __post_init__(self) -> None:
        _must(bool(self.families), "search.families is empty; name at least one family.")
        _must(self.trials >= 1, f"search.trials is {self.trials}, but must be at least 1.")
        _must(
            self.sampler in SAMPLERS,
            f"search.sampler is '{self.sampler}', but must be one of {', '.join(SAMPLERS)}.",
        )
        _must(
            0 <= self.max_failed <= 1,
            f"search.max_failed is {self.max_failed}, but must be a share from 0 to 1.",
        )
        _must(
            0 <= self.terms_warmup <= 1,
            f"search.terms_warmup is {self.terms_warmup}, but must be in [0, 1]: it is a share of all steps.",
        )
        _must(
            bool(self.streams)
            and all(choice and len(set(choice)) == len(choice) for choice in self.streams),
            f"search.streams is {_lists(self.streams)}, but must hold lists of one or more names, each once; leave it "
            "out for joints alone.",
        )
        twice = [
            choice
            for i, choice in enumerate(self.streams)
            if set(choice) in map(set, self.streams[:i])
        ]
        _must(
            not twice,
            f"search.streams has the choice {_lists(twice[:1])[1:-1]} twice; keep one of them.",
        )
        _must(
            self.teacher_sees in ("clean", "disturbed"),
            f"search.teacher_sees is '{self.teacher_sees}', but must be clean or disturbed.",
        )
        check_objectives(self.objectives)
        _must(
            "latency_ms" not in self.objectives or self.max_latency_ms is not None,
            "search.objectives names latency_ms, but then search.max_latency_ms must say what is too slow; add it.",
        )
        for name in ("max_params", "max_params_share", "max_macs", "max_bytes", "max_latency_ms"):
            value = getattr(self, name)
            _must(
                value is None or value > 0,
                f"search.{name} is {value}, but must be above 0; raise it.",
            )


def _lists(choices: Sequence[Sequence[str]]) -> str:
    """Write choices of streams as TOML has them."""
    return json.dumps([list(choice) for choice in choices])


# Of [search], what may differ between the starts of one search.
FREE_TO_CHANGE = ("trials", "max_failed", "start_from", "start_with", "allow_chance")


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmSettings:
    """How the searched front is tried on people it has never seen."""

    members: int = 3
    """Students taken from the searched front, spread over their sizes."""
    neighbours: int = 1
    """Students just below the front, which luck of the seed may have kept off it; one costs a
    third more training.
    """
    seeds: int = 3
    """Trainings of each student."""
    alone: bool = True
    """Train each student without distillation too."""
    margin: float = 0.05
    """Macro F1 that a student may lose against the teacher."""
    resamples: int = 2000
    """Bootstrap draws over people."""
    folds: int = 0
    """Parts of the people of all roles: the answer is trained without each, and scored on it; 0:
    none.
    """

    def __post_init__(self) -> None:
        _must(self.members >= 1, f"confirm.members is {self.members}, but must be at least 1.")
        _must(
            self.neighbours >= 0,
            f"confirm.neighbours is {self.neighbours}, but must not be negative (0 = the front alone).",
        )
        _must(self.seeds >= 1, f"confirm.seeds is {self.seeds}, but must be at least 1.")
        _must(
            0 < self.margin < 1, f"confirm.margin is {self.margin}, but must be between 0 and 1."
        )
        _must(
            self.resamples >= 100,
            f"confirm.resamples is {self.resamples}, but must be at least 100.",
        )
        _must(
            self.folds == 0 or self.folds >= 2,
            f"confirm.folds is {self.folds}, but must be 0 (none) or at least 2.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """Which confirmed student is handed out."""

    trial: int | None = None
    """The confirmed student to hand out; left out: the smallest that is not inferior to the
    teacher.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSettings:
    """Where the work runs: the only table that differs between a laptop and a cluster."""

    address: str = "local"
    """Where Ray is: "local" starts it for this run, "auto" takes the cluster that this machine is
    part of; or host:port of a head.
    """
    cpus: int | None = None
    """Cores that a local Ray may use; left out: all."""
    concurrent: int | None = None
    """Trials at a time; left out: as many as fit."""
    cpus_per_trial: int = 1
    """Cores of each student."""
    gpus_per_trial: float | Literal["auto"] = "auto"
    """Share of a GPU for each student; "auto": none where there is none, else what one student is
    measured to need.
    """
    gpus_per_worker: float | Literal["auto"] = "auto"
    """Share of a GPU for each worker of the teacher; "auto": one each where all get one."""
    placement: Literal["pack", "spread"] = "pack"
    """Where trials and workers go first: "pack" fills one node after the other, "spread" takes all
    alike.
    """
    autoscales: bool = False
    """The cluster adds nodes when it is asked for more than it has."""
    cache: str = ""
    """A folder of each node's own disk for windows and teacher outputs; "": in the work folder on
    a laptop, below ~/.cache on a cluster or for S3.
    """

    def __post_init__(self) -> None:
        for name in ("cpus", "concurrent", "cpus_per_trial"):
            value = getattr(self, name)
            _must(
                value is None or value >= 1, f"cluster.{name} is {value}, but must be at least 1."
            )
        for name in ("gpus_per_trial", "gpus_per_worker"):
            value = getattr(self, name)
            _must(
                value == "auto" or value >= 0,
                f"cluster.{name} is {value}, but must not be negative.",
            )
        _must(
            self.cache == "" or self.cache.startswith(("/", "~")),
            f"cluster.cache is '{self.cache}', but must be an absolute path, since every node has one; "
            "begin it with / or ~.",
        )
        _expanded(self.cache, "cluster.cache")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """One run.toml."""

    work: str
    """Where everything is written: a folder, relative to the folder of run.toml, or
    s3://bucket/folder.
    """
    ingest: IngestSettings
    split: SplitSettings = field(default_factory=SplitSettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    confirm: ConfirmSettings = field(default_factory=ConfirmSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


Settings = TypeVar("Settings")


def read_settings(path: Path) -> RunSettings:
    """Read the settings of a run.toml; its relative paths are taken from the folder that holds it.

    Raises FileNotFoundError, KeyError (unknown key) or ValueError, each with one sentence.
    """
    settings = parse(RunSettings, read_toml(path, "settings file", "a run.toml"), where="")
    return _from_folder(settings, _resolved(path, "The settings file").parent)


def _from_folder(settings: RunSettings, folder: Path) -> RunSettings:
    if "://" in settings.work and not settings.work.startswith(S3):
        raise ValueError(
            f"work is '{settings.work}', but must be a path on this machine, a mounted one, or s3://bucket/folder."
        )
    ingest = dataclasses.replace(
        settings.ingest,
        files=tuple(
            str(folder / _at_home(file, "ingest.files")) for file in settings.ingest.files
        ),
        layout=_layout_from(folder, settings.ingest.layout),
        read=dataclasses.replace(
            settings.ingest.read,
            table=str(folder / settings.ingest.read.table) if settings.ingest.read.table else "",
            from_layout=_layout_from(folder, settings.ingest.read.from_layout),
        ),
    )
    search = dataclasses.replace(
        settings.search,
        start_from=tuple(
            path if path.startswith(S3) else str(folder / path)
            for path in settings.search.start_from
        ),
    )
    return dataclasses.replace(
        settings,
        work=_from(folder, settings.work),
        ingest=ingest,
        search=search,
    )


def _layout_from(folder: Path, layout: str) -> str:
    return str(folder / layout) if layout.endswith(".toml") else layout


def _from(folder: Path, work: str) -> str:
    if work.startswith(S3):
        return str(open_path(work))
    return str(_resolved(folder / _expanded(work, "work"), "The work folder"))


def _expanded(path: str, name: str) -> Path:
    """Return a path with the home folder in place of ~; raises ValueError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"'{name}' is '{path}', but nobody here has such a home folder; write its path."
        ) from error


def _at_home(path: str, name: str) -> Path:
    """Return a path with the home folder in place of ~/; other names may begin with ~."""
    return _expanded(path, name) if path.startswith("~/") else Path(path)


def _resolved(path: Path, what: str) -> Path:
    """Return a path without links; raises ValueError where it cannot be one of ours."""
    try:
        resolved = path.resolve()
    except RuntimeError as error:
        raise ValueError(
            f"{what} {path} leads to itself by a symbolic link; remove it."
        ) from error
    # tables and JSON files keep paths, and hold UTF-8 alone
    if (text := str(resolved)) != text.encode("utf-8", "replace").decode():
        raise ValueError(f"{what} {text!a} has a name that is no UTF-8; rename it.")
    return resolved


def parse(
    kind: type[Settings], data: Mapping[str, Any], where: str, default: Settings | None = None
) -> Settings:
    """Make a settings dataclass from a TOML table; `where` is the table's dotted name, for error sentences.

    Keys that the table lacks are those of `default`, if given: [search.fit] has its own, fewer epochs.
    Raises KeyError for an unknown key, ValueError for a missing key or a value that is not valid.
    """
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise KeyError(_unknown_key(key, known, where))
    values: dict[str, Any] = {}
    for key, item in known.items():
        name = f"{where}.{key}" if where else key
        if key not in data:
            if (
                default is None
                and item.default is dataclasses.MISSING
                and item.default_factory is dataclasses.MISSING
            ):
                raise ValueError(f"The settings lack '{name}'; add it.")
            continue
        _check_most(data[key], name)
        table = table_type(hints[key])
        if table is None:
            values[key] = _checked(hints[key], data[key], name)
        elif isinstance(data[key], Mapping):
            values[key] = parse(table, data[key], name, _default(item))
        else:
            raise ValueError(f"'{name}' is {data[key]!r}, but must be a table: write [{name}].")
    return kind(**values) if default is None else dataclasses.replace(default, **values)  # type: ignore[type-var]


def _default(item: dataclasses.Field[Any]) -> Any:
    return None if item.default_factory is dataclasses.MISSING else item.default_factory()


def table_type(hint: Any) -> type[Any] | None:
    """Return the dataclass behind a field's type, also through `X | None`; None where the field is a plain value."""
    options = (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )
    return next(
        (
            option
            for option in options
            if dataclasses.is_dataclass(option) and isinstance(option, type)
        ),
        None,
    )


def _unknown_key(key: str, known: Mapping[str, Any], where: str) -> str:
    table = f"[{where}]" if where else "the top level"
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known there: {', '.join(known)}."
    return f"The settings have the unknown key '{key}' in {table}; {hint}"


def _checked(hint: Any, value: Any, name: str) -> Any:
    try:
        # by way of JSON, since only there a strict check still takes TOML's arrays as tuples
        return TypeAdapter(hint).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
        raise ValueError(
            f"'{name}' is {value!r}, but that is no valid value ({reason}); mend it."
        ) from error


def _check_most(value: Any, name: str) -> None:
    """Raise ValueError for a number that no machine could count to, store or allocate for."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_most(item, f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            _check_most(item, name)
    elif isinstance(value, int | float):
        most = (
            MOST_SIZE if name.startswith(_SIZES) else MOST.get(name.rpartition(".")[2], math.inf)
        )
        _must(value <= most, f"{name} is {value:,}, but must be at most {most:,}; lower it.")


def as_dict(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain values, for JSON and for fingerprints; what is off is left out."""
    return typing.cast("dict[str, Any]", json.loads(json.dumps(plain(settings), default=dict)))


SETTINGS = JsonFile(record=RunSettings, what="kept settings", stage="gaitforge run run.toml")


def how_read(settings: IngestSettings) -> HowRead | None:
    """Return how recordings are read, as their store and an export's card tell; None for synthetic walkers."""
    if settings.synthetic is not None:
        return None
    return tell_reading(settings.read)


def tell_reading(read: ReadOptions) -> HowRead:
    """Return what a store and an export's card tell of the options with which recordings are read."""
    told: dict[str, Any] = {
        item.name: getattr(read, item.name) for item in dataclasses.fields(HowRead)
    }
    if read.from_layout:
        told["from_layout"] = read_layout(read.from_layout)
    return HowRead(**{name: value for name, value in told.items() if value not in ("", {})})


def teacher_identity(settings: TeacherSettings, windows: str) -> str:
    """Return a hash of all that decides a teacher's weights; `windows` is the key of the windows."""
    return fingerprint(
        {"windows": windows, "family": settings.family, "settings": as_dict(settings)}
    )


def changed_search(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the keys of [search] that differ and so ask for another search; FREE_TO_CHANGE are left out.

    `before` and `now` are as `as_dict` returns them; a key that came later, or is off, has its default.
    """
    default = as_dict(SearchSettings())
    keys = [item.name for item in dataclasses.fields(SearchSettings)]
    return [
        key
        for key in keys
        if key not in FREE_TO_CHANGE
        and before.get(key, default.get(key)) != now.get(key, default.get(key))
    ]
