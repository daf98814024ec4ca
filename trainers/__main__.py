"""The command line: `gaitforge <stage> run.toml`, and what goes with it.

Exit status: 0 done, 1 the work failed or was stopped by Ctrl-C, 2 the input is wrong (one sentence says how), 129 and
143 stopped by SIGHUP and SIGTERM, 141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gaitforge.sentences import escape, one_line
from trainers.terminal.stopping import (
    Stopped,
    claim_last_word,
    listening,
    stop_listening,
    stop_status,
    told_to_stop,
)

# commands import what they need themselves, so that predict never waits for torch
if TYPE_CHECKING:
    from gaitforge.settings import RunSettings

STAGES = {
    "ingest": "read the recordings into the store",
    "split": "give people their roles",
    "teacher": "train the large model",
    "outputs": "store the teacher's answers to the training windows",
    "search": "try students",
    "confirm": "try the searched front on unseen people",
    "export": "hand out one student",
    "run": "all of these, in this order",
}
DEMO = Path(__file__).parents[1] / "examples" / "demo.toml"  # the wheel has it too
# the last is this file's name where it runs as `python -m trainers`
OURS = ("gaitforge", "trainers", "search_spaces", "dashboard", "__main__")
# a full disk, a terminal that has gone, a file of another user
UNUSABLE = (
    errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
STOPPED = "stopped; the same command goes on from here."
SIGNALLED = 128  # of a command that a signal has ended, 128 and the signal's number
UNREAD = 141  # what a shell tells of the tools that SIGPIPE ends: 128 and the signal's number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status, UNREAD without a word where nobody reads its output to the end."""
    _open_closed_files()
    with listening():
        status = 0
        try:
            try:
                status = _answer(arguments)
            except SystemExit:  # --help was printed
                _flush()
                raise
        except KeyboardInterrupt:  # before the command itself, or behind it
            status = _say_stopped()
        except BrokenPipeError:
            if not _unread():
                raise  # another pipe, which is a fault
            status = status or UNREAD
        except OSError as error:
            if error.errno not in UNUSABLE:
                raise
            if not status:  # else what cannot be written now was told already
                what = error.filename or "A file, or the output of this command,"
                told = f"{what} cannot be used ({error.strerror}); mend that, and the same command goes on from here."
                _complain(_told_of_full_disk(error) or told)
            status = status or 1
        finally:
            _drop_unwritten()
    return status


