"""Two volumes of one head brought onto each other by a rotation and a shift, through SimpleITK (`medjax[registration]`)."""

from __future__ import annotations

import numpy as np

from medjax.types import ConfigError, DataError

_BINS = 32
_SAMPLES = 1_500_000  # voxels at which the pair is compared
_FIRST_MM, _LEVELS_MM = 4.0, (2.0, 1.0)


def rigid(
    fixed: np.ndarray, fixed_affine: np.ndarray, moving: np.ndarray, moving_affine: np.ndarray, *, name: str = "the pair"
) -> np.ndarray:
    """Rotation and shift by mutual information (Mattes et al., IEEE TMI 2003) through SimpleITK.

    Three starts (as the scanner placed them, centres of the grids, centres of mass), each improved at 4 mm; the best goes
    on to 2 and 1 mm. The same files give the same transform, rounded to a thousandth of a millimetre.

    Args:
      fixed, moving: float32 [X, Y, Z] of any grids, in [0, 1].
      fixed_affine, moving_affine: [4, 4], voxel index to RAS mm.
      name: what to call the pair if it cannot be registered.

    Returns:
      float64 [4, 4]: RAS mm of the fixed volume to RAS mm of the moving one.

    Raises:
      ConfigError: SimpleITK is not installed. DataError: no start overlaps.
    """
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise ConfigError("rigid registration needs SimpleITK; install medjax[registration]") from error
    images = [_image(sitk, fixed, fixed_affine), _image(sitk, moving, moving_affine)]
    kinds = sitk.CenteredTransformInitializerFilter
    starts = [sitk.Euler3DTransform()] + [
        sitk.Euler3DTransform(sitk.CenteredTransformInitializer(*images, sitk.Euler3DTransform(), kind))
        for kind in (kinds.GEOMETRY, kinds.MOMENTS)
    ]
    starts[0].SetCenter(images[0].TransformContinuousIndexToPhysicalPoint(tuple((n - 1) / 2 for n in images[0].GetSize())))
    tried = []
    for start in starts:
        try:
            value = _descend(sitk, [_coarse(sitk, image, _FIRST_MM) for image in images], start, _FIRST_MM)
            tried.append((value, len(tried), start))
        except RuntimeError:  # ITK's word for heads that do not overlap
            continue
    if not tried:
        raise DataError(f"{name} cannot be registered: the two volumes do not overlap from any start")
    best = min(tried)[2]
    try:
        for level in _LEVELS_MM:
            _descend(sitk, [_coarse(sitk, image, level) for image in images], best, level)
    except RuntimeError as error:
        raise DataError(f"{name} cannot be registered: the two volumes were driven apart") from error
    best.SetParameters([round(p, 6 if i < 3 else 3) for i, p in enumerate(best.GetParameters())])
    rotation, centre = np.array(best.GetMatrix()).reshape(3, 3), np.array(best.GetCenter())
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = rotation, np.array(best.GetTranslation()) + centre - rotation @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip


def _image(sitk, values: np.ndarray, affine: np.ndarray):
    """A SimpleITK image, whose world is LPS."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T, np.float32))
    # A sheared affine has no direction cosines; the nearest rotation stands for it.
    left, _, right = np.linalg.svd(lps[:3, :3] / spacing)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image


def _coarse(sitk, image, mm: float):
    factors = [max(1, int(mm / s + 0.5)) for s in image.GetSpacing()]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def _descend(sitk, images, transform, mm: float) -> float:
    """Improves `transform` in place and returns the metric (lower is better); steps from `mm` down to a fiftieth of it."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    share = min(1.0, _SAMPLES / images[0].GetNumberOfPixels())
    method.SetMetricSamplingStrategy(method.RANDOM if share < 1 else method.NONE)
    method.SetMetricSamplingPercentage(share, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(mm, mm / 50, 200, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(*images)
    return method.GetMetricValue()
