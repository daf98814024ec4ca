"""The command line: `gaitforge <stage> run.toml`, and what goes with it.

Exit status: 0 done, 1 the work failed or was stopped, 2 the input is wrong (one sentence says how).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
OURS = ("gaitforge", "trainers", "search_spaces", "dashboard")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (KeyError, ValueError, OSError) as error:
        if not _meant_for_user(error):
            raise
        _complain(str(error.args[0]))  # str() of a KeyError would be quoted
        return 2
    except (RuntimeError, ArithmeticError) as error:
        if not _meant_for_user(error):
            raise
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("stopped; the same command goes on from here.")
        return 1


def run_stage(options: argparse.Namespace) -> int:
    from gaitforge.settings import read_settings

    return _run(read_settings(options.settings), options.stage, options.fresh)


def run_demo(options: argparse.Namespace) -> int:
    from gaitforge.settings import read_settings

    settings = read_settings(_demo_settings())
    work = Path(options.out).resolve() if options.out else Path.cwd() / "work" / "demo"
    status = _run(dataclasses.replace(settings, work=str(work)), "run", fresh=False)
    print(f"\nLook at it: gaitforge dashboard {work}")
    return status


def run_predict(options: argparse.Namespace) -> int:
    """Probabilities of every recording of the files, as CSV on standard output."""
    from gaitforge.predict import Predictor
    from gaitforge.work import open_path

    predictor = Predictor.open(open_path(options.export))
    writer = csv.writer(sys.stdout)
    writer.writerow(["recording", "predicted", *predictor.classes])
    for recording, probabilities in predictor.files(options.files):
        best = predictor.classes[int(probabilities.argmax())]
        writer.writerow([recording, best, *(f"{value:.4f}" for value in probabilities)])
    return 0


def run_dashboard(options: argparse.Namespace) -> int:
    import dashboard
    from gaitforge.work import open_path

    app = Path(dashboard.__file__).parent / "app.py"
    command = [
        sys.executable, "-m", "streamlit", "run", str(app),
        "--server.address", "127.0.0.1", "--server.port", str(options.port), "--server.headless", "true",
        "--server.fileWatcherType", "none", "--browser.gatherUsageStats", "false",
        "--client.showErrorDetails", "false", "--client.toolbarMode", "minimal",
        "--theme.primaryColor", "#3572c6",
        "--", str(open_path(options.work).resolve()),
    ]  # fmt: skip
    os.execv(sys.executable, command)


def run_show(options: argparse.Namespace) -> int:
    from gaitforge.work import WorkFolder, open_path
    from trainers.show import describe

    work = WorkFolder(open_path(options.work))
    if options.optuna is None:
        print(describe(work))
        return 0
    from trainers.optuna_file import write_studies

    print(write_studies(work, options.optuna))
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    from trainers.doctor import examine

    return examine(options.settings)


def _run(settings: RunSettings, stage: str, fresh: bool) -> int:
    from trainers.pipeline import Line

    line = Line(settings, fresh)
    line.check()
    getattr(line, stage)()
    line.summarise()
    return 0


def _demo_settings() -> Path:
    checkout = Path(__file__).parents[1] / "examples" / "demo.toml"
    return (
        checkout if checkout.is_file() else Path(sys.prefix) / "share" / "gaitforge" / "demo.toml"
    )


def _complain(sentence: str) -> None:
    """One line on standard error, also where the sentence quotes a library's longer one."""
    print("gaitforge:", " ".join(sentence.split()), file=sys.stderr)


def _meant_for_user(error: BaseException) -> bool:
    """Whether our own code raised it, with a sentence: anything else is a fault that needs its traceback."""
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
        command.add_argument("settings", type=Path, metavar="run.toml")
        command.add_argument(
            "--fresh",
            action="store_true",
            help="set aside the search that is there and start anew",
        )
        command.set_defaults(command=run_stage, stage=stage)
    demo = commands.add_parser("demo", help="the whole line, small, on synthetic walkers")
    demo.add_argument("--out", metavar="DIR", help="work folder (default: work/demo)")
    demo.set_defaults(command=run_demo)
    predict = commands.add_parser("predict", help="class probabilities of new recordings")
    predict.add_argument("export", metavar="EXPORT", help="the folder that export wrote")
    predict.add_argument("files", type=Path, nargs="+", metavar="FILE")
    predict.set_defaults(command=run_predict)
    dashboard = commands.add_parser("dashboard", help="accuracy against parameters, in a browser")
    dashboard.add_argument("work", nargs="?", default="work/demo", metavar="WORK")
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
    doctor = commands.add_parser("doctor", help="what is installed and what is missing")
    doctor.add_argument("settings", type=Path, nargs="?", metavar="run.toml")
    doctor.set_defaults(command=run_doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
