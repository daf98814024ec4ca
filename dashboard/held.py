"""What one run of a page hands to the next, so that a click does not work out anew what has not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import streamlit as st

T = TypeVar("T")


def held(name: str, of: tuple[object, ...], make: Callable[[], T]) -> T:
    """What `make` gave when it was last asked for under this name, as long as `of` has stayed the same.

    Of ten thousand trials that are the same objects, to see so takes less than a millisecond. One
    value is held per name and visitor; whoever gets it must not change it.
    """
    key = f"held_{name}"
    before = st.session_state.get(key)
    if before is None or before[0] != of:
        before = st.session_state[key] = of, make()
    return cast(T, before[1])
