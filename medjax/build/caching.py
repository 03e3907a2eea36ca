"""From a config to the memory in which decoded training images are kept on the host."""

from __future__ import annotations

from ml_collections import ConfigDict

from medjax import processes
from medjax.data import packed, pipeline
from medjax.data.pools import pooled
from medjax.data.records import Source
from medjax.types import ConfigError

CACHES = ("auto", "none", "host", "device")
"""What `config.data.cache` may be; the first three give the same batches to the bit."""


def check(config: ConfigDict) -> None:
    """ConfigError for an unknown `config.data.cache`, and for numbers below what batches can be made of."""
    c = config.data
    for name, least in (("crop_size", 1), ("batch_size", 1), ("threads", 0), ("crop_align", 1)):
        if c[name] < least:
            raise ConfigError(f"config.data.{name} must be at least {least}, not {c[name]}")
    if c.cache not in CACHES:
        raise ConfigError(f"config.data.cache is {c.cache!r}, which is none of {', '.join(CACHES)}")


def options(config: ConfigDict, source: Source) -> dict[str, int | bool]:
    """`cache_bytes` and `cache_all` of `pipeline.train_batches`; of each of two pools half of the memory that is free, and of
    several processes on this machine each a part.
    """
    if config.data.cache == "host":
        parts = processes.neighbours() * (2 if pooled(source) else 1)
        return {"cache_bytes": packed.free_memory() // parts, "cache_all": True}
    return {"cache_bytes": 0 if config.data.cache == "none" else pipeline.CACHE_BYTES}
