"""Brain phantoms: the signal equation against arithmetic, noise against its distribution, anatomy, lesions."""

from __future__ import annotations

import numpy as np
import pytest

from medjax.data.phantom import spin_echo
from medjax.data.phantom.brain import tissue_map
from medjax.data.phantom.head import sample_head
from medjax.data.phantom.lesions import contrast_kept, sample_lesions
from medjax.data.phantom.mri import SEQUENCES, brain_pair
from medjax.data.phantom.space import layer, make_grid, noise
from medjax.data.phantom.spin_echo import NAMES, SCALE, bias_field, constants, rician, weighted
from medjax.types import ConfigError

SMALL = {"shape": (64, 72, 60), "spacing": 2.8}


def of(name):
    return NAMES.index(name)


@pytest.fixture(scope="module")
def head():
    """A head with many lesions, as scanned and without noise and bias."""
    options = dict(shape=(104, 124, 100), spacing=1.7, lesions=8, veiled=0.4)
    return [brain_pair(1, 2, **options), brain_pair(1, 2, **options, snr=None, bias=0.0, contrasts=("T1", "T2", "PD"))]


def test_spin_echo_signal_by_hand():
    # White matter at 1.5 T: 0.77 (1 - exp(-450/500)) exp(-10/70) = 0.77 * 0.5934303 * 0.8668779
    white, grey, csf = (spin_echo.TISSUES[1.5][name] for name in ("white", "grey", "csf"))
    assert float(spin_echo.spin_echo(*white, tr=450, te=10)) == pytest.approx(0.396113, abs=1e-5)
    # Liquor, TR 4500, TE 100: (1 - exp(-4500/2569)) exp(-100/329) = 0.826514 * 0.737891
    assert float(spin_echo.spin_echo(*csf, tr=4500, te=100)) == pytest.approx(0.60988, abs=1e-4)
    assert float(spin_echo.spin_echo(*grey, tr=1e9, te=0)) == pytest.approx(0.86)
    assert float(spin_echo.spin_echo(*grey, tr=833.0, te=0)) == pytest.approx(0.86 * (1 - np.exp(-1)))
    for tr, te in ((0, 0), (100, 100), (100, -1), (float("nan"), 1)):
        with pytest.raises(ConfigError):
            spin_echo.spin_echo(*grey, tr=tr, te=te)
    with pytest.raises(ConfigError, match="7"):
        constants(7.0)


def test_signals_of_a_mixed_voxel_add_up():
    fractions = np.zeros((len(NAMES), 1, 1, 2), np.float32)
    fractions[of("grey"), ..., 0] = fractions[of("csf"), ..., 0] = 0.5
    fractions[of("grey"), ..., 1] = 1
    table = constants(1.5)
    one = [SCALE * float(spin_echo.spin_echo(*table[of(n)], tr=4500, te=100)) for n in ("grey", "csf")]
    np.testing.assert_allclose(weighted(fractions, table, tr=4500, te=100).ravel(), [np.mean(one), one[0]], rtol=1e-5)


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_contrast_has_the_textbook_order(field):
    """T1-weighted: fat, white, grey, liquor; T2-weighted: liquor, lesion, grey, white; bone is dark in both."""

    def order(contrast, names):
        tr, te = SEQUENCES[contrast]
        values = [float(spin_echo.spin_echo(*spin_echo.TISSUES[field][n], tr=tr, te=te)) for n in names]
        return values == sorted(values, reverse=True)

    assert order("T1", ("fat", "white", "grey", "csf", "bone", "air"))
    assert order("T2", ("csf", "lesion", "grey", "white", "muscle", "bone"))
    assert order("T2", ("csf", "veiled", "grey", "pallidum"))
    t1, t2 = (
        [float(spin_echo.spin_echo(*spin_echo.TISSUES[field][n], tr=tr, te=te)) for n in ("white", "veiled")]
        for tr, te in (SEQUENCES["T1"], SEQUENCES["T2"])
    )
    assert t1[1] == pytest.approx(t1[0], rel=2e-3) and t2[1] > 1.5 * t2[0]  # only T2 tells


