"""Derived DICOM images: a source's header with new pixels, so that a viewer files the result beside the source.

Kept: patient, study, frame of reference, geometry, rescale, window, photometric interpretation, bits stored, signs.
New: SOP instance and series UIDs, `ImageType` DERIVED\\SECONDARY, what was done and to which image. Dropped: what
described the old pixels (their extremes, icon, signatures). Written uncompressed, explicit little-endian; what was once
compressed with loss says so for ever (PS3.3 C.7.6.1.1.5).
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from medjax.formats.deidentify import deidentify, hashed_uid
from medjax.formats.pixels import LOSSY, Layout
from medjax.types import DataError

_STALE = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane", "LargestImagePixelValueInPlane", "IconImageSequence", "InstanceCreationDate",
    "InstanceCreationTime", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelDataProviderURL", "PixelData",
    "DigitalSignaturesSequence", "MACParametersSequence", "DataSetTrailingPadding", "HistogramSequence", "FloatPixelData",
    "DoubleFloatPixelData",
)  # fmt: skip
_PALETTE = "PaletteColorLookupTable"
_OWN = ("DerivationDescription", "SeriesDescription", "ImageType")
_FRAME_TYPES = (
    "CTImageFrameTypeSequence",
    "MRImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XAXRFFrameCharacteristicsSequence",
)
_SOURCE_IMAGE = ("121322", "DCM", "Source Image for Image Processing Operation")
_SERIES_STEP = 1000  # added to the number of the source's series
_TEXT, _LONG = 64, 1024  # characters of an LO and of an ST


class Header:
    """A data set, stripped of its pixels here, that never prints what it holds."""

    def __init__(self, dataset: Dataset) -> None:
        for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
            if name in dataset:
                delattr(dataset, name)
        self.dataset = dataset

    def __repr__(self) -> str:
        return f"<DICOM header of {len(self.dataset)} elements>"


@dataclass(frozen=True)
class Derivation:
    """How outputs are told from their sources.

    description: what was done (DerivationDescription); series: added to the series' description; deidentify: apply
    `medjax.formats.deidentify`; key: outputs with one key that come from one series form one series (and de-identified
    ones keep their relations). By default a key of this process. changed: {keyword: value, or None to leave it out} of
    attributes that are no longer true of the output, where the source has them.
    """

    description: str = "Image computed by medjax; not for diagnosis"
    series: str = "medjax"
    deidentify: bool = False
    key: str = field(default_factory=lambda: _PROCESS, repr=False)
    changed: Mapping[str, Any] = field(default_factory=dict)


_PROCESS = str(uid.generate_uid())


def derived(header: Header, stored: np.ndarray, form: Layout, derivation: Derivation) -> Dataset:
    """A complete data set, ready to write.

    Args:
      header: of the source.
      stored: new stored values [H, W], [H, W, 3] or, for a file of many frames, [N, H, W].
      form: how they are stored.
    """
    source = header.dataset
    dataset = _copied(source)
    for name in _STALE:
        if name in dataset:
            delattr(dataset, name)
    _drop_embedded_overlays(dataset)
    _resize(dataset, form)
    _set_pixels(dataset, stored, form)
    series, instance = str(source.get("SeriesInstanceUID", "")), str(source.get("SOPInstanceUID", ""))
    content = hashlib.sha256(stored.tobytes()).hexdigest()
    dataset.SeriesInstanceUID = hashed_uid(derivation.key, "series", series, derivation.description)
    dataset.SOPInstanceUID = hashed_uid(derivation.key, "instance", instance, derivation.description, content)
    for name, value in derivation.changed.items():
        if name in dataset:
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
    _describe(dataset, source, derivation)
    _refer(dataset, source)
    if _was_lossy(source):
        dataset.LossyImageCompression = "01"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if derivation.deidentify:
        if "SeriesDescription" in dataset:
            dataset.SeriesDescription = derivation.series[:_TEXT]
        deidentify(dataset, key=derivation.key, keep=_OWN)
    return dataset


def save(path: Path, header: Header, stored: np.ndarray, form: Layout, derivation: Derivation) -> None:
    """Writes `derived` with a preamble. DataError where the source's header holds what cannot be written again."""
    try:
        dataset = derived(header, stored, form, derivation)
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:  # pydicom's own words may quote the header
        raise DataError(
            f"{path} was not written: its source's header holds what cannot be written again ({type(error).__name__})"
        ) from error


def _copied(source: Dataset) -> Dataset:
    """A deep copy whose values no longer depend on how the source was encoded."""
    dataset = copy.deepcopy(source)
    _settle(dataset, swap=source.original_encoding[1] is False)
    return dataset


