"""Stored DICOM pixels: every transfer syntax, the table of truth, and sentences that tell no patient."""

from __future__ import annotations

import csv
import hashlib
import os
import signal
import warnings

import numpy as np
import pydicom
import pytest
from medical_files import NAME, SECRETS, compressed, dicom, save
from PIL import Image
from pydicom import uid
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medjax import formats
from medjax.formats import guarded, pixels
from medjax.formats.dicom import stored_values
from medjax.types import DataError

H, W = 33, 41


def ramp(bits: int, *, signed: bool = False) -> np.ndarray:
    low = -(2 ** (bits - 1)) if signed else 0
    return np.linspace(low, low + 2**bits - 1, H * W).round().astype(int).reshape(H, W)


def test_bits_beside_the_stored_ones_are_cut_off(tmp_path):
    stored = ramp(12, signed=True)
    overlay = (np.arange(H * W).reshape(H, W) % 2) << 13
    given = dicom((stored & 0xFFF) | overlay, bits=16)
    given.BitsStored, given.HighBit, given.PixelRepresentation = 12, 11, 1
    given.add_new((0x6000, 0x0102), "US", 13)
    image, encoding = formats.read(save(given, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(stored_values(tmp_path / "a.dcm"), stored)
    formats.write(tmp_path / "b.dcm", image, encoding)
    back = pydicom.dcmread(tmp_path / "b.dcm")
    assert (0x6000, 0x0102) not in back and (stored_values(tmp_path / "b.dcm") == stored).all()
    given = dicom(ramp(12) << 4, bits=16, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(stored_values(save(given, tmp_path / "high.dcm")), ramp(12))


def test_compressed_syntaxes_read_as_the_plain_file(tmp_path):
    stored = ramp(12)
    for syntax in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless):
        given = compressed(dicom(stored), syntax)
        save(given, tmp_path / "a.dcm")
        np.testing.assert_array_equal(stored_values(tmp_path / "a.dcm"), stored)
        formats.write(tmp_path / "b.dcm", *formats.read(tmp_path / "a.dcm"))
        back = pydicom.dcmread(tmp_path / "b.dcm")
        assert back.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian and "LossyImageCompression" not in back
    given = compressed(dicom(stored), uid.JPEGLSNearLossless, jls_error=3)
    assert abs(stored_values(save(given, tmp_path / "n.dcm")).astype(int) - stored).max() <= 3
    formats.write(tmp_path / "b.dcm", *formats.read(tmp_path / "n.dcm"))
    assert pydicom.dcmread(tmp_path / "b.dcm").LossyImageCompression == "01"
    big = dicom(stored, LargestImagePixelValue=4095)
    big.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    big.PixelData = stored.astype(">u2").tobytes()
    formats.write(tmp_path / "b.dcm", *formats.read(save(big, tmp_path / "a.dcm")))
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "b.dcm").pixel_array, stored)


def test_sentences_name_file_and_cause_and_no_patient(tmp_path, monkeypatch):
    plain = dicom(ramp(12))
    whole = save(plain, tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-500])
    (tmp_path / "header.dcm").write_bytes(whole[:400])
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "lie.dcm", format="PNG")
    (tmp_path / "text.dcm").write_text("<html>")

    def bad(name: str, **changes: object) -> None:
        given = dicom(ramp(12), **changes)
        for keyword, value in changes.items():
            if value is None:
                delattr(given, keyword)
        save(given, tmp_path / f"{name}.dcm")

    bad("nopixels", PixelData=None)
    bad("norows", Rows=None)
    bad("hsv", PhotometricInterpretation="HSV")
    bad("bits", BitsAllocated=32, BitsStored=32, HighBit=31)
    bad("bomb", Rows=60000, Columns=60000)
    bad("frames", NumberOfFrames=3, PixelData=b"\0" * (H * W * 6 + 1))
    bad("flat", RescaleSlope="0", RescaleIntercept="0")
    floats = dicom(ramp(12))
    del floats.PixelData
    floats.FloatPixelData = b"\0" * (H * W * 4)
    save(floats, tmp_path / "floats.dcm")
    video = compressed(dicom(ramp(8), bits=8), uid.RLELossless)
    video.file_meta.TransferSyntaxUID = uid.MPEG4HP41
    save(video, tmp_path / "video.dcm")
    tall = compressed(dicom(ramp(8), bits=8), uid.JPEG2000Lossless)
    tall.Rows = H + 1
    save(tall, tmp_path / "tall.dcm")
    lossless = compressed(dicom(ramp(8), bits=8), uid.RLELossless)
    lossless.file_meta.TransferSyntaxUID = uid.JPEGLosslessSV1
    save(lossless, tmp_path / "plugin.dcm")
    monkeypatch.setattr(guarded, "available", lambda module: False)
    expected = {
        "cut": "of 2706 bytes|cut short", "header": "cut short|without pixel data", "lie": "but PNG", "text": "HTML",
        "nopixels": "without pixel data",
        "norows": "no Rows", "hsv": "photometric interpretation HSV", "bits": "32 bits", "bomb": "claims 60000",
        "frames": "3 frames",
        "flat": "slope of zero", "floats": "FloatPixelData", "video": "MPEG-4.*1.2.840.10008.1.2.4.102", "tall": "damaged",
        "plugin": "JPEG Lossless.*1.2.840.10008.1.2.4.70.*python-gdcm", "absent": "absent",
    }  # fmt: skip
    for name, cause in expected.items():
        path = tmp_path / f"{name}.dcm"
        with pytest.raises(DataError, match=cause) as caught:
            formats.read(path)
        told = str(caught.value)
        assert str(path) in told and "\n" not in told and not any(secret in told for secret in SECRETS.values())


