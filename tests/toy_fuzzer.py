"""A fuzzer of a command with faults, to show that each is found."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.fuzzing import Fuzzer, Spoiled, main
from gaitforge.work import WorkFolder


def prepare(folder: Path) -> None:
    head = WorkFolder(folder / "work").store_head
    head.parent.mkdir(parents=True)
    head.write_text("in force")


def spoil(rng: np.random.Generator, folder: Path) -> Spoiled:
    seed = rng.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
    return Spoiled(command=[str(seed), str(folder)], what=f"case {seed}")


def command(arguments: Sequence[str]) -> int:
    seed, folder = int(arguments[0]), Path(arguments[1])
    match seed:
        case 0:
            print("done")
            return 0
        case 1:
            raise IndexError("out of range")
        case 2:
            os._exit(9)
        case 3:
            WorkFolder(folder / "work").store_head.unlink()
    print("gaitforge: it was wrong; mend it.", file=sys.stderr)
    return 2


FUZZER = Fuzzer(module="tests.toy_fuzzer", prepare=prepare, spoil=spoil, command=command)

if __name__ == "__main__":
    sys.exit(main(FUZZER))
