"""Compiled kernels that code float images as DEFLATE data (RFC 1951).

Float images are noise in their lower bytes: a search for matches, which takes most of a compressor's time, finds
nothing in them but runs of one value (zeros, NaN outside of the brain). Here a word of four bytes is either four
literals, or one of a run that repeats the word before; each block has a Huffman code of its own. What comes out is
ordinary DEFLATE data, which every reader of gzip takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")

END = 256
"""The symbol that ends a block; below lie the literals."""

LONGEST = 285
"""The symbol of the longest match, 258 bytes; the last of all."""

PAIR_WORDS = 129
"""Words in two of the longest matches: the fewest that they cover without a rest."""

MATCH_WORDS = 64
"""Words in the longest match of whole words."""

CODE_BITS = 13
"""Longest code (the format allows 15): two literals and the size of their codes fit into 32 bits."""

LENGTH_ORDER = 19
"""Codes that a block's header has for lengths of codes."""


def _matches() -> Any:
    """Per number of words 0–64: symbol, extra bits and what they say (RFC 1951, 3.2.5), shape (65, 3)."""
    table = np.zeros((MATCH_WORDS + 1, 3), np.int64)
    symbol, first = END + 1, 3
    for bits in (0, 0, 1, 2, 3, 4, 5):
        for _ in range(4):
            for length in range(first, first + (1 << bits)):
                if length % 4 == 0 and length <= 4 * MATCH_WORDS:
                    table[length // 4] = symbol, bits, length - first
            symbol, first = symbol + 1, first + (1 << bits)
    return table


MATCHES = _matches()


@_compiled
def count_symbols(words: Any) -> Any:
    """How often a block has each symbol, shape (286,), from its words (uint32, shape (N,))."""
    # A table per byte of the word, lest one increment wait for the other.
    counts = np.zeros((4, LONGEST + 1), np.int64)
    counts[0, END] = 1
    i, before = 0, ~words[0]
    while i < words.size:
        word = words[i]
        if word == before:
            run = _run(words, i)
            i += run
            counts[0, LONGEST] += 2 * (run // PAIR_WORDS)
            rest = run % PAIR_WORDS
            while rest > 0:
                counts[0, MATCHES[min(rest, MATCH_WORDS), 0]] += 1
                rest -= MATCH_WORDS
            continue
        counts[0, word & np.uint32(255)] += 1
        counts[1, (word >> np.uint32(8)) & np.uint32(255)] += 1
        counts[2, (word >> np.uint32(16)) & np.uint32(255)] += 1
        counts[3, word >> np.uint32(24)] += 1
        before = word
        i += 1
    return counts.sum(axis=0)


@_compiled
def _run(words: Any, start: int) -> int:
    """Number of words from `start` on that equal the one there."""
    end = start + 1
    while end < words.size and words[end] == words[start]:
        end += 1
    return end - start


@_compiled
def code_lengths(counts: Any) -> Any:
    """Bits of each symbol's Huffman code, 13 at most; 0 for a symbol that does not occur, shape (286,).

    The tree is built from two queues (van Leeuwen 1976); codes that come out too long are cut, and what that takes
    too much of the code space is given back by longer codes for the rarest of the others.
    """
    used = _rarest_first(counts)
    n = used.size
    weight = np.empty(2 * n - 1, np.int64)
    weight[:n] = counts[used]
    parent = np.zeros(2 * n - 1, np.int64)
    leaf, inner = 0, n
    for new in range(n, 2 * n - 1):
        weight[new] = 0
        for _ in range(2):
            if inner == new or (leaf < n and weight[leaf] <= weight[inner]):
                child, leaf = leaf, leaf + 1
            else:
                child, inner = inner, inner + 1
            parent[child] = new
            weight[new] += weight[child]
    depth = np.zeros(2 * n - 1, np.int64)
    for node in range(2 * n - 3, -1, -1):
        depth[node] = depth[parent[node]] + 1
    bits = _fitted(np.minimum(depth[:n], CODE_BITS))
    lengths = np.zeros(counts.size, np.int64)
    lengths[used] = bits
    return lengths


@_compiled
def _rarest_first(counts: Any) -> Any:
    """The symbols that occur, sorted by insertion: numba takes half a minute to compile numpy's sort."""
    used = np.empty(counts.size, np.int64)
    n = 0
    for symbol in range(counts.size):
        if counts[symbol] > 0:
            place = n
            while place > 0 and counts[used[place - 1]] > counts[symbol]:
                used[place] = used[place - 1]
                place -= 1
            used[place] = symbol
            n += 1
    return used[:n]


@_compiled
def _fitted(bits: Any) -> Any:
    """Code lengths, rarest symbol first, changed so that they fill the code space exactly."""
    space = 1 << CODE_BITS
    taken = 0
    for length in bits:
        taken += space >> length
    i = 0
    while taken > space:  # lengthen the rarest that can be
        if bits[i] < CODE_BITS:
            taken -= space >> (bits[i] + 1)
            bits[i] += 1
        else:
            i += 1
    for k in range(bits.size - 1, -1, -1):  # what is left goes to the most frequent that it suffices for
        while bits[k] > 1 and taken + (space >> bits[k]) <= space:
            taken += space >> bits[k]
            bits[k] -= 1
    return bits


@_compiled
def codes_of(lengths: Any) -> Any:
    """Canonical codes, first bit lowest as they are written (RFC 1951, 3.2.2), as uint64."""
    codes = np.zeros(lengths.size, np.uint64)
    code = 0
    for length in range(1, CODE_BITS + 1):
        code <<= 1
        for symbol in range(lengths.size):
            if lengths[symbol] == length:
                turned = 0
                for bit in range(length):
                    turned |= ((code >> bit) & 1) << (length - 1 - bit)
                codes[symbol] = turned
                code += 1
    return codes


@_compiled
def code_block(words: Any, out: Any, waiting: np.uint64, filled: int, final: bool) -> tuple[int, np.uint64, int]:
    """Code one block behind the bits that wait.

    Parameters
    ----------
    words : ndarray of uint32, shape (N,)
        Voxels, N > 0.
    out : ndarray of uint64
        Takes whole words of coded data; N + 64 are enough.
    waiting : uint64
        Bits of the block before that fill no whole word yet, the first one lowest.
    filled : int
        How many wait, 0–63.
    final : bool
        Whether no block follows.

    Returns
    -------
    tuple
        Number of words of `out` that are filled, and the bits that wait now.
    """
    counts = count_symbols(words)
    sizes = code_lengths(counts)
    codes = codes_of(sizes)
    sizes = sizes.astype(np.uint64)
    pairs = _pairs(codes, sizes)
    place, waiting, filled = _header(sizes, out, waiting, np.uint64(filled), final)
    i, before = 0, ~words[0]
    while i < words.size:
        word = words[i]
        if word == before:
            run = _run(words, i)
            i += run
            place, waiting, filled = _repeat(run, codes, sizes, out, place, waiting, filled)
            continue
        low, high = np.uint64(pairs[word & np.uint32(65535)]), np.uint64(pairs[word >> np.uint32(16)])
        half = low & np.uint64(31)
        bits = low >> np.uint64(5) | high >> np.uint64(5) << half
        place, waiting, filled = _put(bits, half + (high & np.uint64(31)), out, place, waiting, filled)
        before = word
        i += 1
    return _put(codes[END], sizes[END], out, place, waiting, filled)


@_compiled
def _pairs(codes: Any, sizes: Any) -> Any:
    """Codes of two literals that follow each other, by the 16-bit number that they are; the lowest five bits: size."""
    pairs = np.empty((256, 256), np.uint32)
    for second in range(256):
        for first in range(256):
            code = codes[first] | codes[second] << sizes[first]
            pairs[second, first] = code << np.uint64(5) | (sizes[first] + sizes[second])
    return pairs.reshape(-1)


@_compiled
def _put(bits: Any, size: Any, out: Any, place: int, waiting: Any, filled: Any) -> Any:
    """Append up to 64 bits: a whole word goes out, the rest waits. Without a branch, since none could be foretold."""
    joined = waiting | bits << filled
    out[place] = joined
    total = filled + size
    whole = total >> np.uint64(6)
    beyond = (bits >> np.uint64(1)) >> (np.uint64(63) - filled)
    waiting = joined ^ ((joined ^ beyond) & (np.uint64(0) - whole))
    return place + np.int64(whole), waiting, total & np.uint64(63)


@_compiled
def _repeat(run: int, codes: Any, sizes: Any, out: Any, place: int, waiting: Any, filled: Any) -> Any:
    """Matches of distance 4 for so many equal words; the one distance code is a single 0 bit."""
    for _ in range(2 * (run // PAIR_WORDS)):
        place, waiting, filled = _put(codes[LONGEST], sizes[LONGEST] + np.uint64(1), out, place, waiting, filled)
    rest = run % PAIR_WORDS
    while rest > 0:
        symbol, extra, says = MATCHES[min(rest, MATCH_WORDS)]
        size = sizes[symbol]
        bits = codes[symbol] | np.uint64(says) << size
        place, waiting, filled = _put(bits, size + np.uint64(extra + 1), out, place, waiting, filled)
        rest -= MATCH_WORDS
    return place, waiting, filled


@_compiled
def _header(sizes: Any, out: Any, waiting: Any, filled: Any, final: bool) -> Any:
    """Begin a block with its own codes (RFC 1951, 3.2.7): lengths of codes as plain numbers of four bits."""
    place = 0
    # Type 2; 286 lengths of literals and matches, 4 of distances, all 19 codes for lengths.
    opening = np.uint64(final) | np.uint64(2 << 1 | (LONGEST - 256) << 3 | 3 << 8 | (LENGTH_ORDER - 4) << 13)
    place, waiting, filled = _put(opening, np.uint64(17), out, place, waiting, filled)
    for k in range(LENGTH_ORDER):  # 16, 17, 18 stand first in the format's order, and are not used
        place, waiting, filled = _put(np.uint64(0 if k < 3 else 4), np.uint64(3), out, place, waiting, filled)
    for size in sizes:
        place, waiting, filled = _put(_number(size), np.uint64(4), out, place, waiting, filled)
    for size in (0, 0, 0, 1):  # of the distances, only the fourth
        place, waiting, filled = _put(_number(np.uint64(size)), np.uint64(4), out, place, waiting, filled)
    return place, waiting, filled


@_compiled
def _number(value: Any) -> Any:
    """A number of four bits as its code: sixteen codes of four bits each are the numbers, first bit lowest."""
    high = (value & np.uint64(1)) << np.uint64(3) | (value & np.uint64(2)) << np.uint64(1)
    return high | (value >> np.uint64(1)) & np.uint64(2) | value >> np.uint64(3)
