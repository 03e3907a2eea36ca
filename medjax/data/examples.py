"""One image on its way into a batch: what training and evaluation do alike, and in which order.

`Examples.stored` gives what is the same in every epoch (decoded, resized, reduced), `warped` and `degraded` what is drawn,
`finished` the arrays of a batch. What is drawn depends on (seed, what for, epoch, name, repetition) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from medjax.data import augment
from medjax.data.augment import Warp
from medjax.data.degrade import PREFILTERS, Degradation, prefiltered
from medjax.data.records import Images, Source, cached, multi_hot
from medjax.rng import generator
from medjax.types import Array, ConfigError, DataError, to_signed

LABELS = ("none", "single", "multi")


@dataclass(frozen=True)
class Examples:
    """How examples are made of a source's records; arguments as for `pipeline.train_batches`."""

    source: Source
    image_size: int | None
    degradation: Degradation | None
    prefilter: str
    labels: str
    columns: Mapping[str, Array]
    seed: int
    warp: Warp = field(default_factory=Warp)

    def __post_init__(self) -> None:
        if self.prefilter not in ("", *PREFILTERS):
            raise ConfigError(f"prefilter {self.prefilter!r} is none of {', '.join(PREFILTERS)}, nor empty")

    @property
    def scale(self) -> int:
        """How many times fewer pixels a side of `source` has."""
        return self.degradation.scale if self.degradation else 1

    @property
    def done(self) -> int:
        """How many steps of a reducing degradation are taken once, when the image is loaded."""
        if self.scale == 1 or self.warp or "downsample" not in self.degradation.steps[: self.degradation.fixed]:
            return 0
        return self.degradation.fixed

    def stored(self, cache_bytes: int) -> Callable[[int], Images]:
        """The part of the work in which nothing is random: decode, resize to the first size that is needed, reduce."""
        size = self.degradation.size if self.degradation and self.degradation.size else self.image_size
        if not self.done:
            return cached(self.source, size, max_bytes=cache_bytes).load

        def load(index: int) -> Images:
            images = self.source.load(index)
            images = images if size is None else augment.resize_all(images, size)
            return self._with_source(images, index, np.random.default_rng(0), stop=self.done)

        return cached(replace(self.source, load=load), None, max_bytes=cache_bytes).load

    def _with_source(self, images: Images, index: int, rng: np.random.Generator, **steps: int) -> Images:
        target = images["target"]
        if target.shape[0] % self.scale or target.shape[1] % self.scale:
            told = f"{place(self.source, index)} is {target.shape[0]} x {target.shape[1]}"
            raise DataError(f"{told}, which a scale of {self.scale} does not divide; crop it, or set a size to resize to")
        good = np.ascontiguousarray(images.get("source", target))
        return {"source": self.degradation(good, rng, **steps), **{k: v for k, v in images.items() if k != "source"}}

    def warped(self, images: Images, drawn: tuple) -> Images:
        """The whole images deformed, all alike."""
        return augment.random_warp(images, generator(self.seed, "warp", *drawn), self.warp) if self.warp else images

    def degraded(self, images: Images, index: int, drawn: tuple, *, whole: bool) -> Images:
        """Adds `source`, on the whole image (at `degradation.size`, or reduced) or after the crop; resizes whole images."""
        d = self.degradation
        if d is not None and whole == (d.size is not None or self.scale > 1):
            images = self._with_source(images, index, generator(self.seed, "degrade", *drawn), start=self.done)
        if whole and self.image_size is not None and self.scale == 1:
            images = augment.resize_all(images, self.image_size)
        return images

    def finished(self, images: Images, index: int) -> dict[str, np.ndarray]:
        """The example as batches hold it."""
        if self.prefilter and "source" in images:
            images = images | {"source": prefiltered(images["source"], self.prefilter)}
        signed = {name: image if name == augment.REGION else to_signed(image) for name, image in images.items()}
        example = {name: np.ascontiguousarray(image, np.float32) for name, image in signed.items()}
        return example | self.described(index)

    def described(self, index: int) -> dict[str, np.ndarray]:
        """What is known of a record beside its images: its number, its columns, its label."""
        example = {name: np.asarray(column[index]) for name, column in self.columns.items()}
        example["index"] = np.int32(index)
        if self.labels != "none":
            record = self.source.records[index]
            hot = multi_hot(record, self.source.label_names)
            if self.labels == "single" and hot.sum() != 1:
                raise DataError(f"{record.name} has {int(hot.sum())} labels, where exactly one is expected")
            example["label"] = np.int32(hot.argmax()) if self.labels == "single" else hot
        return example


def copies_of(chosen: Sequence[int]) -> list[tuple[int, ...]]:
    """() where a record number comes first, (1,) where it comes again, ...: what tells the draws of repetitions apart."""
    seen: dict[int, int] = {}
    found = []
    for index in chosen:
        seen[index] = seen.get(index, -1) + 1
        found.append((seen[index],) if seen[index] else ())
    return found


def place(source: Source, index: int) -> str:
    """What to call a record in an error: its first file, or its name."""
    record = source.records[index]
    return record.paths[0] if record.paths else record.name
