"""DICOM slices and what makes a volume of them: position, order, even spacing.

A slice is a file of one frame or a frame of a file of many. Slices are ordered by their position along the normal of the
image plane, never by number; what is missing, doubled or unevenly spaced is named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from medjax.formats.grid import check_affine
from medjax.formats.pixels import Layout, layout
from medjax.formats.transform import element
from medjax.types import DataError

_SAME = 0.01  # mm: nearer slices lie at one place
_EVEN = 0.05  # of the spacing: how far a slice may be from where even spacing puts it, and a volume from its axis
_UNIT = 1e-2  # direction cosines are rounded in many files
_NAMED = 4  # slices that one sentence names


class Placeless(DataError):
    """An image without a place in a patient: a film, a screen, a report."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One image with its place: position of its first pixel and direction cosines in LPS+ mm, spacing (rows, columns)."""

    path: Path
    frame: int
    dataset: pydicom.Dataset
    form: Layout
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    thickness: float

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return self.path.name if self.form.frames == 1 else f"frame {self.frame + 1}"

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the image plane."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def slices(path: Path, dataset: pydicom.Dataset) -> list[Slice]:
    """The slices of one file; DataError where it does not say where they lie in the patient."""
    form = layout(path, dataset)
    return [_slice(path, dataset, form, frame) for frame in range(form.frames)]


def _slice(path: Path, dataset: pydicom.Dataset, form: Layout, frame: int) -> Slice:
    measures = "PixelMeasuresSequence"
    position = _numbers(path, element(dataset, frame, "PlanePositionSequence", "ImagePositionPatient"), 3, "position")
    axes = _numbers(path, element(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient"), 6, "orientation")
    spacing = _numbers(path, element(dataset, frame, measures, "PixelSpacing"), 2, "pixel spacing")
    right, down = axes[:3], axes[3:]
    if abs(np.linalg.norm(right) - 1) > _UNIT or abs(np.linalg.norm(down) - 1) > _UNIT or abs(right @ down) > _UNIT:
        raise DataError(f"{path} has image axes that are not two perpendicular unit vectors")
    if spacing.min() <= 0:
        raise DataError(f"{path} has a pixel spacing of zero or less")
    across = element(dataset, frame, measures, "SpacingBetweenSlices") or element(dataset, frame, measures, "SliceThickness")
    thickness = abs(float(across)) if across is not None else 0.0
    return Slice(path, frame, dataset, form, position, axes, (float(spacing[0]), float(spacing[1])), thickness)


def stacks(found: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one orientation each, ordered along their normal; a localizer of three planes is three stacks."""
    groups: list[list[Slice]] = []
    for item in found:
        for group in groups:
            if np.abs(group[0].orientation - item.orientation).max() < _UNIT:
                group.append(item)
                break
        else:
            groups.append([item])
    ordered = [sorted(group, key=lambda s: (float(s.position @ group[0].normal), s.path.name, s.frame)) for group in groups]
    return sorted(ordered, key=len, reverse=True)


def stack_affine(name: object, stack: Sequence[Slice]) -> np.ndarray:
    """The affine of an ordered stack, (column, row, slice) -> RAS+ mm.

    Raises:
      DataError: slices of differing size or spacing, missing, doubled, or not evenly spaced on a line; named.
    """
    first, last = stack[0], stack[-1]
    for item in stack[1:]:
        if (item.form.rows, item.form.columns) != (first.form.rows, first.form.columns):
            raise DataError(f"{name}: {first.name} and {item.name} differ in size")
        if not np.allclose(item.spacing, first.spacing, rtol=1e-3, atol=1e-4):
            raise DataError(f"{name}: {first.name} and {item.name} differ in pixel spacing")
    if len(stack) > 1:
        _check_spacing(name, stack)
        step = (last.position - first.position) / (len(stack) - 1)
        straight = first.position + np.arange(len(stack))[:, None] * step
        away = np.linalg.norm(np.stack([s.position for s in stack]) - straight, axis=1)
        if away.max() > _EVEN * np.linalg.norm(step) + _SAME:
            raise DataError(f"{name}: {stack[int(away.argmax())].name} does not lie on one line with the other slices")
    else:
        step = first.normal * (first.thickness or min(first.spacing))
    lps = np.eye(4)
    lps[:3, 0] = first.orientation[:3] * first.spacing[1]
    lps[:3, 1] = first.orientation[3:] * first.spacing[0]
    lps[:3, 2], lps[:3, 3] = step, first.position
    return check_affine(name, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps)


def _check_spacing(name: object, stack: Sequence[Slice]) -> None:
    places = np.array([s.position @ stack[0].normal for s in stack])
    steps = np.diff(places)
    doubled = np.flatnonzero(steps < _SAME)
    if len(doubled):
        pairs = [f"{stack[i].name} and {stack[i + 1].name}" for i in doubled[:_NAMED]]
        more = f" and {len(doubled) - _NAMED} more" if len(doubled) > _NAMED else ""
        raise DataError(f"{name} has more than one slice at one position: {', '.join(pairs)}{more}")
    step = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - step) > _EVEN * step + _SAME)
    if not len(wrong):
        return
    gaps = [i for i in wrong if abs(steps[i] / step - round(steps[i] / step)) < 2 * _EVEN and steps[i] > 1.5 * step]
    told = [
        f"{round(steps[i] / step) - 1} between {stack[i].name} and {stack[i + 1].name}" if i in gaps
        else f"{steps[i]:.3g} mm between {stack[i].name} and {stack[i + 1].name}"
        for i in wrong[:_NAMED]
    ]  # fmt: skip
    told += [f"{len(wrong) - _NAMED} more"] * (len(wrong) > _NAMED)
    kind = "lacks slices" if len(gaps) == len(wrong) else "is unevenly spaced"
    raise DataError(f"{name} {kind} (others lie {step:.3g} mm apart): {', '.join(told)}")


def tag_of(series: str) -> str:
    """A short name of a series that says nothing about a patient."""
    return hashlib.blake2b(series.encode(), digest_size=4).hexdigest()


def _numbers(path: Path, value: object, count: int, what: str) -> np.ndarray:
    try:
        numbers = np.array([float(x) for x in value], np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise Placeless(f"{path} does not state its {what} in the patient, without which it is no part of a volume")
    return numbers
