"""The stored pixels of a DICOM file: what the header claims is checked first, then each syntax has one decoder.

`DECODERS` is the whole choice of plugins, all under permissive licences. Values are those of the file, before any
rescale, look-up table or inversion. Nothing that a header says about a patient gets into an error or a warning.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pydicom
from PIL import ImageFile
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels import get_decoder

from medjax.formats import guarded
from medjax.formats.encoding import check_pixels
from medjax.formats.grid import MAX_VOXELS
from medjax.types import DataError

# pydicom quotes values that it finds odd, names among them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module=r"pydicom\.")

# Transfer syntax: (pydicom's name of the plugin, or the module that the guarded process imports; the package it is in).
DECODERS = {
    uid.RLELossless: ("pydicom", "pydicom"),
    uid.JPEGBaseline8Bit: ("pillow", "pillow"),
    uid.JPEGExtended12Bit: ("gdcm", "python-gdcm"),
    uid.JPEGLossless: ("gdcm", "python-gdcm"),
    uid.JPEGLosslessSV1: ("gdcm", "python-gdcm"),
    uid.JPEGLSLossless: ("jpeg_ls", "pyjpegls"),
    uid.JPEGLSNearLossless: ("jpeg_ls", "pyjpegls"),
    uid.JPEG2000Lossless: ("pylibjpeg", "pylibjpeg-openjpeg"),
    uid.JPEG2000: ("pylibjpeg", "pylibjpeg-openjpeg"),
    uid.HTJ2KLossless: ("pylibjpeg", "pylibjpeg-openjpeg"),
    uid.HTJ2KLosslessRPCL: ("pylibjpeg", "pylibjpeg-openjpeg"),
    uid.HTJ2K: ("pylibjpeg", "pylibjpeg-openjpeg"),
}
_GUARDED = ("gdcm", "jpeg_ls")
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_MAX_BYTES = 2**31  # of an inflated data set


@dataclass(frozen=True)
class Layout:
    """The pixel description of a header, found to be sane."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and the largest value that the stored bits can hold."""
        return (-(2 ** (self.stored - 1)), 2 ** (self.stored - 1) - 1) if self.signed else (0, 2**self.stored - 1)

    @property
    def dtype(self) -> np.dtype:
        """The integer that holds one sample."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")


def load(path: Path, *, pixels: bool = True, tags: list[str] | None = None) -> pydicom.Dataset:
    """The data set of a DICOM file, without its pixels or only some `tags` where asked.

    pydicom's own errors, and DataError for a deflated one that inflates without end.
    """
    with open(path, "rb") as file:
        read_preamble(file, False)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
            _check_deflated(path, file)
    return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=tags)


def layout(path: Path, dataset: pydicom.Dataset) -> Layout:
    """What the header says about the pixels; DataError where it says nothing that can be read."""
    absent = [name for name in ("Rows", "Columns", "BitsAllocated") if dataset.get(name) in (None, "")]
    if absent:
        raise DataError(f"{path} is a DICOM file without pixel data (no {', '.join(absent)})")
    allocated = int(dataset.BitsAllocated)
    stored = int(dataset.get("BitsStored") or allocated)
    found = Layout(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=int(dataset.get("NumberOfFrames") or 1),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        photometric=str(dataset.get("PhotometricInterpretation") or ""),
        allocated=allocated,
        stored=stored,
        high=int(stored - 1 if dataset.get("HighBit") in (None, "") else dataset.HighBit),
        signed=bool(dataset.get("PixelRepresentation")),
    )
    check_pixels(path, found.rows, found.columns)
    if found.frames < 1 or found.frames * found.rows * found.columns > MAX_VOXELS:
        raise DataError(f"{path} claims {found.frames} frames of {found.rows} x {found.columns} pixels")
    if allocated not in (8, 16) or not 2 <= stored <= allocated or not stored - 1 <= found.high < allocated:
        raise DataError(f"{path} stores {stored} bits in {allocated} (high bit {found.high}), where up to 16 bits are read")
    expected = 1 if found.photometric in (*GREY, "PALETTE COLOR") else 3 if found.photometric in COLOUR else 0
    if found.samples != expected:
        raise DataError(
            f"{path} has the photometric interpretation {_printable(found.photometric)} with {found.samples} samples per pixel, "
            "which is not read"
        )
    return found


def frames(path: Path, dataset: pydicom.Dataset, form: Layout) -> Iterator[np.ndarray]:
    """The stored values of each frame, [H, W] or [H, W, 3] (red, green, blue), of the file's own type.

    Raises:
      DataError: no pixel data, too little of it, or a transfer syntax that no decoder here reads (named, with the
        plugin that would); decoders' own errors besides.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    data = dataset.get("PixelData")
    if not data:
        kind = next((n for n in ("FloatPixelData", "DoubleFloatPixelData") if n in dataset), "")
        raise DataError(f"{path} holds {kind}, where integers are read" if kind else f"{path} is a DICOM file without pixel data")
    if syntax.is_encapsulated:
        plugin = _plugin(path, syntax)
        streams = list(islice(generate_frames(data, number_of_frames=form.frames), form.frames + 1))
        if len(streams) < form.frames:
            raise DataError(f"{path} is cut short: it holds {len(streams)} of {form.frames} frames")
        precisions = [_check_stream(path, stream, form) for stream in streams[: form.frames]]
        if plugin in _GUARDED:
            found = (_guarded(s, form, p, syntax) for s, p in zip(streams, precisions, strict=False))
        else:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            options = {"decoding_plugin": plugin, "correct_unused_bits": syntax != uid.RLELossless}
            found = (array for array, _ in get_decoder(syntax).iter_array(dataset, **options))
    else:
        _check_length(path, len(data), form)
        found = (array for array, _ in get_decoder(syntax).iter_array(dataset, correct_unused_bits=False))
    for count, array in enumerate(islice(found, form.frames)):
        yield _normal(path, array, form, lossy=syntax in LOSSY)
        if count + 1 == form.frames:
            return
    raise DataError(f"{path} is cut short: it holds fewer than {form.frames} frames")


