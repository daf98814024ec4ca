"""The command `gaitforge`: puts the line's packages on the path, and hands over to trainers.

A wheel keeps trainers, search_spaces and dashboard in `_line`, since other people's packages have these names too.
In a checkout they are on the path already.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LINE = Path(__file__).with_name("_line")


def main() -> int:
    """Run one command; return its exit status."""
    if LINE.is_dir():
        put_on_path(str(LINE))
    from trainers.__main__ import main as run

    return run()


def put_on_path(folder: str) -> None:
    """Let this process and all that it starts (Ray's workers, the dashboard's server) find what lies in a folder."""
    sys.path.insert(0, folder)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, inherited]))


if __name__ == "__main__":
    sys.exit(main())