def _settle(dataset: Dataset, *, swap: bool) -> None:
    """Decodes every element, which pydicom puts off till it is asked for; one that cannot be read is left out."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:
            del dataset[tag]
            continue
        if element.VR == "SQ":
            for item in element.value:
                _settle(item, swap=swap)
        elif swap and element.VR == "OW" and isinstance(element.value, bytes) and len(element.value) % 2 == 0:
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()


def _drop_embedded_overlays(dataset: Dataset) -> None:
    """Overlays in unused bits of the old pixels went with them: their groups would describe nothing."""
    groups = {tag.group for tag in list(dataset.keys()) if 0x6000 <= tag.group < 0x6100}
    for group in groups:
        if (group, 0x3000) not in dataset:
            for tag in [tag for tag in list(dataset.keys()) if tag.group == group]:
                del dataset[tag]


def _resize(dataset: Dataset, form: Layout) -> None:
    """Spacing and place of the first pixel where the image has more or fewer pixels than its source over the same field."""
    before = [dataset.get("Rows") or form.rows, dataset.get("Columns") or form.columns]
    if before == [form.rows, form.columns]:
        return
    shares = np.array(before, float) / [form.rows, form.columns]
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if len(dataset.get(name) or ()) == 2:
            old = np.array([float(x) for x in dataset[name].value])
            dataset[name].value = decimals(old * shares)
            if name == "PixelSpacing" and "ImagePositionPatient" in dataset and "ImageOrientationPatient" in dataset:
                axes = np.array([float(x) for x in dataset.ImageOrientationPatient]).reshape(2, 3)
                across, down = (old * (shares - 1) / 2)[::-1]  # the first pixel's centre moves, its corner does not
                place = np.array([float(x) for x in dataset.ImagePositionPatient])
                dataset.ImagePositionPatient = decimals(place + across * axes[0] + down * axes[1])


def decimals(values: np.ndarray) -> list[str]:
    """Numbers as decimal strings of at most 16 characters, which is all that DICOM has room for."""
    texts = []
    for value in values:
        value = float(value) + 0.0
        texts.append(next(t for d in range(12, -1, -1) if len(t := f"{value:.{d}g}" if d else f"{value:.0e}") <= 16))
    return texts


def _set_pixels(dataset: Dataset, stored: np.ndarray, form: Layout) -> None:
    """The image pixel module and the samples."""
    colour = stored.ndim == 3 and form.samples == 3
    if not colour and dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        for tag in [e.tag for e in dataset if _PALETTE in e.keyword]:
            del dataset[tag]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else form.photometric
    if colour:
        dataset.PlanarConfiguration = 0
    elif "PlanarConfiguration" in dataset:
        del dataset.PlanarConfiguration
    dataset.Rows, dataset.Columns = form.rows, form.columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = form.allocated, form.stored, form.stored - 1
    dataset.PixelRepresentation = int(form.signed)
    data = stored.astype(form.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if form.allocated == 8 else "OW"


def _describe(dataset: Dataset, source: Dataset, derivation: Derivation) -> None:
    """Says on every level that this is a derived image, and which series it is in."""
    dataset.ImageType = _image_type(source.get("ImageType"))
    for groups in (dataset.get("SharedFunctionalGroupsSequence"), dataset.get("PerFrameFunctionalGroupsSequence")):
        for item in (frame for group in groups or () for name in _FRAME_TYPES for frame in group.get(name) or ()):
            if "FrameType" in item:
                item.FrameType = _image_type(item.FrameType)
    dataset.DerivationDescription = derivation.description[:_LONG]
    there = str(source.get("SeriesDescription") or "").strip()
    tail = derivation.series[:_TEXT]
    dataset.SeriesDescription = f"{there[: _TEXT - len(tail) - 1]} {tail}".strip()
    number = source.get("SeriesNumber")
    if isinstance(number, int):
        dataset.SeriesNumber = int(number) + _SERIES_STEP


def _image_type(given: Any) -> list[str]:
    values = [given] if isinstance(given, str) else list(given or ())
    return ["DERIVED", "SECONDARY", *(str(x) for x in values[2:])]


def _refer(dataset: Dataset, source: Dataset) -> None:
    """SourceImageSequence: the one image that this one was computed from."""
    if not source.get("SOPInstanceUID") or not source.get("SOPClassUID"):
        return
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = _SOURCE_IMAGE
    item.PurposeOfReferenceCodeSequence = [purpose]
    dataset.SourceImageSequence = [item]


def _was_lossy(source: Dataset) -> bool:
    """Whether loss is stated, or the syntax always loses; JPEG 2000 and HTJ2K under the general UID may not have."""
    syntax = getattr(source, "file_meta", Dataset()).get("TransferSyntaxUID")
    return source.get("LossyImageCompression") == "01" or syntax in LOSSY
