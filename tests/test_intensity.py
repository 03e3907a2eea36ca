"""Maps of intensity: they find the map that made the target, and leave the background alone."""

from __future__ import annotations

import numpy as np
import pytest

from medjax import baselines
from medjax.baselines import intensity
from medjax.types import DataError


def head(seed):
    rng = np.random.default_rng(seed)
    image = np.zeros((32, 32, 1), np.float32)
    image[6:26, 8:24] = rng.uniform(0.05, 1, (20, 16, 1))
    return image


def test_linear_map_is_found():
    sources = [head(i) for i in range(3)]
    params = intensity.fit(sources, [np.where(s > 0, 0.9 - 0.6 * s, 0) for s in sources])["linear"]
    assert params == pytest.approx({"slope": -0.6, "intercept": 0.9}, abs=1e-6)


@pytest.mark.parametrize("curve", [lambda x: 0.9 * np.sqrt(x), lambda x: 0.8 * np.exp(-3 * x)], ids=["rising", "falling"])
def test_monotone_map_beats_the_line_on_a_curve(curve):
    sources = [head(i) for i in range(4)]
    targets = [np.where(s > 0, curve(s), 0).astype(np.float32) for s in sources]  # falling: the background says otherwise
    maps = baselines.bind(intensity.fit(sources, targets))
    held = head(9)
    error = {name: np.abs(fn(held) - np.where(held > 0, curve(held), 0)).max() for name, fn in maps.items()}
    assert error["monotone"] < 0.04 < error["linear"]


def test_monotone_levels_never_turn_even_where_the_truth_does():
    sources = [head(i) for i in range(4)]
    levels = intensity.fit(sources, [np.where(s > 0, (s - 0.4) ** 2, 0) for s in sources])["monotone"]["y"]
    assert (np.diff(levels) >= 0).all() or (np.diff(levels) <= 0).all()


def test_background_stays_and_output_is_clipped():
    out = intensity.linear(head(0), slope=5, intercept=0.1)
    assert out[0, 0, 0] == 0 and out.max() == 1 and out.dtype == np.float32


def test_nothing_to_fit_is_told():
    with pytest.raises(DataError, match="no two levels above the background"):
        intensity.fit([np.zeros((4, 4, 1))], [np.zeros((4, 4, 1))])


def test_the_background_has_no_say():
    """Resizing leaves traces beside a head; thousands of them near (0, 0) would turn a falling map into a rising one."""
    sources = [head(i) for i in range(3)]
    targets = [np.where(s > 0, 0.9 - 0.6 * s, 0).astype(np.float32) for s in sources]
    traces = [np.where(s > 0, s, 0.01).astype(np.float32) for s in sources]
    assert intensity.fit(traces, targets)["linear"] == pytest.approx({"slope": -0.6, "intercept": 0.9}, abs=1e-6)
    out = intensity.linear(traces[0], slope=-0.6, intercept=0.9)
    assert out[0, 0, 0] == pytest.approx(0.2 * (0.9 - 0.6 * intensity.FLOOR), abs=1e-6)


def test_only_the_region_counts():
    source, region = head(0), np.zeros((32, 32, 1))
    region[6:26, 8:16] = 1
    target = np.where(region > 0, 0.9 - 0.6 * source, source)
    found = intensity.fit([source], [target], regions=[region])["linear"]
    assert found == pytest.approx({"slope": -0.6, "intercept": 0.9}, abs=1e-6)
