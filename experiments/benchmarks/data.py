"""How fast the input pipeline makes training batches: decode, resize to 286, crop 256, flip, degrade, stack.

    python -m experiments.benchmarks.data --root=DATA/cxr_nih --threads 0 1 2

Prints images per second, from files and from memory (images already decoded and resized), and the time of each stage for
one image; the last line is the same as JSON, with versions. Compare with what the training step consumes
(`experiments/benchmarks/train_step.py`). Without --root, phantoms are written to a temporary folder first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medjax import formats
from medjax.data import augment, inspect, pipeline, sources
from medjax.data.degrade import Degradation
from medjax.rng import generator

_LIBRARIES = ("medjax", "grain", "numpy", "pillow", "scipy")


def images_per_second(source: sources.Source, *, threads: int, cache: bool, seconds: float, batch_size: int) -> float:
    """The rate over `seconds`, after every image was read once."""
    batches = pipeline.train_batches(
        source, range(len(source)), batch_size=batch_size, degradation=Degradation(), threads=threads,
        cache_bytes=1 << 30 if cache else 0,
    )  # fmt: skip
    iterator = batches(0)
    for _ in range(len(source) // batch_size + 1 + 4):  # an epoch, and what is read ahead
        next(iterator)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(iterator)
        count += batch_size
    rate = count / (time.perf_counter() - start)
    iterator.close()
    return rate


def stages(source: sources.Source, *, repeats: int) -> dict[str, float]:
    """Milliseconds of each stage on one image: the median over `repeats` images."""
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable, *arguments, **options):
        start = time.perf_counter()
        result = work(*arguments, **options)
        times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result

    for i in range(repeats):
        rng = generator(0, i)
        image, _ = timed("decode", formats.read, source.records[i % len(source)].paths[0])
        image = timed("resize 286", augment.resize, image, 286)
        image = timed("crop 256", augment.random_crop, {"target": image}, rng, size=256)["target"]
        image = np.ascontiguousarray(image)
        for step in Degradation().steps:
            image = timed(step, Degradation((step,)), image, rng)
    return {name: float(np.median(values)) for name, values in times.items()}


def write_phantoms(folder: Path, *, count: int = 24, size: int = 512) -> None:
    """8-bit PNG phantoms."""
    source = sources.phantom_cxr(count, size=size)
    for i, name in enumerate(source.names):
        formats.write(folder / f"{name}.png", source.load(i)["target"], formats.encoding("png"))


def main(argv: Sequence[str] | None = None) -> dict:
    """Runs the benchmark and returns what it prints as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="a data folder of any layout that `medjax inspect` knows")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0, help="per row of the table")
    parser.add_argument("--limit", type=int, default=64, help="images read")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        if args.root is None:
            write_phantoms(Path(scratch), count=min(args.limit, 24))
        source = inspect.find_source(args.root or scratch)
        source = sources.subset(source, range(min(args.limit, len(source))))
        result = measure(source, args)
    print(json.dumps(result))
    return result


def measure(source: sources.Source, args: argparse.Namespace) -> dict:
    """The table, printed row by row."""
    print(f"{len(source)} images of {source.kind}, batch {args.batch_size}, {os.cpu_count()} cores")
    print("threads  from files  from memory   (images/s)")
    rates = []
    for threads in args.threads:
        rate = {
            name: images_per_second(
                source, threads=threads, cache=cache, seconds=args.seconds, batch_size=args.batch_size
            )
            for name, cache in (("files", False), ("memory", True))
        }
        rates.append({"threads": threads, **{name: round(value, 1) for name, value in rate.items()}})
        print(f"{threads:7d}  {rate['files']:10.1f}  {rate['memory']:11.1f}", flush=True)
    parts = {name: round(value, 3) for name, value in stages(source, repeats=min(32, 2 * len(source))).items()}
    print("ms per image: " + ", ".join(f"{name} {value:.2f}" for name, value in parts.items()))
    return {
        "benchmark": "data", "images": len(source), "batch_size": args.batch_size, "images_per_second": rates,
        "milliseconds": parts, "cores": os.cpu_count(), "python": platform.python_version(),
        "versions": {name: _version(name) for name in _LIBRARIES},
    }  # fmt: skip


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ImportError:
        return None


if __name__ == "__main__":
    main()
