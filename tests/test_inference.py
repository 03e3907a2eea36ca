"""Tiles that leave no trace, memory that stays bounded, files that come back as they went in."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medjax import formats, inference
from medjax.build import enlarging
from medjax.inference import deviation_image, drawn_image, enhance_files, enhance_image, plan
from medjax.tiling import blended, reflected, tiles_along
from medjax.types import ConfigError, DataError


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).random((height, width))
    return ndimage.gaussian_filter(noise, 1).astype(np.float32)[:, :, None]


def identity(x):
    return x


def blur(x):
    """A fully convolutional model with a receptive field of 12 pixels to each side, zero padding, as a network has."""
    kernel = np.hanning(27)[1:-1] / np.hanning(27).sum()
    out = ndimage.convolve1d(x, kernel, axis=1, mode="constant")
    return ndimage.convolve1d(out, kernel, axis=2, mode="constant")


@pytest.mark.parametrize("length", [1, 17, 64, 65, 100, 500, 1001])
@pytest.mark.parametrize(
    "options",
    [dict(tile=64, overlap=8, blend=16), dict(tile=64, overlap=0, blend=0), dict(tile=96, overlap=32, blend=8)],
)
def test_the_weights_sum_to_one_and_starts_keep_the_phase(length, options):
    tiles = tiles_along(length, align=16, **options)
    total = np.zeros(tiles.starts[-1] + tiles.tile)
    for start, weights in zip(tiles.starts, tiles.weights, strict=True):
        total[start : start + tiles.tile] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert len(total) >= length and not (tiles.starts % 16).any()
    margin = options["overlap"]
    if margin:  # context is thrown away on the inside, never at the ends of the image
        assert not tiles.weights[1:, :margin].any() and not tiles.weights[:-1, -margin:].any()
    assert tiles.weights[0, 0] == 1 and tiles.weights[-1, -1] == 1


def test_weights_fade_smoothly():
    tiles = tiles_along(1000, tile=256, overlap=32, blend=16)
    assert np.abs(np.diff(tiles.weights[1])).max() < 0.11  # a raised cosine over 16 pixels: pi / 32 at its steepest


def test_reflection_is_numpys():
    for length in (1, 2, 5, 40):
        np.testing.assert_array_equal(
            reflected(length, np.arange(100)), np.pad(np.arange(length), (0, 100 - length), mode="reflect")[:100]
        )


@pytest.mark.parametrize(
    "options", [dict(tile=60), dict(tile=64, overlap=32, blend=0), dict(tile=0), dict(tile=64, overlap=-1)]
)
def test_tiles_that_cannot_be_laid_are_refused(options):
    with pytest.raises(ConfigError, match="tile of"):
        tiles_along(100, **options)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 64), (130, 201)])
def test_the_identity_comes_back(shape):
    image = picture(*shape)
    out = enhance_image(identity, image, tile=64, overlap=8, blend=16)
    assert out.shape == image.shape and out.dtype == np.float32
    np.testing.assert_allclose(out, image, atol=1e-6)


@pytest.mark.parametrize("tile", [64, 96, 128])
def test_tiles_leave_no_trace_where_the_receptive_field_fits_the_overlap(tile):
    image = picture(300, 410)
    whole = (blur((image * 2 - 1)[None])[0] + 1) / 2
    out = enhance_image(blur, image, tile=tile, overlap=16, blend=8)
    inside = np.s_[:288, :398]  # towards the far edges the image is filled up to a multiple of 16, not with zeros
    np.testing.assert_allclose(out[inside], whole[inside], atol=2e-6)


def test_too_little_overlap_would_show():
    image = picture(300, 410)
    whole = (blur((image * 2 - 1)[None])[0] + 1) / 2
    out = enhance_image(blur, image, tile=64, overlap=0, blend=0)
    assert np.abs(out - whole)[:288, :400].max() > 0.01


def test_a_step_between_neighbouring_tiles_is_faded():
    numbers = []

    def level(x, index, place):
        numbers.extend(index)
        return np.broadcast_to(index[:, None, None, None] % 2 * 1.0, x.shape)

    out = blended(level, picture(64, 400), tile=64, overlap=8, blend=16, batch_size=4)
    assert np.abs(np.diff(out[:, :, 0], axis=1)).max() < 0.11
    assert out.min() == 0 and out.max() == 1 and sorted(set(numbers)) == list(range(12))


def test_strided_models_see_the_images_own_phase():
    def comb(x):  # what a net with stride 8 does best: treat every eighth pixel in its own way
        out = np.array(x)
        out[:, ::8, ::8] = 1
        return out

    image = picture(200, 333)
    expected = image.copy()
    expected[::8, ::8] = 1
    np.testing.assert_allclose(enhance_image(comb, image, tile=64, overlap=8, blend=8), expected, atol=1e-6)


def test_one_shape_only_reaches_the_model():
    shapes = set()

    def spy(x):
        shapes.add(x.shape)
        return x

    for size in [(10, 10), (64, 64), (150, 90), (200, 300)]:
        enhance_image(spy, picture(*size), tile=64, overlap=8, blend=16, batch_size=3)
    assert shapes == {(3, 64, 64, 1)}


def test_the_result_does_not_depend_on_the_batch_size():
    image = picture(200, 300)
    one, five = (enhance_image(blur, image, tile=64, overlap=16, blend=8, batch_size=b) for b in (1, 5))
    np.testing.assert_array_equal(one, five)


def test_the_output_stays_in_range():
    out = enhance_image(lambda x: x * 3, picture(80, 80), tile=64, overlap=8, blend=8)
    assert out.min() == 0 and out.max() == 1


def test_memory_grows_by_no_more_than_the_result():
    """tracemalloc counts numpy's own: from 512 to 2048 pixels the peak may grow by the output and half for slack."""
    peaks = []
    for side in (512, 2048):
        image = np.zeros((side, side, 1), np.float32)
        tracemalloc.start()
        enhance_image(identity, image, tile=256)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1.5 * 4 * 2048**2