def _answer(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if sys.stdout is None and options.command in (
        run_predict,
        run_show,
        run_disk,
        run_manifest,
        run_doctor,
    ):
        _complain(
            "Standard output is closed, where the answer would go; give the command a file or a pipe for it."
        )
        return 1
    try:
        status = int(options.command(options))
        _flush()
        return status
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        # what is being stopped may fail in any way: a signal often goes to all processes of a command
        if told_to_stop() or isinstance(error, Stopped | KeyboardInterrupt):
            return _say_stopped(str(error) if isinstance(error, Stopped) else STOPPED)
        if sentence := _told_of_full_disk(error):
            _complain(sentence)
            return 1
        if not _meant_for_user(error):
            raise
        if isinstance(error, KeyError | ValueError | OSError):
            _complain(str(error.args[0]))  # str() of a KeyError would be quoted
            return 2
        if isinstance(error, RuntimeError | ArithmeticError):
            _complain(str(error))
            return 1
        raise


def _say_stopped(sentence: str = STOPPED) -> int:
    """Say that the command was stopped, unless somebody has; return its exit status."""
    stop_listening()
    if claim_last_word():
        _complain(sentence)
    return stop_status()


def run_stage(options: argparse.Namespace) -> int:
    from gaitforge.settings import read_settings

    return _run(read_settings(options.settings), options.stage, options.fresh)


def run_ingest(options: argparse.Namespace) -> int:
    """Run the stage, or tell what its reader makes of a file, which needs no run.toml."""
    if options.look is not None:
        return _look(options)
    if options.settings is None:
        raise ValueError(
            "ingest needs a run.toml, or --look FILE to see what a file holds; name one."
        )
    return run_stage(options)


def _look(options: argparse.Namespace) -> int:
    from gaitforge.extensions import load_readers
    from gaitforge.ingest.look import describe_lines, draw, look, write_layout, write_settings
    from gaitforge.ingest.options import ReadOptions
    from gaitforge.layout import read_layout
    from gaitforge.settings import read_settings

    load_readers()
    ingest = read_settings(options.settings).ingest if options.settings else None
    layout = read_layout(ingest.layout) if ingest and ingest.layout else None
    seen = look(options.look, ingest.read if ingest else ReadOptions(), layout)
    for line in (*describe_lines(seen), "", *draw(seen)):
        print(escape(line))
    texts = {"run.toml": write_settings(seen, options.write or Path())}
    if not seen.built_in:
        texts["mine.layout.toml"] = write_layout(seen.layout)
    if options.write is not None:
        _write_new({options.write / name: text for name, text in texts.items()})
        return 0
    for name, text in texts.items():
        print(f"\n# ---- {name}: a beginning\n{text}", end="")
    return 0


def _write_new(texts: Mapping[Path, str]) -> None:
    """Write files that are not there yet, all or none; raises OSError with one sentence where one cannot be."""
    for path in texts:
        if path.exists():
            raise FileExistsError(
                f"{path} is there already, and is not written over; name another folder."
            )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise type(error)(
                f"{path} cannot be written ({error.strerror}); name another folder."
            ) from error
        print(f"wrote {escape(str(path))}")


def run_demo(options: argparse.Namespace) -> int:
    from gaitforge.settings import read_settings

    settings = read_settings(DEMO)
    work = Path(options.out).resolve() if options.out else Path.cwd() / "work" / "demo"
    status = _run(dataclasses.replace(settings, work=str(work)), "run", fresh=False)
    print(f"\nLook at it: gaitforge dashboard {work}")
    return status


def run_predict(options: argparse.Namespace) -> int:
    """Print a row for every recording of the files as CSV: class probabilities, or the reason why there are none."""
    from gaitforge.extensions import load_readers
    from gaitforge.predict import Predictor, fill_row, name_columns
    from gaitforge.work import open_path

    load_readers()
    predictor = Predictor.open(open_path(options.export))
    if options.strict:
        predictor.check_strict()
    predictions = predictor.files(options.files, strict=options.strict)
    writer = csv.writer(sys.stdout)
    writer.writerow(name_columns(predictor.classes))
    answered = refused = 0
    for prediction in predictions:
        writer.writerow(fill_row(prediction, predictor.classes))
        if prediction.probabilities_K is None:
            refused += 1
        else:
            answered += 1
    if answered and not refused:
        return 0
    if not answered + refused:
        _complain("The files hold no recording; name at least one that does.")
    else:
        _complain(
            f"{refused:,} of {answered + refused:,} could not be used; the column 'reason' says why."
        )
    return 1 if answered else 2


def run_dashboard(options: argparse.Namespace) -> int:
    from dashboard.serving import build_serve_command
    from gaitforge.work import open_path

    folders = [str(open_path(work).resolve()) for work in options.work]
    os.execv(sys.executable, build_serve_command(folders, options.port))


def run_show(options: argparse.Namespace) -> int:
    from gaitforge.work import WorkFolder, open_path
    from trainers.show import describe

    work = WorkFolder(open_path(options.work))
    if options.optuna is None:
        print(describe(work))
        return 0
    from trainers.search.optuna_file import write_studies

    print(write_studies(work, options.optuna))
    return 0


def run_disk(options: argparse.Namespace) -> int:
    from gaitforge.work import WorkFolder, open_path
    from trainers.disk import describe_disk, look_at_disk, sweep_disk
    from trainers.terminal.say import say

    work = WorkFolder(open_path(options.work))
    if not options.sweep:
        disk = look_at_disk(work)
        say(describe_disk(disk))
        if disk.unneeded:
            say(f"`gaitforge disk {options.work} --sweep` removes that")
        return 0
    look_at_disk(work)  # a folder without a store is refused before anything is written there
    with _held(work.root, "disk --sweep"):
        disk = look_at_disk(work)
        say(describe_disk(disk))
        sweep_disk(disk, say)
    return 0


def run_forget(options: argparse.Namespace) -> int:
    from gaitforge.work import WorkFolder, follow_mode, open_path
    from trainers.forget import check_forgettable, forget_person
    from trainers.terminal.say import say

    work = WorkFolder(open_path(options.work))
    check_forgettable(work)
    follow_mode(work.root)
    with _held(work.root, "forget"):
        forget_person(work, options.person, say)
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    try:
        from trainers.doctor import examine
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"Not even the doctor can run: {error.name} is missing; install gaitforge with its dependencies, as "
            "`pip install --editable .` in its checkout."
        ) from error
    return examine(options.settings)


