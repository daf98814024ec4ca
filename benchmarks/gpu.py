"""What a GPU gives: how fast a teacher trains, how many students share it, and how near that is to what it can do.

    python benchmarks/gpu.py --out DIR              # under 8 minutes, on a machine with a GPU
    python benchmarks/gpu.py --out DIR --quick      # tiny numbers, on a CPU too: shows that every part runs

It needs torch with CUDA, numpy, pyarrow, safetensors and pydantic; no Ray, no Optuna, no data. Each part is a process
with a time limit and writes DIR/<part>.json after every row, so that a run that is cut keeps what it has measured;
DIR/table.md is what is printed at the end.

- rates: the most that the device copies (bytes read plus bytes written) and multiplies (bf16, square matrices).
- teacher: an ST-GCN of the default sizes on windows [T=64, V=25, C=3] that lie on the device, whole training steps.
  "as fit trains it" is the loop of the project itself, the other rows are a plain step with one thing changed;
  fp32 means torch's defaults, in which convolutions may round their inputs to TF32.
  Its rate of matrix work is 3 x 2 x its multiply-accumulates, forward and backward. Its bytes are an estimate: what
  each operation of an eager step reads and writes, as if no cache helped and nothing were fused.
- students: what `trainers/search/gpu_packing.py` measures of a small student, and real processes that train one each
  at the same time, as the workers of a search do. They are started and warm before: what counts is the wall over all.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gaitforge.batch import Batch
from gaitforge.cost import count
from gaitforge.layout import read_layout
from gaitforge.losses import Distillation, Targets, loss_terms
from gaitforge.models.stgcn import StgcnSizes
from gaitforge.recording import Recording
from gaitforge.records.split import Split
from gaitforge.settings import FitPlan
from gaitforge.window_cache import build_windows
from gaitforge.windows import WindowSettings
from gaitforge.work import read_json, write_json
from trainers.search.gpu_packing import describe, measure_student, pack
from trainers.training.examples import Examples
from trainers.training.fitting import Fitting
from trainers.training.loop import fit
from trainers.training.student import StudentSpec, new_student, train_student

LAYOUT, FRAMES, CHANNELS, CLASSES = read_layout("kinect25"), 64, 3, 4
TEACHER = StgcnSizes()
STUDENT = StgcnSizes(widths=(16, 16, 24, 24), strides=(2, 1, 2, 1), kernel=9)
LIMITS_S = {"rates": 50, "teacher": 200, "students": 210}  # together under 8 minutes
# where a compiler, Triton or an operation is missing; torch._dynamo's own are RuntimeErrors
COMPILE_ERRORS = (RuntimeError, OSError, ImportError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """How much is done in each part."""

    copied_bytes: int = 4 << 30
    matrix: int = 8192  # rows
    windows: int = 4096
    batches: tuple[int, ...] = (256, 32)  # one that fills a GPU, and the default of run.toml
    timed_s: float = 4.0
    most_steps: int = 300
    backend: str = "inductor"
    packed: tuple[int, ...] = (1, 2, 4, 8, 16)
    epochs: int = 16
    train_windows: int = 2048
    valid_windows: int = 256


QUICK = Amounts(
    copied_bytes=1 << 20, matrix=64, windows=4, batches=(2,), timed_s=0.05, most_steps=1, backend="eager",
    packed=(1, 2), epochs=1, train_windows=32, valid_windows=16,
)  # fmt: skip


class Report:
    """One part's rows, on disk after each."""

    def __init__(self, out: Path, part: str) -> None:
        self.path = out / f"{part}.json"
        self.head = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}", "device": device_name(), "torch": torch.__version__,
            "cores": os.cpu_count(),
        }  # fmt: skip
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, **values: float | str | None) -> None:
        self.rows.append({"name": name, **values})
        write_json(self.path, {**self.head, "rows": self.rows})
        print(f"  {name}: " + ", ".join(f"{k} {shown(v)}" for k, v in values.items()), flush=True)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], object], amounts: Amounts) -> float:
    """Seconds of a call, the median of three rows of calls after a warm-up."""
    for _ in range(min(3, amounts.most_steps)):
        run()
    synchronise()
    started = time.perf_counter()
    run()
    synchronise()
    once_s = time.perf_counter() - started
    calls = min(max(3, int(amounts.timed_s / 3 / once_s)), amounts.most_steps)
    each_s = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(calls):
            run()
        synchronise()
        each_s.append((time.perf_counter() - started) / calls)
    return statistics.median(each_s)


