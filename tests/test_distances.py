"""Frechet, kernel, neighbour and LPIPS distances against closed forms, their definitions written out, and scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from toy_network import WIDTHS, pictures, tiny

from medjax.metrics import frechet, kernel, lpips, neighbours
from medjax.types import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")


def correlated(seed, n, d, *, rank=None):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank or d)) @ rng.normal(size=(rank or d, d)) + rng.normal(size=d)


def distance(x, y):
    return frechet.frechet(frechet.moments(x), frechet.moments(y))


# Frechet


def test_frechet_of_gaussians_in_closed_form():
    """Axes in common: the sum of the squared differences of means and of standard deviations; and one-dimensional."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    m1, m2, s1, s2 = rng.normal(size=(2, 12)).tolist() + rng.uniform(0.1, 3, size=(2, 12)).tolist()
    s1, s2 = np.array(s1), np.array(s2)
    s1[3] = s2[3] = s2[5] = 0  # one axis that neither has, one that one of them lacks
    found = frechet.gaussian_distance(m1, turn @ np.diag(s1**2) @ turn.T, m2, turn @ np.diag(s2**2) @ turn.T)
    assert found == pytest.approx(np.sum(np.subtract(m1, m2) ** 2) + np.sum((s1 - s2) ** 2), rel=1e-9)
    assert frechet.gaussian_distance([1.0], [[4.0]], [3.0], [[9.0]]) == pytest.approx(4 + 1)


