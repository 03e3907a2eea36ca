"""Findings kept, lost and invented: exact on drawn images, and on phantoms whose twin without the finding is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medjax.data.phantom import radiograph
from medjax.data.phantom.known import NONE, redraw
from medjax.data.records import Record
from medjax.data.sources import phantom_cxr
from medjax.metrics import findings
from medjax.types import DataError


@pytest.fixture(scope="module")
def drawn():
    """A lung of grey 0.3, a finding of 0.5 in it, on ribs that all images share."""
    rows, columns = np.indices((40, 40))
    lungs, mask = columns < 38, np.hypot(rows - 20, columns - 10) < 4
    ribs = 0.1 * (rows % 8 < 3)
    return lungs, mask, 0.3 + ribs, 0.3 + ribs + 0.2 * mask


def test_shares_are_exact(drawn):
    lungs, mask, bare, truth = drawn
    place = findings.place(mask, lungs)
    finding = findings.known(truth, place, bare=bare)
    assert finding.adds == pytest.approx(0.2)
    for weight in (-0.5, 0.0, 0.49, 0.5, 1.0, 2.0):
        image = 0.1 + bare + 0.2 * weight * mask  # an offset is no contrast
        assert findings.share(image[..., None], finding) == pytest.approx(weight)
    dark = findings.known(bare - 0.2 * mask, place, bare=bare)
    assert findings.share(bare - 0.1 * mask, dark) == pytest.approx(0.5), "a darker finding is kept by what is darker"
    assert findings.share(truth, dark) == pytest.approx(-1)


def test_ribs_are_no_finding(drawn):
    """Without the twin the ribs inside a place count; with it they do not."""
    lungs, mask, bare, truth = drawn
    place = findings.place(mask, lungs)
    assert findings.share(bare, findings.known(truth, place)) != pytest.approx(0, abs=1e-3)
    assert findings.share(bare, findings.known(truth, place, bare=bare)) == pytest.approx(0)


def test_invented_at_the_mirrored_place(drawn):
    lungs, mask, bare, truth = drawn
    lungs = np.ones_like(lungs)
    other = findings.mirrored(mask, lungs)
    assert other.sum() == mask.sum() and not (other & mask).any()
    np.testing.assert_array_equal(other[:, ::-1], mask)
    finding = findings.known(truth, findings.place(mask, lungs), bare=bare)
    nothing = findings.control(truth, findings.place(other, lungs), finding)
    assert findings.share(truth, nothing) == pytest.approx(0)
    assert findings.share(truth + 0.12 * other, nothing) == pytest.approx(0.6)


def test_tally_counts_with_exact_intervals():
    told = findings.tally({"led": [1.0, 0.5, 0.49, -1.0], "input": []}, {"led": [0.0, 0.7]})
    assert (told["led"]["kept"]["count"], told["led"]["lost"]["count"], told["led"]["invented"]["rate"]) == (2, 2, 0.5)
    np.testing.assert_allclose(told["led"]["kept"]["ci95"], [0.0676, 0.9324], atol=1e-4)  # Clopper and Pearson, 2 of 4
    assert told["input"] == {"kept": None, "lost": None, "invented": None}
    with pytest.raises(DataError, match="shares of led where findings are absent"):
        findings.tally({"led": [1.0]}, {"led": [np.nan]})


def test_what_cannot_be_looked_for(drawn):
    lungs, mask, bare, _ = drawn
    assert findings.known(bare + 0.005 * mask, findings.place(mask, lungs), bare=bare) is None
    assert findings.place(np.zeros_like(mask), lungs) is None and findings.place(mask, mask) is None
    with pytest.raises(DataError, match="not of one image"):
        findings.place(mask[:20], lungs)


def test_a_phantom_keeps_its_mass_at_low_dose_and_loses_it_under_a_blur():
    source = phantom_cxr(2, size=64, seed=3, dose=0.05, findings=("Mass",))
    for i, record in enumerate(source.records):
        truth, bare = redraw(record, size=64), redraw(record, size=64, finding=NONE)
        np.testing.assert_array_equal(truth.image[..., None] / np.float32(65535), source.load(i)["target"])
        assert truth.dose == 0.05 and truth.finding == "Mass" and not bare.mask.any()
        finding = findings.known(truth.clean / 65535, findings.place(truth.mask, truth.lungs), bare=bare.clean / 65535)
        assert finding.adds > 0.02, "a mass is brighter than lung"
        assert findings.share(truth.clean / 65535, finding) == pytest.approx(1)
        assert findings.share(bare.clean / 65535, finding) == pytest.approx(0)
        assert findings.share(truth.image / 65535, finding) > findings.KEPT
        assert findings.share(bare.image / 65535, finding) < findings.KEPT
        blurred = ndimage.gaussian_filter(truth.clean / 65535 - bare.clean / 65535, 12) + bare.clean / 65535
        assert findings.share(blurred, finding) < findings.KEPT
    np.testing.assert_array_equal(redraw(record, size=64, dose=1.0).clean, radiograph(3, 1, size=64, finding="Mass").clean)
    with pytest.raises(DataError, match="00000001_000.png is no phantom"):
        redraw(Record("00000001_000.png", "1"), size=64)
