"""What an evaluation of slices of volumes depends on, and what it says of that."""

from __future__ import annotations

import shutil

import pytest

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import evaluation
from medjax.data.phantom.files import write_phantoms
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Heads as files, and the same folder with a larger one beside them."""
    root = tmp_path_factory.mktemp("heads")
    write_phantoms(root / "few", kind="brain", count=4, seed=1, shape=(48, 56, 40), spacing=3.4, stripped=True)
    shutil.copytree(root / "few", root / "more")
    write_phantoms(root / "large", kind="brain", count=1, seed=2, shape=(64, 72, 48), spacing=3.8, stripped=False)
    for contrast in ("T1", "T2"):
        path = next((root / "large" / contrast).glob("*.nii.gz"))
        shutil.copy(path, root / "more" / contrast / f"other-{contrast}.nii.gz")
    return root


@pytest.fixture(scope="module")
def run(tiny, folders, tmp_path_factory):
    from medjax.build import training

    workdir = tmp_path_factory.mktemp("pairs") / "run"
    config = tiny(
        "data.source=mri_pairs", f"data.root={folders / 'few'}", "data.mri_pairs.fov_mm=0", "data.mri_pairs.step_mm=25",
        "data.mri_pairs.range_mm=(-40.0,40.0)", "data.mri_pairs.context=1", "data.split=(2,1,1)", "train.steps=2",
        "train.eval_every=0", "train.sample_every=0", name="pix2pix_mri:tiny",
    )  # fmt: skip
    training.train(config, workdir, say=lambda text: None)
    return workdir


def test_the_canvas_stays_when_other_files_join_the_folder(run, folders):
    config = configs.read(run)
    before = build_data.open_data(config, run)
    config.data.root = str(folders / "more")
    after = build_data.open_data(config, run)
    name = before.source.names[int(before.splits["test"][0])]
    extra = [s.records[s.names.index(name)].extra["fov_mm"] for s in (before.source, after.source)]
    assert extra[0] == extra[1] == configs.resolved(run)["fov_mm"]
    alone, _ = build_data.open_source(config)
    assert alone.records[0].extra["fov_mm"] != extra[0], "without the run the larger head decides"


def test_the_protocol_says_how_volumes_became_images(run):
    summary = evaluation.score_run(run, progress=False)
    stated = summary["protocol"]
    assert "percentiles (0.0, 99.5)" in stated["intensities"] and stated["slices"]["direction"] == ["T1", "T2"]
    assert "value_range" not in stated and "_affine" in stated["region"]
    assert summary["unit"] == "patient" and "psnr_inside" in summary["rows"]["model"]
    assert not [w for w in summary.get("warnings", ()) if "shuffled" in w]


def test_other_data_are_cut_as_the_run_was_trained(run, tmp_path):
    config = configs.read(run)
    own = build_data.open_data(config, run)
    config.data.phantom_mri.update(count=2, step_mm=40.0)
    data = evaluation._elsewhere(build_data.fixed_canvas(config, run), "phantom_mri", None, own)
    assert data.source.load(0)["source"].shape[-1] == 3, "neighbouring slices as channels"
    assert data.source.records[0].extra["fov_mm"] == configs.resolved(run)["fov_mm"]
    with pytest.raises(ConfigError, match="single images where the run was trained on pairs"):
        config.data.phantom_cxr.count = 2
        evaluation._elsewhere(config, "phantom_cxr", None, own)


def test_columns_that_say_nothing_cannot_split_a_table(run):
    with pytest.raises(ConfigError, match="no column 'labels' to split the table by; there are .*plane"):
        evaluation.score_run(run, by="labels", progress=False)
    assert set(evaluation.score_run(run, by="plane", progress=False)["by"]["groups"]) == {"axial"}


def test_words_where_numbers_are_the_default(run):
    config = configs.get("restorer_cxr:tiny", ["data.source=folder", "data.folder.value_range=window"])
    assert build_data.value_range(config) == "window"
    assert build_data.value_range(configs.get("restorer_cxr:tiny", ["data.source=folder"])) is None
