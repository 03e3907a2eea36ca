"""A run that enlarges, judged and set on files: rows, protocol, pictures, tiles without seams, geometry of what is written."""

from __future__ import annotations

import json
import warnings

import nibabel
import numpy as np
import pydicom
import pytest
from heads import save as save_head
from medical_files import dicom, series
from medical_files import save as save_dicom
from PIL import Image

from medjax import baselines, evaluate, figures, formats, inference, report
from medjax.build import enlarging, kinds, protocol, training, volumes
from medjax.build import evaluation as build_evaluation
from medjax.cli import main
from medjax.data.degrade import downsample
from medjax.figures.detail import detail_box
from medjax.formats.volume import plain, read_volume, to_ras, write_volume
from medjax.report.pictures import picture_blocks
from medjax.tiling import blended
from medjax.types import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("quick_compile")
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """The workdir of two steps of esrgan:tiny: 8 x 8 pixels to 32 x 32."""
    workdir = tmp_path_factory.mktemp("superres") / "run"
    steps = ("train.steps=2", "train.save_every=2", "train.eval_every=2", "train.sample_every=0", "generator.blocks=1")
    training.train(tiny(*steps, "data.prefilter=median", name="esrgan:tiny"), workdir, say=lambda text: None)
    return workdir


@pytest.fixture(scope="module")
def scored(run):
    """What evaluate printed to the workdir, split by modality."""
    build_evaluation.score_run(run, by="modality", progress=False)
    return json.loads((run / "evaluation.json").read_text()), evaluate.read(run)[1]


def test_the_rows_are_those_of_super_resolution(scored):
    summary, evaluation = scored
    assert list(summary["rows"]) == ["nearest", "bilinear", "bicubic", "lanczos", "model"], "and no input of another size"
    assert {label: entry["row"] for label, entry in summary["differences"].items()} == {
        "best_baseline": summary["best_baseline"], "bicubic": "bicubic", "lanczos": "lanczos"
    }  # fmt: skip
    assert summary["rows"]["bicubic"]["psnr"]["mean"] > summary["rows"]["nearest"]["psnr"]["mean"]
    assert summary["by"]["groups"]["CXR"]["n"] == summary["n"] == len(evaluation.names)


def test_the_protocol_states_scale_resampler_and_filter(scored):
    stated = scored[0]["protocol"]
    assert stated["scale"] == "x4: inputs of 8 x 8, targets of 32 x 32 pixels"
    assert stated["downsampler"].startswith("bicubic (Pillow, antialiased, float32), the whole image")
    assert stated["degradation"]["params"]["downsample"] == {"resampler": "bicubic", "factor": 4}
    assert stated["inputs"].startswith("filtered (median of 3 x 3 pixels)") and "training_images" not in stated
    assert stated["baselines"]["lanczos"] == {"factor": 4}


def test_the_rows_are_pillows(scored, run):
    """The bicubic row of each example is Pillow's own, of the input that is stored beside it."""
    examples = scored[1].examples
    assert examples["source"].shape[1:] == (8, 8, 1) and examples["target"].shape[1:] == (32, 32, 1)
    for small, row in zip(examples["source"], examples["bicubic"], strict=True):
        large = Image.fromarray(small[..., 0]).resize((32, 32), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(row[..., 0], np.clip(np.asarray(large), 0, 1), atol=1e-6)


def test_another_modality_is_cut_and_mapped_by_its_own_rules(run, tmp_path):
    """Trained on films, judged on heads: the cross-modality table's other half."""
    for n in range(2):
        save_head(tmp_path / "heads" / f"P{n}-T1.nii.gz", "T1", seed=n, spacing=3.0)
    where = {"data_source": "mri_slices", "data_root": str(tmp_path / "heads"), "output": tmp_path / "out"}
    summary = build_evaluation.score_run(run, **where, progress=False)
    assert summary["dataset"] == "mri_slices" and summary["n"] == 2 and summary["images"] > 10
    assert "by the percentiles (0.0, 99.5) inside each head" in summary["protocol"]["intensities"]
    assert summary["protocol"]["training_data"] == "phantom_cxr" and "bicubic" in summary["rows"]


def test_the_report_shows_input_bicubic_model_and_truth_with_a_detail(scored, run):
    page = report.build(run).read_text()
    assert "enlarged 4 times by repeating its pixels" in page and "largest local contrast" in page
    assert "x4: inputs of 8 x 8" in page and "model minus Lanczos" in page and "bicubic PSNR (dB)" in page
    blocks = picture_blocks(scored[1].examples, n=2, split="test")
    assert len(blocks) == 3 and all(block.startswith("<figure>") for block in blocks)


def test_a_detail_lies_where_the_reference_has_most_contrast():
    y, x = np.mgrid[:128, :128]
    image = np.full((128, 128, 1), 0.5, np.float32)
    spot = (abs(y - 40) < 20) & (abs(x - 88) < 20)
    image[spot] += RNG.uniform(-0.4, 0.4, (spot.sum(), 1)).astype(np.float32)
    top, left, side = detail_box(image)
    assert side == 16 and 20 <= top <= 60 - side and 68 <= left <= 108 - side
    small = downsample(image, None, factor=4)
    cases = {"best": {"input": small, "bicubic": baselines.enlarge(small, factor=4), "reference": image}}
    drawn = figures.detail(cases)
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles == ["reference", "input", "bicubic", "reference"]
    shown = drawn.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, small[..., 0].repeat(4, 0).repeat(4, 1)[top : top + side, left : left + side])
    assert drawn.axes[1].images[0].get_interpolation() == "nearest"