# what the device can do


def measure_rates(report: Report, amounts: Amounts) -> None:
    source = torch.empty(amounts.copied_bytes // 4, dtype=torch.int32, device=device()).random_()
    target = torch.empty_like(source)
    copy_s = seconds_of(lambda: target.copy_(source), amounts)
    report.add("copy", tb_per_s=2 * source.nbytes / copy_s / 1e12)
    n = amounts.matrix
    a, b = (torch.randn(n, n, device=device(), dtype=torch.bfloat16) for _ in range(2))
    matrix_s = seconds_of(lambda: a @ b, amounts)
    report.add("matrix", tflop_per_s=2 * n**3 / matrix_s / 1e12)


# the teacher


def measure_teacher(report: Report, amounts: Amounts, rates: dict[str, float]) -> None:
    cost = count(TEACHER, LAYOUT, CHANNELS, CLASSES, FRAMES)
    examples = synthetic(amounts.windows)

    def add(name: str, batch: int, step_s: float, moved: int | None) -> None:
        clips = batch / step_s
        copy, matrix = rates.get("copy"), rates.get("matrix")
        report.add(
            f"{name}, batch {batch}",
            clips_per_s=clips,
            step_ms=1e3 * step_s,
            matrix_share=matrix and 3 * 2 * cost.macs * clips / 1e12 / matrix,
            copy_share=copy and moved and moved / step_s / 1e12 / copy,
        )

    moved: dict[int, int] = {}
    for name, bf16 in (("eager fp32", False), ("eager bf16", True)):
        for batch in amounts.batches:
            step = Step(examples, batch, bf16)
            with Moved() as seen:
                step()
            moved[batch] = seen.bytes
            add(name, batch, seconds_of(step, amounts), seen.bytes)
    for batch in amounts.batches:
        add("as fit trains it", batch, seconds_of_fit(examples, batch), moved[batch])
    for batch in amounts.batches:
        name = "compiled bf16"
        started = time.monotonic()
        try:
            step = Step(examples, batch, bf16=True, backend=amounts.backend)
            step()
        except COMPILE_ERRORS as error:
            report.add(f"{name}, batch {batch}", failed=str(error).splitlines()[0])
            continue
        synchronise()
        compile_s = time.monotonic() - started
        add(name, batch, seconds_of(step, amounts), None)
        report.add(f"compiling, batch {batch}", seconds=compile_s)


def synthetic(windows: int) -> Examples:
    """Windows wholly on the device, of classes that a model could tell apart."""
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(windows, FRAMES, LAYOUT.joint_count, CHANNELS, generator=generator)
    label = torch.arange(windows) % CLASSES
    joints[:, :, 0, 0] += label[:, None]
    seen = torch.ones(joints.shape[:-1], dtype=torch.bool)
    return Examples(joints, seen, label, np.arange(windows), CLASSES, 2).to(device())


def new_teacher(batch: int, epochs: int = 1) -> Fitting:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TEACHER.build(LAYOUT, CHANNELS, CLASSES)
    return Fitting(model.to(device()), FitPlan(epochs=epochs, batch=batch))


class Step:
    """One plain training step: gather, forward, loss, backward, clip, AdamW; nothing waits for the device."""

    def __init__(self, examples: Examples, batch: int, bf16: bool, backend: str = "") -> None:
        self.examples, self.batch, self.bf16 = examples, batch, bf16
        self.fitting = new_teacher(batch)
        self.fitting.model.train()
        self.model: Callable[[Batch], Any] = self.fitting.model
        if backend:
            self.model = torch.compile(self.fitting.model, backend=backend, dynamic=False)

    def __call__(self) -> None:
        where, plan = device(), self.fitting.plan
        window_B = torch.randint(len(self.examples), (self.batch,), device=where)
        view_B = torch.randint(self.examples.views, (self.batch,), device=where)
        batch, targets = self.examples.take(window_B, view_B)
        with torch.autocast(where.type, dtype=torch.bfloat16, enabled=self.bf16):
            output = self.model(batch)
        output = output._replace(logits_BK=output.logits_BK.float())
        targets = Targets(targets.label_B, None)
        terms = loss_terms(output, targets, Distillation(), None, plan.label_smoothing)
        self.fitting.optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.fitting.model.parameters(), plan.clip)
        self.fitting.optimizer.step()


