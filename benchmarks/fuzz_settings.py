"""Wrong settings and layouts, thousands of them, made from the settings' own dataclasses.

    python -m benchmarks.fuzz_settings --cases 5000

Each case gives a few keys of a run.toml, or of a layout's .toml, values that they may or must not have, or spoils the
file's text, or puts something else in its place. Every stage then checks them as it does before it begins; ingest and
split also do their work, on six recordings, and what the others would do takes too long and is left out.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_recordings import good_arrays, pick
from benchmarks.fuzzing import Fuzzer, Spoiled, main
from gaitforge.models import FAMILIES
from gaitforge.objectives import OBJECTIVES
from gaitforge.settings import SAMPLERS, RunSettings, table_type
from gaitforge.splits import RULES
from trainers.__main__ import STAGES
from trainers.__main__ import main as gaitforge
from trainers.pipeline import Line

Rng = np.random.Generator
Tables = dict[str, dict[str, str]]  # table -> key -> its value as TOML

RUN: Tables = {
    "": {"work": '"work"'},
    "ingest": {"files": '["walks.npz"]', "layout": '"body.toml"', "max_quarantined": "0.5"},
    "split": {"rule": '"people"', "train": '["s0", "s1"]', "validation": '["s2", "s3"]', "confirm": '["s4", "s5"]'},
    "teacher": {"family": '"tcn"'},
    "search": {"families": '["tcn"]', "trials": "4"},
}  # fmt: skip
BODY: dict[str, str] = {
    "name": '"body"',
    "joints": "[" + ", ".join(f'"j{n}"' for n in range(17)) + "]",
    "bones": "[" + ", ".join(f"[{n}, {n + 1}]" for n in range(16)) + "]",
    "left_right": "[[1, 2], [3, 4]]",
    "root": "[0]",
    "fps": "25",
    "up": '"y"',
    "unit": '"m"',
    "parts": "{ arm = [1, 2], leg = [3] }",
}
# values for any key, right for some and wrong for most
NUMBERS = (
    "0", "1", "2", "3", "-1", "7", "100", "1000000000000", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "9" * 5000, "1" + "0" * 400, "4294967296", "0x7fffffff", "0.0", "-0.0", "0.5", "1.0",
    "1e-300", "1e308", "1e400", "inf", "-inf", "nan", "1_000", "0.999999", "17", "2147483648",
)  # fmt: skip
TEXTS = (
    '""', '" "', '"auto"', '"none"', '"a\\u0000b"', '"\\u001b[31mred"', '"\\u202egnp"', '"~nobody"', '"~"',
    '"/dev/null"', '"/dev/zero"', '"/dev/stdin"', '"."', '".."', '"/"', '"loop"', '"pipe"', '"folder"',
    '"' + "x" * 300 + '"', '"' + "x" * 150_000 + '"', '"coco17"', '"kinect25"', '"body.toml"', '"nowhere.toml"',
    '"folder.toml"', '"pipe.toml"', '"walks.npz"', '"folder.npz"', '"pipe.npz"', '"file://x"', '"%s%n{}"',
    '"\\n\\r\\t"', '"\\U0001F600"', '"[[[["', '"without-\\ue000"', '"a/b/../c"', '"s3://"',
    *(f'"{name}"' for name in (*FAMILIES, *OBJECTIVES, *SAMPLERS, *RULES)), '"kd"', '"slide"', '"label"', '"subject"',
)  # fmt: skip
OTHERS = (
    "true", "false", "[]", "[[]]", "{}", "[1, 2, 3]", '["a", "a"]', '["s0", "s1"]', '[["P1", "p1"]]',
    "[0.6, 0.2, 0.2]", "[0.5, 0.5]", "[1, 4]", "[4, 1]", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z",
    "{ a = 1 }", '{ "*" = "rest" }', '{ a = "" }', "[" * 150 + "]" * 150, "[" * 3000 + "]" * 3000,
    "[" + "1, " * 40_000 + "1]", "{ x = { y = { z = [ { a = inf } ] } } }", "[nan]", "[[0, 1], [1]]", "[-1]",
    "[[0, 1000000000000]]", '{ arm = [1.5] }', '[{ family = "tcn", "tcn.layers" = 2 }]', "[true]", '["\\u0000"]',
    "[[[[0]]]]", "{ channels = 16, layers = 1000000000000, dilation_growth = 3 }", "{ channels = -1 }",
    '{ kernel = "5" }', "{ layers = 100000 }", "{ widths = [], strides = [] }", "{ widths = [1000000000000] }",
)  # fmt: skip
# never where a case could write outside its own folder
WORK_TEXTS = (
    *(text for text in TEXTS if text not in ('"/"', '".."')),
    '"walks.npz/x"',
    '"/proc/self/x"',
    '"a/loop/b"',
)
TEXT_FAULTS = (
    b"\xff\xfe", b"\0", b"work = ", b"[[ingest]]\n", b"[" * 5000, b"\xef\xbb\xbf", b"\n[ingest]\n", b"x" * 210_000,
    b"'''", b"a" + b".a" * 3000 + b" = 1\n", b"[" + b"a." * 3000 + b"a]\n", b"\xc3", b"work = 'x'\n", b"\r",
    b'"\\ud800" = 1\n', b"\x1b[2J", b'"\\u0000" = 1\n', b'"" = 1\n', b"x = " + b"[{a=" * 300 + b"\n",
    b"".join(b"k%d = 1\n" % n for n in range(3000)), b'"' + b"k" * 150_000 + b'" = 1\n',
)  # fmt: skip
HEAVY = ("teacher", "outputs", "search", "confirm", "export")


def schema(kind: type[Any], name: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield table, key and type of every key that the settings have."""
    hints = typing.get_type_hints(kind)
    for item in fields(kind):
        table = table_type(hints[item.name])
        if table is None:
            yield name, item.name, hints[item.name]
        else:
            yield from schema(table, f"{name}.{item.name}".removeprefix("."))


