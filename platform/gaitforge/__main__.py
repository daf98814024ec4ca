"""The command `gaitforge`: make the packages of the pipeline importable, then hand over to trainers.

A wheel keeps trainers, search_spaces and dashboard in the folder `_line`, because other people's packages have
these names too. In a checkout they are importable already.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

LINE = Path(__file__).with_name("_line")


def main() -> NoReturn:
    """Run one command and end with its exit status."""
    if LINE.is_dir():
        put_on_path(str(LINE))
    from trainers.__main__ import leave
    from trainers.__main__ import main as run

    leave(run())


def put_on_path(folder: str) -> None:
    """Make what lies in a folder importable, here and in all that starts from here (Ray's workers, the dashboard)."""
    sys.path.insert(0, folder)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, inherited]))


if __name__ == "__main__":
    main()