def test_trained_scale_keeps_what_the_grid_of_training_cannot_hold():
    image = picture(256, 256)
    np.testing.assert_allclose(enhance_image(identity, image, scale="trained", size=(64, 64)), image, atol=1e-6)
    brighter = enhance_image(lambda x: x + 0.2, image * 0.5, scale="trained", size=(64, 64))
    np.testing.assert_allclose(brighter, image * 0.5 + 0.1, atol=1e-5)


def test_trained_scale_keeps_the_aspect_and_fills_by_mirroring():
    seen = []

    def spy(x):
        seen.append(x)
        return x

    rows = np.linspace(0, 1, 100, dtype=np.float32)[:, None, None].repeat(200, axis=1)
    out = enhance_image(spy, rows, scale="trained", size=(64, 64))
    assert out.shape == rows.shape and seen[0].shape == (1, 64, 64, 1)
    column = seen[0][0, :, 0, 0]
    np.testing.assert_allclose(column[32:63], column[30::-1], atol=1e-6)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="size of training"):
        enhance_image(identity, picture(8, 8), scale="trained")
    with pytest.raises(ConfigError, match="scale"):
        enhance_image(identity, picture(8, 8), scale="nativ", size=(8, 8))
    with pytest.raises(DataError, match=r"\[H, W, 1\]"):
        enhance_image(identity, np.zeros((8, 8, 3), np.float32))
    with pytest.raises(DataError, match="not finite"):
        enhance_image(lambda x: x * np.nan, picture(8, 8), tile=64, overlap=8, blend=8)


def test_deviation_is_that_of_the_draws():
    jax = pytest.importorskip("jax")

    def sample(key, x, index):
        assert index.dtype == np.int32 and index.shape == x.shape[:1]
        return x * 0 + 0.2 * jax.random.normal(key, x.shape)  # 0.1 in the units of [0, 1]

    options = dict(tile=64, overlap=8, blend=16, num_samples=200)
    std = deviation_image(jax.random.key(0), sample, picture(100, 150), **options)
    assert std.shape == (100, 150, 1) and abs(std.mean() - 0.1) < 0.002
    again = deviation_image(jax.random.key(0), sample, picture(100, 150), **options)
    np.testing.assert_array_equal(std, again)
    seam = std[:, 28:36].mean()  # independent draws of two tiles meet here; their mean would deviate by 0.07 only
    assert abs(seam - 0.1) < 0.005
    flat = deviation_image(
        jax.random.key(0), sample, picture(100, 150), scale="trained", size=(32, 32), num_samples=100
    )
    assert flat.shape == (100, 150, 1) and abs(flat.mean() - 0.1) < 0.01
    with pytest.raises(ConfigError, match="at least 2"):
        deviation_image(jax.random.key(0), sample, picture(8, 8), num_samples=1)