def run_manifest(options: argparse.Namespace) -> int:
    from trainers.cluster.fleet import plan_fleet
    from trainers.cluster.manifest import (
        Machines,
        Pods,
        describe_ray_up_cluster,
        write_job_script,
        write_kuberay_manifest,
    )
    from trainers.cluster.shipment import pack

    shipment = pack(options.settings)
    if options.kind == "job":
        text = write_job_script(options.settings, options.address)
    elif options.kind == "kuberay":
        fleet = plan_fleet(shipment.settings, options.nodes, options.cpus, options.gpus)
        pods = Pods(memory=options.memory, image=options.image, claim=options.claim)
        text = write_kuberay_manifest(shipment, fleet, pods)
    else:
        machines = Machines(provider=options.provider, hosts=tuple(options.hosts))
        nodes = len(machines.hosts) - 1 if machines.hosts else options.nodes
        fleet = plan_fleet(shipment.settings, nodes, options.cpus, options.gpus)
        text = describe_ray_up_cluster(shipment, fleet, machines)
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_text(text, encoding="utf-8")
        print(f"{options.out} says at its top how to use it")
    return 0


def run_ship(options: argparse.Namespace) -> int:
    from trainers.cluster.shipment import pack, write_entrypoint

    pack(options.settings).write(options.out)
    print(
        f"{options.out} is a working folder for a job: ray job submit --working-dir {options.out} "
        f"-- {write_entrypoint('run')}"
    )
    return 0


def run_submit(options: argparse.Namespace) -> int:
    from trainers.cluster.jobs import follow, submit
    from trainers.cluster.shipment import pack

    job = submit(pack(options.settings), options.address, options.stage)
    print(f"job {job} on {options.address}", flush=True)
    if not options.no_wait:
        follow(options.address, job)
    return 0


def _run(settings: RunSettings, stage: str, fresh: bool) -> int:
    from gaitforge.extensions import load_extensions
    from search_spaces import SPACES
    from trainers.pipeline import Line

    load_extensions(SPACES)
    line = Line(settings, fresh)
    line.check()
    with _held(line.work.root, stage):
        line.begin(stage)
        line.sweep()
        getattr(line, stage)()
        line.summarise()
    return 0


@contextmanager
def _held(root: Path, command: str) -> Iterator[None]:
    """Hold a work folder for the block; a command whose hold is taken over ends."""
    from gaitforge.hold import hold
    from trainers.terminal.say import say

    def lost() -> None:
        say(f"another command has taken over {root} meanwhile: this one ends")
        os.kill(os.getpid(), signal.SIGTERM)

    with hold(root, command, say, lost):
        yield