def test_sheets_enlarge_the_input_pixel_by_pixel(tiny):
    small, large = RNG.random((2, 8, 8, 1), np.float32), RNG.random((2, 32, 32, 1), np.float32)
    batch = {"source": small * 2 - 1, "target": large * 2 - 1}
    pictures, _ = kinds.image_sheet(tiny(name="esrgan:tiny"), {"target": large * 2 - 1}, batch)
    np.testing.assert_allclose(pictures["input"], small.repeat(4, 1).repeat(4, 2), atol=1e-6)
    same = evaluate.enlarged(large, 32)
    assert same is large


def test_rows_that_do_not_fit_the_scale_are_refused_before_training(tiny, tmp_path):
    for name, row, told in (
        ("esrgan:tiny", "nlm", "'nlm' is none of nearest, bilinear, bicubic, lanczos, the rows there are at .*scale = 4"),
        ("restorer_cxr:tiny", "bicubic", "'bicubic' is none of gaussian"),
    ):
        config = tiny(name=name)
        config.evaluation.baselines = (row,)
        with pytest.raises(ConfigError, match=told):
            protocol.baseline_names(config)
        with pytest.raises(ConfigError, match=told):
            training.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------ files


def picture(height, width):
    y, x = np.mgrid[:height, :width]
    return (0.5 + 0.4 * np.sin(y / 7.0) * np.cos(x / 5.0)).astype(np.float32)[..., None]


def bilinear(x):
    """A model that enlarges by 4 and looks at its neighbours: Pillow's bilinear."""
    return np.stack([baselines.enlarge((i + 1) / 2, factor=4, resampler="bilinear") * 2 - 1 for i in np.asarray(x)])


@pytest.mark.parametrize("shape", [(1, 1), (30, 90), (64, 64), (150, 101)])
def test_tiles_of_a_model_that_enlarges_leave_no_trace(shape):
    image = picture(*shape)
    out = inference.enhance_image(bilinear, image, tile=32, overlap=4, blend=8, align=8, factor=4)
    whole = baselines.enlarge(image, factor=4, resampler="bilinear")
    assert out.shape == (4 * shape[0], 4 * shape[1], 1)
    if shape[0] > 1:
        np.testing.assert_allclose(out[8:-8, 8:-8], whole[8:-8, 8:-8], atol=1e-6)
    step = blended(lambda x, i, place: np.broadcast_to((i % 2)[:, None, None, None] * 1.0, (len(x), 128, 128, 1)), image, tile=32,
                   overlap=4, blend=8, align=8, factor=4)  # fmt: skip
    assert step.min() >= 0 and step.max() <= 1 and abs(np.diff(step[..., 0], axis=1)).max() < 0.06  # pi / 2 over 32 pixels