@pytest.fixture
def folder(tmp_path):
    """Two images of one stem and different kinds, one in a folder below, one spoilt, one that is no image."""
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    grey = (picture(70, 90)[:, :, 0] * 65535).astype(np.uint16)
    Image.fromarray(grey).save(root / "a.png")
    Image.fromarray((grey >> 8).astype(np.uint8)).save(root / "a.jpg", quality=95)
    Image.fromarray(grey[:40]).save(root / "deep" / "b.tiff")
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:200])
    (root / "notes.txt").write_text("no image")
    return root


SMALL = dict(tile=64, overlap=8, blend=16, progress=False)


def test_files_come_back_with_format_depth_range_and_place(folder, tmp_path):
    outcome = enhance_files(identity, [folder], tmp_path / "out", **SMALL)
    assert {str(p.relative_to(tmp_path / "out")) for p in outcome.written} == {"a.png", "a.jpg", "deep/b.tiff"}
    for name in ("a.png", "deep/b.tiff"):
        before, after = np.asarray(Image.open(folder / name)), np.asarray(Image.open(tmp_path / "out" / name))
        assert after.dtype == np.uint16
        np.testing.assert_array_equal(before, after)
    assert formats.read(tmp_path / "out" / "a.jpg")[1].format == "jpeg"
    assert [path.name for path, _ in outcome.failed] == ["broken.png"] and "broken.png" in outcome.failed[0][1]


def test_maps_are_in_the_stored_units_and_never_collide(folder, tmp_path):
    jax = pytest.importorskip("jax")

    def sample(key, x, index):
        return x * 0 + 0.02 * jax.random.normal(key, x.shape)

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "a_std.tiff")
    options = dict(sample=sample, num_samples=50, key=jax.random.key(0), **SMALL)
    outcome = enhance_files(identity, [folder], tmp_path / "out", **options)
    names = [str(p).casefold() for p in [*outcome.written, *outcome.maps]]
    assert len(outcome.maps) == 4 and len(set(names)) == 8
    by_name = {str(p.relative_to(tmp_path / "out")): p for p in outcome.maps}
    deep = np.asarray(Image.open(by_name["deep/b_std.tiff"]))
    assert deep.dtype == np.float32 and abs(deep.mean() - 655.35) < 20


