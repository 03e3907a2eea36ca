"""From a config to what is learnt beside images: classes, columns, their counts; and CLAHE of what is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax.data import labels
from medjax.data.balance import Balanced
from medjax.data.records import Source


def labelled(config: ConfigDict, source: Source) -> Source:
    """`source` with the records that have the labels and columns of `config.data`; as it is where there are none."""
    c = config.data
    if c.labels == "none" and not c.columns:
        return source
    return labels.select(source, labels=c.labels, classes=c.classes, mode=c.label_mode, columns=c.columns)


def columns_of(config: ConfigDict, source: Source) -> dict[str, np.ndarray]:
    """What batches carry of every record beside its class."""
    return labels.columns_of(source, config.data.columns)


def trained_on(config: ConfigDict, source: Source) -> Source:
    """`source` as training sees it: under CLAHE where the config has a clip."""
    c = config.data.clahe
    return labels.equalised(source, clip=c.clip, tiles=c.tiles) if c.clip else source


def facts_of(
    config: ConfigDict, source: Source, splits: Mapping[str, Sequence[int]], balanced: Balanced | None
) -> dict[str, Any]:
    """Classes, images of each in every split, and how often balancing repeats them: for config.json.

    Raises DataError where a class has fewer training images than `config.data.min_per_class`.
    """
    if config.data.labels == "none":
        return {}
    counts = labels.counts(source, splits)
    labels.check_counts(counts, least=config.data.min_per_class)
    repeated = {str(group): factor for group, factor in balanced.factors.items()} if balanced else None
    return {"classes": list(source.label_names), "class_counts": counts, "duplication": repeated}


def notes_of(config: ConfigDict, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The counts, and what is done to training images, for the user."""
    c, notes = config.data.clahe, []
    if facts:
        notes.append(labels.told(facts["class_counts"]))
    if c.clip:
        notes.append(f"training images are equalised: {clahe_words(config)}; validation and test images are not")
    return tuple(notes)


def clahe_words(config: ConfigDict) -> str:
    """What CLAHE does to the images trained on, in words; "none" where it is off."""
    c = config.data.clahe
    return f"CLAHE (scikit-image), clip {c.clip:g}, {c.tiles} x {c.tiles} tiles" if c.clip else "none"