def test_rician_noise_in_air_in_the_dark_and_in_the_bright():
    rng, sigma = np.random.default_rng(0), 12.0
    air = rician(np.zeros((60, 60, 60), np.float32), sigma, rng)
    np.testing.assert_allclose(air.mean(), sigma * np.sqrt(np.pi / 2), rtol=5e-3)
    np.testing.assert_allclose(air.std(), sigma * np.sqrt(2 - np.pi / 2), rtol=5e-3)
    bright = rician(np.full((60, 60, 60), 50 * sigma, np.float32), sigma, rng)
    np.testing.assert_allclose(bright.std(), sigma, rtol=5e-3)
    np.testing.assert_allclose(np.square(bright).mean(), (50 * sigma) ** 2 + 2 * sigma**2, rtol=1e-3)
    np.testing.assert_array_equal(rician(bright, 0.0, rng), bright)


def test_the_noise_of_a_phantom_is_white_matter_over_snr():
    grid = dict(shape=(60, 60, 60), spacing=3.5, bias=0.0)
    noisy, clean = brain_pair(4, 4, **grid, snr=25.0), brain_pair(4, 4, **grid, snr=None)
    corner = (slice(0, 8), slice(0, 8), slice(40, 60))
    for name in ("T1", "T2"):
        sigma = noisy.images[name][corner].mean() / np.sqrt(np.pi / 2)
        pure = clean.fractions[of("white")] > 0.999
        np.testing.assert_allclose(np.median(clean.images[name][pure]) / sigma, 25, rtol=0.05)


def test_bias_is_smooth_bounded_and_of_each_contrast():
    grid = make_grid((40, 48, 40), 4.0)
    field = bias_field(grid, 0.3, 1, 2, "bias", "T1")
    assert np.abs(np.log(field)).max() <= 0.3 and field.std() > 0.03
    steps = [np.abs(np.diff(np.log(field), axis=a)).max() for a in range(3)]
    assert max(steps) < 0.03  # less than 1 per cent a millimetre
    other = bias_field(grid, 0.3, 1, 2, "bias", "T2")
    assert abs(np.corrcoef(field.ravel(), other.ravel())[0, 1]) < 0.95
    np.testing.assert_array_equal(bias_field(grid, 0.0, 1), 1)
    coarse = bias_field(make_grid((20, 24, 20), 8.0), 0.3, 1, 2, "bias", "T1")
    binned = field.reshape(20, 2, 24, 2, 20, 2).mean((1, 3, 5))
    np.testing.assert_allclose(coarse, binned, atol=5e-3)  # belongs to the head, not to the grid


def test_a_thin_sheet_keeps_its_volume():
    positions = np.linspace(-4, 4, 801)  # a sheet 0.6 mm thick seen by voxels of 2 mm wherever they lie
    share = layer(np.abs(positions).astype(np.float32), 0.3, 2.0)
    np.testing.assert_allclose(share.sum() * 0.01, 0.6, rtol=1e-3)
    np.testing.assert_allclose(share.max(), 0.3, rtol=1e-5)


def test_a_phantom_is_a_pure_function_of_seed_and_index():
    first = brain_pair(3, 1, **SMALL)
    brain_pair(3, 2, shape=(24, 24, 24), spacing=8.0)
    again = brain_pair(3, 1, **SMALL)
    for name in ("T1", "T2"):
        np.testing.assert_array_equal(first.images[name], again.images[name])
    np.testing.assert_array_equal(first.fractions, again.fractions)
    np.testing.assert_array_equal(first.lesions, again.lesions)
    assert first.lesion_list == again.lesion_list and first.head == again.head
    for seed, index in ((3, 2), (4, 1)):
        other = brain_pair(seed, index, **SMALL)
        assert (other.labels != first.labels).mean() > 0.1
    # Sequence, field, coil and noise change the image and not the anatomy.
    seen = brain_pair(3, 1, **SMALL, snr=5.0, bias=0.0, field=3.0, sequences={"T2": (6000.0, 80.0)}, stripped=True)
    np.testing.assert_array_equal(seen.labels, first.labels)
    np.testing.assert_array_equal(seen.lesions, first.lesions)
    assert not np.array_equal(seen.t2w, first.t2w)
    assert (seen.t2w[~seen.brain] == 0).all() and (seen.t2w[seen.brain] > 0).all()


