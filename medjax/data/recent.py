"""What was read last, kept in memory up to a number of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Recent:
    """`recent(key)` is `read(key)`, a dict of arrays, from memory where it is still there; least used goes first.

    Threads may share one: a key is read once, whoever asks, and other keys do not wait for it. The arrays are read-only.
    """

    def __init__(self, read: Callable[[Hashable], Arrays], *, max_bytes: int = 2 << 30) -> None:
        self.read, self.max_bytes, self.used = read, max_bytes, 0
        self._kept: OrderedDict[Hashable, Arrays] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: defaultdict[Hashable, threading.Lock] = defaultdict(threading.Lock)

    def __call__(self, key: Hashable) -> Arrays:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            mine = self._reading[key]
        with mine:
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            arrays = self.read(key)
            self._keep(key, arrays)
        return arrays

    def _keep(self, key: Hashable, arrays: Arrays) -> None:
        for array in arrays.values():
            array.setflags(write=False)
        cost = sum(array.nbytes for array in arrays.values())
        with self._lock:
            if cost > self.max_bytes:
                return
            self._kept[key] = arrays
            self.used += cost
            while self.used > self.max_bytes:
                _, gone = self._kept.popitem(last=False)
                self.used -= sum(array.nbytes for array in gone.values())
