"""Rules of who the walker is among several people: hand-made people of four joints on a picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gaitforge.ingest.synthetic import SyntheticSettings, synthetic_cohort
from gaitforge.ingest.tracking import MOST_LOST, MOST_PEOPLE, follow_walker, keep_walker

# head, hip and two feet of a body 100 pixels tall
BODY = np.array([[0, 0], [0, 50], [-15, 100], [15, 100]], np.float32)
Seen = tuple[int, str, NDArray[np.float32]]  # frame, who it is, joints [V, 2]


def person(
    x: float, frame: int = 0, swing: float = 0, size: float = 1, y: float = 0
) -> NDArray[np.float32]:
    """A body at x, whose feet swing by so many pixels."""
    feet = np.zeros((4, 2), np.float32)
    feet[2, 0], feet[3, 0] = swing * np.sin(frame), -swing * np.sin(frame)
    return (BODY + feet) * np.float32(size) + np.array([x, y], np.float32)


def whose(seen: list[Seen], known: list[int] | None = None) -> list[tuple[int, str]]:
    frames = np.array([frame for frame, _, _ in seen])
    kept = follow_walker(frames, np.stack([joints for _, _, joints in seen]), known)
    return [(seen[n][0], seen[n][1]) for n in kept]


def test_where_no_frame_shows_two_all_are_one_person_however_far_they_jump() -> None:
    seen: list[Seen] = [(0, "a", person(0)), (7, "a", person(5_000)), (8, "a", person(-9))]
    assert whose(seen) == [(0, "a"), (7, "a"), (8, "a")]


def test_a_file_that_numbers_one_person_anew_does_not_make_two_where_no_frame_shows_two() -> None:
    seen: list[Seen] = [(frame, "a", person(10 * frame, frame, swing=20)) for frame in range(8)]
    assert whose(seen, [1] * 4 + [2] * 4) == [(frame, "a") for frame in range(8)]
    # once somebody else is there at the same time, the numbers count again
    seen.append((0, "b", person(500, swing=20)))
    assert whose(seen, [1] * 4 + [2] * 5) == [(0, "b"), *((frame, "a") for frame in range(4, 8))]


@pytest.mark.parametrize("first", ["a", "b"])
def test_two_people_who_cross_keep_theirs_though_the_file_swaps_their_order(first: str) -> None:
    seen: list[Seen] = []
    for frame in range(40):
        # they meet between the frames 19 and 20; b is a little smaller
        both: list[Seen] = [
            (frame, "a", person(-195 + 10 * frame, frame, swing=20)),
            (frame, "b", person(195 - 10 * frame, frame, swing=20, size=0.9)),
        ]
        seen += both if (first == "a") == (frame % 2 == 0) else both[::-1]
    assert whose(seen) == [(frame, "a") for frame in range(40)]


def test_somebody_larger_who_stands_beside_the_walk_is_not_the_walker() -> None:
    seen: list[Seen] = []
    for frame in range(30):
        seen.append((frame, "stands", person(300, frame, swing=0.5, size=2)))
        if 5 <= frame < 25:  # comes and goes
            seen.append((frame, "walks", person(10 * frame, frame, swing=20)))
    assert whose(seen) == [(frame, "walks") for frame in range(5, 25)]


def test_of_two_who_walk_the_nearer_is_the_walker() -> None:
    seen: list[Seen] = []
    for frame in range(20):
        seen.append((frame, "far", person(-5 * frame, frame, swing=20, size=0.4)))
        seen.append((frame, "near", person(10 * frame, frame, swing=20, y=300)))
    assert whose(seen) == [(frame, "near") for frame in range(20)]


def test_a_short_false_detection_is_left_out_however_lively_and_large() -> None:
    seen: list[Seen] = []
    for frame in range(20):
        seen.append((frame, "walks", person(5 * frame, frame, swing=20)))
        if frame in (3, 4, 5):
            seen.append((frame, "curtain", person(900, frame, swing=90, size=8)))
    assert whose(seen) == [(frame, "walks") for frame in range(20)]


def test_a_walker_who_is_lost_for_some_frames_is_found_where_the_walk_goes_on() -> None:
    seen: list[Seen] = []
    for frame in range(40):
        if (
            not 15 <= frame < 25
        ):  # behind somebody; in between 100 pixels, a body's height, are walked
            seen.append((frame, "walks", person(10 * frame, frame, swing=20)))
        seen.append((frame, "stands", person(800, swing=0)))
    assert whose(seen) == [(f, "walks") for f in range(40) if not 15 <= f < 25]


def test_a_track_that_is_lost_for_longer_has_ended_and_the_longer_piece_is_kept() -> None:
    seen: list[Seen] = []
    for frame in range(100):
        if not 30 <= frame < 31 + MOST_LOST:
            seen.append((frame, "walks", person(frame, frame, swing=20)))
        seen.append((frame, "stands", person(800, swing=0)))
    assert whose(seen) == [(f, "walks") for f in range(31 + MOST_LOST, 100)]


def test_people_whom_the_file_tells_apart_are_believed_and_one_is_taken_once_a_frame() -> None:
    seen: list[Seen] = [
        (frame, who, person(x, frame, swing=20))
        for frame in range(4)
        for who, x in (("a", 10 * frame), ("b", 500 if frame % 2 else -500), ("b", 1_000))
    ]
    known = [7 if who == "a" else 3 for _, who, _ in seen]
    # b is seen twice a frame; of b's the first counts
    kept = whose([s for s in seen if s[1] == "b"], [3] * 8)
    assert kept == [(frame, "b") for frame in range(4)]
    assert len(whose(seen, known)) == 4


def test_of_equal_people_the_first_is_the_walker() -> None:
    seen: list[Seen] = [
        (frame, who, person(x, frame, swing=9)) for frame in range(5) for who, x in (("a", 0), ("b", 400))
    ]  # fmt: skip
    assert whose(seen) == [(frame, "a") for frame in range(5)]


def test_joints_that_were_not_found_do_not_break_a_track() -> None:
    seen: list[Seen] = []
    for frame in range(12):
        walker = person(6 * frame, frame, swing=20)
        walker[frame % 4] = np.nan
        if frame == 6:  # one joint alone, which the frame before did not show
            walker[[0, 3]] = np.nan
        seen += [(frame, "walks", walker), (frame, "stands", person(500))]
    assert whose(seen) == [(frame, "walks") for frame in range(12)]


def test_nobody_walks_where_nothing_was_found() -> None:
    nothing = np.full((3, 4, 2), np.nan, np.float32)
    assert follow_walker(np.arange(3), nothing).tolist() == []
    assert follow_walker(np.empty(0, np.int64), np.empty((0, 4, 2), np.float32)).tolist() == []


def test_a_crowd_is_bounded_to_the_largest() -> None:
    crowd: list[Seen] = [
        (f, "crowd", person(200 * n, f, swing=1, size=0.5)) for f in range(3) for n in range(3 * MOST_PEOPLE)
    ]  # fmt: skip
    walker: list[Seen] = [(f, "walks", person(-500 + f, f, swing=20)) for f in range(3)]
    assert whose(crowd + walker) == [(f, "walks") for f in range(3)]


def test_coordinates_beyond_all_bounds_are_followed_without_a_warning() -> None:
    wild = np.array([3e38, -3e38, np.inf, 0], np.float32)
    seen: list[Seen] = [
        (f, who, person(0) + wild[(f + n) % 4]) for f in range(8) for n, who in enumerate("ab")
    ]
    assert {frame for frame, _ in whose(seen)} <= set(range(8))


def test_bodies_of_a_set_keep_their_places_where_those_are_believed() -> None:
    still = np.stack([person(500)] * 10)
    walks = np.stack([person(6 * frame, frame, swing=20) for frame in range(10)])
    sure = np.ones((2, 10, 4), np.float32) * np.array([0.5, 0.75], np.float32)[:, None, None]
    positions, confidence = keep_walker(np.stack([still, walks]), sure, believed=True)
    np.testing.assert_array_equal(positions, walks)
    assert confidence is not None
    assert set(confidence.ravel().tolist()) == {0.75}
    # the same two in another order in each frame, as an estimator puts them
    mixed = np.stack([still, walks])
    mixed[:, ::2] = mixed[::-1, ::2]
    followed, _ = keep_walker(mixed, None, believed=False)
    np.testing.assert_array_equal(followed, walks)


def test_noisy_walkers_who_cross_and_hide_each_other_keep_theirs() -> None:
    cohort = SyntheticSettings(
        dimensions=2, people_per_class=1, recordings_per_person=2, missing=0.05
    )
    walks = [recording.positions_TVC for recording in synthetic_cohort(cohort)]
    rng = np.random.default_rng(0)
    for near, far in zip(walks[::2], walks[1::2], strict=True):
        length = min(len(near), len(far))
        seen: list[Seen] = []
        for frame in range(length):
            way = np.array(
                [0.04 * (frame - length / 2), 0], np.float32
            )  # metres from where they meet
            people: list[Seen] = [
                (frame, "near", near[frame] - np.nanmean(near[frame], axis=0) + way)
            ]
            if abs(frame - length / 2) > 3:  # else behind the other
                centred = far[frame] - np.nanmean(far[frame], axis=0)
                people.append((frame, "far", np.float32(0.8) * centred - way))
            seen += people if rng.random() < 0.5 else people[::-1]
        assert whose(seen) == [(frame, "near") for frame in range(length)]
