"""Students that share a GPU: what one is measured to take, and how many then fit."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gaitforge.layout import Layout
from gaitforge.models.tcn import TcnSizes
from gaitforge.recipe import Distillation
from gaitforge.recording import Recording
from gaitforge.records.search import Need
from gaitforge.records.split import Split
from gaitforge.settings import FitPlan
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from trainers.search import gpu_packing as packing
from trainers.search.gpu_packing import (
    MOST,
    compute_share,
    describe,
    measure_covered,
    measure_student,
    measure_students,
    pack,
)
from trainers.training.examples import hold_examples
from trainers.training.student import StudentSpec

GB = 10**9
NEED = Need(
    device="a card", device_bytes=80 * GB, bytes=2 * GB, outside_bytes=GB // 2, step_s=0.01,
    busy=0.1,
)  # fmt: skip
LEGS = Layout(name="legs", joints=("hip", "left", "right"), bones=((0, 1), (0, 2)))
ROLES = {"p0": "train", "p1": "train", "p2": "validation", "p3": "validation"}


def walks(people: Collection[str]) -> Iterator[Recording]:
    for person in sorted(people):
        positions = np.random.default_rng(int(person[1:])).normal(size=(40, 3, 3))
        label = ("ill", "well")[int(person[1:]) % 2]
        yield Recording(
            recording=f"{person}-0", person=person, label=label, positions_TVC=positions.astype(np.float32),
        )  # fmt: skip


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StudentSpec:
    """A small student with its windows and the teacher's answers to them on disk."""
    root = tmp_path_factory.mktemp("packing")
    cache = build_windows(
        root, store_fingerprint="s", split=Split(name="main", rule={}, store="s", roles=ROLES), layout=LEGS,
        classes=("ill", "well"), settings=WindowSettings(length=16, views=2), recordings=walks,
    )  # fmt: skip
    train = cache.open_role("train")
    cache.open_role("validation")
    np.save(root / "logits.npy", np.zeros((train.n, 2, 2), dtype=np.float32))
    return StudentSpec(
        family="tcn", sizes=TcnSizes(channels=4, layers=1, kernel=3).as_dict(),
        plan=FitPlan(epochs=3, batch=2), distillation=Distillation(weights={"kd": 1.0}),
        windows=str(cache.folder), teacher_outputs=str(root),
    )  # fmt: skip


# how many fit


@pytest.mark.parametrize(
    ("changed", "cores", "students", "limit"),
    [
        ({}, 16, 10, "its time"),  # a tenth of its time each
        ({}, 4, 4, "the cores beside it"),
        ({"bytes": 12 * GB}, 16, 6, "its memory"),  # 72 GB, and a tenth is left free
        ({"busy": 1.0}, 16, 1, "its time"),
        ({"busy": 0.6}, 16, 2, "its time"),  # the second still finds 0.4 of 0.6
        ({"busy": 0.8}, 16, 1, "its time"),  # the second would find 0.2 of 0.8
        ({"busy": None}, 16, 1, "its time"),  # not known: nothing is promised
        ({"busy": 0.0}, 1000, 36, "its memory"),
        ({"busy": 0.0, "bytes": 1000}, 1000, MOST, "its time"),
        ({"bytes": 79 * GB}, 16, 1, "its memory"),  # fits, though nothing is left free
        ({}, 0, 1, "the cores beside it"),  # Ray refuses that by its own count
    ],
)
def test_as_many_share_a_gpu_as_memory_time_and_cores_allow(
    changed: dict[str, Any], cores: int, students: int, limit: str
) -> None:
    assert pack(replace(NEED, **changed), cores) == (students, limit)


def test_a_trial_of_several_cores_leaves_room_for_fewer() -> None:
    assert pack(NEED, cores_per_gpu=16, cpus_per_trial=3).students == 5


def test_a_student_larger_than_the_device_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"takes 81\.0 GB of memory, but a card has 80\.0 GB; lower"
    ):
        pack(replace(NEED, bytes=81 * GB), 16)


def test_the_shares_of_all_students_fit_one_gpu_and_one_more_does_not() -> None:
    for students in range(1, MOST + 1):
        steps = round(compute_share(students) * 10_000)  # Ray counts in these
        assert steps / 10_000 == compute_share(students)
        assert 10_000 // steps == students
    assert compute_share(1) == 1.0
    assert compute_share(3) == 0.3333


