"""From a config to two pools of images that are not paired: their sources, batches of both, and how alike they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax.build import mixing
from medjax.build.degradation import params_of
from medjax.data import pool_balance, pools, splits
from medjax.data.choice import spread
from medjax.data.degrade import Degradation
from medjax.data.pipeline import EvalBatches
from medjax.data.pools import HIGH, LOW
from medjax.data.records import Source
from medjax.rng import generator
from medjax.types import Batches, ConfigError, DataError

MEASURED = 200  # images of each pool whose balance is measured where the pools are not matched
Open = Callable[[ConfigDict], tuple[Source, str]]


def unpaired(config: ConfigDict, folders: dict[str, str], open_one: Open) -> tuple[Source, str]:
    """The pools of `config.data.unpaired`: two kinds of data, each as it comes, or one, whose patients are dealt.

    Two kinds lie below `config.data.root`, else $MEDJAX_DATA, as those of a mixed source do; one has its own root. Raises
    ConfigError for a kind that is itself of several, or one kind without a degradation of its low-quality images.
    """
    c = config.data.unpaired
    kinds = {pool: c[pool] for pool in (LOW, HIGH)}
    for pool, entry in kinds.items():
        if entry.partition(":")[0] in ("", "mixed", "unpaired"):
            raise ConfigError(f"config.data.unpaired.{pool} names a kind of data of single images, not {entry!r}")
    if c.low == c.high:
        if not config.data.degradation.steps:
            raise ConfigError(
                f"both pools are of {c.low}: config.data.degradation.steps says how the images of low quality differ"
            )
        source, root = _one(config, c.low, folders, open_one, root=config.data.root)
        dealt = pools.dealt(source, low_share=c.low_share, seed=config.data.split_seed)
        return dataclasses.replace(dealt, kind="unpaired"), root
    parts = [_one(config, entry, folders, open_one)[0] for entry in kinds.values()]
    return pools.joined(*parts), mixing.above(config, kinds.values(), folders)


def _one(config: ConfigDict, entry: str, folders: dict[str, str], open_one: Open, *, root: str = "") -> tuple[Source, str]:
    plain = config.copy_and_resolve_references()
    plain.data.degradation.steps = ()
    above = "" if root else mixing.above(config, (entry,), folders)
    source, found = mixing.opened(plain, entry, folders, open_one, above=above, root=root)
    if source.paired or pools.pooled(source):
        has = "pairs" if source.paired else "pools of its own"
        raise ConfigError(f"{entry.partition(':')[0]} holds {has}, where single images are needed")
    return source, found


def degraded(config: ConfigDict, source: Source) -> Source:
    """A pooled `source` with the degradation of `config.data.degradation` on its low-quality images, where it has steps."""
    c = config.data.degradation
    if not c.steps:
        return source
    degradation = Degradation(steps=tuple(c.steps), params=params_of(c))
    return pools.degraded(source, degradation, size=c.size or config.data.image_size, seed=config.data.split_seed)


def described(config: ConfigDict) -> dict[str, Any]:
    """How the low-quality images of a run differ from high-quality ones, where they were made here: for the result file."""
    c, found = config.data, {}
    if c.source == "phantom_pools":
        found["dose"] = c.phantom_pools.dose
    if c.degradation.steps:
        found |= {"steps": list(c.degradation.steps), "params": params_of(c.degradation)}
        found |= {"size": c.degradation.size or c.image_size, "drawn": "once for each image"}
    return found


def split(config: ConfigDict, source: Source) -> dict[str, np.ndarray]:
    """By patient, both pools dealt by the same shares."""
    shares = tuple(config.data.split)
    if sum(shares) > 1.5:
        raise ConfigError(f"config.data.split is of shares where there are two pools, not of numbers of patients {shares}")
    return splits.by_stratum(source.records, source.column(pools.POOL), seed=config.data.split_seed, fractions=shares)


def check_splits(source: Source, found: dict[str, np.ndarray]) -> None:
    """Raises DataError where a split lacks one of the pools."""
    for name, indices in found.items():
        for pool in (LOW, HIGH):
            if not len(pools.in_pool(source, indices, pool)):
                raise DataError(f"the {name} split of {source.kind} has no image of the pool of {pool} quality")


def balanced(config: ConfigDict, data: Any, *, most: int = MEASURED) -> Any:
    """`data` (`build.data.Data`) with its training pools matched by `config.data.match`, and with their balance, measured and
    told in its notes and facts; as it is where it has no pools.

    Raises ConfigError for `match` without pools.
    """
    c = config.data
    if not pools.pooled(data.source):
        if c.match:
            raise ConfigError(f"config.data.match is for data of two pools; {data.source.kind} has none")
        return data
    chosen, notes = data.splits["train"], []
    for by in ((), tuple(c.match)) if c.match else ((),):
        if by:
            chosen, note = pool_balance.match(data.source, chosen, by=by, seed=c.split_seed)
            notes.append(note)
        sides = {pool: few_of(data.source, chosen, pool, most) for pool in (LOW, HIGH)}
        found = pool_balance.compare(*(pool_balance.measure(data.source, own, pool) for pool, own in sides.items()))
        notes.append(pool_balance.told(found))
    counts = {
        name: {pool: len(pools.in_pool(data.source, chosen if name == "train" else own, pool)) for pool in (LOW, HIGH)}
        for name, own in data.splits.items()
    }
    notes.append("images of the pools: " + "; ".join(f"{n}: low {v[LOW]}, high {v[HIGH]}" for n, v in counts.items()))
    source = dataclasses.replace(data.source, notes=(*data.source.notes, *notes))
    facts = {**data.facts, "pools": {"counts": counts, "balance": found}}
    return dataclasses.replace(data, source=source, splits={**data.splits, "train": chosen}, facts=facts)


def few_of(source: Source, indices: np.ndarray, pool: str, most: int) -> np.ndarray:
    """`most` of the images of a pool, spread over it, or all."""
    own = pools.in_pool(source, indices, pool)
    return own[spread(len(own), most)]


def few(source: Source, indices: np.ndarray, most: int) -> np.ndarray:
    """`most` of the images of each pool, spread over it."""
    return np.concatenate([few_of(source, indices, pool, most) for pool in (LOW, HIGH)])


Make = Callable[[Source, np.ndarray, int], Any]  # (source of single images, record numbers, seed) -> batches


def train_batches(data: Any, make: Make, *, seed: int) -> Batches:
    """Endless batches `{"a", "b", "index"}`: low-quality images, high-quality images, the records of the former. Each side is
    shuffled by a seed of its own, so that two images meet by chance in every epoch anew; a pure function of (seed, position).
    """
    sides = {pool: pools.in_pool(data.source, data.splits["train"], pool) for pool in (LOW, HIGH)}
    seeds = {LOW: seed, HIGH: int(generator(seed, "pool of high quality").integers(2**31))}
    both = [make(pools.view(data.source, pool), own, seeds[pool]) for pool, own in sides.items()]

    def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
        iterators = [side(start) for side in both]
        try:
            for low, high in zip(*iterators, strict=True):
                yield {"a": low["target"], "b": high["target"], "index": low["index"]}
        finally:
            for iterator in iterators:
                iterator.close()

    return batches


@dataclass(frozen=True)
class PoolBatches:
    """Whole images of both pools side by side: `a`, `b`, `index` (of a), `mask` and `high` (bool `[B]`: a, and b, are there and
    no filling), and where the truth of a is known `target`. The pool that ends first goes on with its last batch, masked.
    """

    low: EvalBatches
    high: EvalBatches
    truth: bool

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        last: dict[str, dict[str, np.ndarray]] = {}
        for low, high in zip_longest(self.low, self.high):
            last |= {LOW: low or _masked(last[LOW]), HIGH: high or _masked(last[HIGH])}
            low, high = last[LOW], last[HIGH]
            batch = {"a": low["source" if self.truth else "target"], "b": high["target"], "index": low["index"]}
            yield batch | ({"target": low["target"]} if self.truth else {}) | {"mask": low["mask"], "high": high["mask"]}

    def __len__(self) -> int:
        return max(len(self.low), len(self.high))


def _masked(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**batch, "mask": np.zeros_like(batch["mask"])}


def eval_batches(data: Any, make: Callable[[Source, np.ndarray], EvalBatches], split_name: str, *, limit: int = 0) -> PoolBatches:
    """Whole images of a split, at most `limit` of each pool (0: all)."""
    sides = {pool: pools.in_pool(data.source, data.splits[split_name], pool) for pool in (LOW, HIGH)}
    sides = {pool: own[:limit] if limit else own for pool, own in sides.items()}
    truth = pools.truth_known(data.source)
    low = make(pools.view(data.source, LOW, truth=truth), sides[LOW])
    return PoolBatches(low, make(pools.view(data.source, HIGH), sides[HIGH]), truth)


def paired(data: Any) -> Any:
    """The low-quality images of all splits with their truth, as data of pairs."""
    source = pools.view(data.source, LOW, truth=True)
    found = {name: pools.in_pool(data.source, indices, LOW) for name, indices in data.splits.items()}
    return dataclasses.replace(data, source=source, splits=found, degradation=None)


def share_split(configs: list[ConfigDict], path: str | Path, open_one: Open) -> dict[str, int]:
    """Deal the patients of all `configs` together, by the shares and the seed of the first, and write them to the split file
    `path`; returns the number of patients in each split. Every stage of a study then reads it as `config.data.split_file`.
    """
    records, strata = [], []
    for config in configs:
        source = open_one(config)[0]
        records += source.records
        strata += [f"{pool or 'no'} pool" for pool in source.column(pools.POOL)]
    c = configs[0].data
    found = splits.by_stratum(records, strata, seed=c.split_seed, fractions=tuple(c.split))
    splits.write_patients(path, records, found)
    return {name: len({records[int(i)].patient for i in indices}) for name, indices in found.items()}