def test_a_run_gives_four_times_the_pixels_in_the_files_own_terms(run, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    grey = (picture(21, 30)[..., 0] * 65535).astype(np.uint16)
    Image.fromarray((grey >> 8).astype(np.uint8)).save(folder / "a.png", dpi=(100, 50))
    Image.fromarray(grey).save(folder / "b.tiff", dpi=(72, 72))
    where = {
        "ImagePositionPatient": [10.0, 20.0, 30.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2.0, 1.0],
    }
    save_dicom(dicom(grey >> 4, **where), folder / "c.dcm")
    assert main(["enhance", f"--workdir={run}", f"--output={tmp_path / 'out'}", str(folder)]) == 0
    told = capsys.readouterr().err
    assert "3 of 3 files have another size than the 8 x 8 pixels that the run enlarges to 32 x 32" in told
    png, tiff = Image.open(tmp_path / "out" / "a.png"), Image.open(tmp_path / "out" / "b.tiff")
    assert png.size == tiff.size == (120, 84) and png.mode == "L" and np.asarray(tiff).dtype == np.uint16
    assert png.info["dpi"] == pytest.approx((400, 200), rel=1e-3) and tiff.info["dpi"] == (288, 288)
    before, after = (pydicom.dcmread(f / "c.dcm") for f in (folder, tmp_path / "out"))
    assert (after.Rows, after.Columns) == (84, 120) and after.PixelSpacing == [0.5, 0.25]
    corner = lambda d: np.array(d.ImagePositionPatient, float)[:2] - np.array(d.PixelSpacing, float)[::-1] / 2
    np.testing.assert_allclose(corner(after), corner(before), atol=1e-6)
    reduced = np.asarray(png, float).reshape(21, 4, 30, 4).mean((1, 3))
    assert abs(reduced - (grey >> 8)).mean() < 6, "an untrained correction of a bicubic enlargement is still that image"


def test_the_grid_of_training_is_no_choice_and_tiles_follow_the_files(run, tiny, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"")
    with pytest.raises(ConfigError, match="leave out --scale=trained"):
        build_evaluation.enhance(run, [tmp_path / "a.png"], tmp_path / "out", scale="trained", progress=False)
    config = tiny("data.image_size=512", "data.load_size=512", name="esrgan:tiny")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Image.fromarray(np.zeros((128, 128), np.uint8)).save(tmp_path / "b.png")
        options = enlarging.options_of(config, [tmp_path / "b.png", tmp_path / "broken.png"], tmp_path / "out")
    assert options == {"scale": "native", "factor": 4, "tile": 128, "overlap": 0, "blend": 0, "batch_size": 1}
    outcome = build_evaluation.enhance(run, [tmp_path / "a.png"], tmp_path / "out", progress=False)
    assert Image.open(outcome.written[0]).size == (32, 32) and not outcome.failed
    Image.fromarray(np.zeros((300, 20), np.uint8)).save(tmp_path / "c.png")
    with pytest.warns(UserWarning, match="2 of 3 files have another size than the 128 x 128"):
        assert enlarging.options_of(config, [tmp_path], tmp_path / "out")["tile"] == 256
    with pytest.raises(ConfigError, match="its scale is 'native'"):
        inference.enhance_image(bilinear, picture(8, 8), scale="trained", size=(8, 8), factor=4)


# ------------------------------------------------------------------------------------------ volumes


def enlarged(volume, *, axis=2, ends=(-1000.0, 400.0), pixel_mm=2.0):
    return enlarging.enlarge_volume(bilinear, volume, to_ras(volume), ends, factor=4, axis=axis, pixel_mm=pixel_mm)


def scan(codes, shape=(20, 24, 5)):
    """HU that rise along RAS axes, with metal beyond the window, stored in any order; 2 x 2 x 5 mm."""
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = -11, 7, 30
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    values = -500.0 + 20 * x + 10 * y + 3 * z
    values[4:9, 5:9] = 2000.0
    image = nibabel.Nifti1Image(values.astype(np.int16), affine)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes))
    return image.as_reoriented(turn)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_a_volume_keeps_its_field_of_view_and_its_slices(tmp_path, codes):
    nibabel.save(scan(codes), tmp_path / "v.nii.gz")
    volume = read_volume(tmp_path / "v.nii.gz")
    write_volume(tmp_path / "out.nii.gz", enlarged(volume))
    stored = nibabel.load(tmp_path / "out.nii.gz")
    after, before = nibabel.as_closest_canonical(stored), nibabel.as_closest_canonical(scan(codes))
    assert nibabel.aff2axcodes(stored.affine) == tuple(codes) and stored.get_data_dtype() == np.int16
    assert after.shape == (80, 96, 5)
    np.testing.assert_allclose(np.linalg.norm(after.affine[:3, :3], axis=0), [0.5, 0.5, 5.0], atol=1e-6)
    for corner in ((0, 0, 0), (1, 1, 1)):  # of the field of view: half a voxel beyond the first and the last centre
        where = [a.affine @ np.append(np.array(corner) * a.shape - 0.5, 1) for a in (before, after)]
        np.testing.assert_allclose(*[w[:2] for w in where], atol=1e-4)
    values = after.get_fdata()
    assert values[30, 60, 2] == pytest.approx(-500 + 20 * (30.5 / 4 - 0.5) + 10 * (60.5 / 4 - 0.5) + 6, abs=2)
    assert values[24, 28].min() > 1900, "what lies beyond the window is enlarged too, not cut off"


