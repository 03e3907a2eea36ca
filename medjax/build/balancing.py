"""From a config to training images that come equally often whatever their class or modality."""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

from medjax.data.balance import Balanced, oversampled
from medjax.data.records import Source
from medjax.types import ConfigError


def balance_of(config: ConfigDict, source: Source, indices: Sequence[int]) -> Balanced | None:
    """`indices` with repetitions, so that classes (without labels: modalities) come equally often; None where
    `config.data.balance` is none.
    """
    c = config.data
    if c.balance == "none":
        return None
    if c.balance != "oversample" or c.labels == "multi":
        raise ConfigError(f"config.data.balance is none or oversample, and for single labels, not {c.balance!r} for {c.labels}")
    if c.labels == "single":
        wanted = c.classes or source.label_names
        groups = [next((name for name in record.labels if name in wanted), "") for record in source.records]
    else:
        groups = source.column("modality")
    if not all(groups[int(i)] for i in indices):
        raise ConfigError(f"config.data.balance: the {balanced_by(config)} of some images of {source.kind} is not known")
    return oversampled(groups, indices, seed=c.split_seed)


def balanced_by(config: ConfigDict) -> str:
    """What the groups are called that are made equal."""
    return "class" if config.data.labels == "single" else "modality"
