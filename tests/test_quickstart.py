"""The quickstart from end to end, shrunk: what a newcomer gets from one command is all there and says what it is."""

from __future__ import annotations

import json

import pytest

from medjax import formats
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")

SHRUNK = [
    "data.phantom_cxr.count=24", "data.image_size=32", "data.load_size=32", "data.crop_size=32", "data.batch_size=2",
    "generator.features=(8,8)", "generator.blocks=(1,1)", "train.steps=4", "train.log_every=2", "train.eval_every=2",
    "train.save_every=2", "train.sample_every=4", "train.progress=False",
]  # fmt: skip


def test_quickstart_leaves_a_report_and_enhanced_files(tmp_path, capsys):
    from experiments import quickstart

    workdir = tmp_path / "quickstart"
    status = quickstart.main(["--workdir", str(workdir), "--overrides", *SHRUNK])
    assert status == 0

    page = (workdir / "report.html").read_text()
    assert "These are phantoms, not patients" in page and page.count("data:image/png;base64,") >= 3
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")  # self-contained
    summary = json.loads((workdir / "evaluation.json").read_text())
    assert {"input", "nlm", "tv", "model"} <= set(summary["rows"])
    assert summary["rows"]["model"]["psnr"]["n"] == summary["n"] >= 2
    assert [row["step"] for row in read_metrics(workdir) if row["split"] == "validation"] == [2, 4]
    for source in sorted((workdir / "examples").glob("*.png")):
        (before, was), (after, now) = formats.read(source), formats.read(workdir / "enhanced" / source.name)
        assert (was.dtype, now.dtype) == ("uint16", "uint16") and before.shape == after.shape == (320, 320, 1)
    assert "report.html" in capsys.readouterr().out