@pytest.mark.parametrize(
    "seed, n, m, d", [(0, 400, 300, 16), (1, 200, 500, 40), (2, 90, 80, 64), (3, 20, 30, 48), (4, 12, 200, 32)]
)
def test_frechet_equals_scipys_matrix_square_root(seed, n, m, d):
    """The last two have fewer vectors than dimensions; scipy is given the product in a basis where it is regular."""
    x, y = correlated(seed, n, d), 1.3 * correlated(seed + 10, m, d)
    c1, c2 = np.cov(x.T), np.cov(y.T)
    basis = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][: min(n - 1, d)]  # the row space of x
    product = (basis @ c1 @ basis.T) @ (basis @ c2 @ basis.T)
    if m - 1 < len(basis):
        basis_y = np.linalg.svd(y - y.mean(0), full_matrices=False)[2][: m - 1]
        product = (basis_y @ c2 @ basis_y.T) @ (basis_y @ c1 @ basis_y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(c1 + c2) - 2 * np.trace(sqrtm(product)).real
    found = distance(x, y)
    assert isinstance(found, float) and found == pytest.approx(expected, rel=1e-6)
    assert distance(y, x) == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize("n, d, rank", [(500, 30, None), (10, 200, None), (300, 60, 5), (2, 8, None)])
def test_identical_sets_are_at_zero(n, d, rank):
    x = correlated(0, n, d, rank=rank)
    assert 0 <= distance(x, x[::-1]) < 1e-3
    assert 0 <= distance(np.ones((5, 7)), np.ones((3, 7))) < 1e-12


def test_moments_of_parts_merge_to_those_of_the_whole():
    x = correlated(0, 257, 9) + 1e4  # a mean far from zero: the naive sum of squares loses half its digits
    merged = None
    for part in np.split(x, [1, 40, 41, 200]):
        merged = frechet.merge(merged, frechet.moments(part))
    assert merged.n == 257
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(frechet.covariance(merged), np.cov(x.T), rtol=1e-9)


def test_the_extrapolated_distance_removes_the_bias_of_n():
    """Two samples of one Gaussian: the distance of n vectors is far from 0, its line in 1/n ends near it."""
    rng = np.random.default_rng(0)
    exact = frechet.moments(rng.normal(size=(60_000, 12)))
    samples = [rng.normal(size=(600, 12)) for _ in range(12)]
    biased = np.mean([frechet.frechet(exact, frechet.moments(x)) for x in samples])
    found = [frechet.frechet_infinity(x, exact) for x in samples]
    assert biased > 0.07 and abs(np.mean([each["value"] for each in found])) < biased / 4
    assert all(each["slope"] > 0 and each["smallest"] == 60 for each in found)
    assert found[0] == frechet.frechet_infinity(samples[0], exact)  # seeded
    x = samples[0]
    with pytest.raises(DataError, match="too few"):
        frechet.frechet_infinity(x[:2], exact)


@pytest.mark.parametrize(
    "x, y, said",
    [
        (np.zeros((0, 3)), np.ones((4, 3)), "at least 1"),
        (np.ones((1, 3)), np.ones((4, 3)), "at least 2 images, not 1"),
        (np.ones((4, 3)), np.ones((4, 5)), "3 and of 5"),
        (np.array([[1.0, 2], [np.nan, 1]]), np.ones((4, 2)), "image 1 .* not finite"),
    ],
)
def test_frechet_refuses(x, y, said):
    with pytest.raises(DataError, match=said):
        distance(x, y)


# Kernel distances


def by_definition(x, y, k):
    n, m = len(x), len(y)
    own_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    own_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own_x + own_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kid_of_the_whole_sets_is_its_definition():
    x, y = correlated(0, 13, 6), correlated(1, 11, 6) * 1.2
    expected = by_definition(x, y, lambda a, b: (a @ b / 6 + 1) ** 3)
    assert kernel.mmd2(x, y) == pytest.approx(expected, rel=1e-10)
    y = correlated(1, 13, 6)
    whole = kernel.kid(x, y, subsets=3, subset_size=13)
    assert whole["value"] == pytest.approx(kernel.mmd2(x, y), rel=1e-10)
    assert whole["std"] < 1e-9 * abs(whole["value"]) and whole["ci95"] is None


def test_kid_of_subsets_is_the_mean_of_its_definition(monkeypatch):
    x, y = correlated(0, 30, 4), correlated(1, 24, 4)
    rng = np.random.default_rng(5)
    expected = []
    for _ in range(4):
        i, j = rng.choice(30, 7, False), rng.choice(24, 7, False)
        expected.append(by_definition(x[i], y[j], lambda a, b: (a @ b / 4 + 1) ** 3))
    found = kernel.kid(x, y, subsets=4, subset_size=7, seed=5)
    assert found["value"] == pytest.approx(np.mean(expected), rel=1e-10)
    assert found["std"] == pytest.approx(np.std(expected, ddof=1), rel=1e-10)
    monkeypatch.setattr(kernel, "GRAM_UP_TO", 0)
    monkeypatch.setattr(kernel, "BLOCK", 50)
    assert kernel.kid(x, y, subsets=4, subset_size=7, seed=5)["value"] == pytest.approx(found["value"], rel=1e-10)


def test_kid_has_no_bias_and_its_interval_holds_zero_between_halves():
    rng = np.random.default_rng(0)
    values, held = [], 0
    for _ in range(60):
        x, y = rng.normal(size=(2, 40, 8))
        found = kernel.kid(x, y, subsets=30)
        values.append(kernel.mmd2(x, y))
        held += found["ci95"][0] <= 0 <= found["ci95"][1]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60) and min(values) < 0
    assert held >= 56  # 95% or more
    far = kernel.kid(rng.normal(size=(200, 8)), rng.normal(0.7, 1, size=(200, 8)))
    assert far["ci95"][0] > 0 and far["ci95"][0] < far["value"] < far["ci95"][1]


def test_the_interval_of_kid_covers_the_distance_of_the_populations():
    """The unbiased estimate's own expectation, from one large sample, inside about 95% of the intervals."""
    rng = np.random.default_rng(1)
    truth = kernel.mmd2(rng.normal(size=(4000, 3)), rng.normal(0.6, 1, size=(4000, 3)))
    pairs = [(rng.normal(size=(60, 3)), rng.normal(0.6, 1, size=(60, 3))) for _ in range(100)]
    found = [kernel.kid(*pair, subsets=40, seed=seed)["ci95"] for seed, pair in enumerate(pairs)]
    assert 0.85 <= np.mean([low <= truth <= high for low, high in found]) <= 1


