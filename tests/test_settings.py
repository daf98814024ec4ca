"""Settings: every key is checked where it enters, shown in every_key.toml, and spelt out when it is wrong."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gaitforge.ingest.synthetic import SyntheticSettings
from gaitforge.models import make_sizes
from gaitforge.settings import (
    FitPlan,
    IngestSettings,
    RunSettings,
    SearchSettings,
    StoppingSettings,
    TeacherSettings,
    as_dict,
    parse,
    read_settings,
    table_type,
)

EXAMPLES = Path(__file__).parents[1] / "examples"
EVERY_KEY = EXAMPLES / "every_key.toml"
# Shown behind a #: they have no default of their own, or exclude the table ingest.synthetic.
BESIDE_SYNTHETIC = {"ingest.files", "ingest.layout"}
REQUIRED = {"work"}
LEAST = 'work = "w"\n[ingest.synthetic]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def read(folder: Path, text: str) -> RunSettings:
    return read_settings(written(folder, text))


# every_key.toml


def leaves(kind: type[Any], where: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Dotted names of all keys that are no tables."""
    hints = typing.get_type_hints(kind)
    for item in dataclasses.fields(kind):
        name = f"{where}.{item.name}" if where else item.name
        table = table_type(hints[item.name])
        if table is None:
            yield name, item
        else:
            yield from leaves(table, name)


def value_of(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def shown_keys(pattern: str) -> list[str]:
    """Dotted names of the lines of every_key.toml that the pattern takes for a key."""
    table, names = "", []
    for line in EVERY_KEY.read_text(encoding="utf-8").splitlines():
        if header := re.match(r"\[([\w.]+)\]", line):
            table = header[1] + "."
        elif key := re.match(pattern, line):
            names.append(table + key[1])
    return names


DEFAULTS = RunSettings(work="", ingest=IngestSettings(synthetic=SyntheticSettings()))
LEAVES = [name for name, _ in leaves(RunSettings)]
HIDDEN = {name for name in LEAVES if value_of(DEFAULTS, name) is None} | BESIDE_SYNTHETIC


def test_every_key_is_shown_once_and_no_other() -> None:
    # the keys of teacher.sizes belong to the family
    active = [name for name in shown_keys(r"(\w+) = ") if not name.startswith("teacher.sizes.")]
    commented = shown_keys(r"# (\w+) = ")
    assert sorted(active + commented) == sorted(set(LEAVES) - {"teacher.sizes"})
    assert set(commented) == HIDDEN


def test_every_key_is_shown_with_its_meaning() -> None:
    lines = EVERY_KEY.read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"(# )?\w+ = ", line)]
    assert [line for line in keys if not re.search(r" # \S", line)] == []


def test_every_key_is_shown_with_its_default() -> None:
    shown = read_settings(EVERY_KEY)
    for name in set(LEAVES) - REQUIRED - HIDDEN - {"teacher.sizes"}:
        assert value_of(shown, name) == value_of(DEFAULTS, name), name
    assert make_sizes(shown.teacher.family, shown.teacher.sizes) == make_sizes(
        DEFAULTS.teacher.family, DEFAULTS.teacher.sizes
    )
    assert set(shown.teacher.sizes) == set(make_sizes(shown.teacher.family, {}).as_dict())


def test_every_key_behind_a_comment_sign_is_valid_without_it() -> None:
    text = EVERY_KEY.read_text(encoding="utf-8")
    data = tomllib.loads(re.sub(r"(?m)^# (?=\w+ = )", "", text))
    del data["ingest"]["synthetic"]
    data["windows"]["mode"] = "slide"  # the one that has a frame rate
    settings = parse(RunSettings, data, where="")
    for name in HIDDEN:
        assert value_of(settings, name) not in (None, "", ()), name


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_valid(path: Path) -> None:
    settings = read_settings(path)
    make_sizes(settings.teacher.family, settings.teacher.sizes)


# defaults


