"""From stored values to modality units and to [0, 1], and back: PS3.3 C.11.1 and C.11.2 as tables.

At most 16 bits are stored, so every chain of rescale, look-up tables, window and inversion is one table with an entry
per storable value; a table that neither rises nor falls throughout has no inverse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from medjax.formats.encoding import ValueRange
from medjax.formats.pixels import Layout
from medjax.types import DataError

_MIN_WIDTH = 1e-9


def element(dataset: pydicom.Dataset, frame: int, group: str, keyword: str) -> Any:
    """A value of one frame: from its own functional group, else the shared one, else the top of the data set, or None.

    group: the functional group's sequence; an enhanced multi-frame file keeps there what others have at the top.
    """
    for name, at in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(name) or []
        inner = items[at].get(group) if at < len(items) else None
        value = inner[0].get(keyword) if inner else None
        if value not in (None, ""):
            return value
    value = dataset.get(keyword)
    return None if value in (None, "") else value


def modality(path: Path, dataset: pydicom.Dataset, form: Layout, frame: int = 0) -> np.ndarray:
    """Modality units (HU for CT) of every storable value, float64 [2 ** bits stored], from `form.ends[0]` upwards."""
    stored = np.arange(form.ends[0], form.ends[1] + 1, dtype=np.float64)
    if dataset.get("ModalityLUTSequence"):
        return _look_up(path, dataset.ModalityLUTSequence[0], stored, form.signed)
    slope, intercept = rescale(path, dataset, frame)
    return stored * slope + intercept


def rescale(path: Path, dataset: pydicom.Dataset, frame: int = 0) -> tuple[float, float]:
    """(slope, intercept), 1 and 0 where the header has none; DataError for a slope of zero."""
    given = [element(dataset, frame, "PixelValueTransformationSequence", k) for k in ("RescaleSlope", "RescaleIntercept")]
    slope, intercept = (default if x is None else _number(path, x) for x, default in zip(given, (1.0, 0.0), strict=True))
    if not slope:
        raise DataError(f"{path} has a rescale slope of zero")
    return slope, intercept


def to_unit(
    path: Path, dataset: pydicom.Dataset, form: Layout, value_range: ValueRange
) -> tuple[np.ndarray, tuple[float, float]]:
    """What `read` shows of every storable value, float64 in [0, 1], and the (low, high) in modality units of 0 and 1.

    value_range: see `medjax.formats.read`. MONOCHROME1 is inverted, so that bright is high whatever the file's habit.
    """
    real = modality(path, dataset, form)
    low, high = float(real.min()), float(real.max())
    if value_range is None:
        unit = (real - low) / (high - low) if high > low else np.zeros_like(real)
    elif isinstance(value_range, str):
        if value_range != "window":
            raise DataError(f'{path}: value_range must be a pair of modality values or "window", got {value_range!r}')
        unit, low, high = _voi(path, dataset, real, form)
    else:
        low, high = map(float, value_range)
        if not high > low:
            raise DataError(f"{path}: value_range must rise, got {value_range}")
        unit = (real - low) / (high - low)
    unit = np.clip(unit, 0, 1)
    return (1 - unit if form.photometric == "MONOCHROME1" else unit), (low, high)


def invert(path: Path, table: np.ndarray, values: np.ndarray, form: Layout) -> np.ndarray:
    """Stored values nearest to `values` on the scale of `table`; DataError where the table has no inverse.

    Where many stored values share one entry (beyond the ends of a window) the one next to the slope is taken.
    """
    steps = np.diff(table)
    falls = bool((steps <= 0).all())
    if not falls and not (steps >= 0).all() or table[0] == table[-1]:
        raise DataError(f"{path} was not written: its look-up table is not monotone, so that it cannot be inverted")
    stored = np.arange(form.ends[0], form.ends[1] + 1, dtype=np.float64)
    if falls:
        table, stored = table[::-1], stored[::-1]
    first = np.flatnonzero(np.diff(table, prepend=-np.inf) > 0)
    places = stored[first]
    if len(first) > 1:
        places[0] = stored[first[1] - 1]
    at = np.interp(values.reshape(-1), table[first], places)
    return np.clip(np.rint(at), *form.ends).astype(form.dtype).reshape(values.shape)


def window(dataset: pydicom.Dataset, frame: int = 0) -> tuple[float, float] | None:
    """(centre, width) of the first window of a frame, in modality units, or None."""
    given = [_first(element(dataset, frame, "FrameVOILUTSequence", k)) for k in ("WindowCenter", "WindowWidth")]
    try:
        centre, width = (float(x) for x in given)
    except (TypeError, ValueError):
        return None
    return (centre, width) if np.isfinite(centre) and np.isfinite(width) and width > 0 else None


def _voi(path: Path, dataset: pydicom.Dataset, real: np.ndarray, form: Layout) -> tuple[np.ndarray, float, float]:
    """PS3.3 C.11.2: the file's VOI LUT, else its first window."""
    if dataset.get("VOILUTSequence"):
        item = dataset.VOILUTSequence[0]
        shown = _look_up(path, item, real, bool(real.min() < 0))
        bits = _descriptor(path, item)[2]
        return shown / (2**bits - 1), float(real.min()), float(real.max())
    found = window(dataset)
    if found is None:
        raise DataError(f"{path} states no window and no VOI LUT; state the range as a pair of modality values")
    centre, width = found
    function = str(element(dataset, 0, "FrameVOILUTSequence", "VOILUTFunction") or "LINEAR").upper()
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (real - centre) / width)), float(real.min()), float(real.max())
    if function == "LINEAR":  # its whole numbers stand for the middles of unit steps
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise DataError(f"{path} asks for a VOI LUT function that is none of LINEAR, LINEAR_EXACT and SIGMOID")
    low, high = centre - max(width, _MIN_WIDTH) / 2, centre + max(width, _MIN_WIDTH) / 2
    return (real - low) / (high - low), low, high


def _look_up(path: Path, item: pydicom.Dataset, values: np.ndarray, signed: bool) -> np.ndarray:
    """The entry of each value in a LUT; below its first the first, beyond its last the last."""
    count, first, bits = _descriptor(path, item)
    if signed and first >= 2**15:
        first -= 2**16
    raw = item.get("LUTData")
    if isinstance(raw, bytes):
        order = "<" if item.original_encoding[1] is not False else ">"
        entries = np.frombuffer(raw, f"{order}u{2 if len(raw) >= 2 * count else 1}")
    else:
        entries = np.atleast_1d(np.asarray([] if raw is None else raw, np.int64))
    if not len(entries) or len(entries) < count:
        raise DataError(f"{path} is damaged: its look-up table has {len(entries)} of {count} entries")
    at = np.clip(np.rint(values - first), 0, count - 1).astype(np.int64)
    return np.clip(entries[at].astype(np.float64), 0, 2**bits - 1)


def _descriptor(path: Path, item: pydicom.Dataset) -> tuple[int, int, int]:
    given = item.get("LUTDescriptor")
    if given is None or len(given) != 3:
        raise DataError(f"{path} is damaged: its look-up table has no descriptor")
    count, first, bits = (int(x) for x in given)
    return count % 2**16 or 2**16, first, min(max(bits, 1), 16)  # 0 entries mean 65536


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) and len(value) else value


def _number(path: Path, value: Any) -> float:
    number = float(_first(value))
    if not np.isfinite(number):
        raise DataError(f"{path} has a rescale slope or intercept that is not finite")
    return number