def test_a_deflated_file_inflates_within_bounds(tmp_path, monkeypatch):
    given = dicom(np.zeros((512, 512), int))
    given.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    save(given, tmp_path / "a.dcm")
    assert stored_values(tmp_path / "a.dcm").shape == (512, 512)
    monkeypatch.setattr(pixels, "_MAX_BYTES", 400_000)
    with pytest.raises(DataError, match="inflates"):
        formats.read(tmp_path / "a.dcm")
    with pytest.raises(DataError, match="inflates"):
        formats.image_size(tmp_path / "a.dcm")


def test_no_warning_and_no_print_of_an_encoding_tells_a_name(tmp_path, capfd):
    path = save(dicom(ramp(12)), tmp_path / "a.dcm")
    data = path.read_bytes().replace(b"MRN-4711-77", b"MRN\\4711\x1b77")  # values that break their own rules
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        image, encoding = formats.read(path)
        formats.write(tmp_path / "b.dcm", image, encoding)
    told = repr(encoding) + repr(encoding.options) + "".join(str(w.message) for w in caught) + "".join(capfd.readouterr())
    assert "4711" not in told and NAME not in told


def test_every_row_of_the_table_of_truth(real_data):
    folder, read, refused = real_data / "dicom", [], {}
    with open(folder / "EXPECTED.csv", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    digests = {}
    for name, row in rows.items():
        try:
            values = stored_values(folder / name)
        except DataError as error:
            refused[name] = str(error)
            continue
        read.append(name)
        digests[name] = hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()[:16]
        if row["pixel_sha256_16_as_i8"]:
            assert digests[name] == row["pixel_sha256_16_as_i8"], name
            assert "x".join(map(str, values.shape)) == row["shape"]
            assert values.dtype.newbyteorder("<") == np.dtype(row["dtype"]).newbyteorder("<")
    assert list(refused) == ["MR_truncated.dcm"] and "8130 of 8192 bytes" in refused["MR_truncated.dcm"]
    assert digests["CT1_JLSL.dcm"] == digests["CT1_JPLL.dcm"] == digests["CT1_RLE.dcm"]  # three codecs, one image
    lossy, exact = (stored_values(folder / f"RG3_{kind}.dcm").astype(int) for kind in ("JPLY", "J2KR"))
    assert lossy.max() == 1023 and abs(lossy - exact).max() < 64 and abs(lossy - exact).mean() < 2  # twelve bits, with loss
    assert stored_values(folder / "MR1_JPLY.dcm").max() == 3970


def test_real_files_survive_and_agree_with_pydicom(tmp_path, real_data):
    folder = real_data / "dicom"
    for name in (
        "MR4_RLE",
        "gdcm-CR-MONO1-10-chest",
        "693_UNCR",
        "MR_small_bigendian",
        "vlut_04",
        "mlut_18",
        "image_dfl",
        "explicit_VR-UN",
    ):
        path = folder / f"{name}.dcm"
        image, encoding = formats.read(path)
        formats.write(tmp_path / "o.dcm", image, encoding)
        np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "o.dcm").pixel_array, stored_values(path))
        given = pydicom.dcmread(path)
        real = apply_modality_lut(given.pixel_array, given).astype(float)
        shown = image[..., 0] if given.PhotometricInterpretation == "MONOCHROME2" else 1 - image[..., 0]
        np.testing.assert_allclose(shown.astype(float) * (encoding.high - encoding.low) + encoding.low, real, atol=0.01)
    chart = pydicom.dcmread(folder / "vlut_04.dcm")
    shown = apply_voi_lut(chart.pixel_array, chart)
    image, _ = formats.read(folder / "vlut_04.dcm", value_range="window")
    np.testing.assert_allclose(image[..., 0].astype(float) * 65535, shown, atol=0.01)
    upright, false = (formats.read(folder / f"{n}.dcm")[0] for n in ("RSNA_CR_jpeg_850819", "Fake_MONOHR1"))
    np.testing.assert_allclose(upright, 1 - false, atol=1e-6)
    formats.write(tmp_path / "o.dcm", *formats.read(folder / "RSNA_CR_jpeg_850819.dcm"))
    assert pydicom.dcmread(tmp_path / "o.dcm").LossyImageCompression == "01"


def test_a_dead_decoder_is_replaced(tmp_path):
    path = save(compressed(dicom(ramp(12)), uid.JPEGLSLossless), tmp_path / "a.dcm")
    for _ in range(2):
        np.testing.assert_array_equal(stored_values(path), ramp(12))
        os.kill(guarded._child[1].pid, signal.SIGKILL)
        guarded._child[1].wait()
