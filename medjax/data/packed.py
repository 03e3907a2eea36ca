"""Images in as few bytes as give the same bits back, how many bytes a set of them takes, and how many there are to take.

What a file stores are whole numbers of 8 to 16 bits, so the float32 in [0, 1] that was read of it is one of them over their
largest. What was resized is no such number, and stays float32.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data.choice import thinned
from medjax.types import ConfigError

LARGEST = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
Load = Callable[[int], Mapping[str, np.ndarray]]
_SAMPLE = 16
_GROUPS = {  # control groups of Linux by controllers, version 2 (which names none) and 1: files, and an entry of memory.stat
    "": ("", "memory.max", "memory.current", "inactive_file"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


class Packed(NamedTuple):
    """An image `values` [H, W, C]: whole numbers that mean 0 and 1 at 0 and at `largest`, or, where that is 0, float32."""

    values: np.ndarray
    largest: int


def pack(image: np.ndarray) -> Packed:
    """`image` float32 [H, W, C] in [0, 1] in as few bits as give it back to the bit."""
    for largest in LARGEST:
        if _exact(image[:1], largest) and _exact(image, largest):
            return Packed(quantised(image, largest), largest)
    return Packed(image, 0)


def unpack(packed: Packed) -> np.ndarray:
    """The image that was packed; float32 ones are not copied."""
    return packed.values.astype(np.float32) / np.float32(packed.largest) if packed.largest else packed.values


def quantised(image: np.ndarray, largest: int) -> np.ndarray:
    """The nearest whole numbers from 0 to `largest`: uint8 up to 255, else uint16."""
    return np.rint(np.clip(image, 0, 1) * np.float32(largest)).astype(np.uint8 if largest <= 255 else np.uint16)


def _exact(image: np.ndarray, largest: int) -> bool:
    again = unpack(Packed(quantised(image, largest), largest))
    return np.array_equal(again.view(np.uint32), np.ascontiguousarray(image, np.float32).view(np.uint32))


def size_of(load: Load, indices: Sequence[int]) -> int:
    """Bytes that the different images among `indices` take when packed, estimated from a few of them."""
    chosen = np.unique(indices).tolist()
    sizes = [sum(pack(image).values.nbytes for image in load(i).values()) for i in thinned(chosen, _SAMPLE)]
    return round(len(chosen) * sum(sizes) / len(sizes))


def stacked(load: Load, indices: Sequence[int], *, room: int, where: str, threads: int = 0) -> dict[str, np.ndarray]:
    """Every image of `indices`, in their order, as arrays [N, H, W, C] by name: uint8 where all are packed into 8 bits, else
    uint16, for which values between its steps are rounded (by 1 / 131070 at most).

    room: bytes there are; where: what has them, for messages. threads: reading threads.

    Raises ConfigError where the images take more (both figures), differ in shape (both shapes) or in what there is of each.
    """
    shapes = {name: image.shape for name, image in load(indices[0]).items()}
    sample = [pack(image).largest for i in thinned(indices, _SAMPLE) for image in load(i).values()]
    for dtype in (np.uint8, np.uint16)[int(set(sample) != {255}) :]:
        bytes_of = sum(np.dtype(dtype).itemsize * len(indices) * math.prod(shape) for shape in shapes.values())
        check_room(bytes_of, room, len(indices), where)
        made = {name: np.empty((len(indices), *shape), dtype) for name, shape in shapes.items()}

        def fill(row: int, made: Mapping[str, np.ndarray] = made) -> bool:
            images = load(indices[row])
            _check_shapes(images, shapes, where)
            for name, image in images.items():
                made[name][row] = quantised(image, np.iinfo(made[name].dtype).max)
            return made["target"].itemsize > 1 or all(_exact(image, 255) for image in images.values())

        with ThreadPoolExecutor(max(threads, 1)) as pool:
            exact = all(pool.map(fill, range(len(indices))))
        if exact:
            break
    return made


def _check_shapes(images: Mapping[str, np.ndarray], shapes: Mapping[str, tuple], where: str) -> None:
    found = {name: image.shape for name, image in images.items()}
    if found != dict(shapes):
        told = " and ".join(" with ".join(f"{name} {h} x {w}" for name, (h, w, _) in s.items()) for s in (shapes, found))
        raise ConfigError(f"images that lie in {where} have one shape, and there are {told}; set a size to resize them to")


def check_room(needed: int, room: int, count: int, where: str) -> None:
    """ConfigError with both figures where `count` images take more bytes than there are."""
    if needed > room:
        raise ConfigError(
            f"{count} decoded images take {needed / 1e6:,.1f} MB, and {where} has {max(room, 0) / 1e6:,.1f} MB free for them"
        )


def free_memory() -> int:
    """Bytes that this process may still take: what the system has, and what its control groups leave it."""
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    with suppress(OSError):
        free += group_memory(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text())
    return min(free)


def group_memory(root: Path, told: str) -> list[int]:
    """Bytes left by the control groups below `root` that `told` (/proc/self/cgroup) names, and by those around them; files that
    the system holds in memory and would drop count as free.
    """
    found = []
    for line in told.splitlines():
        _, controllers, path = line.split(":", 2)
        kinds = [_GROUPS[name] for name in controllers.split(",") if name in _GROUPS]
        for below, most, used, dropped in kinds:
            group = Path(path.strip("/"))
            for folder in (group, *group.parents):
                folder = root / below / folder
                with suppress(OSError, ValueError):  # absent, or "max"
                    stat = dict(entry.split() for entry in (folder / "memory.stat").read_text().splitlines())
                    in_use = int((folder / used).read_text()) - int(stat.get(dropped, 0))
                    found.append(int((folder / most).read_text()) - in_use)
    return found
