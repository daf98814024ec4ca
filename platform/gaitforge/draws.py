"""Random numbers by counters: each is a function of what it is drawn for, and of nothing else.

A generator's numbers depend on how many were drawn before. These do not: a window's view has the same numbers in every
batch, worker and process, in whatever order, also after a crash. The mixing is that of SplitMix64 (Steele, Lea, Flood
2014, "Fast splittable pseudorandom number generators", sec. 3), applied once for a key and once for each further part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# SplitMix64's constants, as torch's int64 holds them
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def mix(key: Tensor, *parts: Tensor | int) -> Tensor:
    """Return a key [...] of int64 for each key and the further parts; they are broadcast against each other."""
    key = _scramble(key)  # else small keys and small parts would meet
    for part in parts:
        key = _scramble((key ^ part) + _GOLDEN)
    return key


def draw_uniform(key: Tensor) -> Tensor:
    """Return a float64 in [0, 1) for each mixed key."""
    return _shift(key, 11).double() * 2.0**-53


def draw_normal(key_B: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal float32s [B, *shape] for each mixed key, by Box and Muller (1958); none beyond 5.8."""
    count = math.prod(shape)
    key_BH = number_elements(key_B, ((count + 1) // 2,))  # each gives two numbers
    first = (_shift(key_BH, 40) + 1).float() * 2.0**-24  # in (0, 1]
    angle = (_shift(key_BH, 16) & (2**24 - 1)).float() * (2 * math.pi * 2.0**-24)
    size = torch.sqrt(-2 * torch.log(first))
    both = torch.cat([size * torch.cos(angle), size * torch.sin(angle)], dim=1)
    return both[:, :count].reshape(len(key_B), *shape)


def number_elements(key_B: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a mixed key for each element [B, *shape] of each key."""
    count_E = torch.arange(math.prod(shape), device=key_B.device)
    return mix(key_B[:, None], count_E).view(len(key_B), *shape)


def _scramble(key: Tensor) -> Tensor:
    key = (key ^ _shift(key, 30)) * _FIRST
    key = (key ^ _shift(key, 27)) * _SECOND
    return key ^ _shift(key, 31)


def _shift(key: Tensor, bits: int) -> Tensor:
    """Shift right without the sign."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)