def _open_closed_files() -> None:
    """Put the empty device where the caller has closed a standard file: the next file opened would take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number


def _flush() -> None:
    print(end="", flush=True)  # without standard output that does nothing


def _drop_unwritten() -> None:
    """Let what a standard file cannot take go nowhere, or Python would complain at its end."""
    for file in (sys.stdout, sys.stderr):
        try:
            if file is not None:
                file.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _unread() -> bool:
    """Tell whether standard output is a pipe that nobody reads any more."""
    if sys.stdout is None:
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are told unasked
    return bool(poll.poll(0))


def _told_of_full_disk(error: BaseException) -> str | None:
    """Return the sentence for a disk without room, whoever wrote to it; None for another error."""
    if not isinstance(error, OSError):
        return None
    from gaitforge.work import NO_ROOM  # a Python without our packages has none

    if error.errno not in NO_ROOM:
        return None
    where = f" of {error.filename}" if error.filename else ""
    return (
        f"The disk{where} is full ({error.strerror}); free some room, and type the same command again: what is "
        "finished is kept, and it goes on from here."
    )


def _complain(sentence: str) -> None:
    """Print one line on standard error, also where the sentence quotes a library's longer one, or a long value."""
    if sys.stderr is not None:  # print would take standard output instead
        with suppress(OSError):  # nobody is left to be told
            print("gaitforge:", one_line(sentence), file=sys.stderr)