def test_a_table_that_is_given_in_part_keeps_the_rest_of_its_own_defaults(tmp_path: Path) -> None:
    """Not those of its class: a search trains for fewer epochs than a teacher."""
    settings = read(tmp_path, LEAST + "[search.fit]\nbatch = 16\n[teacher.fit]\nbatch = 8\n")
    assert settings.search.fit == dataclasses.replace(SearchSettings().fit, batch=16)
    assert settings.teacher.fit == dataclasses.replace(TeacherSettings().fit, batch=8)
    assert settings.search.fit.epochs < settings.teacher.fit.epochs


def test_labels_are_smoothed_for_students_alone_unless_a_file_says_otherwise(
    tmp_path: Path,
) -> None:
    plain = read(tmp_path, LEAST + "[teacher.fit]\nepochs = 2\n[search.fit]\nepochs = 2\n")
    assert plain.teacher.fit.label_smoothing == 0.0
    assert plain.search.fit.label_smoothing == 0.1
    smoothed = "[teacher.fit]\nlabel_smoothing = 0.1\n[search.fit]\nlabel_smoothing = 0.0\n"
    told = read(tmp_path, LEAST + smoothed)
    assert (told.teacher.fit.label_smoothing, told.search.fit.label_smoothing) == (0.1, 0.0)


def test_settings_survive_their_dict() -> None:
    plan = FitPlan(epochs=3, lr=1e-4)
    assert FitPlan(**as_dict(plan)) == plan
    assert parse(
        SearchSettings, as_dict(SearchSettings()) | {"max_params": 5, "max_macs": 6}, ""
    ) == (SearchSettings(max_params=5, max_macs=6))


@pytest.mark.parametrize(
    ("stopping", "epochs", "rungs"),
    [
        (StoppingSettings(), 8, (3,)),
        (StoppingSettings(), 27, (3, 9)),  # after the last epoch there is nothing to save
        (StoppingSettings(), 28, (3, 9, 27)),
        (StoppingSettings(first=4, factor=2), 20, (4, 8, 16)),
        (StoppingSettings(), 3, ()),
        (StoppingSettings(first=0), 27, ()),
    ],
)
def test_students_are_compared_before_their_last_epoch(
    stopping: StoppingSettings, epochs: int, rungs: tuple[int, ...]
) -> None:
    assert stopping.rungs(epochs) == rungs


# paths


def test_relative_paths_are_taken_from_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "settings"
    folder.mkdir()
    path = written(
        folder,
        'work = "../here"\n[ingest]\nfiles = ["a.npz", "/data/b.npz"]\nlayout = "l/three.toml"\n',
    )
    monkeypatch.chdir(tmp_path)
    for given in (path, path.relative_to(tmp_path)):
        settings = read_settings(given)
        assert Path(settings.work) == tmp_path / "here"
        assert settings.ingest.files == (str(folder / "a.npz"), "/data/b.npz")
        assert settings.ingest.layout == str(folder / "l" / "three.toml")


def test_students_to_start_from_are_found_from_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, LEAST + '[search]\nstart_from = ["old", "/data/best.json"]\n')
    assert settings.search.start_from == (str(tmp_path / "old"), "/data/best.json")


def test_the_name_of_a_builtin_layout_is_no_path(tmp_path: Path) -> None:
    settings = read(tmp_path, 'work = "w"\n[ingest]\nfiles = ["a.npz"]\nlayout = "kinect25"\n')
    assert settings.ingest.layout == "kinect25"


def test_a_work_folder_on_s3_is_taken_as_it_is_written(tmp_path: Path) -> None:
    settings = read(tmp_path, 'work = "s3://bucket/my/work/"\n[ingest.synthetic]\n')
    assert settings.work == "s3://bucket/my/work"


@pytest.mark.parametrize("work", ["gs://bucket/work", "s3://", "s3://b/a%20b", "s3://bucket/../b"])
def test_a_work_folder_elsewhere_is_refused(tmp_path: Path, work: str) -> None:
    with pytest.raises(ValueError, match=r"must be a path on this machine|no folder on S3"):
        read(tmp_path, f'work = "{work}"\n[ingest.synthetic]\n')


