"""Images through a feature network: images per second, memory, and shards against one pass.

    python -m experiments.benchmarks.features --network=inception_v3 --images=1000 [--batch=16] [--output=RESULT.json]

Noise images of 299x299, drawn batch by batch, go through the network with its published weights where they are at hand, else
with weights drawn from a seed: the arithmetic is the same. Vectors are not kept, so that memory does not depend on their
number: the process's peak is printed after an eighth of the images and after all. The moments of four shards, merged,
are compared with those of the one pass.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.benchmarks.written import write

SIDE, SHARDS = 299, 4


def batches(start: int, stop: int, size: int) -> Iterator[np.ndarray]:
    """Images `start` to `stop`, each a function of its number: smooth noise, so that features differ between images."""
    for first in range(start, stop, size):
        made = []
        for i in range(first, min(first + size, stop)):
            coarse = np.random.default_rng(i).random((10, 10), np.float32)
            made.append(np.kron(coarse, np.ones((30, 30), np.float32))[:SIDE, :SIDE, None])
        yield np.stack(made)


def measure(name: str, count: int, size: int) -> dict:
    """The figures for one network."""
    from medjax import weights
    from medjax.build import config
    from medjax.metrics import features
    from medjax.types import CheckpointError

    network = weights.NETWORKS[name]
    try:
        variables, whose = weights.load(weights.find(network), network), "published"
    except CheckpointError:
        variables, whose = weights.drawn(network), "drawn from a seed"
    function, peak = network.features(variables), lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    features.extract(function, batches(0, size, size), keep=False, progress=False)  # compiles
    peaks, whole = [peak()], features.Extractor(function, keep=False)
    start = time.perf_counter()
    for i, images in enumerate(batches(0, count, size)):
        whole.add(images)
        if (i + 1) * size >= count // 8 and len(peaks) == 1:
            peaks.append(peak())
    one = whole.samples()
    seconds = time.perf_counter() - start
    peaks.append(peak())
    edges = np.linspace(0, count, SHARDS + 1).astype(int)
    parts = [
        features.extract(function, batches(int(a), int(b), size), keep=False, progress=False)
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    layer = next(iter(one))
    a, b = one[layer].moments, features.joined(*parts)[layer].moments
    scale = np.abs(a.scatter).max()
    return {
        "network": name, "weights": whose, "images": count, "side": SIDE, "batch": size, "seconds": seconds,
        "images_per_second": count / seconds,
        "peak_mib": {"compiled": peaks[0], "after an eighth": peaks[1], "after all": peaks[-1]},
        "shards": {
            "number": SHARDS, "n": b.n, "mean": float(np.abs(a.mean - b.mean).max() / np.abs(a.mean).max()),
            "scatter": float(np.abs(a.scatter - b.scatter).max() / scale),
        },
        "versions": config.versions(),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Print the figures; 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="inception_v3")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    found = measure(args.network, args.images, args.batch)
    print(json.dumps(found, indent=2))
    write(args.output, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
