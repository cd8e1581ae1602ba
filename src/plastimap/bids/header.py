"""NIfTI headers without nibabel: shape, place in space, and whether the file is whole.

An index reads thousands of headers; this takes about 50 microseconds each and
imports nothing heavy. Whoever needs voxels reads them with
:func:`plastimap.images.read_volume`.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from plastimap.bids.files import check_plain

Matrix = tuple[tuple[float, ...], ...]
"""Three rows of four numbers: voxel indices (0-based) to world millimetres, RAS+."""

DATA_TYPES = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
"""NIfTI codes of real numbers, and their bits: integers of 8 to 64 bits, floats of 32 and 64."""

_FIRST_BYTES = 4096
_NIFTI1 = 348
_NIFTI2 = 540


class HeaderError(ValueError):
    """A file that is no whole NIfTI image.

    Attributes
    ----------
    what, why, remedy : str
        As in :class:`plastimap.bids.problems.Problem`.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why, self.remedy = what, why, remedy


@dataclass(frozen=True, slots=True)
class Header:
    """What an image's header says.

    Attributes
    ----------
    shape : tuple of int
        Without trailing dimensions of length 1 beyond the third.
    affine : 3 rows of 4 numbers
        The sform when it is set, else the qform, else voxel sizes alone (as nibabel decides).
    disagreement_mm : float
        Largest distance between the grid's corners under sform and qform, where both are set; else 0.
    data_bytes : int
        Length of the uncompressed file that shape and data type ask for.
    """

    shape: tuple[int, ...]
    affine: Matrix
    disagreement_mm: float
    data_bytes: int


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read the header of a NIfTI-1 or NIfTI-2 file and check that the file is as long as it says.

    Parameters
    ----------
    path : path-like
        ``.nii`` or ``.nii.gz``.

    Returns
    -------
    Header

    Raises
    ------
    HeaderError
        When the file is missing, empty, no NIfTI image, or cut short.
    """
    file = Path(path)
    try:
        check_plain(file)
        with open(file, "rb") as stream:
            raw = stream.read(_FIRST_BYTES)
            length = stream.seek(0, os.SEEK_END)
            stream.seek(max(length - 4, 0))
            tail = stream.read(4)
    except OSError as error:
        why = error.strerror or str(error)
        raise HeaderError(
            "the file cannot be read", why, "fetch or copy the file again (datalad get, rsync)"
        ) from error
    if length == 0:
        raise HeaderError("the file is empty", "it has 0 bytes", "copy or convert it again")
    zipped = raw[:2] == b"\x1f\x8b"
    header = _parse(_unzipped(raw) if zipped else raw)
    stored = struct.unpack("<I", tail)[0] if zipped else length
    if zipped and stored != header.data_bytes % 2**32:
        # Two gzip members behind each other, or padding, make the last four bytes say something else.
        stored = _unzipped_length(file)
    if stored < header.data_bytes % 2**32 or (not zipped and stored < header.data_bytes):
        raise _cut_short(header, stored)
    return header


def check_place(header: Header) -> None:
    """Say why the affine of `header` cannot be trusted.

    Raises
    ------
    HeaderError
        When it is singular or not finite, or when sform and qform disagree by more than half a voxel.
    """
    (a, b, c, _), (d, e, f, _), (g, h, i, _) = header.affine
    volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if not all(math.isfinite(number) for row in header.affine for number in row) or abs(volume) < 1e-9:
        raise HeaderError("the affine cannot be used", "it is singular or not finite", "set the header's sform")
    smallest = min(math.hypot(*column) for column in ((a, d, g), (b, e, h), (c, f, i)))
    # Scanner conversions differ in the fourth decimal; half a voxel is another place.
    if header.disagreement_mm > smallest / 2:
        raise HeaderError(
            "sform and qform disagree",
            f"they place the image {header.disagreement_mm:.2f} mm apart, and programs choose differently",
            "decide which is right and set both (nibabel: image.set_qform(image.affine))",
        )


def corner_distance(one: Matrix, other: Matrix, shape: Sequence[int]) -> float:
    """Largest distance in millimetres between the corners of a grid of `shape` under two affines."""
    if one == other:
        return 0.0
    # The difference of two affine maps is affine: its largest length lies at a corner.
    (a, b, c, d), (e, f, g, h), (i, j, k, m) = (
        [x - y for x, y in zip(mine, theirs, strict=True)] for mine, theirs in zip(one, other, strict=True)
    )
    corners = product(*((0, max(n - 1, 0)) for n in shape[:3]))
    return max(
        math.hypot(a * x + b * y + c * z + d, e * x + f * y + g * z + h, i * x + j * y + k * z + m)
        for x, y, z in corners
    )


def _cut_short(header: Header, stored: int) -> HeaderError:
    return HeaderError(
        "the image is cut short",
        f"its header announces {header.data_bytes:,} bytes of shape {header.shape}, {stored:,} can be read",
        "copy or convert it again",
    )


def _unzipped(raw: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(raw, _NIFTI2 + 4)
    except zlib.error as error:
        raise HeaderError("the compressed file is damaged", str(error), "copy or convert it again") from error


def _unzipped_length(file: Path) -> int:
    length = 0
    try:
        with gzip.open(file) as stream:
            while block := stream.read(1 << 20):
                length += len(block)
    except (OSError, EOFError, zlib.error):
        return length
    return length


def _parse(raw: bytes) -> Header:
    if len(raw) < _NIFTI1:
        raise HeaderError(
            "no NIfTI header", f"the file has {len(raw)} bytes of content, a header has 348", "copy or convert it again"
        )
    for order in "<>":
        size = struct.unpack(order + "i", raw[:4])[0]
        if size == _NIFTI1:
            return _header(raw, order, first=True)
        if size == _NIFTI2 and len(raw) >= _NIFTI2:
            return _header(raw, order, first=False)
    raise HeaderError("no NIfTI image", "its first bytes are not a NIfTI header", "convert it again to .nii.gz")


def _header(raw: bytes, order: str, *, first: bool) -> Header:
    """Unpack the fields that matter; `first` tells NIfTI-1 from NIfTI-2."""

    def field(code: str, place: int) -> tuple[float, ...]:
        return struct.unpack_from(order + code, raw, place)

    dim = [int(n) for n in (field("8h", 40) if first else field("8q", 16))]
    bitpix = int(field("h", 72 if first else 14)[0])
    pixdim = field("8f", 76) if first else field("8d", 104)
    offset = field("f", 108)[0] if first else field("q", 168)[0]
    codes = field("2h", 252) if first else field("2i", 344)
    quatern = field("6f", 256) if first else field("6d", 352)
    srow = field("12f", 280) if first else field("12d", 400)
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise HeaderError("no usable NIfTI header", f"its dimensions are {dim}", "convert it again to .nii.gz")
    shape = _without_trailing_ones(dim[1 : dim[0] + 1])
    _check_numbers(
        int(field("h", 70 if first else 12)[0]), bitpix, offset, field("2f", 112) if first else field("2d", 176)
    )
    qform = _qform(quatern, pixdim)
    sform = (srow[0:4], srow[4:8], srow[8:12])
    affine = sform if codes[1] > 0 else qform if codes[0] > 0 else _scaling(pixdim, shape)
    both = codes[0] > 0 and codes[1] > 0
    disagreement = corner_distance(sform, qform, shape) if both else 0.0
    bytes_wanted = int(max(offset, 0)) + math.prod(dim[1 : dim[0] + 1]) * bitpix // 8
    return Header(shape, affine, disagreement, bytes_wanted)


def _check_numbers(code: int, bits: int, offset: float, scaling: Sequence[float]) -> None:
    """How voxels are stored: as numbers that we read, where they begin, and how they are scaled."""
    remedy = "convert it again to .nii.gz"
    if DATA_TYPES.get(code) != bits:
        why = f"code {code} with {bits} bits; real numbers of 8 to 64 bits are read, not colours or complex numbers"
        raise HeaderError("the data type cannot be used", why, remedy)
    if not math.isfinite(offset):
        raise HeaderError("the header does not say where the data begin", f"it says {offset}", remedy)
    # A slope of 0 or not-a-number says that nothing is scaled.
    if math.isinf(scaling[0]) or (scaling[0] and math.isfinite(scaling[0]) and not math.isfinite(scaling[1])):
        why = f"slope {scaling[0]}, intercept {scaling[1]}"
        raise HeaderError("the scaling of the voxels makes no sense", why, "set slope and intercept, or " + remedy)


def _without_trailing_ones(shape: Sequence[int]) -> tuple[int, ...]:
    kept = list(shape) + [1] * (3 - len(shape))
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


def _qform(quatern: Sequence[float], pixdim: Sequence[float]) -> Matrix:
    """Quaternion (b, c, d), offsets and voxel sizes to an affine (NIfTI-1 standard, method 2)."""
    b, c, d = quatern[:3]
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = (
        (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
        (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
        (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c),
    )
    flip = -1.0 if pixdim[0] < 0 else 1.0
    sizes = (pixdim[1], pixdim[2], pixdim[3] * flip)
    return tuple((*(r * s for r, s in zip(row, sizes, strict=True)), quatern[3 + n]) for n, row in enumerate(rotation))


def _scaling(pixdim: Sequence[float], shape: Sequence[int]) -> Matrix:
    # nibabel's choice for a header without orientation: x to the left, origin in the grid's centre.
    sizes = (-(pixdim[1] or 1.0), pixdim[2] or 1.0, pixdim[3] or 1.0)
    centre = [-(n - 1) / 2 * size for n, size in zip(shape[:3], sizes, strict=True)]
    return tuple((*(sizes[row] if row == n else 0.0 for n in range(3)), centre[row]) for row in range(3))