# what is wrong


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.toml does not exist; give the path"):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "group", [["P1"], [], ["P1", "P1"], ["P1", "P2"], ["P1", "p1", "P2"], ["P1", "p1", "2", "02"]]
)
def test_people_can_be_told_apart_only_where_their_ids_look_alike(group: list[str]) -> None:
    with pytest.raises(ValueError, match=r"ingest\.distinct_people has the group"):
        IngestSettings(files=("a.npz",), layout="coco17", distinct_people=(tuple(group),))


def test_groups_of_distinct_people_are_read(tmp_path: Path) -> None:
    text = LEAST.replace(
        "[ingest.synthetic]\n", '[ingest]\nfiles = ["a.npz"]\nlayout = "coco17"\n'
    )
    settings = read(tmp_path, text + 'distinct_people = [["P1", "p1"], ["2", "02", "2.0"]]\n')
    assert settings.ingest.distinct_people == (("P1", "p1"), ("2", "02", "2.0"))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_limit_of_the_quarantine_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match=r"max_quarantined is .* a share between 0 and 1"):
        IngestSettings(files=("a.npz",), layout="coco17", max_quarantined=share)


def test_a_file_that_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run.toml is not TOML \(.*line 2.*\)"):
        read(tmp_path, 'work = "w"\ntrials == 3\n')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            LEAST + "[search]\ntrails = 3\n",
            r"unknown key 'trails' in \[search\]; did you mean 'trials'\?",
        ),
        (
            LEAST + "[teacher.fit]\nepoch = 3\n",
            r"unknown key 'epoch' in \[teacher.fit\]; did you mean 'epochs'\?",
        ),
        ("wrok = 3\n", "unknown key 'wrok' in the top level; did you mean 'work'"),
        (LEAST + "[export]\nzzz = 1\n", r"unknown key 'zzz' in \[export\]; known there: trial"),
        (
            LEAST + "sede = 1\n",
            r"unknown key 'sede' in \[ingest.synthetic\]; did you mean 'seed'\?",
        ),
    ],
)
def test_a_misspelt_key_names_its_table_and_the_nearest(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(KeyError, match=sentence):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("table", "line", "name"),
    [
        ("search", 'trials = "3"', "search.trials"),
        ("search", "trials = 3.0", "search.trials"),
        ("search", "trials = true", "search.trials"),
        ("search", 'families = "tcn"', "search.families"),
        ("search", "families = [1]", "search.families"),
        ("search", 'objectives = "macro_f1"', "search.objectives"),
        ("search", 'start_from = "w"', "search.start_from"),
        ("search.stopping", "factor = 1.5", "search.stopping.factor"),
        ("teacher.fit", "balance = 1", "teacher.fit.balance"),
        ("teacher.fit", 'lr = "fast"', "teacher.fit.lr"),
        ("teacher", "sizes = 3", "teacher.sizes"),
        ("split", "fractions = [0.5, 0.5]", "split.fractions"),
        ("export", "trial = 1.5", "export.trial"),
        ("windows", "flip = 0", "windows.flip"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_key(
    tmp_path: Path, table: str, line: str, name: str
) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is .* no valid value"):
        read(tmp_path, f"{LEAST}[{table}]\n{line}\n")


def test_a_whole_number_serves_as_a_float(tmp_path: Path) -> None:
    assert read(tmp_path, LEAST + "[teacher.fit]\nclip = 1\n").teacher.fit.clip == 1.0


def test_a_value_in_the_place_of_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'search' is 3, but must be a table: write \[search\]"):
        read(tmp_path, 'search = 3\nwork = "w"\n[ingest.synthetic]\n')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[ingest.synthetic]\n", "lack 'work'; add it"),
        ('work = "w"\n', "lack 'ingest'; add it"),
        ('work = "w"\n[ingest]\n', "either 'files' or the table .*ingest.synthetic"),
        (
            'work = "w"\n[ingest]\nfiles = ["a.npz"]\nlayout = "coco17"\n[ingest.synthetic]\n',
            "either 'files' or the table .*, and not both",
        ),
        ('work = "w"\n[ingest]\nfiles = ["a.npz"]\n', "ingest.files needs ingest.layout"),
        (
            'work = "w"\n[ingest]\nlayout = "kinect25"\n[ingest.synthetic]\n',
            "name the walkers' layout in ingest.synthetic.layout",
        ),
    ],
)
def test_settings_without_what_they_need_are_refused(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("teacher.fit", "epochs = 0"),
        ("teacher.fit", "batch = 1"),
        ("teacher.fit", "lr = 0"),
        ("teacher.fit", "lr = nan"),
        ("teacher.fit", "weight_decay = -1"),
        ("teacher.fit", "label_smoothing = 1"),
        ("teacher.fit", "average = 1.5"),
        ("search.fit", "average = -0.1"),
        ("teacher.fit", "warmup = 1"),
        ("teacher.fit", "clip = 0"),
        ("teacher.fit", "jitter = -0.1"),
        ("teacher.fit", "joint_drop = 1"),
        ("teacher", "patience = -1"),
        ("teacher", "workers = 0"),
        ("teacher", "workers = 17"),  # for a batch of 32
        ("search", "families = []"),
        ("search", "trials = 0"),
        ("search", 'sampler = "grid"'),
        ("search", "max_failed = 2"),
        ("search", "terms_warmup = 2"),
        ("search", "max_params = 0"),
        ("search", "max_params_share = -0.1"),
        ("search", "max_macs = 0"),
        ("search", "max_bytes = 0"),
        ("search", "max_latency_ms = 0"),
        ("search", "max_latency_ms = nan"),
        ("search.stopping", "first = -1"),
        ("search.stopping", "factor = 1"),
        ("search.stopping", "keep = 0"),
        ("search.stopping", "keep = 1"),
        ("search.stopping", "band = 0"),
        ("confirm", "members = 0"),
        ("confirm", "neighbours = -1"),
        ("confirm", "folds = 1"),
        ("confirm", "seeds = 0"),
        ("confirm", "margin = 0"),
        ("confirm", "resamples = 10"),
        ("cluster", "cpus = 0"),
        ("cluster", "concurrent = 0"),
        ("cluster", "cpus_per_trial = 0"),
        ("cluster", "gpus_per_trial = -1"),
        ("cluster", "gpus_per_worker = -1"),
        ("split", "folds = 1"),
        ("windows", "length = 1"),
    ],
)
def test_an_impossible_value_is_refused_before_work_starts(
    tmp_path: Path, table: str, line: str
) -> None:
    key = line.split(" = ")[0]
    with pytest.raises(ValueError, match=rf"{table.split('.')[-1]}.{key} (is|are) "):
        read(tmp_path, f"{LEAST}[{table}]\n{line}\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('objectives = ["macro_f1"]', "is macro_f1, but must name at least two different"),
        ("objectives = []", "is empty, but must name at least two"),
        ('objectives = ["params", "params"]', "at least two different"),
        ('objectives = ["params", "macs"]', "at least one score and one cost"),
        (
            'objectives = ["macro_f1", "latency_ms"]',
            "search.max_latency_ms must say what is too slow; add it",
        ),
    ],
)
def test_objectives_that_make_no_front_are_refused(
    tmp_path: Path, line: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, f"{LEAST}[search]\n{line}\n")


