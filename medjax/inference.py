"""From image files to enhanced image files, whatever their size.

An image is float32 `[H, W, 1]` in [0, 1]; the model sees float32 `[B, h, w, 1]` in [-1, 1] in batches of one fixed
shape, so it compiles once. Two scales:

* `native`: overlapping tiles at the pixels of the file (see `medjax.tiling`).
* `trained`: the image is reduced to the pixel grid of training and enhanced there; the change, brought back to full
  size, is added to the full-size image, which so keeps its fine detail.

A model that enlarges by `factor` gives `[B, factor h, factor w, 1]` and works at `native` alone. What is written has the
format, depth and range of what was read, and its field of view; one bad file does not stop the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from medjax import formats, rng
from medjax.outputs import Outcome, free, plan
from medjax.tiling import blended, reflected
from medjax.types import Array, ConfigError, DataError, MedjaxError, to_signed, to_unit

Predict = Callable[[np.ndarray], Array]  # [B, h, w, 1] in [-1, 1] -> the same
# tiles [B, h, w, 1] in [-1, 1], their numbers int32 [B], the image's pixels [row, column] they begin at, int32 [B, 2]
Enhance = Callable[[np.ndarray, np.ndarray, np.ndarray], Array]
Sample = Callable[[Array, np.ndarray, np.ndarray], Array]  # key, source [B, h, w, 1], index int32 [B] -> [B, h, w, 1]
Draw = Callable[[Array, np.ndarray, np.ndarray], Array]  # key, tiles [B, h, w, 1], where they begin int32 [B, 2] -> the same

LANCZOS, BICUBIC, BILINEAR = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR


def resize(image: np.ndarray, size: tuple[int, int], *, resampler: Image.Resampling = LANCZOS) -> np.ndarray:
    """`[H, W, 1]` float32 -> `[h, w, 1]` float32, antialiased, in floating point so that 16 bits survive."""
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0], np.float32))
    return np.asarray(picture.resize((size[1], size[0]), resampler))[:, :, None]


def _at_trained_size(enhance: Enhance, image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Input and output `[h', w', 1]` of the model in [-1, 1] for an image fitted into `size`, aspect kept, mirrored."""
    factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
    fitted = tuple(max(1, min(s, round(n * factor))) for n, s in zip(image.shape[:2], size, strict=True))
    small = to_signed(resize(image, fitted).clip(0, 1))
    y, x = (reflected(n, np.arange(s)) for n, s in zip(fitted, size, strict=True))
    given = small[y[:, None], x[None, :]][None], np.zeros(1, np.int32), np.zeros((1, 2), np.int32)
    result = np.asarray(enhance(*given), np.float32)[0]
    if not np.isfinite(result).all():
        raise DataError("the model's output is not finite")
    return small, result[: fitted[0], : fitted[1]]