def test_gaussian_mmd_is_its_definition_over_unit_vectors():
    x, y = correlated(0, 9, 5), correlated(1, 12, 5)
    unit = lambda v: v / np.linalg.norm(v)  # noqa: E731
    k = lambda a, b: np.exp(-np.sum((unit(a) - unit(b)) ** 2) / (2 * 0.5**2))  # noqa: E731
    mean = lambda p, q: np.mean([k(a, b) for a in p for b in q])  # noqa: E731
    expected = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert kernel.mmd_gaussian(x, y, sigma=0.5) == pytest.approx(expected, rel=1e-9)
    assert abs(kernel.mmd_gaussian(x, x)) < 1e-3
    assert kernel.mmd2(x, x, unbiased=False) == pytest.approx(0, abs=1e-9 * kernel.polynomial(x, x).max())


@pytest.mark.parametrize("make", [lambda x, y: kernel.kid(x, y), lambda x, y: neighbours.precision_recall(x, y)])
def test_kernels_and_neighbours_refuse(make):
    good, bad = np.ones((9, 3)), np.ones((9, 3))
    bad[4, 1] = np.inf
    for x, y, said in [
        (np.ones((1, 3)), good, "at least 2 images"),
        (good, bad, "image 4 .* of the second set are not finite"),
        (good, np.ones((9, 4)), r"\[9, 3\] and \[9, 4\]"),
    ]:
        with pytest.raises(DataError, match=said):
            make(x, y)
    with pytest.raises(DataError, match="subsets of 10"):
        kernel.kid(good, good, subset_size=10)


# Neighbours


def balls(x, k):
    return [sorted(np.linalg.norm(a - b) for b in x)[k] for a in x]


@pytest.mark.parametrize("seed, n, m, shift", [(0, 40, 30, 0.0), (1, 25, 50, 1.0), (2, 30, 30, 4.0)])
def test_precision_recall_density_coverage_by_brute_force(seed, n, m, shift, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 7 * m)  # several blocks, the last of them short
    real, fake = correlated(seed, n, 3), correlated(seed, m, 3) + shift
    r3, f3, r5 = balls(real, 3), balls(fake, 3), balls(real, 5)
    apart = np.linalg.norm(real[:, None] - fake[None], axis=2)
    found = neighbours.precision_recall(real, fake, k=3) | neighbours.density_coverage(real, fake, k=5)
    assert found == pytest.approx(
        {
            "precision": np.mean([any(apart[i, j] <= r3[i] for i in range(n)) for j in range(m)]),
            "recall": np.mean([any(apart[i, j] <= f3[j] for j in range(m)) for i in range(n)]),
            "density": sum(apart[i, j] <= r5[i] for i in range(n) for j in range(m)) / (5 * m),
            "coverage": np.mean([any(apart[i, j] <= r5[i] for j in range(m)) for i in range(n)]),
        }
    )


def test_neighbours_of_equal_and_of_distant_sets():
    x = correlated(0, 50, 20) + 1e4  # equal distances survive an origin far away
    equal = neighbours.precision_recall(x, x) | neighbours.density_coverage(x, x, k=5)
    assert equal == {"precision": 1, "recall": 1, "density": pytest.approx(6 / 5), "coverage": 1}  # itself and five
    apart = neighbours.precision_recall(x, x + 1e3) | neighbours.density_coverage(x, x + 1e3)
    assert not any(apart.values())
    with pytest.raises(DataError, match="k = 5 needs more than 5 images"):
        neighbours.density_coverage(x[:5], x)


# LPIPS


def lpips_by_hand(a, b, weights):
    """Zhang et al. 2018, eq. 1, position by position."""
    total = np.zeros(len(next(iter(a.values()))))
    for layer, w in weights.items():
        for n in range(len(total)):
            _, height, width, _ = a[layer].shape
            for i in range(height):
                for j in range(width):
                    p, q = a[layer][n, i, j], b[layer][n, i, j]
                    difference = p / (np.sqrt(p @ p) + 1e-10) - q / (np.sqrt(q @ q) + 1e-10)
                    total[n] += (w * difference) @ difference / (height * width)
    return total


