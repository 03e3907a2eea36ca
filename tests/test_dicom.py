"""DICOM images: every stored value survives, the header says what it must, and no sentence tells who the patient is."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from medical_files import ROOT, SECRETS, dicom, lut, save
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medjax import formats
from medjax.formats import deidentify
from medjax.formats.dicom import stored_values
from medjax.types import DataError

H, W = 33, 41


def ramp(bits: int, *, signed: bool = False) -> np.ndarray:
    low = -(2 ** (bits - 1)) if signed else 0
    return np.linspace(low, low + 2**bits - 1, H * W).round().astype(int).reshape(H, W)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (8, True), (10, False), (12, False), (12, True), (16, False), (16, True)]
)
def test_depth_sign_and_photometric_survive(tmp_path, bits, signed, photometric):
    stored = ramp(bits, signed=signed)
    given = dicom(stored, bits=bits, signed=signed, photometric=photometric, RescaleSlope="2.5", RescaleIntercept="-100")
    given.WindowCenter, given.WindowWidth, given.SmallestImagePixelValue = 40, 400, 3
    image, encoding = formats.read(save(given, tmp_path / "a.dcm"))
    assert image.dtype == np.float32 and image.shape == (H, W, 1)
    rises = (stored - stored.min()) / (2**bits - 1)
    np.testing.assert_allclose(image[..., 0], rises if photometric == "MONOCHROME2" else 1 - rises, atol=1e-7)
    assert (encoding.low, encoding.high) == (stored.min() * 2.5 - 100, stored.max() * 2.5 - 100)
    formats.write(tmp_path / "b.dcm", image, encoding)
    back = pydicom.dcmread(tmp_path / "b.dcm")
    np.testing.assert_array_equal(back.pixel_array, stored)
    assert (back.BitsStored, back.HighBit, back.PixelRepresentation) == (bits, bits - 1, int(signed))
    assert (back.PhotometricInterpretation, back.RescaleSlope, back.RescaleIntercept) == (photometric, 2.5, -100)
    assert (back.WindowCenter, back.WindowWidth) == (40, 400) and "SmallestImagePixelValue" not in back
    assert formats.image_size(tmp_path / "b.dcm") == (H, W) and formats.stored_bits(tmp_path / "b.dcm") == bits


def test_a_derived_image_is_filed_beside_its_source(tmp_path):
    for number in (1, 2):
        save(dicom(ramp(12) // number, number=number, InstanceCreationDate="20200101"), tmp_path / f"{number}.dcm")
    run = formats.Derivation(description="sharpened", series="sharp")
    for number in (1, 2):
        formats.write(tmp_path / f"o{number}.dcm", *formats.read(tmp_path / f"{number}.dcm"), derivation=run)
    formats.write(tmp_path / "other.dcm", *formats.read(tmp_path / "1.dcm"), derivation=formats.Derivation(key="another run"))
    first, one, two, other = (pydicom.dcmread(tmp_path / f"{n}.dcm") for n in ("1", "o1", "o2", "other"))
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate", "Modality", "SOPClassUID"):
        assert one[name].value == first[name].value
    assert one.SeriesInstanceUID == two.SeriesInstanceUID
    assert len({d.SeriesInstanceUID for d in (first, one, other)}) == 3
    assert len({d.SOPInstanceUID for d in (first, one, two, other)}) == 4
    assert list(one.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"] and one.DerivationDescription == "sharpened"
    assert one.SeriesDescription == "Doe head scan sharp" and one.SeriesNumber == 1005
    assert one.SourceImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert one.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID and "InstanceCreationDate" not in one
    assert "LossyImageCompression" not in one


def test_an_image_of_another_size_covers_the_same_field(tmp_path):
    axes, place = [0.6, 0.8, 0, 0, 0, -1], np.array([10.0, 20, 30])
    given = dicom(ramp(12), PixelSpacing=[0.5, 0.25], ImagePositionPatient=list(place), ImageOrientationPatient=axes)
    image, encoding = formats.read(save(given, tmp_path / "a.dcm"))
    formats.write(tmp_path / "b.dcm", image.repeat(2, 0).repeat(4, 1), encoding)
    back = pydicom.dcmread(tmp_path / "b.dcm")
    assert (back.Rows, back.Columns, list(back.PixelSpacing)) == (2 * H, 4 * W, [0.25, 0.0625])
    across, down = np.array(axes).reshape(2, 3)
    corner = place - 0.125 * across - 0.25 * down
    np.testing.assert_allclose(np.array(back.ImagePositionPatient, float) - 0.03125 * across - 0.125 * down, corner, atol=1e-9)


def test_deidentified_files_hold_nothing_of_the_patient(tmp_path):
    nested = Dataset()
    nested.PatientID, nested.ReferencedSOPInstanceUID, nested.ReferencedSOPClassUID = (
        "MRN-4711-77",
        f"{ROOT}.77",
        uid.CTImageStorage,
    )
    given = dicom(ramp(12), ReferencedImageSequence=[nested], AcquisitionDateTime="20190704111213", PatientComments="Mrs Doe")
    given.private_block(0x0019, "ACME", create=True).add_new(0x01, "LO", "MRN-4711-77")
    given.add_new((0x6000, 0x4000), "LT", "overlay of Mrs Doe")
    save(given, tmp_path / "a.dcm")
    image, encoding = formats.read(tmp_path / "a.dcm")
    blind = formats.Derivation(deidentify=True, key="secret")
    formats.write(tmp_path / "b.dcm", image, encoding, derivation=blind)
    data, back = (tmp_path / "b.dcm").read_bytes(), pydicom.dcmread(tmp_path / "b.dcm")
    for secret in (*SECRETS.values(), "Doe", "House", "4711", "2019", ROOT, "ACME"):
        assert secret.encode() not in data, secret
    assert back.PatientIdentityRemoved == "YES" and back.DeidentificationMethod == deidentify.METHOD
    assert (
        back.PatientName == "" and back.PatientID == "" and back.StudyDate == "" and back.AcquisitionDateTime == "19000101000000"
    )
    np.testing.assert_array_equal(back.pixel_array, ramp(12))
    again = formats.Derivation(deidentify=True, key="secret", series="another output")
    formats.write(tmp_path / "c.dcm", 1 - image, encoding, derivation=again)
    other = pydicom.dcmread(tmp_path / "c.dcm")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert back[name].value == other[name].value != given[name].value and uid.UID(back[name].value).is_valid
    assert back.SourceImageSequence[0].ReferencedSOPInstanceUID == other.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert back.ReferencedImageSequence[0].ReferencedSOPClassUID == uid.CTImageStorage
    formats.write(tmp_path / "d.dcm", image, encoding, derivation=formats.Derivation(deidentify=True))
    assert pydicom.dcmread(tmp_path / "d.dcm").StudyInstanceUID != back.StudyInstanceUID


def test_the_profile_names_real_attributes():
    assert not [name for name in deidentify.ACTIONS if pydicom.datadict.tag_for_keyword(name) is None]
    assert all(
        pydicom.datadict.dictionary_VR(n) in deidentify._DUMMIES for n, action in deidentify.ACTIONS.items() if action == "D"
    )


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
def test_the_files_own_window(tmp_path, function):
    given = dicom(ramp(12), RescaleSlope="1", RescaleIntercept="-1024", WindowCenter=["300", "9"], WindowWidth=["1500", "9"])
    if function:
        given.VOILUTFunction = function
    image, encoding = formats.read(save(given, tmp_path / "a.dcm"), value_range="window")
    real = apply_modality_lut(given.pixel_array, given)
    shown = apply_voi_lut(real, given, index=0)
    expected = (shown + 1024) / 4095  # pydicom spreads the window over the range of the rescaled type
    np.testing.assert_allclose(image[..., 0], expected, atol=1e-6)
    formats.write(tmp_path / "b.dcm", image, encoding)
    again, _ = formats.read(tmp_path / "b.dcm", value_range="window")
    np.testing.assert_allclose(again, image, atol=1e-6)
    inside = (image[..., 0] > 0) & (image[..., 0] < 1)
    assert inside.sum() > 100 and abs(stored_values(tmp_path / "b.dcm").astype(int) - ramp(12))[inside].max() <= 1


def test_look_up_tables_and_their_inverses(tmp_path):
    rises = np.round(4095 * np.linspace(0, 1, 4096) ** 2).astype(int)
    bent = np.where(np.arange(4096) < 2000, rises, rises[::-1])
    for name, entries in (("rises", rises), ("bent", bent)):
        given = dicom(ramp(12), ModalityLUTSequence=[lut(entries, 0, 12)])
        given.ModalityLUTSequence[0].ModalityLUTType = "US"
        image, encoding = formats.read(save(given, tmp_path / f"{name}.dcm"))
        low, high = entries.min(), entries.max()
        np.testing.assert_allclose(image[..., 0], (entries[ramp(12)] - low) / (high - low), atol=1e-6)
        if name == "rises":
            formats.write(tmp_path / "o.dcm", image, encoding)
            np.testing.assert_allclose(formats.read(tmp_path / "o.dcm")[0], image, atol=1e-6)
        else:
            with pytest.raises(DataError, match="monotone"):
                formats.write(tmp_path / "o.dcm", image, encoding)
    given = dicom(ramp(12), VOILUTSequence=[lut(255 - np.arange(4096) // 16, 0, 8)])
    image, _ = formats.read(save(given, tmp_path / "voi.dcm"), value_range="window")
    np.testing.assert_allclose(image[..., 0], 1 - (ramp(12) // 16) / 255, atol=1e-6)


def test_a_stated_range_is_in_modality_units(tmp_path):
    hu = np.array([[-1500, -1000, 0], [500, 1000, 3000]])
    image, encoding = formats.read(
        save(dicom(hu + 2000, bits=16, RescaleSlope="1", RescaleIntercept="-2000"), tmp_path / "a.dcm"), value_range=(-1000, 1000)
    )
    np.testing.assert_allclose(image[..., 0], [[0, 0, 0.5], [0.75, 1, 1]], atol=1e-7)
    formats.write(tmp_path / "b.dcm", image, encoding)
    np.testing.assert_array_equal(stored_values(tmp_path / "b.dcm").astype(int) - 2000, np.clip(hu, -1000, 1000))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "c.png")
    for path, asked, cause in (
        ("a.dcm", (3, 3), "rise"),
        ("a.dcm", "window", "no window"),
        ("a.dcm", "wide", "window"),
        ("c.png", "window", "own"),
    ):
        with pytest.raises(DataError, match=cause):
            formats.read(tmp_path / path, value_range=asked)


def test_grey_in_colour_and_palette(tmp_path):
    grey = ramp(8)
    image, encoding = formats.read(save(dicom(np.dstack([grey] * 3), bits=8, photometric="RGB"), tmp_path / "rgb.dcm"))
    np.testing.assert_allclose(image[..., 0], grey / 255, atol=1e-7)
    formats.write(tmp_path / "o.dcm", image, encoding)
    back = pydicom.dcmread(tmp_path / "o.dcm")
    assert back.PhotometricInterpretation == "RGB" and (back.pixel_array == grey[..., None]).all()
    palette = dicom(grey, bits=8, photometric="PALETTE COLOR")
    table = (np.arange(256, dtype="<u2") * 257)[::-1]
    for colour in ("Red", "Green", "Blue"):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(palette, f"{colour}PaletteColorLookupTableData", table.tobytes())
    image, encoding = formats.read(save(palette, tmp_path / "p.dcm"))
    np.testing.assert_allclose(image[..., 0], 1 - grey / 255, atol=1e-6)
    formats.write(tmp_path / "q.dcm", image, encoding)
    back = pydicom.dcmread(tmp_path / "q.dcm")
    assert back.PhotometricInterpretation == "MONOCHROME2" and "RedPaletteColorLookupTableData" not in back
    np.testing.assert_allclose(formats.read(tmp_path / "q.dcm")[0], image, atol=1e-6)
    colour = save(dicom(np.dstack([grey, grey, 255 - grey]), bits=8, photometric="RGB"), tmp_path / "c.dcm")
    with pytest.raises(DataError, match="colour"):
        formats.read(colour)


def test_files_without_a_suffix(tmp_path):
    (tmp_path / "notes").write_text("nothing")
    for name in ("IM0001", "1.2.840.4711", "DICOMDIR", ".hidden"):
        save(dicom(ramp(12)), tmp_path / name)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "z.png")
    assert [p.name for p in formats.list_images(tmp_path)] == ["1.2.840.4711", "IM0001", "z.png"]
    image, encoding = formats.read(tmp_path / "IM0001")
    formats.write(tmp_path / "IM0002", image, encoding)
    np.testing.assert_array_equal(stored_values(tmp_path / "IM0002"), ramp(12))
    assert formats.name_stem(tmp_path / "1.2.840.4711") == "1.2.840.4711" and formats.name_stem(tmp_path / "a.IMA") == "a"
    with pytest.raises(DataError, match="suffix"):
        formats.write(tmp_path / "a.png", image, encoding)


def test_an_image_that_comes_from_no_file(tmp_path):
    image = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8, 1)
    formats.write(tmp_path / "a.dcm", image, formats.encoding("dicom", "uint16"))
    np.testing.assert_allclose(formats.read(tmp_path / "a.dcm")[0], image, atol=1 / 65535)
    assert pydicom.dcmread(tmp_path / "a.dcm").PatientID == "PHANTOM"
    with pytest.raises(DataError, match="float32"):
        formats.write(tmp_path / "b.dcm", image, formats.encoding("dicom", "float32"))