def test_the_same_head_on_every_grid():
    head = sample_head(2, 0)
    fine = tissue_map(make_grid((112, 120, 96), 1.7), head)
    coarse = tissue_map(make_grid((56, 60, 48), 3.4), head)
    binned = fine.fractions.reshape(-1, 56, 2, 60, 2, 48, 2).mean((2, 4, 6))
    volumes = fine.fractions.sum((1, 2, 3)) * 1.7**3, coarse.fractions.sum((1, 2, 3)) * 3.4**3
    for name in ("grey", "white", "csf", "fat", "bone"):
        np.testing.assert_allclose(volumes[1][of(name)], volumes[0][of(name)], rtol=0.1, err_msg=name)
        assert np.corrcoef(coarse.fractions[of(name)].ravel(), binned[of(name)].ravel())[0, 1] > 0.93, name
    np.testing.assert_allclose(coarse.fractions.sum(0), 1, atol=1e-4)
    slabs = tissue_map(make_grid((56, 60, 24), (3.4, 3.4, 6.8)), head)  # thick slices average what thin ones show
    halves = coarse.fractions.reshape(-1, 56, 60, 24, 2).mean(-1)
    assert np.abs(slabs.fractions - halves).mean() < 0.01


def test_tissue_volumes_are_those_of_people():
    """Litres of grey and white matter and of all within the skull, of ten heads: usual adult ranges."""
    found = []
    for index in range(10):
        fractions = tissue_map(make_grid((50, 58, 48), 3.5), sample_head(11, index), around=False).fractions
        found.append([fractions[of(name)].sum() * 3.5**3 / 1e6 for name in ("grey", "white")])
    grey, white = np.array(found).T
    assert (grey > 0.5).all() and (grey < 0.95).all() and 0.6 < grey.mean() < 0.85
    assert (white > 0.4).all() and (white < 0.95).all() and 0.45 < white.mean() < 0.8
    assert grey.std() > 0.02 and white.std() > 0.02  # people differ


def test_age_widens_ventricles_and_sulci():
    heads = [sample_head(0, i) for i in range(300)]
    age = np.array([h.age for h in heads])
    assert {h.sex for h in heads} == {"F", "M"} and age.min() >= 20 and age.max() <= 86
    for measure in ("ventricles", "atrophy"):
        assert np.corrcoef(age, [getattr(h, measure) for h in heads])[0, 1] > 0.5


def test_images_show_the_tissues_in_their_order(head):
    _, clean = head
    pure = {n: clean.brain & (clean.fractions[of(n)] > 0.98) for n in ("white", "grey", "csf")}
    t1, t2, pd = ({n: np.median(image[m]) for n, m in pure.items()} for image in clean.images.values())
    assert t1["white"] > 1.15 * t1["grey"] > 1.3 * t1["csf"]
    assert t2["csf"] > 1.5 * t2["grey"] and t2["grey"] > 1.15 * t2["white"]
    assert pd["csf"] > 0 and pd["grey"] > pd["white"]
    table = constants(1.5)
    for name, value in t2.items():
        expected = SCALE * float(spin_echo.spin_echo(*table[of(name)], tr=4500, te=100))
        assert value == pytest.approx(expected, rel=0.15), name  # people differ by a few per cent


