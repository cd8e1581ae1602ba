"""Compressed images: what goes in comes out, whichever reader takes it."""

from __future__ import annotations

import gzip
import heapq
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from plastimap import gzipping
from plastimap._deflate import CODE_BITS, code_lengths, codes_of
from plastimap.gzipping import deflated, write_gzip
from plastimap.warm import warm_files


def unpacked(parts: list[NDArray[np.uint32]], block: int) -> bytes:
    """What zlib reads in the coded words; it refuses codes that RFC 1951 does not allow, and bits that are missing."""
    reader = zlib.decompressobj(-15)
    content = reader.decompress(b"".join(bytes(piece) for piece in deflated(parts, block=block)))
    assert reader.eof
    assert not reader.unused_data
    return content


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Before hypothesis looks at the clock."""
    warm_files()


@given(
    words=arrays(np.uint32, st.integers(1, 300), elements=st.sampled_from([0, 1, 0x7FC00000, 0xFFFFFFFF])),
    repeats=st.integers(1, 200),
    block=st.integers(50, 5000),
)
def test_runs_of_every_length_come_back(words: NDArray[np.uint32], repeats: int, block: int) -> None:
    words = np.repeat(words, repeats)
    assert unpacked([words], block) == words.tobytes()


@given(values=arrays(np.float32, st.integers(1, 500)), block=st.integers(1, 600))
def test_any_floats_come_back(values: NDArray[np.float32], block: int) -> None:
    words = values.view(np.uint32)
    assert unpacked([words[:1], words], block) == values[:1].tobytes() + values.tobytes()


def test_a_run_of_any_length_comes_back_between_its_neighbours() -> None:
    for run in range(1, 400):
        words = np.array([3] + [7] * run + [3], np.uint32)
        assert unpacked([words], 1000) == words.tobytes()


@given(counts=arrays(np.int64, st.integers(2, 286), elements=st.integers(0, 10**9)))
def test_codes_fill_their_space_and_none_begins_another(counts: NDArray[np.int64]) -> None:
    """Kraft's sum is exactly 1 (readers refuse others); rarer symbols have no shorter codes."""
    counts[:2] += 1
    lengths = code_lengths(counts)
    np.testing.assert_array_equal(lengths > 0, counts > 0)
    assert (2.0 ** -lengths[lengths > 0]).sum() == 1
    assert lengths.max() <= CODE_BITS
    order = np.argsort(counts[counts > 0], kind="stable")
    assert (np.diff(lengths[counts > 0][order]) <= 0).all()
    codes = {f"{int(code):0{n}b}"[::-1] for code, n in zip(codes_of(lengths), lengths, strict=True) if n}
    assert len(codes) == (lengths > 0).sum()


def test_counts_like_fibonacci_numbers_need_no_code_that_is_too_long() -> None:
    counts = np.ones(40, np.int64)
    for k in range(2, 40):
        counts[k] = counts[k - 1] + counts[k - 2]
    lengths = code_lengths(counts)
    assert lengths.max() == CODE_BITS
    assert (2.0**-lengths).sum() == 1


def test_code_lengths_are_the_best_where_none_is_cut(rng: np.random.Generator) -> None:
    """As many bits in all as the sum of what is merged, two rarest by two rarest (Huffman 1952)."""
    counts = rng.integers(100, 1000, 200)
    total, heap = 0, counts.tolist()
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, merged)
        total += merged
    lengths = code_lengths(counts)
    assert lengths.max() < CODE_BITS
    assert (lengths * counts).sum() == total


@pytest.fixture
def always_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzipping, "LARGE", 0)
    monkeypatch.setattr(gzipping, "BLOCK", 16_000)


@pytest.mark.usefixtures("always_words")
def test_gzip_takes_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    values = np.where(rng.random(50_000) < 0.5, 0, rng.normal(size=50_000)).astype(np.float32)
    values.flags.writeable = False
    file = tmp_path / "x.gz"
    write_gzip(file, b"head" * 88, values)
    assert gzip.decompress(file.read_bytes()) == b"head" * 88 + values.tobytes()
    subprocess.run(["gzip", "--test", file], check=True)
    assert file.stat().st_size < 0.6 * values.nbytes


def test_large_floats_are_coded_by_our_kernels(tmp_path: Path, rng: np.random.Generator) -> None:
    """And take no more room than zlib's first level gives noise."""
    values = rng.normal(100, 20, gzipping.LARGE // 4).astype(np.float32)
    file = tmp_path / "x.gz"
    write_gzip(file, b"", values)
    content: Any = file.read_bytes()
    assert content[:10] == gzipping.WRAPPER
    assert gzip.decompress(content) == values.tobytes()
    assert len(content) < 1.002 * len(zlib.compress(values.tobytes(), 1))