def test_an_unknown_objective_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"no objective 'f1'\. Known: balanced_accuracy, bytes, "):
        read(tmp_path, LEAST + '[search]\nobjectives = ["f1", "params"]\n')


def test_latency_is_an_objective_where_it_is_said_what_is_too_slow(tmp_path: Path) -> None:
    lines = 'objectives = ["macro_f1", "latency_ms"]\nmax_latency_ms = 2.5\n'
    assert read(tmp_path, f"{LEAST}[search]\n{lines}").search.max_latency_ms == 2.5


# what no settings hold

HOSTILE: dict[str, tuple[bytes, str]] = {
    "infinite": (b"[search]\nmax_latency_ms = inf\n", "search.max_latency_ms is inf, but a number must be"),
    "no number in a list": (b"[split]\nfractions = [0.5, nan, 0.5]\n", "split.fractions is nan, but"),
    "NUL": (b'[teacher]\nfamily = "t\\u0000cn"\n', "NUL character in 'teacher.family'; remove it"),
    "NUL in a key": (b'[teacher.sizes]\n"\\u0000" = 1\n', "NUL character in the key"),
    "5,000 digits": (b"[search]\ntrials = " + b"9" * 5_000 + b"\n", "has a number of thousands of digits; give a"),
    "more than 64 bits": (b"[search]\nseed = 9223372036854775808\n", "more than 64 bits in 'search.seed'"),
    "a key without end": (b"a" + b".a" * 10_000 + b" = 1\n", "in one another beyond any use"),
    "lists without end": (b"[teacher.sizes]\na = " + b"[" * 9_000 + b"]" * 9_000, "in one another beyond any use"),
    "tables without end": (b"[a" + b".a" * 900 + b"]\n", "in one another beyond any use"),
    "no text": (b'a = "\xff"\n', "is not TOML .*utf-8"),
    "another encoding": ('work = "w"'.encode("utf-16"), "is not TOML"),
    "more than any": (b"# " + b"x" * 200_000, "larger than 200,000 bytes"),
    "epochs without end": (b"[teacher.fit]\nepochs = 1_000_000_000_000", r"fit.epochs is .* at most 1,000,000; lower"),
    "trials without end": (b"[search]\ntrials = 1_000_000_000_000\n", r"search.trials is 1,000.*000, but must be"),
    "windows without end": (b"[windows]\nlength = 1_000_000_000_000\n", r"windows.length is 1,000.*000, but must be"),
    "layers without end": (b"[teacher.sizes]\nlayers = 1_000_000_000_000\n", r"sizes.layers is .* at most 100,000"),
    "widths without end": (b"[teacher.sizes]\nwidths = [16, 1_000_000_000]\n", r"sizes.widths is .* at most 100,000"),
    "nobody's home": (b'[cluster]\ncache = "~nobody-of-this-name/cache"\n', "nobody here has such a home"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_settings_hold_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = HOSTILE[name]
    path = tmp_path / "run.toml"
    path.write_bytes(LEAST.encode() + text)
    with pytest.raises(ValueError, match=sentence):
        read_settings(path)


def test_walkers_that_no_memory_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ask for 4,000,000 recordings .* 100,000,000 frames"):
        read(tmp_path, LEAST + "people_per_class = 100_000\nrecordings_per_person = 10\n")


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("~nobody-of-this-name/w", "'work' is '~nobody.* has such a home folder; write its path"),
        ("loop/w", "loop/w leads to itself by a symbolic link; remove it"),
    ],
)
def test_a_work_folder_that_cannot_be_is_refused(work: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ValueError, match=sentence):
        read(tmp_path, f'work = "{work}"\n[ingest.synthetic]\n')