def _plugin(path: Path, syntax: uid.UID) -> str:
    """The name of the decoder for a compressed transfer syntax, or a DataError that names both."""
    name = f"{syntax.name} ({syntax})" if syntax.name != syntax else _printable(syntax)
    if syntax not in DECODERS:
        raise DataError(f"{path} is compressed as {name}, for which there is no decoder plugin under a permissive licence")
    plugin, package = DECODERS[syntax]
    there = guarded.available(plugin) if plugin in _GUARDED else plugin in get_decoder(syntax).available_plugins
    if not there:
        raise DataError(f"{path} is compressed as {name}, which needs the plugin {package}; install it")
    return plugin


def _guarded(stream: bytes, form: Layout, precision: int, syntax: uid.UID) -> np.ndarray:
    """One frame at the stream's own precision: cut to fewer bits, what overshoots would wrap around."""
    bits = precision or form.stored
    allocated = 8 if bits <= 8 else 16
    shape = (form.rows, form.columns, form.samples, allocated, bits, int(form.signed))
    samples = guarded.decode(stream, shape, form.photometric, syntax)
    array = np.frombuffer(samples, f"<u{allocated // 8}").reshape(
        (form.rows, form.columns) + (form.samples,) * (form.samples > 1)
    )
    return np.left_shift(array, allocated - bits).view(f"<i{allocated // 8}") >> (allocated - bits) if form.signed else array


def _check_stream(path: Path, stream: bytes, form: Layout) -> int:
    """Bits per sample of a JPEG of any family (0 for others); DataError where its size is not the header's."""
    found = _stream_size(stream)
    if found is None:
        return 0
    height, width, components, precision = found
    if (height, width, components) != (form.rows, form.columns, form.samples):
        told, said = f"{height} x {width} x {components}", f"{form.rows} x {form.columns} x {form.samples}"
        raise DataError(f"{path} is damaged: its compressed frame is {told}, its header says {said}")
    if not 2 <= precision <= 16:
        raise DataError(f"{path} has compressed samples of {precision} bits, where up to 16 are read")
    return precision


def _stream_size(stream: bytes) -> tuple[int, int, int, int] | None:
    """(height, width, components, bits) from the frame header of a JPEG or JPEG-LS stream or the size marker of JPEG 2000."""
    at = stream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at >= 0:
        x1, y1, x0, y0 = struct.unpack_from(">4I", stream, at + 8)
        components, precision = struct.unpack_from(">HB", stream, at + 40)
        return y1 - y0, x1 - x0, components, (precision & 0x7F) + 1
    if not stream.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 < len(stream):
        if stream[at] != 0xFF or stream[at + 1] == 0xFF:
            at += 1
            continue
        marker, length = stream[at + 1], struct.unpack_from(">H", stream, at + 2)[0]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            precision, height, width, components = struct.unpack_from(">BHHB", stream, at + 4)
            return height, width, components, precision
        at += 2 + length
    return None


def _normal(path: Path, array: np.ndarray, form: Layout, *, lossy: bool) -> np.ndarray:
    """Native byte order and signs; bits outside the stored ones (overlays) cut off, a lossy decoder's overshoot clipped."""
    shape = (form.rows, form.columns) + (form.samples,) * (form.samples > 1)
    if array.shape != shape:
        raise DataError(f"{path} is damaged: its pixels come as {array.shape}, its header says {shape}")
    if lossy:
        return np.clip(array, *form.ends).astype(form.dtype)
    array = array.astype(form.dtype)
    if form.stored == form.allocated:
        return array
    left = form.allocated - 1 - form.high
    return np.right_shift(np.left_shift(array, left), form.allocated - form.stored)


def _check_length(path: Path, length: int, form: Layout) -> None:
    samples = 2 if form.photometric == "YBR_FULL_422" else form.samples
    needed = form.frames * form.rows * form.columns * samples * (form.allocated // 8)
    if length < needed:
        raise DataError(f"{path} is cut short: it holds {length} of {needed} bytes of pixels")


def _check_deflated(path: Path, file) -> None:
    """Inflates without keeping anything: pydicom would ask for whatever memory the stream claims."""
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while not inflate.eof and (block := file.read(2**16)):
        while block:
            size += len(inflate.decompress(block, 2**20))
            block = inflate.unconsumed_tail
        if size > _MAX_BYTES:
            raise DataError(f"{path} inflates to more than {_MAX_BYTES} bytes")


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or c in " ._")[:32] or "(none)"
