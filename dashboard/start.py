"""Entry point of the server's process: runs Streamlit and loads the data before the first visitor comes.

Streamlit imports an app with its libraries, and reads the trials, only when somebody opens a page; with ten
thousand trials that takes two seconds. Here a background thread does both while the server starts.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from dashboard.reading import work_folder as reading
from gaitforge.work import WorkFolder, open_path

# No module with a component of Streamlit's: those must be loaded by the app, once the server runs.
LIBRARIES = ("streamlit", "dashboard.fronts.charts", "dashboard.student.charts", "gaitforge.store")


# What is read lives long and forms no cycles: at Python's own pace, its collector looked through all of
# it again and again while ten thousand trials were read, a quarter of that time.
COLLECTOR = (50_000, 20, 50)


def main() -> None:
    gc.set_threshold(*COLLECTOR)
    after = sys.argv.index("--") + 1 if "--" in sys.argv else len(sys.argv)
    threading.Thread(target=make_ready, args=(sys.argv[after:],), daemon=True).start()
    from streamlit.web import cli

    sys.exit(cli.main(prog_name="streamlit"))


def make_ready(folders: Sequence[str]) -> None:
    """Import the pages' libraries and read the first split of each folder, so that `reading` has them in memory."""
    for library in LIBRARIES:
        importlib.import_module(library)
    for folder in folders:
        with suppress(OSError, ValueError):  # the page says what is wrong with it
            work = WorkFolder(open_path(folder))
            for split in reading.look(work).splits[:1]:
                reading.read_results(work, split)


if __name__ == "__main__":
    main()
