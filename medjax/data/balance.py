"""Groups of unequal size drawn equally often: the record numbers of the small ones are repeated, and how often is told.

A group is a class, a modality, whatever the caller numbers or names. Nothing is invented: a class repeated fifteen times is
the same few images fifteen times, each occurrence with augmentation of its own (see `medjax.data.pipeline`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from medjax.rng import generator
from medjax.types import DataError


@dataclass(frozen=True)
class Balanced:
    """indices: int64 [groups * largest], the record numbers with repetitions, group by group.

    counts: `{group: images there are}`; factors: `{group: how often each of them comes in an epoch, on average}`.
    """

    indices: np.ndarray
    counts: dict[Hashable, int]
    factors: dict[Hashable, float]

    def note(self, what: str = "class") -> str:
        """One sentence for the user: what was repeated how often."""
        told = ", ".join(f"{group} x{self.factors[group]:.4g} of {count} images" for group, count in self.counts.items())
        return f"balanced by {what}, an epoch repeats images: {told}"


def oversampled(groups: Sequence[Hashable], indices: Sequence[int], *, seed: int = 0) -> Balanced:
    """`indices` with repetitions, so that every group has as many entries as the largest.

    Args:
      groups: the group of every record of the source, by record number.
      indices: the record numbers to draw from.
      seed: draws which images of a group are repeated once more than the others, where the numbers do not divide.

    Raises:
      DataError: no indices.
    """
    if not len(indices):
        raise DataError("there are no images to balance")
    members: dict[Hashable, list[int]] = {}
    for i in sorted(int(i) for i in indices):
        members.setdefault(groups[i], []).append(i)
    most, parts = max(map(len, members.values())), []
    for group in sorted(members, key=str):
        own = np.array(members[group], np.int64)
        once_more = generator(seed, "balance", str(group)).permutation(len(own))[: most % len(own)]
        parts += [np.tile(own, most // len(own)), own[np.sort(once_more)]]
    counts = {group: len(members[group]) for group in sorted(members, key=str)}
    return Balanced(np.concatenate(parts), counts, {group: most / count for group, count in counts.items()})
