"""Shared fixtures: where the real data are, and one compilation cache for the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real medical images named by MEDJAX_DATA; the test skips, saying so, where it is absent."""
    root = os.environ.get("MEDJAX_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("MEDJAX_DATA does not name a folder of real images")
    return Path(root).resolve()
