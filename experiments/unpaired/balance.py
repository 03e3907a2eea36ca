"""How alike the pools are in what must not be learnt, before and after matching, and what the CycleGAN made of it. Numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.unpaired import enhanced
from experiments.unpaired.runs import Study, config_of
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import pooling
from medjax.data import pool_balance, pools
from medjax.types import ConfigError


def measure(study: Study, arm: str, test: enhanced.Tested, degraded: np.ndarray, data: build_data.Data) -> dict[str, Any]:
    """`{"pools": as trained on, "matched": with images left out until both agree, or None, "left": how many are, "why", "made":
    high-quality test images after the degradation ("low") and before, "images": of the pools in every split, "match"}`.
    """
    facts = configs.resolved(study.folder(arm, "cyclegan"))["pools"]
    values = {pool: pool_balance.measure(data.source, _some(data, pool), pool) for pool in (pools.LOW, pools.HIGH)}
    found = {"pools": facts["balance"], "images": facts["counts"], "matched": None, "left": None, "why": ""}
    try:
        low, high = pool_balance.matched(values[pools.LOW], values[pools.HIGH])
    except ConfigError as error:
        found["why"] = str(error)
    else:
        pick = lambda pool, places: {name: v[places] for name, v in values[pool].items()}  # noqa: E731
        found["left"] = {pools.LOW: len(low), pools.HIGH: len(high)}
        found["matched"] = pool_balance.compare(pick(pools.LOW, low), pick(pools.HIGH, high))
    found["made"] = pool_balance.compare(*(pool_balance.measured(x.astype(np.float32)) for x in (degraded, test.high)))
    return found | {"match": list(config_of(study, arm, "cyclegan").data.match)}


def _some(data: build_data.Data, pool: str) -> np.ndarray:
    """Training images of a pool, spread over it."""
    return pooling.few_of(data.source, data.splits["train"], pool, pooling.MEASURED)
