"""Some of many, evenly spread over them: what is shown, sampled or estimated from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Numbers = TypeVar("Numbers", np.ndarray, Sequence[int])


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` places spread evenly over `count` of them, or all: neighbouring slices of one head show little."""
    wanted = min(wanted, count)
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def thinned(indices: Numbers, most: int) -> Numbers:
    """Every k-th of `indices`, with the least k that leaves `most` of them at most."""
    return indices[:: stride(len(indices), most)]


def stride(count: int, most: int) -> int:
    """The least k for which every k-th of `count` are `most` at most."""
    return max(1, -(-count // most))
