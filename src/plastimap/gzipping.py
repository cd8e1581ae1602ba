"""Images as gzip files: large ones of floats by kernels of our own, all others by isal.

Equal content gives equal files: the wrapper holds neither name nor time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from plastimap.writing import PathLike

LEVEL = 1
"""isal's level 1: several times faster than zlib at nearly the same size."""

MEMORY = 4
"""isal's third of five sizes of memory: a sixth faster than the default on noisy images, for .03 % of their size."""

PIECE = 1 << 16
"""Bytes given to isal at once: they stay in the processor's caches."""

LARGE = 1 << 24
"""Bytes from which on our kernels earn the time that it takes to load them."""

BLOCK = 1 << 18
"""Words in one block of our kernels; its Huffman codes take 160 bytes."""

WRAPPER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
"""Head of a gzip file without name, time and system (RFC 1952)."""


def write_gzip(path: PathLike, header: bytes, values: NDArray[Any]) -> None:
    """Write `header` and the values as they lie in memory, compressed.

    Parameters
    ----------
    path : path-like
        Is overwritten.
    header : bytes
        What stands before the values.
    values : ndarray, shape (N,)
        Contiguous.
    """
    with open(path, "wb") as file:
        if values.dtype == np.float32 and values.nbytes >= LARGE and len(header) % 4 == 0:
            _write_words(file, header, values)
        else:
            _write_pieces(file, header, values)


def _write_pieces(file: IO[bytes], header: bytes, values: NDArray[Any]) -> None:
    stream = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, 31, MEMORY)
    content = _bytes(values)
    file.write(stream.compress(header))
    file.writelines(stream.compress(content[start : start + PIECE]) for start in range(0, len(content), PIECE))
    file.write(stream.flush())


def _write_words(file: IO[bytes], header: bytes, values: NDArray[Any]) -> None:
    file.write(WRAPPER)
    file.writelines(deflated([np.frombuffer(header, np.uint32), values.view(np.uint32)], block=BLOCK))
    checksum = isal_zlib.crc32(_bytes(values), isal_zlib.crc32(header))
    file.write(checksum.to_bytes(4, "little") + ((len(header) + values.nbytes) % (1 << 32)).to_bytes(4, "little"))


def deflated(parts: list[NDArray[np.uint32]], *, block: int) -> Iterator[memoryview | bytes]:
    """DEFLATE data (RFC 1951) of words that follow each other, in pieces.

    Parameters
    ----------
    parts : list of ndarray of uint32, each of shape (N,) with N > 0
        Each begins a new block.
    block : int
        Most words in one block.

    Yields
    ------
    bytes-like
        To be used before the next is asked for: they share their memory.
    """
    from plastimap._deflate import code_block  # loads the compiler

    blocks = [part[start : start + block] for part in parts for start in range(0, part.size, block)]
    out, waiting, filled = np.empty(block + 64, np.uint64), 0, 0
    for number, words in enumerate(blocks, start=1):
        place, waiting, filled = code_block(words, out, np.uint64(waiting), filled, number == len(blocks))
        yield _bytes(out[:place])
    yield waiting.to_bytes(8, "little")[: (filled + 7) // 8]


def _bytes(values: Any) -> memoryview:
    return memoryview(values).cast("B")
