"""Wrong recordings, thousands of them: what `gaitforge ingest` makes of files that are spoiled where it matters.

    python -m benchmarks.fuzz_recordings --cases 5000

Each case spoils one or two things: an array's header, its type, shape or values; which members there are, how they are
called and packed; the archive's list of them; bytes anywhere; or the file itself, which may be a pipe. One case in
seven spoils a CSV file of joints.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.fuzzing import Fuzzer, Spoiled, main
from gaitforge.ingest import ReadOptions, read_files
from gaitforge.layout import LAYOUTS
from gaitforge.sentences import one_line
from trainers.__main__ import main as gaitforge

Rng = np.random.Generator
T = TypeVar("T")
Arrays = dict[str, Any]
Members = list[tuple[str, bytes, int]]  # name, content, compression

PEOPLE = 6
FRAMES = 12  # of each recording
RUN = """work = "work"
[ingest]
files = ["walks.npz"]
layout = "coco17"
max_quarantined = 0.5
"""
SHAPES = (
    "(72, 17, 3)", "()", "(72,)", "(1000000000000, 17, 3)", "(72, 17, -3)", "(72.0, 17, 3)", "[72, 17, 3]",
    "(True, 17)", "(0, 17, 3)", "(72L, 17L, 3L)", "None", "(" * 250, "9" * 5000, "(72, 17, 3, )", "(2**62,)",
    "-" * 4000 + "1", "(36, 17, 3)", "(9223372036854775808, 17, 3)", "(72, 0, 3)", "'a'",
)  # fmt: skip
TYPES = (
    "'<f4'", "'<f8'", "'>f4'", "'<f2'", "'<f16'", "'|O'", "'O'", "'<U0'", "'|S0'", "'|V8'", "'<U1000000000'",
    "'<M8[ns]'", "'<c16'", "'<i8'", "'|b1'", "[('a', '<f4')]", "('<f4', (1000000,))", "'f4,f4'", "'nonsense'",
    "'<f3'", "7", "None", "'2f4'", "'(2,3)f4'", "[('a', '|O')]", "'<U4294967295'", "b'<f4'", "'\\x00'",
)  # fmt: skip
NAMES = (
    "label.npy", "x.npy", "", ".npy", "../x.npy", "/etc/x.npy", "a/b.npy", "x", "read me.txt", "\x1b[31mred.npy",
    "n" * 3000 + ".npy", "pers\u00f6n.npy", "positions.npy", "Label.npy", "frames", "frames.npy", "x\n.npy",
    "a=b;c,d {e}.npy", "clip_id.npy", "\u202e.npy", "file_label.npy", "FPS.npy",
)  # fmt: skip


def good_arrays() -> Arrays:
    """Return arrays of the exchange format: six people in two classes, one recording each."""
    rng = np.random.default_rng(0)
    return {
        "frames": rng.normal(size=(PEOPLE * FRAMES, 17, 3)).astype(np.float32),
        "offsets": np.arange(0, PEOPLE * FRAMES + 1, FRAMES),
        "subject": np.array([f"s{n}" for n in range(PEOPLE)]),
        "label": np.array(["healthy", "ataxia"] * (PEOPLE // 2)),
        "clip_id": np.array([f"walk {n}" for n in range(PEOPLE)]),
        "speed": np.array([1.0, 1.5, np.nan, 0.5, 1.0, 1.0]),
    }


def prepare(folder: Path) -> None:
    """Make a work folder with a good store."""
    (folder / "run.toml").write_text(RUN, encoding="utf-8")
    np.savez(folder / "walks.npz", allow_pickle=False, **good_arrays())
    if gaitforge(["ingest", str(folder / "run.toml")]) != 0:
        raise RuntimeError("the good recordings were refused")


def spoil(rng: Rng, folder: Path) -> Spoiled:
    """Spoil the recordings of a folder in one or two ways."""
    if rng.random() < 1 / 7:
        return spoil_csv(rng, folder)
    arrays, told = good_arrays(), []
    ways = rng.choice(5, size=rng.integers(1, 3), replace=False, p=[0.3, 0.25, 0.15, 0.25, 0.05])
    if 0 in ways:
        told.append(pick(rng, VALUES)(rng, arrays))
    members = [(f"{name}.npy", packed(array), any_packing(rng)) for name, array in arrays.items()]
    if 1 in ways:
        told.append(pick(rng, HEADERS)(rng, members))
    if 2 in ways:
        told.append(pick(rng, MEMBERS)(rng, members))
    data = zip_of(members)
    if 3 in ways:
        data, what = pick(rng, BYTES)(rng, data)
        told.append(what)
    path = folder / "walks.npz"
    path.write_bytes(data)
    if 4 in ways:
        told.append(pick(rng, FILES)(rng, path))
    if rng.random() < 0.1:
        return Spoiled(command=["read", str(folder)], what="; ".join(["unlabelled", *told]))
    if rng.random() < 0.1:
        with (folder / "run.toml").open("a", encoding="utf-8") as run:
            run.write("[ingest.read]\nconfidence_channel = 2\n")
        told.append("confidence")
    return Spoiled(command=["ingest", str(folder / "run.toml")], what="; ".join(told))


def pick(rng: Rng, choices: Sequence[T]) -> T:
    """Return one of the choices."""
    return choices[int(rng.integers(len(choices)))]


def packed(array: Any) -> bytes:
    """Return an array as the bytes of an .npy."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a type that needs the format's third version
        np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=True)
    return content.getvalue()