def test_what_was_measured_is_said_in_one_line() -> None:
    need = replace(NEED, bytes=1_200_000_000, busy=0.113)
    assert describe(need, pack(need, 8)) == (
        "8 students share a GPU (a card): 1.2 GB and 11 % of its time each, limited by the cores beside it"
    )
    alone = replace(NEED, busy=None)
    assert describe(alone, pack(alone, 8)) == (
        "One student at a time has a GPU (a card): 2.0 GB and time that cannot be read each, limited by its time"
    )


# what one takes


def test_a_student_on_the_cpu_is_measured_and_keeps_it_busy(spec: StudentSpec) -> None:
    need = measure_student(spec)
    assert need.device == "CPU"
    assert need.busy == 1.0
    assert 1 <= need.bytes < need.device_bytes
    assert 0 < need.step_s < 10
    assert pack(need, cores_per_gpu=2).students == 1


def test_a_student_on_a_gpu_takes_torchs_memory_and_what_lies_outside_of_it(
    spec: StudentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = SimpleNamespace(device=torch.device("cuda"))
    fitting = SimpleNamespace(model=SimpleNamespace(parameters=lambda: iter([weight])))
    # the first epoch is slow, and one of the others was held up
    epochs = [SimpleNamespace(seconds=seconds) for seconds in (9.0, 0.4, 0.5, 3.0, 0.7)]
    monkeypatch.setattr(packing, "new_student", lambda spec: fitting)
    monkeypatch.setattr(packing, "fit", lambda *arguments: iter(epochs))
    monkeypatch.setattr(packing, "_kernel_s", lambda epochs: 0.1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * GB)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 12 * GB)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    assert measure_student(spec) == Need(
        device="a card", device_bytes=80 * GB, bytes=13 * GB, outside_bytes=GB, step_s=0.5,
        busy=0.2,
    )  # fmt: skip


def test_of_several_students_the_most_of_everything_counts(
    spec: StudentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = iter([replace(NEED, bytes=5, busy=0.2, step_s=0.3), replace(NEED, bytes=4, busy=0.4)])
    monkeypatch.setattr(packing, "measure_student", lambda spec: next(needs))
    assert measure_students([spec, spec]) == replace(NEED, bytes=5, busy=0.4, step_s=0.3)


def test_time_that_cannot_be_read_of_one_student_is_known_of_none(
    spec: StudentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = iter([replace(NEED, busy=None), NEED])
    monkeypatch.setattr(packing, "measure_student", lambda spec: next(needs))
    assert measure_students([spec, spec]).busy is None


def test_a_student_that_does_not_fit_the_device_is_refused_in_one_sentence(
    spec: StudentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(packing, "fit", full)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    with pytest.raises(
        ValueError, match=r"tcn student .* does not fit the memory of a card \(CUDA"
    ):
        measure_student(spec)


def test_the_first_windows_are_a_part_of_the_same_memory(spec: StudentSpec) -> None:
    train, _ = hold_examples(spec.windows, spec.teacher_outputs)
    few = train.take_first(2)
    assert len(few) == 2
    assert few.joints_NTVC.data_ptr() == train.joints_NTVC.data_ptr()
    assert len(train.take_first(10_000)) == len(train)


def test_kernels_that_run_at_the_same_time_count_once() -> None:
    assert measure_covered([(5, 7), (0, 2), (1, 3), (1, 2)]) == 5
    assert measure_covered([]) == 0


def test_only_kernels_count_as_the_devices_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def event(kind: str, start: float, end: float, named: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            device_type=SimpleNamespace(name=kind), is_user_annotation=named,
            time_range=SimpleNamespace(start=start, end=end),
        )  # fmt: skip

    class Recorded:
        def __init__(self, **options: object) -> None:
            self.seen = [
                event("CUDA", 0, 250_000),
                event("CUDA", 0, 1e6, True),
                event("CPU", 0, 9e6),
            ]

        def __enter__(self) -> Recorded:
            return self

        def __exit__(self, *reason: object) -> None:
            pass

        def events(self) -> list[SimpleNamespace]:
            return self.seen

    monkeypatch.setattr(packing, "profile", Recorded)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    epochs: Any = iter([None, None])
    assert packing._kernel_s(epochs) == 0.25
    monkeypatch.setattr(Recorded, "events", lambda self: [])
    assert packing._kernel_s(epochs) is None
