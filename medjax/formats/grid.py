"""A volume: real-world values on a grid of voxels whose affine leads to patient millimetres, and how a file stores it.

Axes are in the file's own voxel order; the affine maps voxel indices (i, j, k) to RAS+ millimetres (nibabel's
convention; DICOM's LPS+ is converted). `to_ras` and `from_ras` permute and flip axes and never interpolate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from medjax.types import DataError

MAX_VOXELS = 2**29  # 812 cubed; a header that claims more is refused before anything is decoded
_RAS = axcodes2ornt("RAS")
_FLAT = 1e-6  # a parallelepiped of this share of its box is no volume


@dataclass(frozen=True, eq=False)
class Stored:
    """How a file stores a volume: what `write_volume` needs to store another like it.

    format: "nifti" or "dicom"; dtype: the stored type; slope, intercept: real = stored * slope + intercept (of the
    first slice, where slices differ); affine, shape: the grid as stored, whatever was done to the volume since;
    window: (centre, width) in real-world values that the file asks for, or None; header: the NIfTI header;
    datasets: the DICOM headers without pixels, in slice order; options: what else the codec keeps.
    """

    format: str = "nifti"
    dtype: str = "float32"
    slope: float = 1.0
    intercept: float = 0.0
    affine: np.ndarray | None = None
    shape: tuple[int, ...] | None = None
    window: tuple[float, float] | None = None
    header: Any = field(default=None, repr=False)
    datasets: tuple[Any, ...] = field(default=(), repr=False)
    options: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, eq=False)
class Volume:
    """Values float32 [I, J, K] in real-world units (HU for CT, scanner units for MR), finite, not all zero.

    affine: float64 [4, 4], voxel index -> RAS+ mm; stored: how its file stores it; path: where it was read, or ''.
    """

    values: np.ndarray
    affine: np.ndarray
    stored: Stored = field(default_factory=Stored)
    path: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along each axis, in mm."""
        return tuple(float(x) for x in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def axcodes(self) -> str:
        """Where each axis points, to the nearest: "LPS" is left, posterior, superior."""
        return "".join(aff2axcodes(self.affine))


def plain(values: np.ndarray, affine: np.ndarray, *, dtype: str = "float32", modality: str = "OT") -> Volume:
    """A volume that comes from no file and is written as NIfTI of `dtype`, or as int16 DICOM of `modality` ("CT", "MR").

    DataError for a singular affine or values that are not [I, J, K].
    """
    values = np.asarray(values, np.float32)
    affine = check_affine("the volume", affine)
    if values.ndim != 3 or not values.size:
        raise DataError(f"a volume must have shape [I, J, K], not {list(values.shape)}")
    options = {"modality": modality}
    return Volume(values, affine, Stored(dtype=np.dtype(dtype).name, affine=affine, shape=values.shape, options=options))


def with_values(volume: Volume, values: np.ndarray) -> Volume:
    """The same grid and storage with new real-world values [I, J, K]; DataError for another shape."""
    values = np.asarray(values, np.float32)
    if values.shape != volume.values.shape:
        raise DataError(
            f"{volume.path or 'the volume'} has shape {list(volume.values.shape)}, the new values {list(values.shape)}"
        )
    return replace(volume, values=values)


def to_ras(volume: Volume) -> Volume:
    """Axes permuted and flipped so that they point most nearly right, anterior, superior; nothing is interpolated."""
    turn = io_orientation(volume.affine)
    affine = volume.affine @ inv_ornt_aff(turn, volume.values.shape)
    return replace(volume, values=np.ascontiguousarray(apply_orientation(volume.values, turn)), affine=affine)


def from_ras(values_ras: np.ndarray, like: Volume) -> np.ndarray:
    """The inverse of `to_ras` for arrays: RAS-ordered [R, A, S, ...] -> the voxel order of `like`, [I, J, K, ...]."""
    turn = ornt_transform(_RAS, io_orientation(like.affine))
    values = np.ascontiguousarray(apply_orientation(values_ras, turn))
    if values.shape[:3] != like.values.shape:
        raise DataError(
            f"{like.path or 'the volume'} has shape {list(like.values.shape)}, the values to put on it {list(values.shape)}"
        )
    return values


def as_stored(volume: Volume) -> np.ndarray:
    """The values in the axis order of `volume.stored`; DataError where the grids differ by more than axis order."""
    stored = volume.stored
    if stored.affine is None or np.allclose(stored.affine, volume.affine, atol=1e-4):
        values = volume.values
    else:
        values = from_ras(to_ras(volume).values, replace(volume, affine=stored.affine, values=np.empty(stored.shape)))
        step = np.abs(np.linalg.inv(stored.affine[:3, :3]) @ volume.affine[:3, :3])
        if not np.allclose(step, step.round(), atol=1e-3):
            raise DataError(f"{volume.path or 'the volume'} lies on another grid than the one it is stored on")
    return values


def check_affine(name: object, affine: np.ndarray) -> np.ndarray:
    """float64 [4, 4]; DataError where it is not finite or maps the grid to less than a volume."""
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise DataError(f"{name} has an affine that is not 4 x 4 finite numbers")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all() or not abs(np.linalg.det(affine[:3, :3] / lengths)) > _FLAT:
        raise DataError(f"{name} has a singular affine: its voxels have no volume")
    return affine


def check_shape(name: object, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Three axes, trailing ones of length 1 dropped; DataError for fewer, more, none, or an absurd number of voxels."""
    shape = tuple(int(n) for n in shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        told = " x ".join(map(str, shape))
        raise DataError(f"{name} is {len(shape)}-D ({told}), where a 3-D volume is expected")
    if min(shape) < 1:
        raise DataError(f"{name} has no voxels")
    if int(np.prod(shape, dtype=object)) > MAX_VOXELS:
        raise DataError(f"{name} claims {' x '.join(map(str, shape))} voxels, more than the {MAX_VOXELS} that are read")
    return shape


def check_values(name: object, values: np.ndarray) -> np.ndarray:
    """`values`, or a DataError where they are not finite, or zero everywhere."""
    low, high = values.min(), values.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{name} holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite")
    if low == 0 == high:
        raise DataError(f"{name} holds nothing but zeros")
    return values