def test_cortex_is_a_folded_ribbon_around_white_matter(head):
    _, clean = head
    grey, white, csf = (clean.fractions[of(n)] for n in ("grey", "white", "csf"))
    # Folding: far more surface between grey and white than a ball of that much white matter has.
    faces = sum(np.abs(np.diff((white > 0.5).astype(int), axis=a)).sum() for a in range(3)) * 1.7**2 / 1.5
    litres = white.sum() * 1.7**3
    ball = (36 * np.pi) ** (1 / 3) * litres ** (2 / 3)
    assert faces > 3 * ball
    # White matter hardly ever touches liquor but at ventricles: the ribbon is closed.
    touching = (white > 0.6)[1:] & (csf > 0.6)[:-1] & clean.brain[1:]
    ribbon = (grey > 0.6)[1:] & (csf > 0.6)[:-1] & clean.brain[1:]
    assert touching.sum() < 0.25 * ribbon.sum()


def test_lesions_lie_in_white_matter_and_are_bright_in_t2(head):
    noisy, clean = head
    assert len(clean.lesion_list) >= 6 and {x.visible for x in clean.lesion_list} == {True, False}
    white = clean.brain & (clean.fractions[of("white")] > 0.98)
    t1, t2 = (np.median(image[white]) for image in (clean.t1w, clean.t2w))
    healthy = brain_pair(1, 2, shape=(104, 124, 100), spacing=1.7, lesions=False, snr=None, bias=0.0)
    assert not healthy.lesions.any() and healthy.lesion_list == ()
    for lesion in clean.lesion_list:
        inside = clean.lesions == lesion.number
        assert inside.any() and clean.brain[inside].all(), lesion
        assert (healthy.fractions[of("white")][inside] > 0.5).all()
        assert clean.t2w[inside].mean() > 1.3 * t2, lesion
        centre = np.linalg.inv(clean.affine) @ [*lesion.centre, 1]
        assert inside[tuple(np.round(centre[:3]).astype(int))]
        change = np.abs(clean.t1w - healthy.t1w)[inside].mean() / t1
        assert change > 0.06 if lesion.visible else change < 0.01, lesion
    outside = clean.lesions == 0
    far = outside & (healthy.fractions[of("white")] > 0.98) & (clean.fractions[of("white")] > 0.98)
    change = np.abs(clean.t2w[far] / healthy.t2w[far] - 1)
    assert np.mean(change > 0.02) < 0.01 and np.median(change) == 0  # but for the point spread beside a lesion
    np.testing.assert_array_equal(noisy.lesions, clean.lesions)


def test_lesion_counts_follow_the_option():
    heads = [sample_head(5, i) for i in range(6)]
    assert len({len(sample_lesions(h)) for h in heads}) > 1
    assert [len(sample_lesions(h, count=3)) for h in heads[:2]] == [3, 3] and sample_lesions(heads[0], count=0) == ()
    assert all(x.visible for x in sample_lesions(heads[0], count=6, veiled=0.0))
    assert not any(x.visible for x in sample_lesions(heads[0], count=6, veiled=1.0))


def test_contrast_kept_tells_lesions_kept_from_lost(head):
    _, clean = head
    white = clean.fractions[of("white")] > 0.9
    same = contrast_kept(clean.t2w, clean.t2w, clean.lesions, white=white)
    assert len(same) >= 5 and all(v == pytest.approx(1) for v in same.values())
    flat = np.where(clean.lesions > 0, np.median(clean.t2w[white]), clean.t2w)
    lost = contrast_kept(flat, clean.t2w, clean.lesions, white=white)
    assert all(abs(v) < 0.25 for v in lost.values())
    half = contrast_kept(0.5 * clean.t2w, clean.t2w, clean.lesions, white=white)
    assert all(v == pytest.approx(0.5, rel=1e-4) for v in half.values())


def test_noise_belongs_to_places_and_not_to_the_grid():
    fine, coarse = make_grid((30, 30, 30), 2.0), make_grid((10, 10, 10), 6.0)
    picked = noise(fine, 20.0, 1, "x")[1::3, 1::3, 1::3]
    np.testing.assert_allclose(noise(coarse, 20.0, 1, "x"), picked, atol=1e-4)
    spread = [noise(make_grid((40, 40, 40), 6.0), 15.0, i, "x").std() for i in range(3)]
    np.testing.assert_allclose(np.mean(spread), 1, rtol=0.1)
