"""Rules that every reader of recordings must keep, as checks: those of this project and those of extensions alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

import numpy as np

from gaitforge.ingest import Reader, ReadOptions
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.testing import require

NAME = "another/name"  # given to a reader as what ids begin with
CUTS = (0.0, 0.3, 0.9)  # shares of a file that are left of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A file to try a reader on, with at least one usable recording, and what the reader is told about it."""

    path: Path
    layout: Layout
    options: ReadOptions = field(default_factory=ReadOptions)


def check(reader: Reader, path: Path, layout: Layout, options: ReadOptions | None = None) -> None:
    """Check a reader against every rule on a sample file, which must hold at least one usable recording.

    Raises AssertionError for the first rule that is broken.
    """
    sample = Sample(path=path, layout=layout, options=options or ReadOptions())
    for holds in CHECKS.values():
        holds(reader, sample)


def check_missing_file(reader: Reader, sample: Sample) -> None:
    """Check that a file that is not there raises FileNotFoundError."""
    with TemporaryDirectory() as folder:
        nowhere = Path(folder, f"nowhere{sample.path.suffix}")
        try:
            list(reader(nowhere, sample.layout, sample.options))
        except FileNotFoundError:
            return
        except Exception as error:
            raise AssertionError(
                f"For a file that is not there the reader raises {error!r}, but must raise FileNotFoundError."
            ) from error
    raise AssertionError(
        "For a file that is not there the reader gives recordings; raise FileNotFoundError."
    )


def check_items(reader: Reader, sample: Sample) -> None:
    """Check that each item is a Recording of the layout's joints, or a Rejected with source, position and reason.

    At least one item must be a Recording.
    """
    items = _read(reader, sample)
    require(
        any(isinstance(item, Recording) for item in items),
        f"{sample.path} gives no recording that can be used; check the reader on another sample.",
    )
    for position, item in enumerate(items):
        require(
            isinstance(item, Recording | Rejected),
            f"Item {position} of {sample.path} is {type(item).__name__}, but must be a Recording or a Rejected.",
        )
        if isinstance(item, Recording):
            joints = item.positions_TVC.shape[1]
            require(
                joints == sample.layout.joint_count,
                f"'{item.recording}' has {joints} joints, but the layout '{sample.layout.name}' has "
                f"{sample.layout.joint_count}; order the file's joints as the layout has them.",
            )
        else:
            require(
                item.position == position and item.reason and item.source == str(sample.path),
                f"The item at {position} of {sample.path} was rejected as {item!r}, but must tell this file, this "
                "position and a reason.",
            )


def check_ids(reader: Reader, sample: Sample) -> None:
    """Check that all ids differ, and that ids which the file does not tell begin with the name that was given."""
    ids = [item.recording for item in _read(reader, sample) if isinstance(item, Recording)]
    for id_ in ids:
        require(
            ids.count(id_) == 1,
            f"{ids.count(id_)} recordings of {sample.path} have the id '{id_}', but each must have one of its own.",
        )
    with TemporaryDirectory() as folder:
        copy = Path(folder, f"a-copy{sample.path.suffix}")
        shutil.copyfile(sample.path, copy)
        named = _read(reader, replace(sample, path=copy), name=NAME)
    given = [item.recording for item in named if isinstance(item, Recording)]
    for own, other in zip(ids, given, strict=True):
        require(
            other == own or other.startswith(NAME),
            f"'{own}' is called '{other}' in a copy of the file that goes by '{NAME}', but must be called the same, or "
            "begin with that where the file tells no id.",
        )


def check_repeated(reader: Reader, sample: Sample) -> None:
    """Check that reading a file again gives the same items in the same order."""
    first, again = (_read(reader, sample) for _ in range(2))
    require(
        len(first) == len(again) and all(map(_alike, first, again)),
        f"{sample.path} gives other recordings when it is read again; read them in the file's order.",
    )


def check_unlabelled(reader: Reader, sample: Sample) -> None:
    """Check that reading for prediction, where persons and classes do not matter, gives the same movements.

    No recording that is read with labels may be left out or have another id.
    """
    told = [i for i in _read(reader, sample) if isinstance(i, Recording)]
    untold = [i for i in _read(reader, sample, labelled=False) if isinstance(i, Recording)]
    require(
        len(told) <= len(untold),
        f"{sample.path} gives {len(told)} recordings, and {len(untold)} where classes are not asked for; leave none "
        "out.",
    )
    by_id = {item.recording: item for item in untold}
    for item in told:
        other = by_id.get(item.recording)
        require(
            other is not None
            and np.array_equal(other.positions_TVC, item.positions_TVC, equal_nan=True),
            f"'{item.recording}' has other frames, or another id, where classes are not asked for.",
        )


def check_other_layout(reader: Reader, sample: Sample) -> None:
    """Check that a layout with another number of joints raises ValueError, or gives no usable recording."""
    joints = tuple(f"j{n}" for n in range(sample.layout.joint_count + 1))
    other = Layout(name="other", joints=joints, bones=((0, 1),), up="none", fps=sample.layout.fps)
    try:
        items = list(reader(sample.path, other, sample.options))
    except ValueError:
        return
    require(
        not any(isinstance(item, Recording) for item in items),
        f"{sample.path} gives recordings for a layout of {len(joints)} joints, which it does not have; raise "
        "ValueError.",
    )


def check_damaged(reader: Reader, sample: Sample) -> None:
    """Check that a truncated file raises ValueError, which names the file, or gives what is left.

    No other error may be raised.
    """
    data = sample.path.read_bytes()
    for cut in CUTS:
        with TemporaryDirectory() as folder:
            path = Path(folder, sample.path.name)
            path.write_bytes(data[: int(cut * len(data))])
            try:
                list(reader(path, sample.layout, sample.options))
            except ValueError as error:
                require(
                    sample.path.name in str(error),
                    f"Of a damaged file the reader says '{error}', but must name the file.",
                )
            except Exception as error:
                raise AssertionError(
                    f"With {cut:.0%} of {sample.path.name} left the reader raises {error!r}, but must raise ValueError "
                    "with a sentence."
                ) from error


CHECKS: Mapping[str, Callable[[Reader, Sample], None]] = MappingProxyType(
    {
        "missing file": check_missing_file,
        "items": check_items,
        "ids": check_ids,
        "repeated": check_repeated,
        "unlabelled": check_unlabelled,
        "other layout": check_other_layout,
        "damaged": check_damaged,
    }
)


def _read(
    reader: Reader, sample: Sample, *, labelled: bool = True, name: str | None = None
) -> Sequence[Recording | Rejected]:
    return list(reader(sample.path, sample.layout, sample.options, labelled=labelled, name=name))


def _alike(one: Recording | Rejected, other: Recording | Rejected) -> bool:
    if isinstance(one, Rejected) or isinstance(other, Rejected):
        return one == other
    return all(
        np.array_equal(mine, its, equal_nan=True) if isinstance(mine, np.ndarray) else mine == its
        for mine, its in (
            (getattr(one, part.name), getattr(other, part.name)) for part in fields(Recording)
        )
    )
