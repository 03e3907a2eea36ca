"""How fast training batches are made: decode, resize to 286, crop 256, flip, degrade, stack; on the host and on the device.

    python -m experiments.benchmarks.data --root=DATA/cxr_nih --threads 0 1 2 --output=RESULT.json

A row for each way (`config.data.cache`): `none`, files decoded each time, and `host`, decoded images kept in memory, with each
number of reading threads; and `device`, images that lie on the device, where a jitted function makes batches by numbers. Their
slices of time interleave; the rate is the median over slices with its range. Then the time of each stage for one image, on the
host and, in one call for a batch, on the device, and how far the steps' results lie apart there. Compare with what the training
step consumes (`experiments/benchmarks/train_step.py`). Without --root, phantoms are written to a temporary folder first.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.written import write
from medjax import formats
from medjax.build.config import versions
from medjax.data import augment, inspect, packed, pipeline, sources
from medjax.data.degrade import Degradation
from medjax.data.examples import Examples
from medjax.images import degrade, prepared
from medjax.rng import generator
from medjax.types import RESIDENT, MedjaxError

_AHEAD = 5  # batches that threads have ready when a slice begins


class Way:
    """One way to batches: `next()` gives one, and waits for none that the device still makes."""

    def __init__(self, cache: str, threads: int, batches: Iterator[Any], megabytes: float) -> None:
        self.cache, self.threads, self.megabytes, self.next = cache, threads, megabytes, lambda: next(batches)
        self.rates: list[float] = []

    def slice(self, seconds: float, batch_size: int) -> None:
        """Go on for so long, and note images per second."""
        for _ in range(_AHEAD):
            batch = self.next()
        jax.block_until_ready(batch)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            batch = self.next()
            count += batch_size
        jax.block_until_ready(batch)
        self.rates.append(count / (time.perf_counter() - start))

    def row(self) -> dict[str, Any]:
        """What was found."""
        rate, low, high = statistics.median(self.rates), min(self.rates), max(self.rates)
        return {"cache": self.cache, "threads": self.threads, "images_per_second": round(rate, 1),
                "range": [round(low, 1), round(high, 1)], "cache_mb": round(self.megabytes, 2)}  # fmt: skip


def ways(source: sources.Source, threads: Sequence[int], batch_size: int) -> list[Way]:
    """Each with every image read once already, where it keeps them."""
    made = Examples(source, 286, Degradation(), "", "none", {}, 0)
    size, found = packed.size_of(made.stored(0), range(len(source))) / 1e6, []
    for cache, count in itertools.product(("none", "host"), threads):
        kept = {"cache_bytes": packed.free_memory()} if cache == "host" else {"cache_bytes": 0}
        options = {"batch_size": batch_size, "degradation": Degradation(), "threads": count, **kept}
        batches = pipeline.train_batches(source, range(len(source)), **options)(0)
        for _ in range(len(source) // batch_size + 1 if cache == "host" else 1):
            next(batches)
        found.append(Way(cache, count, batches, size if cache == "host" else 0.0))
    room = packed.free_memory()
    stacks, numbers = pipeline.resident_batches(made, range(len(source)), batch_size=batch_size, room=room)
    resident = jax.device_put(stacks)
    make = jax.jit(partial(prepared, jax.random.key(0), image_size=286, crop_size=256, degradation=Degradation()))
    on_device = (make({**batch, RESIDENT: resident}) for batch in numbers(0))
    return [*found, Way("device", 0, on_device, sum(stack.nbytes for stack in stacks.values()) / 1e6)]


def _timed(work: Callable[[], Any], repeats: int) -> float:
    """The median of `repeats` times, in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def stages(source: sources.Source, *, batch_size: int, repeats: int) -> list[dict[str, Any]]:
    """Milliseconds for one image of each stage, and of each step how far the device's result is from the host's: the largest
    difference, and the difference of the mean and of the standard deviation of what the step changes, in grey levels of 255.
    """
    index, rng = itertools.cycle(range(len(source))), generator(0)
    read = lambda: formats.read(source.records[next(index)].paths[0])[0]
    image = source.load(0)["target"]
    whole = augment.resize(image, 286)
    found = [{"stage": "decode", "host_ms": _timed(read, repeats)}]
    found.append({"stage": "resize 286", "host_ms": _timed(lambda: augment.resize(image, 286), repeats)})
    crop = np.ascontiguousarray(augment.random_crop({"target": whole}, rng, size=256)["target"])
    stack, keys = np.stack([crop] * batch_size), jax.random.split(jax.random.key(0), batch_size)
    for step in Degradation().steps:
        on_device = jax.jit(jax.vmap(partial(degrade, steps=(step,))))
        host, device = Degradation((step,))(crop, rng), np.asarray(on_device(keys, stack))[0]
        moved = [255 * (x - crop) for x in (host, device)]
        apart = {"largest": abs(moved[0] - moved[1]).max(), "mean": moved[1].mean() - moved[0].mean(),
                 "deviation": moved[1].std() - moved[0].std()}  # fmt: skip
        found.append({
            "stage": step,
            "host_ms": _timed(lambda step=step: Degradation((step,))(crop, rng), repeats),
            "device_ms": _timed(lambda f=on_device: f(keys, stack), repeats) / batch_size,
            "device_minus_host": {name: float(f"{value:.3g}") for name, value in apart.items()},
        })  # fmt: skip
    return [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in found]


def write_phantoms(folder: Path, *, count: int = 24, size: int = 512) -> None:
    """8-bit PNG phantoms."""
    source = sources.phantom_cxr(count, size=size)
    for i, name in enumerate(source.names):
        formats.write(folder / f"{name}.png", source.load(i)["target"], formats.encoding("png"))


def measure(source: sources.Source, args: argparse.Namespace) -> dict[str, Any]:
    """The tables, printed, and what they say."""
    device = jax.devices()[0]
    print(f"{len(source)} images of {source.kind}, batch {args.batch_size}, {os.cpu_count()} cores; device: {device.device_kind}")
    found = ways(source, args.threads, args.batch_size)
    for _, way in itertools.product(range(args.slices), found):
        way.slice(args.seconds, args.batch_size)
    rows = [way.row() for way in found]
    print("cache   threads  images/s  (range)")
    for row in rows:
        low, high = row["range"]
        print(f"{row['cache']:6s}  {row['threads']:7d}  {row['images_per_second']:8.1f}  ({low:.1f}-{high:.1f})", flush=True)
    parts = stages(source, batch_size=args.batch_size, repeats=args.repeats)
    for row in parts:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    return {"benchmark": "data", "images": len(source), "kind": source.kind, "batch_size": args.batch_size, "rows": rows,
            "stages": parts, "cores": os.cpu_count(), "device_kind": device.device_kind, "platform": device.platform,
            "versions": versions()}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs the benchmark and returns what it writes as JSON. Raises SystemExit for a folder that cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="a data folder of any layout that `medjax inspect` knows")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice")
    parser.add_argument("--repeats", type=int, default=32, help="of each stage")
    parser.add_argument("--limit", type=int, default=64, help="images read")
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        if args.root is None:
            write_phantoms(Path(scratch), count=min(args.limit, 24))
        try:
            source = inspect.find_source(args.root or scratch)
        except MedjaxError as error:
            raise SystemExit(f"data: {error}") from error
        source = sources.subset(source, range(min(args.limit, len(source))))
        result = measure(source, args)
    write(args.output, result)
    return result


if __name__ == "__main__":
    main()