def test_a_folder_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    odd = tmp_path / "\udce9"
    odd.mkdir()
    with pytest.raises(ValueError, match="a name that is no UTF-8; rename it"):
        read(odd, LEAST)


def test_settings_that_are_no_file_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.toml")
    with pytest.raises(ValueError, match="is a named pipe, but must be a file"):
        read_settings(tmp_path / "run.toml")
    with pytest.raises(OSError, match=r"/proc/self/mem cannot be read .Input/output error."):
        read_settings(Path("/proc/self/mem"))  # no disk is as broken
    with pytest.raises(ValueError, match=r"The settings file .* is a folder, but must be a file"):
        read_settings(tmp_path)


def test_settings_that_this_user_may_not_read_have_their_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:  # root may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    read(tmp_path, LEAST)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        PermissionError, match=r"cannot be read .Permission denied.; let its owner"
    ):
        read_settings(tmp_path / "run.toml")


def test_files_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    path = tmp_path / "run.toml"
    path.write_text(
        'work = "w"\n[ingest]\nlayout = "coco17"\nfiles = ["~/a.npz", "~b.npz", "c~/*.npz"]\n',
        encoding="utf-8",
    )
    files = read_settings(path).ingest.files
    assert files == ("/home/somebody/a.npz", str(tmp_path / "~b.npz"), str(tmp_path / "c~/*.npz"))
