"""The sets of images that a generator is judged by: real ones that were held out, real ones it was trained on, its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from medjax.build import data as build_data
from medjax.build import generator
from medjax.build.features import Extractable
from medjax.build.trained import Model
from medjax.data.choice import stride, thinned
from medjax.metrics import diversity
from medjax.metrics.features import Extractor
from medjax.rng import generator as seeded
from medjax.types import Key, NonFiniteError, to_signed, to_unit

BATCH = 16
MOST = 5000  # held-out images, and training images whose features are kept
SIDE = 32  # pixels of the images as vectors of grey levels
PIXELS = f"grey levels at {SIDE} x {SIDE}"


@dataclass(frozen=True)
class Images:
    """n images `[n, H, W, C]` in [0, 1], each one's `label` int `[n]` (0 without labels), its record's number `[n]` (of a
    generated one: that of the held-out image whose condition it has), and its `condition` `{column: [n]}`.
    """

    images: np.ndarray
    label: np.ndarray
    index: np.ndarray
    condition: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def signed(self) -> np.ndarray:
        """The images in [-1, 1]."""
        return to_signed(self.images)


def read(model: Model, data: build_data.Data, split: str, *, most: int = MOST) -> Images:
    """The real images of a split as they are, `most` spread over it at most."""
    chosen = thinned(data.splits[split], most)
    columns, parts = generator.columns_of(model), []
    for batch in build_data.eval_batches(model.config, replace(data, splits={split: chosen}), split, batch_size=BATCH):
        keep = np.asarray(batch["mask"])
        condition = {name: np.asarray(batch[name])[keep] for name in columns}
        label = condition.get("label", np.zeros(keep.sum(), np.int32))
        parts.append(Images(np.asarray(to_unit(batch["target"]))[keep], label, np.asarray(batch["index"])[keep], condition))
    whole = [np.concatenate([getattr(part, field) for part in parts]) for field in ("images", "label", "index")]
    return Images(*whole, {name: np.concatenate([part.condition[name] for part in parts]) for name in columns})


def beside(model: Model, own: build_data.Data, held: Images, *, samples: int = 0) -> Images:
    """Training images as they are, as many of each class as were held out, or `samples`, or all there are; drawn by the seed of
    the split.
    """
    train = own.splits["train"]
    labels = np.zeros(len(train), int)
    if "label" in held.condition:
        of = {name: k for k, name in enumerate(own.source.label_names)}
        labels = np.array([of[own.source.records[int(i)].labels[0]] for i in train])
    order = seeded(model.config.data.split_seed, "beside").permutation(len(train))
    chosen = [i for k in np.unique(held.label) for i in order[labels[order] == k][: samples or int(np.sum(held.label == k))]]
    return read(model, replace(own, splits={"train": train[sorted(chosen)]}), "train")


def generate(key: Key, model: Model, held: Images, *, samples: int = 0, progress: bool = False) -> Images:
    """An image of the condition of every held-out one; or `samples` of each class, its conditions in turn.

    Raises NonFiniteError for an image that is not finite.
    """
    places = np.arange(len(held))
    if samples:
        of = [np.flatnonzero(held.label == k) for k in np.unique(held.label)]
        places = np.concatenate([own[np.arange(samples) % len(own)] for own in of])
    make, images = generator.generator(model), []
    for start in tqdm(range(0, len(places), BATCH), desc="generating", unit="batch", disable=not progress, leave=False):
        number = np.arange(start, start + BATCH, dtype=np.int32)
        condition = {name: column[places[number % len(places)]] for name, column in held.condition.items()}
        images.append(make(key, number, condition)[: len(places) - start])
    found = np.concatenate(images)
    if not np.isfinite(found).all():
        bad = int(np.flatnonzero(~np.isfinite(found).all((1, 2, 3)))[0])
        raise NonFiniteError(f"the generator's image {bad}, of the condition of record {held.index[places[bad]]}, is not finite")
    condition = {name: column[places] for name, column in held.condition.items()}
    return Images(np.asarray(to_unit(found)), held.label[places], held.index[places], condition)


@dataclass(frozen=True)
class Trained:
    """All training images as training saw them, as vectors: `vectors` {space: [N, D]} (of `PIXELS` and of each network's
    layers), `index` {space: [N]} their records, `mirrored` {space: bool [N]}.
    """

    vectors: dict[str, np.ndarray]
    index: dict[str, np.ndarray]
    mirrored: dict[str, np.ndarray]


def trained_on(model: Model, own: build_data.Data, networks: Sequence[Extractable], *, progress: bool = False) -> Trained:
    """The training images, and their mirror images where training mirrored them; features of `MOST` spread over them at most."""
    seen, ways = generator.as_trained_on(model.config, own), (False, True) if model.config.data.flip else (False,)
    extractors = {network.name: Extractor(network.features) for network in networks}
    every, pixels, kept, done = stride(len(own.splits["train"]), MOST), [], [], 0
    batches = build_data.eval_batches(model.config, seen, "train", batch_size=BATCH)
    for batch in tqdm(batches, desc="training images", unit="batch", disable=not progress, leave=False):
        keep = np.asarray(batch["mask"])
        images, index = np.asarray(to_unit(batch["target"]))[keep], np.asarray(batch["index"])[keep]
        few = (done + np.arange(len(images))) % every == 0
        done += len(images)
        for way in ways:
            turned = images[:, :, ::-1] if way else images
            pixels.append((diversity.pixels(turned, side=SIDE).astype(np.float32), index, np.full(len(index), way)))
            kept.append((index[few], np.full(few.sum(), way)))
            for extractor in extractors.values():
                extractor.add(turned[few])
    vectors, index, mirrored = ({PIXELS: np.concatenate(column)} for column in zip(*pixels, strict=True))
    records, ways_of = (np.concatenate(column) for column in zip(*kept, strict=True))
    for name, extractor in extractors.items():
        for layer, sample in extractor.samples().items():
            space = f"{name}.{layer}"
            vectors[space], index[space], mirrored[space] = sample.vectors, records, ways_of
    return Trained(vectors, index, mirrored)


def vectors_of(images: np.ndarray, features: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A set in the spaces of `Trained`: its grey levels, and its vectors in `features` {network: {layer: Sample}}."""
    found = {f"{name}.{layer}": sample.vectors for name, layers in features.items() for layer, sample in layers.items()}
    return {PIXELS: diversity.pixels(images, side=SIDE), **found}