def seconds_of_fit(examples: Examples, batch: int) -> float:
    """Seconds of a step of the project's own loop: the shorter of two epochs after a first."""
    few = examples.take_first(2)
    epochs = list(islice(fit(new_teacher(batch, 3), examples, few, Distillation()), 3))
    steps = math.ceil(len(examples) / batch)
    return min(epoch.seconds for epoch in epochs[1:]) / steps


class Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes that operations read and write, each on its own; a view moves none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.__name__:
            leaves = tree_leaves((args, kwargs, result))
            self.bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return result


# students that share the device


def measure_students(report: Report, amounts: Amounts, deadline: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spec = small_student(Path(folder), amounts)
        with contextlib.ExitStack() as workers:
            # first the one that has the device for itself
            started = time.monotonic()
            pool = [workers.enter_context(Worker(spec))]
            pool[0].train(seed=0)
            pool[0].answer(deadline)
            cold_s = time.monotonic() - started
            report.add("1 student, its process started for it", students_per_min=60 / cold_s)
            pool += [workers.enter_context(Worker(spec)) for _ in range(max(amounts.packed) - 1)]
            started = time.monotonic()
            for worker in pool[1:]:
                worker.train(seed=1)
            for worker in pool[1:]:
                worker.answer(deadline)
            report.add(f"starting {len(pool) - 1} more", seconds=time.monotonic() - started)
            alone = wall_s = 0.0
            for students in amounts.packed:
                if time.monotonic() + 2.2 * wall_s > deadline:
                    report.add(f"{students} at a time", failed="no time was left for it")
                    continue
                started = time.monotonic()
                for seed, worker in enumerate(pool[:students]):
                    worker.train(seed=seed)
                answers = [worker.answer(deadline) for worker in pool[:students]]
                wall_s = time.monotonic() - started
                rate = 60 * students / wall_s
                alone = alone or rate
                report.add(
                    f"{students} at a time", students_per_min=rate, gain=rate / alone, wall_s=wall_s,
                    # of all processes that wait too
                    gb_each=max(answer["used"] for answer in answers) / len(pool) / 1e9,
                )  # fmt: skip
        with Worker(spec) as worker:
            worker.measure()
            answer = worker.answer(deadline)
            report.add("one student measured", **answer)


def small_student(folder: Path, amounts: Amounts) -> StudentSpec:
    """A small student, with its windows and the teacher's answers to them on disk."""
    windows = {"train": amounts.train_windows, "validation": amounts.valid_windows}
    roles = {f"{role}{number}": role for role in windows for number in range(8)}

    def recordings(people: Collection[str]) -> Iterator[Recording]:
        for number, person in enumerate(sorted(people)):
            rng = np.random.default_rng(number)
            frames = FRAMES + 32 * (windows[roles[person]] // 8 - 1)
            positions = rng.normal(size=(frames, LAYOUT.joint_count, CHANNELS)).astype(np.float32)
            label = str(number % CLASSES)
            yield Recording(recording=person, person=person, label=label, positions_TVC=positions)

    cache = build_windows(
        folder, store_fingerprint="s", split=Split(name="main", rule={}, store="s", roles=roles), layout=LAYOUT,
        classes=tuple(map(str, range(CLASSES))), recordings=recordings,
        settings=WindowSettings(mode="slide", length=FRAMES, stride=32, views=2),
    )  # fmt: skip
    train = cache.open_role("train")
    cache.open_role("validation")
    rng = np.random.default_rng(0)
    np.save(folder / "logits.npy", rng.normal(size=(train.n, 2, CLASSES)).astype(np.float32))
    return StudentSpec(
        family="stgcn", sizes=STUDENT.as_dict(), plan=FitPlan(epochs=amounts.epochs),
        distillation=Distillation(weights={"kd": 1.0}), windows=str(cache.folder), teacher_outputs=str(folder),
    )  # fmt: skip


class Worker:
    """A process that trains one student after the other, as a worker of a search does."""

    def __init__(self, spec: StudentSpec) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, spec), daemon=True)
        self.process.start()
        other.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *reason: object) -> None:
        self.process.terminate()
        self.process.join()

    def train(self, seed: int) -> None:
        self.pipe.send(seed)

    def measure(self) -> None:
        self.pipe.send(None)

    def answer(self, deadline: float) -> dict[str, Any]:
        """What the process found; TimeoutError where it takes too long, EOFError where it died."""
        if not self.pipe.poll(max(0.0, deadline - time.monotonic())):
            raise TimeoutError("A student took longer than the part's time limit.")
        found: dict[str, Any] = self.pipe.recv()
        return found


