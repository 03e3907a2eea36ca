"""Anatomy and findings of the study of paper 004, counted on phantoms whose truth is known, and their tables."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.unpaired import anatomy_stage, tables
from medjax.data.phantom.known import redraw
from medjax.data.sources import phantom_cxr
from medjax.types import DataError

SIZE = 48


@pytest.fixture(scope="module")
def patients():
    """Three patients with a mass, at a low dose: records, low, truth, and low images of their twins."""
    records = phantom_cxr(3, size=SIZE, seed=3, dose=0.05, findings=("Mass",)).records
    drawn = [redraw(record, size=SIZE) for record in records]
    low, truth = (np.stack([getattr(p, kind) for p in drawn])[..., None] / 65535 for kind in ("image", "clean"))
    return records, low, truth, anatomy_stage.twins(records, SIZE)


def test_findings_are_counted_against_twins(patients):
    records, low, truth, bare = patients
    assert anatomy_stage.countable(records) == [0, 1, 2]
    erased, doubled = bare, bare + 2 * (low - bare)
    rows = {"low": low, "truth": truth, "led": erased}
    found = anatomy_stage.count(records, rows, without={"low": bare, "truth": bare, "led": doubled})
    n = found["n"]
    assert n + found["faint"] == 3 and n > 0
    assert found["rows"]["truth"]["kept"]["count"] == n and found["rows"]["led"]["lost"]["count"] == n
    assert found["rows"]["low"]["invented"]["count"] == 0 and found["rows"]["led"]["invented"]["count"] == n
    np.testing.assert_allclose(found["shares"]["truth"]["present"], 1)
    html = tables.findings(found)
    assert "LED, one sample" in html and "the same patient without the finding" in html and "0.0%" in html
    mirrored = anatomy_stage.count(records, rows)
    assert not mirrored["twins"] and len(mirrored["shares"]["low"]["absent"]) <= n
    with pytest.raises(DataError, match="of 3 phantoms cannot be counted in rows of 2 images"):
        anatomy_stage.count(records, {"low": low[:2]})


def test_anatomy_of_rows(patients):
    records, low, truth, _ = patients
    fields = anatomy_stage.known_fields(records, SIZE)
    found = anatomy_stage.moved({"low": low, "led": truth, "cyclegan": np.roll(low, 4, 2)}, fields=fields)
    assert set(found["rows"]) == {"led", "cyclegan"} and found["rows"]["led"]["n"] == 3
    assert found["rows"]["led"]["score"]["mean"] > found["rows"]["cyclegan"]["score"]["mean"] + 0.1
    assert found["rows"]["cyclegan"]["shift"]["mean"] > found["rows"]["led"]["shift"]["mean"]
    assert sorted(found["worst"]["led"]) == [0, 1, 2]
    ruler = anatomy_stage.ruler(records, SIZE)
    assert ruler["n"] == 3 and ruler["mean"] > 0.7
    html = tables.anatomy(found, ruler=ruler)
    assert "CycleGAN alone" in html and "The input's fields are the true ones" in html
    assert "In 0 inputs no lungs" in tables.anatomy(found) and tables.names(["led", "x"]) == ["LED, one sample", "x"]