def test_a_dicom_series_is_enlarged_across_its_own_slices(tmp_path):
    stored = (np.arange(3 * 16 * 20).reshape(3, 16, 20) % 900 + 100).astype(np.int16)
    series(tmp_path / "in", stored, RescaleSlope="1", RescaleIntercept="-1024")
    volume = read_volume(tmp_path / "in")
    write_volume(tmp_path / "out", enlarged(volume, pixel_mm=0.625))
    again = read_volume(tmp_path / "out")
    assert again.values.shape == (80, 64, 3)
    np.testing.assert_allclose(again.spacing, (volume.spacing[0] / 4, volume.spacing[1] / 4, volume.spacing[2]), atol=1e-4)
    corner = lambda v: v.affine @ (-0.5, -0.5, 0, 1)
    np.testing.assert_allclose(corner(again), corner(volume), atol=1e-4)
    header = pydicom.dcmread(sorted((tmp_path / "out").iterdir())[0])
    assert (header.Rows, header.Columns) == (64, 80) and header.PatientID == "MRN-4711-77"
    with pytest.raises(DataError, match="in other planes than those enlarged"):
        enlarged(volume, axis=0)


def test_a_run_trained_on_slices_takes_volumes(tiny, tmp_path, capsys):
    """Trained on MR slices; a CT is refused, and pixels of another size are warned of."""
    for n in range(4):
        save_head(tmp_path / "data" / f"P{n}-T1.nii.gz", "T1", seed=n, spacing=3.0)
    options = ("train.steps=1", "generator.blocks=1", "data.source=mri_slices", f"data.root={tmp_path / 'data'}")
    options += ("data.mri_slices.step_mm=30.0", "data.volumes.window=()", "data.volumes.step_mm=60.0")
    training.train(tiny(*options, name="esrgan:tiny"), tmp_path / "run", say=lambda text: None)
    write_volume(tmp_path / "ct.nii.gz", plain(np.where(RNG.random((20, 20, 3)) < 0.5, -1000, 0), np.diag([2.0, 2, 2, 1])))
    words = ["enhance", f"--workdir={tmp_path / 'run'}", f"--output={tmp_path / 'out'}"]
    assert main([*words, str(tmp_path / "data" / "P0-T1.nii.gz"), str(tmp_path / "ct.nii.gz")]) == 1
    told = capsys.readouterr().err
    assert "pixels of 3.00 mm, where the run enlarges pixels of 12.00 mm" in told and "is CT" in told
    before, after = (nibabel.load(tmp_path / f / "P0-T1.nii.gz") for f in ("data", "out"))
    assert after.shape == (128, 128, 32) and after.get_data_dtype() == before.get_data_dtype()
    np.testing.assert_allclose(after.header.get_zooms(), (0.75, 0.75, 3.0), atol=1e-6)
    assert volumes.options_of(build_evaluation.load(tmp_path / "run").config).contrast == "T1"
    seen = {"data_source": "volumes", "data_root": str(tmp_path / "data"), "output": tmp_path / "elsewhere"}
    with pytest.raises(DataError, match="images of volumes were trained or validated on, so they cannot be its test: P"):
        build_evaluation.score_run(tmp_path / "run", **seen, progress=False)


def test_encodings_of_more_pixels():
    tiff = formats.Encoding("tiff", options={"resolution": ((72, 1), (300, 2)), "resolutionunit": 2})
    assert formats.finer(tiff, 4).options == {"resolution": ((288, 1), (1200, 2)), "resolutionunit": 2}
    assert formats.finer(formats.Encoding(options={"dpi": (72.0, 50.0)}), 2).options["dpi"] == (144.0, 100.0)