def work(pipe: Connection, spec: StudentSpec) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            seed: int | None = pipe.recv()
        except EOFError:
            return
        if seed is None:
            need = measure_student(spec)
            cores = os.cpu_count() or 1
            pipe.send({**asdict(need), "chosen": describe(need, pack(need, cores))})
            continue
        student = spec.with_seed(seed)
        for metrics in train_student(student, new_student(student)):
            last = metrics
        free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (0, 0)
        pipe.send({"loss": last.train_loss, "used": total - free})


# the parts


def run_part(part: str, out: Path, amounts: Amounts, limit_s: float) -> None:
    """One part, in this process."""
    report = Report(out, part)
    if part == "rates":
        measure_rates(report, amounts)
    elif part == "teacher":
        measure_teacher(report, amounts, rates_of(out))
    else:
        # 5 s less than its limit, to end its processes by itself
        measure_students(report, amounts, time.monotonic() + limit_s - 5)


def rates_of(out: Path) -> dict[str, float]:
    """The measured rates of copying and of matrices, in 10^12 a second, as far as they are there."""
    path = out / "rates.json"
    rows = read_json(path)["rows"] if path.is_file() else []
    return {row["name"]: row.get("tb_per_s") or row.get("tflop_per_s") for row in rows}


def run_limited(part: str, out: Path, quick: bool) -> str:
    """One part in a process group of its own; what became of it."""
    command = [sys.executable, __file__, "--out", str(out), "--part", part]
    started = time.monotonic()
    process = subprocess.Popen([*command, "--quick"] if quick else command, start_new_session=True)
    try:
        status = process.wait(timeout=LIMITS_S[part])
        how = "done" if status == 0 else f"failed with exit status {status}"
    except subprocess.TimeoutExpired:
        how = "cut at its time limit"
    finally:
        # also what a part that failed has left behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"{how} after {time.monotonic() - started:.0f} s"


def table(out: Path, ends: dict[str, str]) -> str:
    """All rows of all parts, with what became of each part."""
    lines = []
    for part, end in ends.items():
        lines += ["", f"{part}: {end}"]
        path = out / f"{part}.json"
        if path.is_file():
            found = read_json(path)
            lines[-1] += (
                f"; {found['date']}, {found['device']}, torch {found['torch']}, {found['cores']} cores"
            )
            for row in found["rows"]:
                name, *values = row.items()
                lines.append(f"  {name[1]:<38} " + "  ".join(f"{k} {shown(v)}" for k, v in values))
    return "\n".join(lines[1:])


def shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the rows go")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to show that it runs")
    parser.add_argument("--part", choices=LIMITS_S, help="this part alone, without a time limit")
    options = parser.parse_args(arguments)
    amounts = QUICK if options.quick else Amounts()
    if options.part:
        run_part(options.part, options.out, amounts, LIMITS_S[options.part])
        return 0
    if not torch.cuda.is_available() and not options.quick:
        print("There is no CUDA device here; --quick shows on a CPU that every part runs.")
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for part in LIMITS_S:
        (options.out / f"{part}.json").unlink(missing_ok=True)
    ends = {}
    for part in LIMITS_S:
        print(part, flush=True)
        ends[part] = run_limited(part, options.out, options.quick)
    text = table(options.out, ends)
    (options.out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if all(end.startswith("done") for end in ends.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
