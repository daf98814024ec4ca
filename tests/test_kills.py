"""A few of the kills of `benchmarks/kills.py`, on a line whose undisturbed twin the tests have already."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kills import STAGES, disturb, plan
from gaitforge.work import read_json
from tests.conftest import FinishedLine

# the seed of three hits that cost little: in outputs, confirm and export, each in another way
SEED, HITS = 152, 3


def test_hits_are_planned_by_the_seed_in_the_order_of_the_stages() -> None:
    assert plan(0, SEED, HITS) == plan(0, SEED, HITS) != plan(1, SEED, HITS)
    stages = [stage for stage, _, _ in plan(0, 1, 40)]
    assert stages == sorted(stages, key=STAGES.index)
    assert [stage for stage, _, _ in plan(0, SEED, HITS)] == ["outputs", "confirm", "export"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="finds processes by /proc")
def test_a_line_that_is_hit_again_and_again_comes_to_what_an_undisturbed_one_comes_to(
    finished: FinishedLine, tmp_path: Path
) -> None:
    (tmp_path / "calm").symlink_to(finished.folder)
    assert disturb(0, tmp_path, SEED, HITS, float("inf"))
    hits = read_json(tmp_path / "line-0" / "hits.json")
    ending = read_json(tmp_path / "line-0" / "ending.json")
    assert [hit["fault"] for hit in hits] == [""] * ending["hits"]
    assert ending["hits"] >= 1
    assert (ending["fault"], ending["differs"], ending["drafts"]) == ("", [], [])