def test_two_folders_with_one_name_do_not_overwrite_each_other(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(other / "a.png")
    planned = plan([folder / "a.png", other, folder / "a.png"], tmp_path / "out")
    assert [output.name for _, output in planned] == ["a.png", "a_2.png"]


def test_nothing_already_there_is_lost(folder, tmp_path):
    with pytest.raises(ConfigError, match="replace an input"):
        enhance_files(identity, [folder], folder, **SMALL)
    inside = folder / "out"
    first = enhance_files(identity, [folder], inside, **SMALL)
    again = enhance_files(identity, [folder], inside, **SMALL)
    assert len(first.written) == 3 and not again.written
    assert len(again.failed) == 4 and sum("exists already" in cause for _, cause in again.failed) == 3
    assert len(enhance_files(identity, [folder], inside, overwrite=True, **SMALL).written) == 3


def test_absent_and_empty_inputs_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="gone: no such"):
        plan([tmp_path / "gone"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        plan([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(ConfigError, match="deviation"):
        enhance_files(identity, [folder], tmp_path / "out", num_samples=4)


def test_a_real_radiograph_at_full_size_survives_tiling(real_data):
    path = sorted((real_data / "cxr_nih" / "images_1024").glob("*.png"))[0]
    image, _ = formats.read(path)
    small, large = (enhance_image(blur, image, tile=tile, overlap=16, blend=16) for tile in (256, 512))
    assert np.abs(small - large).max() < 1e-5


def test_resizing_keeps_a_constant():
    np.testing.assert_allclose(inference.resize(np.full((50, 70, 1), 0.3, np.float32), (20, 90)), 0.3, atol=1e-6)


def test_tiles_of_one_draw_are_cut_from_one_image(folder, tmp_path):
    """A pixelwise denoiser, drawn in tiles and in one piece: the same image and the same map, so no seam can show."""
    jax = pytest.importorskip("jax")
    from medjax import diffusion

    schedule = diffusion.linear(10, first=1e-3, last=0.3)

    @jax.jit
    def draw(key, x, place):
        denoise = lambda x_t, t: 0.7 * x + 0.2 * x_t
        index = np.zeros(len(x), np.int32)
        options = dict(sampler="ddpm", steps=3, prediction="x0", place=place)
        return diffusion.sample(key, denoise, schedule, x.shape, index, **options)

    key, image = jax.random.key(2), picture(64, 96)
    options = dict(overlap=8, blend=8, num_samples=3)
    tiled, std = drawn_image(key, draw, image, tile=48, batch_size=2, **options)
    whole, whole_std = drawn_image(key, draw, image, tile=96, batch_size=1, **options)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    np.testing.assert_allclose(std, whole_std, atol=1e-5)
    alone = lambda n: lambda k, x, place: draw(jax.random.fold_in(key, n), x, place)
    draws = [drawn_image(key, alone(n), image, tile=96, batch_size=1, overlap=8, blend=8)[0] for n in range(3)]
    np.testing.assert_allclose(whole, np.mean(draws, 0), atol=1e-5)
    np.testing.assert_allclose(whole_std, np.std(draws, 0, ddof=1), atol=1e-5)
    assert whole_std.mean() > 0.005
    one, none = drawn_image(key, draw, image, scale="trained", size=(48, 48))
    assert one.shape == image.shape and none is None
    with pytest.raises(ConfigError, match="at least 1 draw, not 0"):
        drawn_image(key, draw, image, num_samples=0)


def test_files_are_the_mean_of_draws_with_a_map_beside(folder, tmp_path):
    jax = pytest.importorskip("jax")

    def draw(key, x, place):
        assert place.dtype == np.int32 and place.shape == (len(x), 2)
        return np.clip(x + 0.02 * np.asarray(jax.random.normal(key, x.shape)), -1, 1)

    options = {**SMALL, "tile": 128, "draw": draw, "key": jax.random.key(0)}  # one piece: these draws know no position
    outcome = enhance_files(None, [folder / "a.png"], tmp_path / "out", num_samples=20, **options)
    assert [p.name for p in (*outcome.written, *outcome.maps)] == ["a.png", "a_std.tiff"] and not outcome.failed
    before, after = (np.asarray(Image.open(f / "a.png"), np.float64) for f in (folder, tmp_path / "out"))
    assert 20 < np.abs(after - before).mean() < 300  # 65535 * 0.01 / sqrt(20) a pixel
    assert abs(np.median(np.asarray(Image.open(tmp_path / "out" / "a_std.tiff"))) - 655) < 40
    single = enhance_files(None, [folder / "a.png"], tmp_path / "one", **options)
    assert [p.name for p in single.written] == ["a.png"] and not single.maps


def test_tiles_of_a_network_do_not_depend_on_their_batch(quick_compile):
    """Three tiles at once, the last batch filled up, give what one by one gives, to float32 rounding."""
    import jax

    from medjax.models.restorer import Restorer

    net, x = Restorer(features=(4,), blocks=(1,)), np.zeros((1, 32, 32, 1), np.float32)
    drawn = jax.tree.map(lambda leaf: leaf + 0.05, jax.jit(net.init)(jax.random.key(0), x))  # a fresh one's last layer is zero
    predict, image = jax.jit(lambda x: net.apply(drawn, x)), picture(48, 60)
    one, three = (enhance_image(predict, image, tile=32, overlap=4, blend=4, align=4, batch_size=b) for b in (1, 3))
    np.testing.assert_allclose(three, one, atol=2e-6)
    assert np.abs(one - image).max() > 0.01


def test_a_batch_holds_no_copies_where_every_image_is_one_tile(tmp_path):
    for name, size in (("small", (20, 30)), ("large", (20, 80))):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / f"{name}.png")
    at_once = lambda name, **options: enlarging.tiles_at_once([tmp_path / name], tmp_path / "out", tile=64, **options)
    assert (at_once("small.png"), at_once("large.png"), at_once("small.png", batch=7)) == (1, 4, 7)
    with pytest.raises(ConfigError, match="at least 1 tile, not -1"):
        at_once("small.png", batch=-1)