def enhance_image(
    predict: Predict,
    image: np.ndarray,
    *,
    scale: str = "native",
    size: tuple[int, int] | None = None,
    tile: int = 256,
    overlap: int = 32,
    blend: int = 16,
    align: int = 16,
    batch_size: int = 4,
    factor: int = 1,
    on_progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Enhance one image `[H, W, 1]` in [0, 1] of any size; returns float32 of the same range, `[factor H, factor W, 1]`.

    predict: float32 `[B, h, w, 1]` in [-1, 1] -> the same, or what is `factor` times larger; called with one shape only
        (B = batch_size and h = w = tile at `scale="native"`, B = 1 and (h, w) = size at `scale="trained"`).
    size: the pixel grid of training (height, width), for `scale="trained"`; another aspect is kept, the rest mirrored.
    Raises ConfigError for options that do not fit together, DataError where the output is not finite.
    """
    tiling = dict(tile=tile, overlap=overlap, blend=blend, align=align, batch_size=batch_size, factor=factor)
    return _enhanced(lambda x, *_: predict(x), image, scale=scale, size=size, on_progress=on_progress, **tiling)


def _enhanced(
    enhance: Enhance, image: np.ndarray, *, scale: str = "native", size: tuple[int, int] | None = None, **tiling: Any
) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 1:
        raise DataError(f"an image of shape [H, W, 1] is needed, not {list(image.shape)}")
    _check_scale(scale, size, tiling.get("factor", 1))
    if scale == "native":
        out = blended(enhance, image, **tiling)
        out += 1
        out /= 2
        return np.clip(out, 0, 1, out=out)
    before, after = _at_trained_size(enhance, image, size)
    out = resize(to_unit(after) - to_unit(before), image.shape[:2], resampler=BICUBIC).copy()
    out += image
    return np.clip(out, 0, 1, out=out)


def _check_scale(scale: str, size: tuple[int, int] | None, factor: int) -> None:
    if scale != "native" and (scale != "trained" or size is None):
        raise ConfigError(f"scale must be 'native', or 'trained' with the size of training, not {scale!r} with size {size}")
    if scale == "trained" and factor > 1:
        raise ConfigError("a model that enlarges works on the pixels of the file: its scale is 'native'")


def deviation_image(
    key: Array,
    sample: Sample,
    image: np.ndarray,
    *,
    num_samples: int = 8,
    scale: str = "native",
    size: tuple[int, int] | None = None,
    **tiling: int,
) -> np.ndarray:
    """The standard deviation over `num_samples` draws of the model, shaped as its output, in the units of [0, 1] images.

    sample: key, source `[B, h, w, 1]` in [-1, 1], index int32 `[B]` (the tile's number) -> one draw, as `predict` gives it.
    Taken tile by tile and blended as the image is: where two tiles meet, their independent draws do not lower it.
    """
    import jax

    if num_samples < 2:
        raise ConfigError(f"a standard deviation needs at least 2 samples, not {num_samples}")
    keys = [jax.random.fold_in(key, draw) for draw in range(num_samples)]

    def deviation(x: np.ndarray, index: np.ndarray, place: np.ndarray) -> np.ndarray:
        mean = squares = 0.0
        for n, each in enumerate(keys, start=1):  # Welford's running form: no stack of draws
            draw = to_unit(np.asarray(sample(each, x, index), np.float64))  # clipped, as what is stored and shown is
            shift = draw - mean
            mean = mean + shift / n
            squares = squares + shift * (draw - mean)
        return np.sqrt(squares / (num_samples - 1))

    _check_scale(scale, size, tiling.get("factor", 1))
    if scale == "native":
        return blended(deviation, image, **tiling)
    return resize(_at_trained_size(deviation, image, size)[1], image.shape[:2], resampler=BILINEAR)


def drawn_image(
    key: Array,
    draw: Draw,
    image: np.ndarray,
    *,
    num_samples: int = 1,
    on_progress: Callable[[float], None] | None = None,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray | None]:
    """The mean of `num_samples` draws of an image, as `enhance_image` has it, and from two on their standard deviation.

    draw: key, tiles `[B, h, w, 1]` in [-1, 1] and the pixel `[row, column]` that each begins at, int32 `[B, 2]` -> the same
        shape, with noise of each pixel's own position, which overlapping tiles share; norms and attention see a tile alone.
    """
    import jax

    if num_samples < 1:
        raise ConfigError(f"an image is the mean of at least 1 draw, not {num_samples}")
    mean = squares = 0.0
    for n in range(num_samples):
        told = on_progress and (lambda share, n=n: on_progress((n + share) / num_samples))
        of_draw = lambda x, index, place, n=n: draw(jax.random.fold_in(key, n), x, place)  # noqa: E731
        one = _enhanced(of_draw, image, on_progress=told, **options)
        before, mean = mean, mean + (one - mean) / np.float32(n + 1)
        squares = squares + (one - before) * (one - mean)
    return mean, np.sqrt(squares / np.float32(num_samples - 1)) if num_samples > 1 else None


def enhance_files(
    predict: Predict | None,
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    sample: Sample | None = None,
    draw: Draw | None = None,
    num_samples: int = 0,
    key: Array | None = None,
    overwrite: bool = False,
    progress: bool = True,
    value_range: formats.ValueRange | Callable[[Path], formats.ValueRange] = None,
    derivation: formats.Derivation | None = None,
    **options: Any,
) -> Outcome:
    """Enhance files and folders into `output_dir`: same names, formats, depths and ranges; the folders' structure kept.

    num_samples: from 2 on, `NAME_std.tiff` is written beside each image: the standard deviation of so many draws of
        `sample` (seeded by `key` and the output's name), float32, in the stored units of the image.
    draw: of a model that draws its images: each is the mean of `num_samples` draws, the map their standard deviation; see
        `drawn_image`. `predict` and `sample` are not called.
    value_range: stored values at black and white where they are not those of the type (see `formats.read`), or of each path.
    derivation: what a DICOM output says about how it came about; see `formats.Derivation`.
    overwrite: without it an output that exists is a failure of that file. options: as for `enhance_image`.
    A file that cannot be read, enhanced or written is reported in `failed` and the rest go on. Raises as `plan` does.
    """
    if draw is None and num_samples and (sample is None or key is None or num_samples < 2):
        raise ConfigError("a map of deviation needs a model that samples, a key, and at least 2 samples")
    outcome = Outcome([], [], [])
    planned = plan(inputs, output_dir)
    taken = {str(output).casefold() for _, output in planned}
    with tqdm(planned, unit="image", disable=not progress) as bar:
        for path, output in bar:
            bar.set_postfix_str(path.name)
            map_path = free(output.with_name(f"{output.stem}_std.tiff"), taken) if num_samples > 1 else None
            options["on_progress"] = lambda share, name=path.name: bar.set_postfix_str(f"{name} {share:.0%}")
            try:
                if not overwrite and (output.exists() or (map_path is not None and map_path.exists())):
                    raise DataError(f"{output}: exists already and is not overwritten unless asked")
                options["value_range"] = value_range(path) if callable(value_range) else value_range
                draws = None if key is None else rng.named(key, str(output.relative_to(output_dir)))
                if draw is not None:
                    options |= {"num_samples": max(1, num_samples), "derivation": derivation}
                    _write_drawn(draws, draw, path, output, map_path, **options)
                elif map_path is not None:
                    _write_map(draws, sample, path, map_path, num_samples=num_samples, **options)
                if map_path is not None:
                    outcome.maps.append(map_path)
                if draw is None:
                    _write_enhanced(predict, path, output, derivation=derivation, **options)
                outcome.written.append(output)
            except Exception as error:  # whatever is wrong with one file must not cost the user the others
                cause = str(error) if isinstance(error, MedjaxError) else f"{type(error).__name__}: {error}"
                named = str(path) in cause or str(output) in cause
                outcome.failed.append((path, cause if named else f"{path}: {cause}"))
    return outcome


def _write_enhanced(
    predict: Predict, path: Path, output: Path, *, value_range: Any = None, derivation: Any = None, **options: Any
) -> None:
    """Read, enhance, write; what was read is let go before writing, which makes copies of its own."""
    image, encoding = formats.read(path, value_range=value_range)
    image = enhance_image(predict, image, **options)
    os.makedirs(output.parent, exist_ok=True)
    formats.write(output, image, formats.finer(encoding, options.get("factor", 1)), derivation=derivation)


def _write_map(key: Array, sample: Sample, path: Path, output: Path, *, value_range: Any = None, **options: Any) -> None:
    """Deviations are small: in the image's own 8 bits they would round to nothing, so they are stored as floats."""
    image, encoding = formats.read(path, value_range=value_range)
    _save_map(output, deviation_image(key, sample, image, **options), encoding)


def _save_map(path: Path, deviation: np.ndarray, encoding: formats.Encoding) -> None:
    plain = formats.Encoding(format="tiff", dtype="float32", low=0.0, high=float(encoding.high) - float(encoding.low))
    os.makedirs(path.parent, exist_ok=True)
    formats.write(path, deviation, plain)


def _write_drawn(
    key: Array, draw: Draw, path: Path, output: Path, map_path: Path | None, *, value_range: Any, derivation: Any, **options: Any
) -> None:
    """The mean of the draws as the image, their deviation as the map."""
    image, encoding = formats.read(path, value_range=value_range)
    mean, deviation = drawn_image(key, draw, image, **options)
    os.makedirs(output.parent, exist_ok=True)
    if deviation is not None:
        _save_map(map_path, deviation, encoding)
    formats.write(output, mean, encoding, derivation=derivation)
