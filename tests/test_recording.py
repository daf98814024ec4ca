"""Recordings: what a reader must quarantine cannot be made, and what counts as seen."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from gaitforge.recording import Recording, find_kind

NAN = float("nan")


def walk(**change: Any) -> Recording:
    """Two frames of two joints in two dimensions."""
    positions = np.array([[[0, 0], [1, 1]], [[0, 1], [1, 2]]], dtype=np.float32)
    values = {"recording": "r", "person": "p", "label": "walk", "positions_TVC": positions}
    return Recording(**{**values, **change})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"positions_TVC": np.zeros((2, 2, 2))}, "float64 .* must be float32"),
        ({"positions_TVC": np.zeros((2, 4), np.float32)}, r"shape \(2, 4\), but must be"),
        (
            {"positions_TVC": np.zeros((1, 2, 2), np.float32)},
            "too few frames: 1, but .* at least 2",
        ),
        ({"positions_TVC": np.full((2, 2, 2), np.inf, np.float32)}, "infinities"),
        ({"positions_TVC": np.full((2, 2, 2), NAN, np.float32)}, "every joint .* missing"),
        ({"confidence_TV": np.ones((2, 3), np.float32)}, r"must be \(2, 2\) like the positions"),
        ({"fps": 0.0}, "frame rate: 0.0, but it must be above 0"),
        ({"fps": NAN}, "frame rate: nan"),
        ({"person": ""}, "person or the label is empty"),
        ({"label": ""}, "person or the label is empty"),
    ],
)
def test_what_cannot_be_used_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        walk(**change)


def test_a_joint_is_seen_with_all_its_coordinates() -> None:
    positions = np.array([[[0, 0], [1, NAN]], [[NAN, NAN], [1, 2]]], dtype=np.float32)
    seen = walk(positions_TVC=positions).seen_TV(min_confidence=0.3)
    assert seen.tolist() == [[True, False], [False, True]]


def test_a_joint_is_seen_from_the_least_confidence_on() -> None:
    confidence = np.array([[0.5, 0.25], [NAN, 1.0]], dtype=np.float32)
    recording = walk(confidence_TV=confidence)
    assert recording.seen_TV(min_confidence=0.5).tolist() == [[True, False], [False, True]]


def test_a_confidence_of_zero_means_missing_even_where_none_is_required() -> None:
    confidence = np.array([[0.0, 0.1], [1.0, 1.0]], dtype=np.float32)
    recording = walk(confidence_TV=confidence)
    assert recording.seen_TV(min_confidence=0.0).tolist() == [[False, True], [True, True]]


def test_recording_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        walk().person = "other"  # type: ignore[misc]


def test_changed_recording_is_checked_again() -> None:
    with pytest.raises(ValueError, match="person or the label is empty"):
        replace(walk(), label="")


def test_reasons_are_of_one_kind_whatever_stands_behind_the_colon() -> None:
    assert find_kind("too few frames: 1, but 2: at least") == "too few frames"
    assert find_kind("every joint of every frame is missing") == (
        "every joint of every frame is missing"
    )