def any_packing(rng: Rng) -> int:
    return int(pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def zip_of(members: Members) -> bytes:
    """Return an archive of these members, whatever their names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data, packing in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), data, compress_type=packing)
    return content.getvalue()


# of the arrays


def other_type(rng: Rng, arrays: Arrays) -> str:
    name = pick(rng, list(arrays))
    kind = pick(
        rng,
        (
            "f2",
            "f4",
            ">f4",
            "f8",
            "g",
            "i1",
            "u8",
            ">i4",
            "bool",
            "c16",
            "U5",
            ">U3",
            "S5",
            "O",
            "M8[s]",
            "V4",
        ),
    )
    try:
        arrays[name] = arrays[name].astype(kind)
    except (ValueError, TypeError, OverflowError):
        arrays[name] = np.zeros(len(arrays[name]), kind)
    return f"{name} as {kind}"


def other_shape(rng: Rng, arrays: Arrays) -> str:
    name = pick(rng, list(arrays))
    array = arrays[name]
    arrays[name] = pick(
        rng,
        (array[:-1], array[:0], array[:1], array[None], array[..., None], array.ravel(), np.array(array.ravel()[0]),
         np.concatenate([array, array]), np.asfortranarray(array), array[::-1], array[..., :1], array[:, None]),
    )  # fmt: skip
    return f"{name} of shape {arrays[name].shape}"


def other_frames(rng: Rng, arrays: Arrays) -> str:
    frames = arrays["frames"]
    value = pick(rng, (np.nan, np.inf, -np.inf, 3e38, 1e-45, 0.0, -1e30))
    rows = rng.integers(len(frames), size=int(rng.integers(1, len(frames))))
    frames[rows] = value
    if rng.random() < 0.3:
        arrays["frames"] = (
            rng.integers(0, 2**32, frames.size, np.uint32).view(np.float32).reshape(frames.shape)
        )
    return f"frames of {value}"


def other_offsets(rng: Rng, arrays: Arrays) -> str:
    offsets = arrays["offsets"].copy()
    offsets[rng.integers(len(offsets))] = pick(rng, (-1, 0, 1, 71, 72, 73, 2**62, -(2**63)))
    arrays["offsets"] = pick(
        rng,
        (offsets, np.sort(offsets), np.array([0, 72]), np.zeros(5_000_000, np.int8), offsets.astype(np.uint64),
         np.arange(73), np.array([0] * 73 + [72])),
    )  # fmt: skip
    return "other offsets"


def other_words(rng: Rng, arrays: Arrays) -> str:
    name = pick(rng, ("subject", "label", "clip_id", "note"))
    odd = pick(
        rng,
        ("", " ", "nan", "\x1b[2J", "a\0b", "\udce9", "\ud83d", "x" * 100_000, "=cmd|' /C calc'!A0", "\u202egnp",
         "a\nb", "S0", "s1 ", "..", "/", "walk 0", "None", "\uffff", "%s{}", "\u0661"),
    )  # fmt: skip
    words = [f"w{n}" for n in range(PEOPLE)] if name not in arrays else arrays[name].tolist()
    for position in rng.integers(PEOPLE, size=int(rng.integers(1, PEOPLE + 1))):
        words[position] = odd
    arrays[name] = np.array(words)
    if rng.random() < 0.3:
        raw = [word.encode("utf-8", "surrogatepass") for word in words]
        arrays[name] = np.array([b"\xff" + word for word in raw])
    return f"{name} with {odd[:20]!a}"


def other_numbers(rng: Rng, arrays: Arrays) -> str:
    name = pick(rng, ("subject", "label", "clip_id", "speed", "note", "frames2"))
    arrays[name] = pick(
        rng,
        (np.arange(6, dtype=np.uint64) + np.uint64(2**63), np.array([2**64 - 1] * 6, np.uint64), np.array([np.inf] * 6),
         np.full(6, np.nan), np.arange(6) * 1.5, np.arange(6) - 3, np.array([True] * 6),
         np.array([1, 2, 2**63, 4, 5, 6], np.uint64), np.array([1e308] * 6, np.longdouble) * 10),
    )  # fmt: skip
    return f"numbers in {name}"


def absent(rng: Rng, arrays: Arrays) -> str:
    name = pick(rng, list(arrays))
    del arrays[name]
    return f"no {name}"


VALUES: Sequence[Callable[[Rng, Arrays], str]] = (
    other_type, other_shape, other_frames, other_offsets, other_words, other_numbers, absent,
)  # fmt: skip


# of a member's header


def other_header(rng: Rng, members: Members) -> str:
    """Write another header in front of an array's bytes."""
    place = int(rng.integers(len(members)))
    name, data, packing = members[place]
    head, body = data[: data.index(b"\n") + 1], data[data.index(b"\n") + 1 :]
    text = head[10:].decode("latin1").strip()
    shape = text[text.index("'shape': ") + 9 : text.rindex(")") + 1]
    kind = text[text.index(":") + 2 : text.index(", 'fortran")]
    what = int(rng.integers(8))
    if what <= 2:
        text = text.replace(shape, told := pick(rng, SHAPES))
    elif what <= 5:
        text = text.replace(kind, told := pick(rng, TYPES))
    elif what == 6:
        text = text.replace("False", told := pick(rng, ("True", "None", "0", "1", "'x'", "[]")))
    else:
        told = pick(
            rng,
            ("", "{}", "[" * 100, "{'descr': '<f4'}", "__import__('os')", "{" * 99, "\x00", "'", "1L" * 30,
             "(" * 9000, text.replace("}", ", 'x': 1}"), text.replace("'shape'", "'shapes'"), "\u00e9\u00ff" * 20,
             "0x", "'''", "1_"),
        )  # fmt: skip
        text = told
    raw = text.encode("latin1") + b"\n"
    members[place] = (name, head[:8] + struct.pack("<H", len(raw) % 65536) + raw + body, packing)
    return f"header of {name}: {told[:60]!a}"


def other_start(rng: Rng, members: Members) -> str:
    """Change bytes of an array's first ones: magic, version, length of the header."""
    place = int(rng.integers(len(members)))
    name, data, packing = members[place]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        changed[rng.integers(min(128, len(changed)))] = rng.integers(256)
    if rng.random() < 0.4:
        changed[6] = int(rng.integers(5))
    if rng.random() < 0.2:
        changed[8:10] = b"\xff\xff"
    members[place] = (name, bytes(changed), packing)
    return f"first bytes of {name}"


def other_length(rng: Rng, members: Members) -> str:
    """Cut an array's bytes, or add some."""
    place = int(rng.integers(len(members)))
    name, data, packing = members[place]
    cut = int(rng.integers(len(data)))
    members[place] = (name, pick(rng, (data[:cut], data + data[:cut], data[:8], b"")), packing)
    return f"another length of {name}"


def other_text(rng: Rng, members: Members) -> str:
    """Change bytes of a text, so that they are no characters."""
    places = [
        n
        for n, member in enumerate(members)
        if member[0] in ("subject.npy", "label.npy", "clip_id.npy")
    ]
    if not places:
        return other_start(rng, members)
    place = pick(rng, places)
    name, data, packing = members[place]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        changed[rng.integers(min(128, len(changed) - 1), len(changed))] = rng.integers(256)
    members[place] = (name, bytes(changed), packing)
    return f"bytes of {name}"


HEADERS: Sequence[Callable[[Rng, Members], str]] = (
    other_header, other_header, other_header, other_start, other_length, other_text,
)  # fmt: skip


# of the list of members


def another_member(rng: Rng, members: Members) -> str:
    name = pick(rng, NAMES)
    content = pick(
        rng, (b"hello", b"", packed(np.arange(6)), packed(np.array(["a"] * 6)), packed(np.arange(7)), members[0][1])
    )  # fmt: skip
    members.insert(int(rng.integers(len(members) + 1)), (name, content, any_packing(rng)))
    return f"a member {name[:40]!a}"


def other_packing(rng: Rng, members: Members) -> str:
    place = int(rng.integers(len(members)))
    name, data, _ = members[place]
    members[place] = (name, data, pick(rng, (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))
    return f"{name} in another compression"


def bomb(rng: Rng, members: Members) -> str:
    """Add much that takes no room: zeros."""
    name = pick(rng, ("useless.npy", "frames.npy", "note.npy", "offsets.npy"))
    kind, shape = pick(
        rng,
        (
            ("<f4", (240_000, 17, 3)),
            ("<U2000000", (6,)),
            ("|S8000000", (6,)),
            ("|i1", (50_000_000,)),
        ),
    )
    size = np.dtype(kind).itemsize * int(np.prod(shape))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    members[:] = [member for member in members if member[0] != name]
    members.append((name, head.getvalue() + bytes(size), zipfile.ZIP_DEFLATED))
    return f"{size:,} zeros in {name}"


def many(rng: Rng, members: Members) -> str:
    count = int(pick(rng, (50, 999, 1200, 3000)))
    column = packed(np.arange(PEOPLE))
    members += [(f"column{n}.npy", column, zipfile.ZIP_STORED) for n in range(count)]
    return f"{count} more columns"


MEMBERS: Sequence[Callable[[Rng, Members], str]] = (
    *[another_member] * 8, *[other_packing] * 3, bomb, many,
)  # fmt: skip


# of the whole file


def flipped(rng: Rng, data: bytes) -> tuple[bytes, str]:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed), "flipped bits"


def cut(rng: Rng, data: bytes) -> tuple[bytes, str]:
    return data[: rng.integers(len(data))], "cut"


def shifted(rng: Rng, data: bytes) -> tuple[bytes, str]:
    place, extra = int(rng.integers(len(data))), rng.bytes(int(rng.integers(1, 200)))
    return data[:place] + extra + data[place:], "bytes between"


def in_the_list(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Change a field of the archive's own list of members, or of its end."""
    changed = bytearray(data)
    mark = pick(rng, (b"PK\x01\x02", b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"))
    starts = [n for n in range(len(data)) if data.startswith(mark, n)]
    if not starts:
        return data, "nothing"
    start = pick(rng, starts)
    place = start + int(rng.integers(4, 46 if mark == b"PK\x01\x02" else 22))
    width = int(pick(rng, (1, 2, 4)))
    value = pick(
        rng,
        (b"\xff" * 4, b"\0" * 4, rng.bytes(4), b"\x01\0\0\0", b"\x0c\0\0\0", b"\xff\xff\xff\x7f"),
    )
    changed[place : place + width] = value[: len(changed[place : place + width])]
    return bytes(changed), f"{width} bytes at {place - start} of {mark!r}"


def wrapped(rng: Rng, data: bytes) -> tuple[bytes, str]:
    other = zip_of([("x.npy", packed(np.arange(3)), zipfile.ZIP_STORED)])
    return pick(
        rng,
        (
            (data + data, "twice"),
            (b"#!/bin/sh\n" + data, "behind a script"),
            (data + other, "before another archive"),
            (other + data, "behind another archive"),
            (data + b"\0" * 70_000, "before zeros"),
            (b"", "empty"),
            (b"PK\x05\x06" + b"\0" * 18, "an archive of nothing"),
            (b"PK\x05\x06" + b"\xff" * 18, "an end alone"),
            (rng.bytes(3000), "noise"),
            (packed(np.arange(5)), "one array"),
        ),
    )


BYTES: Sequence[Callable[[Rng, bytes], tuple[bytes, str]]] = (
    *[flipped] * 3, *[cut] * 2, shifted, *[in_the_list] * 5, wrapped,
)  # fmt: skip


# of what stands in the file's place


def no_file(rng: Rng, path: Path) -> str:
    """Put something else in the file's place, or call it otherwise."""
    what = pick(rng, ("pipe", "folder", "loop", "zeros", "gone", "device", "above", "name"))
    if what == "name":
        name = pick(
            rng,
            (
                "w\x1b[31m.npz",
                "w\n.npz",
                "n" * 250 + ".npz",
                "w.NPZ",
                "w.csv",
                "\u202e.npz",
                " .npz",
                "w.npz.gz",
            ),
        )
        path.rename(path.with_name(name))
        run = path.with_name("run.toml")
        spelt = name.replace("\x1b", "\\u001b").replace("\n", "\\n")
        run.write_text(RUN.replace("walks.npz", spelt), encoding="utf-8")
        return f"called {name[:40]!a}"
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "zeros":
        path.symlink_to("/dev/zero")
    elif what == "device":
        path.symlink_to("/dev/null")
    elif what == "above":
        path.symlink_to("/etc/passwd/walks.npz")
    return f"a {what} in its place"


FILES: Sequence[Callable[[Rng, Path], str]] = (no_file,)


# of a CSV file


def spoil_csv(rng: Rng, folder: Path) -> Spoiled:
    """Make a CSV file of two joints, spoil it, and let run.toml read what it is converted to."""
    rows = [["recording", "subject", "label", "time", "hip_x", "hip_y", "foot_x", "foot_y"]]
    rows += [
        [f"walk{n}", f"s{n}", "ill" if n % 2 else "well", str(t), *map(str, rng.normal(size=4).round(3))]
        for n in range(PEOPLE)
        for t in range(FRAMES)
    ]  # fmt: skip
    told = []
    for _ in range(int(rng.integers(0, 3))):
        row = 0 if rng.random() < 0.3 else int(rng.integers(len(rows)))
        cell = pick(rng, CELLS)
        what = int(rng.integers(4))
        if what == 0:
            rows[row].append(cell)
        elif what == 1:
            rows[row].pop()
        else:
            rows[row][rng.integers(len(rows[row]))] = cell
        told.append(f"row {row}: {cell[:30]!a}")
    text = "".join(",".join(row) + "\n" for row in rows)
    data = text.encode("utf-8", "surrogateescape")
    what = int(rng.integers(8))
    if what == 0:
        data = text.encode(pick(rng, ("utf-16", "utf-32", "utf-8-sig", "cp037")), "replace")
        told.append("another encoding")
    elif what == 1:
        data = pick(
            rng,
            (
                data.replace(b",", b";"),
                data.replace(b"\n", b"\r"),
                data.replace(b"\n", b""),
                b"",
                b"\n\n",
            ),
        )
        told.append("other separators")
    elif what == 2:
        data = pick(
            rng,
            (b"x," * 20_000 + b"\n" + data, b"x," * 600_000 + data, b"y" * 2_000_000, data * 300),
        )
        told.append("much")
    elif what == 3:
        data, how = pick(rng, (flipped, cut, shifted))(rng, data)
        told.append(how)
    path = folder / "walks.csv"
    path.write_bytes(data)
    if rng.random() < 0.05:
        told.append(no_file(rng, path))
    (folder / "leg.toml").write_text(
        'name = "leg"\njoints = ["hip", "foot"]\nbones = [[0, 1]]\n', encoding="utf-8"
    )
    run = RUN.replace("walks.npz", "walks.csv").replace("coco17", "leg.toml")
    (folder / "run.toml").write_text(run, encoding="utf-8")
    return Spoiled(command=["ingest", str(folder / "run.toml")], what="csv; " + "; ".join(told))


CELLS = (
    "", "x", "1e999", "-inf", "nan", '"', '"a', 'a"b', "a\0b", "\udcff", "z" * 300_000, "walk0", "s1", "\x1b[2J",
    "=1+1", "1,2", "1\n2", "hip_x", "recording", "0x1F", "1_000", "9" * 400, "\u0663", "True", "None", "1e-400",
    "label", " ",
)  # fmt: skip


def command(arguments: Sequence[str]) -> int:
    """Run gaitforge; a folder to "read" is read as for prediction."""
    if arguments[0] != "read":
        return gaitforge(list(arguments))
    path = Path(arguments[1]) / "walks.npz"
    try:
        found = list(read_files([path], LAYOUTS["coco17"], ReadOptions(), labelled=False))
    except (ValueError, KeyError, OSError) as error:
        print("gaitforge:", one_line(str(error.args[0])), file=sys.stderr)
        return 2
    return 0 if found else 1


FUZZER = Fuzzer(module="benchmarks.fuzz_recordings", prepare=prepare, spoil=spoil, command=command)

if __name__ == "__main__":
    sys.exit(main(FUZZER))
