"""A child process that decodes compressed frames and knows nothing else: run as a script, answers on stdout.

GDCM decodes what no other permissively licensed plugin does (lossless and 12-bit JPEG), CharLS decodes JPEG-LS; a damaged
stream can bring the one down and keep the other busy for ever. Here they can take only this process with them. It says
`READY` once; a request is a `HEADER`, the photometric interpretation, the transfer syntax and the stream; the answer is a
length and that many bytes of samples, or the length -1.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys

HEADER = struct.Struct("<8I")  # rows, columns, samples, allocated, stored, signed, length of the texts, of the stream
LENGTH = struct.Struct("<q")
READY = b"ready"
_MEMORY = 2**31
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")


def main() -> None:
    """Answers requests until stdin ends."""
    source, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)  # the C library complains there
    for name in ("gdcm", "jpeg_ls"):
        with contextlib.suppress(ImportError):  # what is not installed is not asked for
            __import__(name)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, ValueError, OSError):
        pass  # not every system has limits, and an existing one may be lower
    answers.write(READY)
    answers.flush()
    while len(head := source.read(HEADER.size)) == HEADER.size:
        *shape, texts, length = HEADER.unpack(head)
        photometric, syntax = source.read(texts).decode().split()
        try:
            decode = by_charls if syntax in _JPEG_LS else by_gdcm
            samples = decode(source.read(length), tuple(shape), photometric, syntax)
            answers.write(LENGTH.pack(len(samples)) + samples)
        except Exception:
            answers.write(LENGTH.pack(-1))
        answers.flush()


def by_charls(stream: bytes, shape: tuple[int, ...], photometric: str, syntax: str) -> bytes:
    """One frame's samples, colour by pixel, in one byte up to 8 bits and two beyond, little-endian."""
    import jpeg_ls
    import numpy as np

    samples, found = jpeg_ls.decode_pixel_data(stream)
    planes, width = found["components"], 1 if found["bits_per_sample"] <= 8 else 2
    by_plane = planes > 1 and found["interleave_mode"] == 0
    return np.frombuffer(samples, f"u{width}").reshape(planes, -1).T.tobytes() if by_plane else bytes(samples)


def by_gdcm(stream: bytes, shape: tuple[int, ...], photometric: str, syntax: str) -> bytes:
    """One frame's samples, colour by pixel, little-endian."""
    import gdcm

    rows, columns, samples, allocated, stored, signed = shape
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(samples, allocated, stored, stored - 1, signed))
    return image.GetBuffer().encode("utf-8", "surrogateescape")  # the binding hands bytes out as text


if __name__ == "__main__":
    main()
