"""Teachers of several members: which windows each trains on, and which it may answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gaitforge.window_cache import WindowSet


def deal_parts(windows: WindowSet, parts: int) -> NDArray[np.int64]:
    """Return the part [N] that each window's person is dealt to: people of a class in turn, by their names.

    A person with recordings of several classes counts for the commonest of them. Raises ValueError where there are
    fewer people than parts.
    """
    person_N = np.array(windows.persons)[windows.recording_N]
    people = np.unique(person_N)
    if len(people) < parts:
        raise ValueError(
            f"teacher.members is {parts} with teacher.cross_fit, but there are {len(people)} training people to deal "
            "out; lower it."
        )
    commonest = {
        person: int(np.bincount(windows.label_N[person_N == person]).argmax()) for person in people
    }
    order = sorted(people, key=lambda person: (commonest[person], person))
    part_of = {person: number % parts for number, person in enumerate(order)}
    return np.array([part_of[person] for person in person_N], dtype=np.int64)
