"""Readers of motion capture on files of which bytes were changed: recordings, or one sentence, and nothing else."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaitforge.ingest import READERS, ReadOptions, c3d
from gaitforge.layout import Layout
from gaitforge.recording import Recording, Rejected
from tests.c3d_files import write_c3d
from tests.test_bvh import BVH
from tests.test_mvnx import MVNX
from tests.test_trc import MOT, TRC

OPTIONS = ReadOptions(path=r"(?P<person>\w)(?P<label>\w)")
JOINTS = ("Hips", "Knee", "Pelvis", "Hip")
BODY = Layout(name="body", joints=JOINTS, bones=((0, 1), (1, 2), (2, 3)), up="y")
ANGLES = Layout(name="angles", joints=("pelvis_tilt", "Hip"), bones=((0, 1),), up="none")

# what breaks parsers of numbers, of text and of tags
WORDS = (
    b"1000000000000", b"-1", b"0", b"nan", b"-inf", b"1e400", b"", b"\t", b"\t\t\t", b"\n", b"\r", b" ", b"\0", b"\xff",
    b"{", b"}", b"ROOT", b"End Site", b"MOTION", b"endheader", b"X1", b"<!DOCTYPE a>", b"<frame>", b"</frame>", b"&a;",
    b"\xff\xff", b"\xff\x7f", b"\x80",
)  # fmt: skip


def sample(suffix: str) -> bytes:
    if suffix != ".c3d":
        return {".trc": TRC, ".mot": MOT, ".bvh": BVH, ".mvnx": MVNX}[suffix].encode()
    with tempfile.TemporaryDirectory() as folder:
        positions = np.arange(36, dtype=float).reshape(3, 4, 3)
        texts = {"POINT": {"UNITS": ["mm"], "X_SCREEN": ["+X"], "Y_SCREEN": ["+Z"]}}
        labels = ("S:Hip", "S:Knee", "S:Pelvis", "*4")
        path = write_c3d(Path(folder, "walk.c3d"), labels, positions, texts=texts)
        return path.read_bytes()


def changed(data: bytes, seed: int) -> bytes:
    """Change one place to three: a byte, a word for one of WORDS, or what is there for less or for more."""
    rng = random.Random(seed)
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(content))
        match rng.choice(["byte", "byte", "word", "word", "more", "less", "end"]):
            case "byte":
                content[at] = rng.choice(
                    (0, 255, rng.randrange(256), *rng.choices(range(32, 127), k=3))
                )
            case "word":
                found = list(re.finditer(rb"[^\s<>=\"\0]{1,20}", content))
                begin, end = rng.choice(found).span() if found else (at, at)
                content[begin:end] = rng.choice(WORDS)
            case "more":
                content[at:at] = rng.choice((rng.choice(WORDS), rng.randbytes(4)))
            case "less":
                del content[at : at + rng.randint(1, 8)]
            case "end" if len(content) > 20:
                del content[max(20, at) :]
    return bytes(content)


def outcome(suffix: str, content: bytes) -> str:
    """Read a file of these bytes: what came of it, in a word; AssertionError for what may not come."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"walk{suffix}")
        path.write_bytes(content)
        try:
            layout = ANGLES if suffix == ".mot" else BODY
            items = list(READERS[suffix](path, layout, OPTIONS))
        except ValueError as error:
            sentence = str(error)
            assert str(path) in sentence
            assert sentence.endswith(".")
            assert "\n" not in sentence
            return "refused"
    assert len(items) == 1
    assert isinstance(items[0], Recording | Rejected)
    return "read" if isinstance(items[0], Recording) else "rejected"


def hold(suffix: str, examples: int) -> dict[str, int]:
    data = sample(suffix)
    outcomes: dict[str, int] = {}

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    # the seed alone is drawn: what hypothesis likes to draw, such as 0, would lie in the first bytes again and again
    @given(st.integers(0, 2**64))
    def holds(seed: int) -> None:
        word = outcome(suffix, changed(data, seed))
        outcomes[word] = outcomes.get(word, 0) + 1

    holds()
    return outcomes


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ezc3d never ends is ended sooner; an honest file of this size takes it milliseconds."""
    monkeypatch.setattr(c3d, "_LEAST_SECONDS", 1)


every_suffix = pytest.mark.parametrize("suffix", [".c3d", ".trc", ".mot", ".bvh", ".mvnx"])


@every_suffix
def test_the_unchanged_file_is_read(suffix: str) -> None:
    assert outcome(suffix, sample(suffix)) == "read"


@every_suffix
def test_changed_files_are_read_rejected_or_refused_in_a_sentence(suffix: str) -> None:
    assert set(hold(suffix, 50)) >= {"refused"}


@pytest.mark.slow
@every_suffix
def test_many_changed_files_are_read_rejected_or_refused_in_a_sentence(suffix: str) -> None:
    """Printed with -s: how many of each."""
    outcomes = hold(suffix, 400)
    print(suffix, outcomes)
    assert set(outcomes) >= {"refused", "read"}


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"\0" * len(data), lambda data: data[::-1], lambda data: data[:700]]
)  # fmt: skip
@every_suffix
def test_files_of_nothing_are_refused(suffix: str, damage: Callable[[bytes], bytes]) -> None:
    content = damage(sample(suffix))
    if content != sample(suffix):
        assert outcome(suffix, content) == "refused"
