"""Weights, norm statistics and inputs drawn by numpy from (seed, name): the same on either side of a comparison."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

SAMPLES = 128


def generator(seed: int, name: str) -> np.random.Generator:
    """A generator for one name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def uniform(rng: np.random.Generator, shape: Sequence[int], low: float, high: float) -> np.ndarray:
    """float32 in [low, high)."""
    return rng.random(tuple(shape), dtype=np.float32) * np.float32(high - low) + np.float32(low)


def tensor(name: str, shape: Sequence[int], *, seed: int = 0) -> np.ndarray:
    """One tensor of a PyTorch state dict: kernels that keep the scale of their input, statistics far from 0 and 1."""
    rng, leaf = generator(seed, name), name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        return uniform(rng, shape, 0.5, 2.0)
    if leaf == "weight" and len(shape) == 1:
        return uniform(rng, shape, 0.5, 1.5)
    if len(shape) < 2:
        return uniform(rng, shape, -0.2, 0.2)
    if name.startswith("lin"):
        return uniform(rng, shape, 0.0, 1.0)  # LPIPS's heads are not negative
    fan_in = int(np.prod(shape[1:]))
    bound = np.sqrt(6 / fan_in)
    return uniform(rng, shape, -bound, bound)


def state(shapes: Mapping[str, Sequence[int]], *, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict of these names and shapes, without the norms' counters."""
    return {name: tensor(name, shape, seed=seed) for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}


def image(name: str, shape: Sequence[int], *, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """float32 `[B, H, W, C]`."""
    return uniform(generator(1, f"input {name}"), shape, low, high)


def sample(name: str, array: np.ndarray) -> np.ndarray:
    """`[2 + SAMPLES]`: root mean square, largest magnitude, and the values at positions drawn from the name."""
    flat = np.asarray(array, np.float32).reshape(-1)
    picked = flat[generator(2, name).integers(0, flat.size, SAMPLES)]
    rms, largest = np.sqrt(np.square(flat.astype(np.float64)).mean()), np.abs(flat).max()
    return np.concatenate([np.array([rms, largest], np.float32), picked])


def fingerprint(shapes: Mapping[str, Sequence[int]]) -> int:
    """One number for all names and shapes of a state dict, without the norms' counters."""
    lines = [f"{name} {list(map(int, shape))}" for name, shape in shapes.items() if not name.endswith("num_batches_tracked")]
    return zlib.crc32("\n".join(sorted(lines)).encode())
