"""Classical enhancers, maps of intensity and upscalers: what a model must beat. Numpy, scikit-image and Pillow.

An enhancer takes one image, float `[H, W]` or `[H, W, C]` in [0, 1] (channels treated apart), and gives float32 of the
same shape in [0, 1]; its parameters are keywords. `tune` picks them from a small stated grid (`GRIDS`) by mean PSNR on
validation images, the same advantage the model had; the choice belongs in the result file's protocol.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import exposure, restoration

from medjax.baselines import intensity
from medjax.types import Array, ConfigError, DataError

Enhancer = Callable[..., np.ndarray]


def _per_channel(enhance: Enhancer) -> Enhancer:
    """Let an enhancer of `[H, W]` take `[H, W, C]` too; cast to float32 and clip to [0, 1]."""

    @functools.wraps(enhance)
    def wrapped(image: Array, **params: Any) -> np.ndarray:
        image = np.asarray(image, np.float32)
        if image.ndim == 2:
            result = enhance(image, **params)
        elif image.ndim == 3:
            result = np.stack([enhance(image[..., c], **params) for c in range(image.shape[-1])], axis=-1)
        else:
            raise DataError(f"a baseline takes one image [H, W] or [H, W, C], not shape {image.shape}")
        return np.clip(result, 0, 1).astype(np.float32)

    return wrapped


@_per_channel
def gaussian(image: Array, *, sigma: float = 0.7) -> np.ndarray:
    """Gaussian filter; `sigma` in pixels."""
    return ndimage.gaussian_filter(image, sigma, mode="reflect")


@_per_channel
def median(image: Array, *, size: int = 3) -> np.ndarray:
    """Median of a `size` x `size` window."""
    return ndimage.median_filter(image, size=size, mode="reflect")


@_per_channel
def bilateral(image: Array, *, sigma_color: float = 0.05, sigma_spatial: float = 1.5) -> np.ndarray:
    """Bilateral filter (Tomasi and Manduchi 1998); `sigma_color` in units of the range, `sigma_spatial` in pixels."""
    window = 2 * int(np.ceil(2 * sigma_spatial)) + 1
    return restoration.denoise_bilateral(
        image, win_size=window, sigma_color=sigma_color, sigma_spatial=sigma_spatial, mode="reflect"
    )


@_per_channel
def nlm(image: Array, *, h: float = 0.02, patch: int = 7, distance: int = 9, subtract: float = 1.0) -> np.ndarray:
    """Non-local means (Buades et al. 2005), fast form. `h` is the strength in units of the range, `subtract` the noise
    expected between equal patches, as a multiple of `h`."""
    # Not a multiple of estimate_sigma: JPEG empties the finest wavelet band, which then finds a tenth of the noise.
    options = {"patch_size": patch, "patch_distance": distance, "h": h, "sigma": subtract * h}
    return restoration.denoise_nl_means(image, fast_mode=True, **options)


@_per_channel
def tv(image: Array, *, weight: float = 0.04) -> np.ndarray:
    """Total variation (Rudin, Osher and Fatemi 1992; Chambolle's algorithm); `weight` in units of the range."""
    return restoration.denoise_tv_chambolle(image, weight=weight, max_num_iter=100)


@_per_channel
def wavelet(image: Array, *, sigma: float = 0.015, method: str = "VisuShrink", basis: str = "db2") -> np.ndarray:
    """Soft wavelet thresholds by `method` BayesShrink (Chang et al. 2000) or VisuShrink (Donoho and Johnstone 1994),
    for noise of standard deviation `sigma` in units of the range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small images: PyWavelets remarks that all coefficients feel the border
        options = {"sigma": sigma, "wavelet": basis, "method": method, "rescale_sigma": False}
        return restoration.denoise_wavelet(image, mode="soft", **options)


@_per_channel
def clahe(image: Array, *, clip_limit: float = 0.005, tiles: int = 8) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994): changes grey levels, so expect a low PSNR."""
    kernel = [max(1, side // tiles) for side in image.shape]
    return exposure.equalize_adapthist(np.clip(image, 0, 1), kernel_size=kernel, clip_limit=clip_limit)


@_per_channel
def equalise(image: Array, *, bins: int = 256) -> np.ndarray:
    """Histogram equalisation of the whole image over `bins` grey levels: every level becomes the share of pixels below it."""
    return exposure.equalize_hist(np.clip(image, 0, 1), nbins=bins)


@_per_channel
def gamma(image: Array, *, exponent: float = 0.8) -> np.ndarray:
    """`image ** exponent`: below 1 brighter, above 1 darker, black and white kept."""
    return np.clip(image, 0, 1) ** np.float32(exponent)


ENHANCERS: dict[str, Enhancer] = {
    "gaussian": gaussian,
    "median": median,
    "bilateral": bilateral,
    "nlm": nlm,
    "tv": tv,
    "wavelet": wavelet,
    "clahe": clahe,
    "equalise": equalise,
    "gamma": gamma,
}

MAPS: dict[str, Enhancer] = {"linear": intensity.linear, "monotone": intensity.monotone}
"""Fitted to training images by `intensity.fit`, not tuned over a grid."""

GRIDS: dict[str, dict[str, tuple]] = {
    "gaussian": {"sigma": (0.4, 0.55, 0.7, 0.85, 1.0, 1.3)},
    "median": {"size": (3, 5)},
    "bilateral": {"sigma_color": (0.015, 0.03, 0.05, 0.08), "sigma_spatial": (1.5, 2.5)},
    "nlm": {"h": (0.012, 0.017, 0.024, 0.035, 0.05), "patch": (5, 7)},
    "tv": {"weight": (0.01, 0.02, 0.03, 0.04, 0.06, 0.09)},
    "wavelet": {
        "sigma": (0.003, 0.005, 0.01, 0.02, 0.03),
        "method": ("BayesShrink", "VisuShrink"),
        "basis": ("db2", "sym4"),
    },
    "clahe": {"clip_limit": (0.001, 0.005, 0.02)},
    "equalise": {"bins": (64, 256, 1024)},
    "gamma": {"exponent": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.8, 2.2)},
}


def tune(
    name: str, sources: Iterable[Array], targets: Iterable[Array], *, grid: Mapping[str, Sequence] | None = None
) -> dict[str, Any]:
    """The parameters of enhancer `name`, from `grid` (default `GRIDS[name]`), with the best mean PSNR on image pairs.

    `sources` and `targets` are images `[H, W]` or `[H, W, C]` in [0, 1], of the validation split; a dozen are plenty.
    """
    enhance = _lookup(name)
    pairs = list(zip(sources, targets, strict=True))
    if not pairs:
        raise DataError(f"there are no validation images to tune the baseline '{name}' on")
    grid = GRIDS[name] if grid is None else grid
    candidates = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return max(candidates, key=lambda params: np.mean([_psnr(enhance(a, **params), b) for a, b in pairs]))


def tuned(
    sources: Sequence[Array],
    targets: Sequence[Array],
    *,
    names: Iterable[str] = tuple(ENHANCERS),
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """`{name: params}` of `tune` for several enhancers, with a progress bar on stderr."""
    from tqdm import tqdm

    bar = tqdm(list(names), desc="tuning baselines", unit="method", disable=not progress, leave=False)
    return {name: tune(name, sources, targets) for name in bar}


def bind(params: Mapping[str, Mapping[str, Any]]) -> dict[str, Enhancer]:
    """`{name: params}` -> `{name: fn(image) -> image}`, the form that evaluation takes."""
    known = {**MAPS, **UPSCALERS}
    return {name: functools.partial(known.get(name) or _lookup(name), **values) for name, values in params.items()}


RESAMPLERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def upscale(image: Array, *, size: tuple[int, int], resampler: str = "bicubic") -> np.ndarray:
    """`[h, w]` or `[h, w, C]` in [0, 1] -> `size` = (H, W), float32, clipped; Pillow, mode "F" (no 8-bit rounding).

    Pillow's bicubic has a = -0.5 and its windows widen when shrinking; the name belongs in the result's protocol.
    """
    if resampler not in RESAMPLERS:
        raise ConfigError(f"unknown resampler '{resampler}'; there are {', '.join(RESAMPLERS)}")
    return _resize(image, size=(int(size[0]), int(size[1])), resampler=resampler)


@_per_channel
def _resize(image: Array, *, size: tuple[int, int], resampler: str) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size[::-1], RESAMPLERS[resampler]))


def enlarge(image: Array, *, factor: int, resampler: str = "bicubic") -> np.ndarray:
    """`[h, w]` or `[h, w, C]` in [0, 1] to `factor` times as many pixels along both sides; see `upscale`.

    The corners of the two grids coincide, not their first pixels' centres, as after an antialiased reduction by `factor`.
    """
    height, width = np.shape(image)[:2]
    return upscale(image, size=(factor * height, factor * width), resampler=resampler)


UPSCALERS: dict[str, Enhancer] = {name: functools.partial(enlarge, resampler=name) for name in RESAMPLERS}
"""The classical rows of super-resolution; their parameter is `factor`."""


def upscalers(size: tuple[int, int], *, names: Iterable[str] = tuple(RESAMPLERS)) -> dict[str, Enhancer]:
    """`{name: fn(image) -> image of `size`}`, whatever the image's own."""
    return {name: functools.partial(upscale, size=size, resampler=name) for name in names}


def _lookup(name: str) -> Enhancer:
    if name not in ENHANCERS:
        raise ConfigError(f"unknown baseline '{name}'; there are {', '.join(ENHANCERS)}")
    return ENHANCERS[name]


def _psnr(image: Array, target: Array) -> float:
    error = np.mean(np.square(np.asarray(image, np.float64) - target))
    return float(-10 * np.log10(max(error, 1e-10)))
