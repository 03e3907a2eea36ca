"""From a source to batches: read, resize, deform, crop, flip, degrade, stack; with reading threads and a position.

A training batch is a pure function of (source, options, seed, position), whatever the number of threads, so
`batches(start)` continues a run to the bit. Batches are dicts of float32 `[B, H, W, C]` in [-1, 1] under `source` and
`target`, `index` int32 `[B]` (the record's number) and, if asked, `label` and other columns; where the source knows it,
`region`, float32 `[B, H, W, 1]` of 0 and 1, goes through the same geometry.

With a degradation whose `scale` is s > 1, `source` is `[B, H / s, W / s, C]`: whole images are reduced, then both are cropped
at the same place. Reduced images in whose making nothing is random are kept beside their targets.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import grain
import numpy as np

from medjax.data import augment, packed
from medjax.data.augment import Warp
from medjax.data.degrade import Degradation
from medjax.data.examples import LABELS, Examples, copies_of, place
from medjax.data.records import Source
from medjax.rng import generator
from medjax.types import Array, Batches, ConfigError, DataError

CACHE_BYTES = 1 << 30
_ENDLESS = 1 << 48  # images; grain's own repeat(None) overflows for one image in batches of one


def train_batches(
    source: Source,
    indices: Sequence[int],
    *,
    batch_size: int,
    image_size: int | None = 286,
    crop_size: int | None = 256,
    crop_align: int = 1,
    flip: bool = True,
    warp: Warp | None = None,
    degradation: Degradation | None = None,
    prefilter: str = "",
    labels: str = "none",
    columns: Mapping[str, Array] | None = None,
    seed: int = 0,
    threads: int = 2,
    prefetch: int = 4,
    cache_bytes: int = CACHE_BYTES,
    cache_all: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Batches:
    """Endless shuffled batches, positioned at will.

    Args:
      source: where images come from.
      indices: the record numbers to train on; reshuffled each epoch, the rest of an epoch flows into the next batch. A
        number that comes several times is drawn as often, each time with its own augmentation (see `medjax.data.balance`).
      batch_size: images in a batch.
      image_size: every image is first resized to this square; None keeps the native resolution.
      crop_size: side of the random crop, in pixels of the target; None takes the whole image (which then needs an image_size).
      crop_align: corners of crops are multiples of this, and of the degradation's scale.
      flip: mirror half of the images left to right.
      warp: rotation, zoom and elastic deformation of the whole image, before it is degraded.
      degradation: makes `source` from `target`; not for pairs, which have theirs. Drawn from (seed, epoch, name), so that another
        image in the folder changes nothing.
      prefilter: a filter of `source` alone, one of `degrade.PREFILTERS`; "" is none.
      labels: "none"; "single" gives int32 [B], the place of the only label among `source.label_names`;
        "multi" gives multi-hot float32 [B, number of labels].
      columns: {name: [number of records, ...]}, what is known of every record: batches carry the rows of theirs.
      threads: reading threads; 0 reads in the caller.
      prefetch: batches read ahead.
      cache_bytes: memory for images already decoded and resized; batches are the same to the bit, whatever it is.
      cache_all: ConfigError with both figures where not all of them find room there.
      part: (i, n), the i-th of n equal parts of every batch, its rows side by side: what one of n processes reads.

    Returns:
      batches(start): an iterator from batch number `start`. DataError and ConfigError come here for options and empty
      splits, from the iterator for files.
    """
    chosen = _check(source, indices, degradation, labels, batch_size)
    if batch_size % part[1]:
        raise ConfigError(f"batches of {batch_size} images cannot be read in {part[1]} equal parts")
    if crop_size is None and image_size is None:
        raise ConfigError("training batches need an image_size or a crop_size, or images would differ in shape")
    _check_sizes(image_size, crop_size, degradation)
    made = Examples(source, image_size, degradation, prefilter, labels, columns or {}, seed, warp or Warp())
    stored, copies = made.stored(cache_bytes), copies_of(chosen)
    if cache_all:
        packed.check_room(packed.size_of(made.stored(0), chosen), cache_bytes, len(set(chosen)), "memory")

    def element(position: int, slot: int) -> dict[str, np.ndarray]:
        index, epoch = chosen[slot], position // len(chosen)
        drawn = (epoch, source.records[index].name, *copies[slot])
        rng = generator(seed, "augment", *drawn)
        images = made.degraded(made.warped(stored(index), drawn), index, (epoch + 1, *drawn[1:]), whole=True)
        if crop_size is not None:
            images = augment.random_crop(images, rng, size=crop_size, align=crop_align, name=place(source, index))
        if flip:
            images = augment.random_flip(images, rng)
        return made.finished(made.degraded(images, index, (epoch + 1, *drawn[1:]), whole=False), index)

    places = _shuffled(len(chosen), lambda *at: at, seed)
    own = slice(part[0] * batch_size // part[1], (part[0] + 1) * batch_size // part[1])
    dataset = places.batch(batch_size, batch_fn=lambda rows: rows[own])  # a place is drawn before anything is read
    dataset = dataset.map(lambda rows: _stack([element(*at) for at in rows]))
    return lambda start: _iterate(dataset, start, threads, prefetch)


def _shuffled(count: int, element: Callable[[int, int], dict[str, np.ndarray]], seed: int) -> grain.MapDataset:
    """`element(position, slot)` without end, the `count` slots in another order in each epoch."""
    order, epochs = int(generator(seed, "shuffle").integers(2**32)), _ENDLESS // count + 1
    return grain.MapDataset.source(range(count)).shuffle(seed=order).repeat(epochs).map_with_index(element)


def resident_batches(
    made: Examples,
    indices: Sequence[int],
    *,
    batch_size: int,
    room: int,
    where: str = "memory",
    threads: int = 2,
) -> tuple[dict[str, np.ndarray], Batches]:
    """Images that go to a device once, and batches of numbers by which `medjax.images.prepared` makes training batches there.

    Args:
      made: how examples are made; without a warp and without masks, which the device cannot do.
      indices: record numbers, in the order of epochs that `train_batches` gives them.
      room, where: as for `packed.stacked`.

    Returns:
      images {"target", "source"}: uint8 or uint16 [N, H, W, C], of the different records among `indices`; and batches(start) of
      `slot` int32 [B], the place of an image in them, `draw` uint32 [B, 2], the epoch and a number of the image's name, `index`,
      labels and columns.
    """
    chosen = _check(made.source, indices, made.degradation, made.labels, batch_size)
    order, copies = sorted(set(chosen)), copies_of(chosen)
    slots = {index: slot for slot, index in enumerate(order)}
    images = packed.stacked(made.stored(0), order, room=room, where=where, threads=threads)

    def element(position: int, slot: int) -> dict[str, np.ndarray]:
        index = chosen[slot]
        name = ":".join([made.source.records[index].name, *map(str, copies[slot])])
        draw = np.array([position // len(chosen), zlib.crc32(name.encode())], np.uint32)
        return {"slot": np.int32(slots[index]), "draw": draw, **made.described(index)}

    dataset = _shuffled(len(chosen), element, made.seed).batch(batch_size)
    return images, lambda start: _iterate(dataset, start, min(threads, 1), 16)


def eval_batches(
    source: Source,
    indices: Sequence[int],
    *,
    batch_size: int,
    image_size: int | None = 256,
    degradation: Degradation | None = None,
    prefilter: str = "",
    labels: str = "none",
    columns: Mapping[str, Array] | None = None,
    seed: int = 0,
    threads: int = 2,
    prefetch: int = 4,
    cache_bytes: int = CACHE_BYTES,
) -> EvalBatches:
    """Whole images in the order of `indices`, degraded the same way every time (drawn from (seed, name)).

    The last batch is filled up with its last image; `mask` bool [B] is False there. Native size (image_size None) needs
    a batch_size of 1 unless all images have one shape. Other arguments as for `train_batches`.
    """
    chosen = _check(source, indices, degradation, labels, batch_size)
    _check_sizes(image_size, image_size, degradation)
    made = Examples(source, image_size, degradation, prefilter, labels, columns or {}, seed)
    stored, padding = made.stored(cache_bytes), -len(chosen) % batch_size

    def element(position: int, index: int) -> dict[str, np.ndarray]:
        drawn = (0, source.records[index].name)
        images = made.degraded(stored(index), index, drawn, whole=True)
        images = made.degraded(images, index, drawn, whole=False)
        return made.finished(images, index) | {"mask": np.bool_(position < len(chosen))}

    padded = chosen + chosen[-1:] * padding
    dataset = grain.MapDataset.source(padded).map_with_index(element).batch(batch_size, batch_fn=_stack)
    return EvalBatches(dataset, len(chosen), threads, prefetch)


@dataclass(frozen=True)
class EvalBatches:
    """Batches that can be gone through again and again; `num_images` leaves out the padding."""

    dataset: grain.MapDataset
    num_images: int
    threads: int
    prefetch: int

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return _iterate(self.dataset, 0, self.threads, self.prefetch)

    def __len__(self) -> int:
        return len(self.dataset)


def _stack(examples: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    shapes = {example["target"].shape[:2] for example in examples}
    if len(shapes) > 1:
        told = " and ".join(f"{h} x {w}" for h, w in sorted(shapes)[:2])
        raise ConfigError(f"images of {told} cannot share a batch; set an image_size, or a batch_size of 1")
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def _iterate(dataset: grain.MapDataset, start: int, threads: int, prefetch: int) -> Iterator[dict[str, np.ndarray]]:
    """A grain iterator from batch `start`; its threads end with it."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
    iterator = iter(dataset.to_iter_dataset(options))
    iterator.set_state({"next_index": int(start)})
    try:
        yield from iterator
    finally:
        iterator.close()


def _check(
    source: Source, indices: Sequence[int], degradation: Degradation | None, labels: str, batch_size: int
) -> list[int]:
    """The record numbers as a list, or the reason why they cannot be read."""
    chosen = [int(i) for i in indices]
    if not chosen:
        raise DataError(f"no image of {source.kind} is in this split")
    if min(chosen) < 0 or max(chosen) >= len(source):
        raise DataError(f"{source.kind} has {len(source)} images, so there is no image {max(chosen)}")
    if source.paired and degradation is not None:
        raise ConfigError(f"{source.kind} brings its own degraded images, so no degradation may be set")
    if labels not in LABELS:
        raise ConfigError(f"labels must be one of {', '.join(LABELS)}, not {labels!r}")
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    return chosen


def _check_sizes(image_size: int | None, crop_size: int | None, degradation: Degradation | None) -> None:
    if crop_size is not None and image_size is not None and crop_size > image_size:
        raise ConfigError(f"crop_size {crop_size} is larger than image_size {image_size}")
    scale = degradation.scale if degradation else 1
    for name, size in (("image_size", image_size), ("crop_size", crop_size)):
        if size is not None and size % scale:
            raise ConfigError(f"{name} {size} is no multiple of the scale {scale}")
