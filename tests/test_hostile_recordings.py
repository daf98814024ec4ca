"""Rules for files that were made to harm, or are none: refused in a sentence, before they cost memory or time."""

from __future__ import annotations

import errno
import io
import os
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaitforge.ingest import ReadOptions, read_files
from gaitforge.ingest.npz import read_npz
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from gaitforge.store import SkeletonStore

TWO = Layout(name="two", joints=("hip", "knee"), bones=((0, 1),), fps=50.0)
MOST_BYTES = 10_000_000  # what refusing a file may take; each of them would unpack to more

GOOD: Mapping[str, Any] = {
    "frames": np.arange(36, dtype=np.float32).reshape(6, 2, 3),
    "offsets": np.array([0, 3, 6]),
    "subject": np.array(["s1", "s2"]),
    "label": np.array(["ill", "well"]),
}


def packed(array: Any) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=True)
    return content.getvalue()


def with_header(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


def written(
    folder: Path, changes: Mapping[str, bytes | None], packing: int = zipfile.ZIP_DEFLATED
) -> Path:
    """An archive of GOOD with members changed; None leaves one out."""
    members = {f"{name}.npy": packed(array) for name, array in GOOD.items()}
    path = folder / "walks.npz"
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in (members | dict(changes)).items():
            if content is not None:
                archive.writestr(name, content)
    return path


def read(path: Path) -> list[Recording | Rejected]:
    return list(read_npz(path, TWO, ReadOptions()))


def header(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


ZEROS = bytes(40_000_000)
HOSTILE: dict[str, tuple[Mapping[str, bytes | None], str]] = {
    "frames without end": (
        {"frames.npy": with_header(header("(1000000000000, 2, 3)"))},
        r"'frames' should take 24,000,000,000,000 bytes by its header, and takes 0",
    ),
    "a number of 5,000 digits": (
        {"frames.npy": with_header(header("(" + "9" * 5_000 + ", 2, 3)"))},
        "is damaged",
    ),
    "brackets without end": ({"label.npy": with_header("(" * 9_000)}, "is damaged"),
    "minus signs without end": ({"label.npy": with_header("-" * 9_000 + "1")}, "is damaged"),
    "half a text": ({"label.npy": with_header("'''")}, "is damaged"),
    "a shape of fractions": ({"frames.npy": with_header(header("(6.0, 2, 3)"))}, "gives the shape"),
    "a shape below nothing": ({"frames.npy": with_header(header("(-6, 2, 3)"))}, "gives the shape"),
    "an order that is none": (
        {"frames.npy": with_header(header("(6, 2, 3)", order="0"))},
        "gives the shape",
    ),
    "columns in a column": (
        {"label.npy": with_header(header("(2,)", "[('a', '<f4')]"), bytes(8))},
        "must be plain numbers or text",
    ),
    "arrays in an array": (
        {"frames.npy": with_header(header("(6,)", "'(2,3)<f4'"), bytes(144))},
        "must be plain numbers or text",
    ),
    "texts of no length": ({"label.npy": with_header(header("(2,)", "'<U0'"))}, "of type '<U0'"),
    "objects": ({"label.npy": packed(np.array([None, 1]))}, "Python objects, which are never"),
    "text that is none": (
        {"label.npy": with_header(header("(2,)", "'<U1'"), b"\xff" * 8)},
        "text in 'label' that is none",
    ),
    "a header of 60 kB": ({"label.npy": with_header(" " * 60_000)}, "takes 60,001 bytes"),
    "no array": ({"label.npy": b"hello, world"}, "does not begin as an array does"),
    "less than its header tells": ({"label.npy": packed(GOOD["label"])[:-4]}, "and takes"),
    "more than its header tells": ({"label.npy": packed(GOOD["label"]) + b"more"}, "and takes"),
    "a useless member of zeros": (
        {"useless.npy": with_header(header("(10000000,)"), ZEROS)},
        "'useless' has shape|unpack to 40",
    ),
    "frames of zeros": (
        {"frames.npy": with_header(header("(1666666, 2, 3)"), ZEROS[:39_999_984])},
        "would unpack to 40,000.*, but a file of movements unpacks to at most 100 times its size",
    ),
    "texts of zeros": (
        {"note.npy": with_header(header("(2,)", "'|S20000000'"), ZEROS)},
        "would unpack to 40",
    ),
    "recordings of no frames": (
        {"offsets.npy": packed(np.zeros(1_000_000, np.int8))},
        "999,999 recordings by its offsets, but 6 frames",
    ),
    "columns without end": (
        {f"c{n}.npy": packed(np.arange(2)) for n in range(1_000)},
        "holds 1,004 arrays, but may hold at most 1,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_made_to_harm_is_refused_before_it_is_unpacked(name: str, tmp_path: Path) -> None:
    changes, sentence = HOSTILE[name]
    path = written(tmp_path, changes)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=sentence) as raised:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_never_writes_is_refused(packing: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in a compression that numpy does not write"):
        read(written(tmp_path, {}, packing))


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {})
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("label.npy", packed(np.array(["well", "ill"])))
    with pytest.raises(ValueError, match="holds 'label' twice"):
        read(path)


def test_a_list_of_members_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walks.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(90):
            archive.writestr(f"{n}{'n' * 60_000}.npy", b"")
    with pytest.raises(ValueError, match="its list of members takes 5,"):
        read(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", "<f2", ">f8"])
def test_frames_of_any_float_and_order_are_read_as_they_are(
    kind: str, order: str, tmp_path: Path
) -> None:
    frames = np.asarray(GOOD["frames"], kind, order=order)  # type: ignore[call-overload]
    first, second = read(written(tmp_path, {"frames.npy": packed(frames)}))
    assert isinstance(first, Recording)
    assert isinstance(second, Recording)
    both = np.concatenate([first.positions_TVC, second.positions_TVC])
    assert np.array_equal(both, GOOD["frames"])


def test_what_mostly_repeats_itself_is_read_where_it_is_small(tmp_path: Path) -> None:
    still = np.ones((6, 2, 3), np.float32).repeat(1_000, axis=0)
    items = read(
        written(
            tmp_path, {"frames.npy": packed(still), "offsets.npy": packed(np.array([0, 9, 6_000]))}
        )
    )
    assert all(isinstance(item, Recording) for item in items)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (make_pipe, "is a named pipe, but must be a file"),
    "folder": (Path.mkdir, "is a folder, but must be a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a device, but must be a file"),
    "loop": (lambda path: path.symlink_to(path), "cannot be read .*symbolic link.*; mend its path"),
    "below a file": (lambda path: path.symlink_to("/etc/passwd/x"), "cannot be read .Not a dir"),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_never_opened(what: str, tmp_path: Path) -> None:
    make, sentence = NO_FILES[what]
    path = tmp_path / "walks.npz"
    make(path)
    with pytest.raises((ValueError, OSError), match=sentence):
        read(path)
    with pytest.raises((ValueError, OSError), match=sentence):
        read_files([path], TWO, ReadOptions())  # before any file is read


def test_a_file_that_this_user_may_not_read_has_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:  # root may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    path = written(tmp_path, {})
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        PermissionError, match=r"walks\.npz cannot be read .Permission denied.; let its owner"
    ):
        read(path)  # fmt: skip


def test_a_file_whose_name_is_no_utf8_is_named_by_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, {})
    odd = path.rename(path.with_name("w\udcff.npz"))
    first, _ = read_files([odd], TWO, ReadOptions())
    assert isinstance(first, Recording)
    assert first.recording == r"w\udcff-00000"


def test_whole_numbers_of_64_bits_are_kept_in_a_column(tmp_path: Path) -> None:
    path = written(tmp_path, {"serial.npy": packed(np.array([2**63, 2**64 - 1], np.uint64))})
    SkeletonStore.write(tmp_path / "store", TWO, read(path), "f")
    store = SkeletonStore.open(tmp_path / "store")
    assert [item.columns["serial"] for item in store.read_recordings()] == [2.0**63, 2.0**64]