def _meant_for_user(error: BaseException) -> bool:
    """Tell whether our own code raised it, with a sentence: anything else is a fault that needs its traceback."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    # by module, since a checkout in a folder named gaitforge has all of numpy below that name
    ours = str(frame.f_globals.get("__name__")).partition(".")[0] in OURS
    return ours and bool(error.args) and " " in str(error.args[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gaitforge",
        description="From recordings of human movement to the smallest student that is still good enough.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for stage, text in STAGES.items():
        command = commands.add_parser(stage, help=text, description=text)
        if stage == "ingest":
            command.add_argument("settings", type=Path, nargs="?", metavar="run.toml")
            command.add_argument(
                "--look",
                type=Path,
                metavar="FILE",
                help="instead, tell what a file holds, draw it, and print a run.toml and a layout to begin with",
            )
            command.add_argument(
                "--write",
                type=Path,
                metavar="DIR",
                help="with --look: write that run.toml and layout into a folder",
            )
        else:
            command.add_argument("settings", type=Path, metavar="run.toml")
        command.add_argument(
            "--fresh",
            action="store_true",
            help="set aside what was made of other people or settings, and the search, and start anew",
        )
        command.set_defaults(command=run_ingest if stage == "ingest" else run_stage, stage=stage)
    demo = commands.add_parser("demo", help="the whole line, small, on synthetic walkers")
    demo.add_argument("--out", metavar="DIR", help="work folder (default: work/demo)")
    demo.set_defaults(command=run_demo)
    predict = commands.add_parser(
        "predict",
        help="class probabilities of new recordings",
        description="Print a CSV row for every recording: class probabilities, or the reason why it cannot be used.",
        epilog="Exit status: 0 all recordings were answered, 1 some were, 2 none was.",
    )
    predict.add_argument("export", metavar="EXPORT", help="the folder that export wrote")
    predict.add_argument("files", type=Path, nargs="+", metavar="FILE")
    predict.add_argument(
        "--strict",
        action="store_true",
        help="do not answer recordings that are unlike those of the training people",
    )
    predict.set_defaults(command=run_predict)
    dashboard = commands.add_parser("dashboard", help="accuracy against parameters, in a browser")
    dashboard.add_argument("work", nargs="*", default=["work/demo"], metavar="WORK")
    dashboard.add_argument("--port", type=int, default=8501)
    dashboard.set_defaults(command=run_dashboard)
    show = commands.add_parser("show", help="what a work folder holds")
    show.add_argument("work", metavar="WORK")
    show.add_argument(
        "--optuna",
        type=Path,
        metavar="FILE",
        help="instead, write the trials as a study that optuna-dashboard opens",
    )
    show.set_defaults(command=run_show)
    disk = commands.add_parser(
        "disk", help="what a work folder takes, by part, and what nothing needs"
    )
    disk.add_argument("work", metavar="WORK")
    disk.add_argument("--sweep", action="store_true", help="remove what nothing needs")
    disk.set_defaults(command=run_disk)
    text = "remove one person, and all that was made from them"
    forget = commands.add_parser("forget", help=text, description=text)
    forget.add_argument("work", metavar="WORK")
    forget.add_argument("person", metavar="PERSON", help="the id that the person has in the store")
    forget.set_defaults(command=run_forget)
    doctor = commands.add_parser("doctor", help="what is installed and what is missing")
    doctor.add_argument("settings", type=Path, nargs="?", metavar="run.toml")
    doctor.set_defaults(command=run_doctor)
    _cluster_parser(commands.add_parser("cluster", help="a run on a Ray cluster"))
    return parser


def _cluster_parser(cluster: argparse.ArgumentParser) -> None:
    commands = cluster.add_subparsers(required=True, metavar="command")
    here = "http://127.0.0.1:8265"
    text = "send a run with its code to a running cluster, and follow it there"
    submit = commands.add_parser("submit", help=text, description=text)
    submit.add_argument("settings", type=Path, metavar="run.toml")
    submit.add_argument(
        "--address", default=here, metavar="URL", help=f"the cluster's dashboard (default: {here})"
    )
    submit.add_argument("--stage", choices=STAGES, default="run", help="(default: run)")
    submit.add_argument("--no-wait", action="store_true", help="do not follow it")
    submit.set_defaults(command=run_submit)
    text = "write the folder that `ray job submit --working-dir` takes"
    ship = commands.add_parser("ship", help=text, description=text)
    ship.add_argument("settings", type=Path, metavar="run.toml")
    ship.add_argument("--out", type=Path, required=True, metavar="DIR")
    ship.set_defaults(command=run_ship)
    text = "write what starts a cluster for a run"
    manifest = commands.add_parser("manifest", help=text, description=text)
    manifest.add_argument("settings", type=Path, metavar="run.toml")
    manifest.add_argument(
        "--for",
        dest="kind",
        required=True,
        choices=("kuberay", "ray-up", "job"),
        help="a RayJob for Kubernetes, a cluster for `ray up`, or a script for a running cluster",
    )
    manifest.add_argument("--out", type=Path, metavar="FILE", help="(default: print it)")
    manifest.add_argument(
        "--nodes", type=int, metavar="N", help="besides the head (default: what the run can use)"
    )
    manifest.add_argument(
        "--cpus", type=int, default=8, metavar="N", help="of a node (default: 8)"
    )
    manifest.add_argument(
        "--gpus", type=int, metavar="N", help="of a node (default: what the run asks for)"
    )
    manifest.add_argument("--memory", default="16Gi", help="of a node (default: 16Gi)")
    manifest.add_argument(
        "--image", help="that holds Ray, torch and the dependencies (default: Ray's, and pip)"
    )
    manifest.add_argument(
        "--claim",
        default="gaitforge-work",
        help="the volume claim of the work folder (default: gaitforge-work)",
    )
    manifest.add_argument(
        "--provider",
        default="local",
        choices=("local", "aws"),
        help="of `ray up` (default: local)",
    )
    manifest.add_argument(
        "--hosts",
        nargs="+",
        default=(),
        metavar="HOST",
        help="head and nodes of `ray up` on one's own machines",
    )
    manifest.add_argument(
        "--address", default=here, metavar="URL", help=f"for a job (default: {here})"
    )
    manifest.set_defaults(command=run_manifest)


def leave(status: int) -> NoReturn:
    """End this process with an exit status.

    Of a stopped one at once, unless Ray has to be ended: where the signal met the import of a compiled library, Python
    remembers a Ctrl-C that nobody caught, and would kill itself by that in the end.
    """
    if status > SIGNALLED and "ray" not in sys.modules:
        with suppress(OSError, ValueError):
            _flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main())