def test_lpips_is_its_definition():
    rng = np.random.default_rng(0)
    shapes = {"one": (2, 4, 3, 5), "two": (2, 2, 2, 7)}
    a, b = ({layer: np.maximum(rng.normal(size=s), 0) for layer, s in shapes.items()} for _ in range(2))
    a["one"][0, 0, 0] = 0  # where nothing fires
    weights = {layer: rng.uniform(size=s[-1]) for layer, s in shapes.items()}
    np.testing.assert_allclose(lpips.distance(a, b, weights), lpips_by_hand(a, b, weights), rtol=1e-5)
    ones = {layer: np.ones(s[-1]) for layer, s in shapes.items()}
    np.testing.assert_allclose(lpips.distance(a, b, dict.fromkeys(shapes)), lpips_by_hand(a, b, ones), rtol=1e-5)
    parts = lpips.per_layer(a, b, weights)
    np.testing.assert_allclose(sum(parts.values()), lpips.distance(a, b, weights), rtol=1e-6)


def test_lpips_as_a_metric_of_images():
    a, b = pictures(3), pictures(3, 1)
    metric = lpips.lpips(tiny, {"map": WIDTHS})
    expected = lpips_by_hand({"map": np.asarray(tiny(a)["map"])}, {"map": np.asarray(tiny(b)["map"])}, {"map": WIDTHS})
    np.testing.assert_allclose(jax.jit(metric)(a, b), expected, rtol=1e-4)
    assert not np.asarray(metric(a, a)).any()
    black = jnp.zeros((1, 6, 8, 1))
    gradient = jax.grad(lambda x: metric(x, b[:1]).sum())(black)  # no channel fires: the length's root has no slope
    assert np.isfinite(gradient).all()


def test_lpips_refuses():
    with pytest.raises(DataError, match="one size"):
        lpips.lpips(tiny, ["map"])(pictures(2), pictures(2, side=8))
    with pytest.raises(ConfigError, match="no layer 'pool'; it has map, top"):
        lpips.lpips(tiny, ["pool"])(pictures(2), pictures(2))
    with pytest.raises(ConfigError, match=r"3 channels, its weights the shape \(2,\)"):
        lpips.lpips(tiny, {"map": np.ones(2)})(pictures(2), pictures(2))
    with pytest.raises(ConfigError, match="'map' are negative"):
        lpips.lpips(tiny, {"map": -WIDTHS})
    with pytest.raises(ConfigError, match="at least one layer"):
        lpips.lpips(tiny, {})(pictures(2), pictures(2))


def test_kid_of_pairs_is_its_definition_and_0_for_equal_sets():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(7, 4))
    terms = [
        kernel.polynomial(x[[i]], x[[j]]) + kernel.polynomial(y[[i]], y[[j]]) - 2 * kernel.polynomial(x[[i]], y[[j]])
        for i in range(7) for j in range(7) if i != j
    ]  # fmt: skip
    assert kernel.mmd2_paired(x, y) == pytest.approx(float(np.mean(terms)))
    assert kernel.mmd2_paired(x, x) == pytest.approx(0, abs=1e-12)
    found = kernel.kid(x, x, paired=True)
    assert found["paired"] and abs(found["value"]) < 1e-12 and abs(found["ci95"][1]) < 1e-12
    whole = kernel.kid(x, y, paired=True, subset_size=7, subsets=3)
    assert whole["value"] == pytest.approx(kernel.mmd2_paired(x, y))
    with pytest.raises(DataError, match="not 7 and 6"):
        kernel.kid(x, y[:6], paired=True)


def test_few_vectors_are_their_own_root():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 30)), rng.normal(size=(6, 30)) + 0.3
    a, b = frechet.moments(x), frechet.moments(y)
    fast = frechet.of_roots(a.mean, frechet.root_of(x, a), b.mean, frechet.root_of(y, b))
    assert fast == pytest.approx(frechet.frechet(a, b), rel=1e-9)