KEYS = tuple(schema(RunSettings))
TABLES = tuple(dict.fromkeys(table for table, _, _ in KEYS if table))


def prepare(folder: Path) -> None:
    """Make a work folder with a good store and split, and what a path may lead to."""
    (folder / "run.toml").write_text(as_toml(RUN), encoding="utf-8")
    (folder / "body.toml").write_text(as_toml({"": BODY}), encoding="utf-8")
    np.savez(folder / "walks.npz", allow_pickle=False, **good_arrays())
    for stage in ("ingest", "split"):
        if gaitforge([stage, str(folder / "run.toml")]) != 0:
            raise RuntimeError(f"the good settings were refused by {stage}")


def command(arguments: Sequence[str]) -> int:
    """Run a command whose long stages do nothing once they are checked."""
    for stage in HEAVY:
        setattr(Line, stage, lambda line: None)
    return gaitforge(list(arguments))


def as_toml(tables: Tables) -> str:
    """Write tables whose values are TOML already."""
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]"] if name else []
        lines += [f"{key} = {value}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def spoil(rng: Rng, folder: Path) -> Spoiled:
    """Spoil the settings or the layout of a folder."""
    add_places(folder)
    run = {name: dict(table) for name, table in RUN.items()}
    body = dict(BODY)
    way = rng.random()
    if way < 0.5:
        what = spoil_settings(rng, run)
    elif way < 0.75:
        what = spoil_layout(rng, body)
    else:
        what = ""
    settings, layout = folder / "run.toml", folder / "body.toml"
    settings.write_text(as_toml(run), encoding="utf-8", errors="surrogatepass")
    layout.write_text(as_toml({"": body}), encoding="utf-8")
    if 0.75 <= way < 0.95:
        what = spoil_text(rng, settings if rng.random() < 0.6 else layout)
    elif way >= 0.95:
        settings, what = replace(rng, settings, layout)
    stage = str(rng.choice(list(STAGES)))
    return Spoiled(command=[stage, str(settings)], what=f"{stage}: {what}")


def add_places(folder: Path) -> None:
    """Put what a path may lead to into the folder."""
    (folder / "loop").symlink_to("loop")
    for name in ("pipe", "pipe.toml", "pipe.npz"):
        os.mkfifo(folder / name)
    for name in ("folder", "folder.toml", "folder.npz"):
        (folder / name).mkdir()


def spoil_settings(rng: Rng, run: Tables) -> str:
    told = []
    for _ in range(int(rng.integers(1, 4))):
        table, key, hint = KEYS[rng.integers(len(KEYS))]
        value = any_value(rng, key, hint)
        if rng.random() < 0.03:
            key = str(
                rng.choice([key[:-1] or "x", key.upper(), f'"{key}\\u0000"', f'"{"k" * 3000}"'])
            )
        if rng.random() < 0.03:
            table = str(rng.choice([*TABLES, "x", f"{table}.x".strip("."), "ingest.read.relabel"]))
        if table == "ingest.synthetic" and rng.random() < 0.8:
            run["ingest"] = {}
        run.setdefault(table, {})[key] = value
        told.append(f"[{table}] {key[:50]} = {value[:60]}")
    if rng.random() < 0.05:
        told.append(f"without {(gone := str(rng.choice(list(run))))}")
        del run[gone]
    return "; ".join(told)


def spoil_layout(rng: Rng, body: dict[str, str]) -> str:
    told = []
    for _ in range(int(rng.integers(1, 3))):
        key = str(rng.choice([*BODY, "x", "bone"]))
        if rng.random() < 0.1:
            body.pop(key, None)
            told.append(f"no {key}")
            continue
        many = (
            "[" + ", ".join(f'"k{n}"' for n in range(16_000)) + "]",
            "[" + ", ".join(f"[{n}, {n + 1}]" for n in range(9_000)) + "]",
            "[" + ", ".join(f'"k{n}"' for n in range(17)) + "]",
        )
        body[key] = (
            pick(rng, many) if rng.random() < 0.15 else pick(rng, (*NUMBERS, *TEXTS, *OTHERS))
        )
        told.append(f"layout's {key} = {body[key][:60]}")
    return "; ".join(told)


def any_value(rng: Rng, key: str, hint: Any) -> str:
    """Return a value, of the key's own kind more often than not."""
    if key == "work":
        return pick(rng, WORK_TEXTS)
    if rng.random() < 0.3:
        return pick(rng, (*NUMBERS, *WORK_TEXTS, *OTHERS))
    kinds = str(hint)
    choices: list[str] = []
    if "int" in kinds or "float" in kinds:
        choices += NUMBERS
    if "str" in kinds:
        choices += TEXTS
    if "tuple" in kinds or "Mapping" in kinds or "bool" in kinds:
        some = pick(rng, (*NUMBERS, *TEXTS))
        choices += [*OTHERS, f"[{some}]", f"[{some}, {pick(rng, TEXTS)}]", f"{{ a = {some} }}"]
    return pick(rng, choices or OTHERS)


def spoil_text(rng: Rng, path: Path) -> str:
    """Spoil a file's text."""
    data = path.read_bytes()
    place = int(rng.integers(len(data)))
    what = int(rng.integers(6))
    if what == 0:
        data, told = data[:place], "cut"
    elif what == 1:
        changed = bytearray(data)
        for _ in range(int(rng.integers(1, 6))):
            changed[rng.integers(len(changed))] = rng.integers(256)
        data, told = bytes(changed), "other bytes"
    elif what == 2:
        encoding = pick(rng, ("utf-16", "utf-32", "utf-8-sig", "utf-7"))
        data, told = data.decode().encode(encoding), encoding
    elif what == 3:
        lines = data.splitlines(keepends=True)
        rng.shuffle(lines)
        data, told = b"".join(lines), "other order"
    else:
        extra = pick(rng, TEXT_FAULTS)
        ends = data.rfind(b"\n", 0, place) + 1
        place = pick(rng, (0, ends, len(data)))
        data, told = data[:place] + extra + data[place:], f"{extra[:30]!r} at {place}"
    path.write_bytes(data)
    return f"{path.name}: {told}"


def replace(rng: Rng, settings: Path, layout: Path) -> tuple[Path, str]:
    """Put something else in the place of a file, or call the settings otherwise."""
    what = pick(rng, ("pipe", "folder", "loop", "zeros", "gone", "name", "under"))
    if what == "name":
        name = pick(
            rng, ("r\x1b[31m.toml", "r\n.toml", "\udcff.toml", "r", "x" * 250, "\u202e.toml")
        )
        return settings.rename(settings.with_name(name)), f"called {name[:30]!a}"
    if what == "under":
        odd = settings.parent / pick(rng, ("\udce9", "a%b", "a b#?", "\x1b[2J", "\n", "n" * 250))
        odd.mkdir()
        for path in (settings, layout, settings.with_name("walks.npz")):
            path.rename(odd / path.name)
        return odd / settings.name, f"below {odd.name[:30]!a}"
    if what == "loop":
        return settings.with_name("loop"), "a loop"
    path = settings if rng.random() < 0.5 else layout
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "zeros":
        path.symlink_to("/dev/zero")
    return settings, f"a {what} in place of {path.name}"


FUZZER = Fuzzer(module="benchmarks.fuzz_settings", prepare=prepare, spoil=spoil, command=command)

if __name__ == "__main__":
    sys.exit(main(FUZZER))
