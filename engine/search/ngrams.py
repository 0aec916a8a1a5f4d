"""Character n-grams: likeness of texts that survives typos and endings. Knows no words and no language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.search.terms import HANGUL, SPACELESS, WORD_CHARACTER, character_class, fold

# Scripts of which one or two characters say as much as a word's part of three to five letters.
_DENSE = (*SPACELESS, *HANGUL)
_BETWEEN_WORDS = re.compile(f"[^{WORD_CHARACTER}]+")
_DENSE_RUN = re.compile(f"([{character_class(_DENSE)}]+)")
_IS_DENSE = np.zeros(0x110000, bool)  # [code points of Unicode]
for _first, _last in _DENSE:
    _IS_DENSE[_first : _last + 1] = True
_SPACE = ord(" ")
# Sizes of n-grams within a word and its two borders, and within dense scripts.
_SIZES = (3, 4, 5)
_DENSE_SIZES = (1, 2)
_FACTOR = np.uint32(0x9E3779B1)  # 2^32 / golden ratio, odd: n-grams that differ hardly ever share a hash
# Texts are taken in blocks of about this many characters, so that building needs little beside the result.
_BLOCK_CHARACTERS = 1_000_000
# A posting is one number that sorts by n-gram, then by row: 32 bits hash, 24 bits row, 8 bits count.
_HASH_SHIFT, _ROW_SHIFT, _MOST_ROWS, _MOST_COUNTED = 32, 8, 1 << 24, 255

_Postings = NDArray[np.uint64]


class CharNGrams:
    """Cosine between texts as bags of character n-grams, weighted by rarity (TF-IDF).

    N-grams of 3 to 5 characters within a word and its borders; of 1 and 2 in Chinese, Japanese, Korean, Thai
    and the like. Built once, never changed. Made for short texts, such as questions and headings: a passage
    of 750 characters takes 5 kB. An n-gram counts at most 255 times in a text.

    Raises `ValueError` for more than 16 million texts.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._size = len(texts)
        if self._size > _MOST_ROWS:
            raise ValueError(f"at most {_MOST_ROWS:,} texts, not {self._size:,}")
        postings = _joined(list(_blocks(texts)))
        postings.sort()
        grams = (postings >> _HASH_SHIFT).astype(np.uint32)
        starts = np.flatnonzero(np.diff(grams, prepend=~grams[:1]))
        self._grams = grams[starts]  # [n-grams] uint32, sorted
        self._starts = np.append(starts, len(grams))  # [n-grams + 1] int64
        self._rows = (postings.astype(np.uint32) >> _ROW_SHIFT).astype(np.int32)  # [postings]
        self._counts = postings.astype(np.uint8)  # [postings]
        self._idf = self._rarity(np.diff(self._starts))  # [n-grams] float32
        self._norms = self._lengths()  # [texts] float32

    def search(self, query: str) -> NDArray[np.float32]:
        """Likeness of each text to `query`, in [0, 1]: `[texts]` float32."""
        scores = np.zeros(self._size, np.float32)
        if not len(self._grams):
            return scores
        grams, counts = np.unique(_hashes(_plain(query))[0], return_counts=True)
        places = np.searchsorted(self._grams, grams)
        is_known = self._grams.take(places, mode="clip") == grams
        # What no text has still counts for the query's length: half a query found is no full likeness.
        idf = np.where(is_known, self._idf.take(places, mode="clip"), self._rarity(0))
        weights = counts * idf
        norm = np.sqrt(np.sum(weights**2)) or 1.0
        for place, weight in zip(places[is_known], (weights * idf)[is_known] / norm, strict=True):
            found = slice(self._starts[place], self._starts[place + 1])
            scores[self._rows[found]] += np.float32(weight) * self._counts[found]
        return (scores / self._norms).clip(max=1)  # rounding may have gone beyond

    def _rarity(self, found: NDArray[np.int64] | int) -> NDArray[np.float32]:
        """Smoothed inverse document frequency: an n-gram that every text has still counts 1."""
        return np.asarray(np.log((1 + self._size) / (1 + found)) + 1, np.float32)

    def _lengths(self) -> NDArray[np.float32]:
        """The Euclidean length of each text's bag, 1 for an empty one."""
        squares = np.zeros(self._size)
        step = 4096
        for first in range(0, len(self._grams), step):
            starts = self._starts[first : first + step + 1]
            found = slice(starts[0], starts[-1])
            weights = self._counts[found] * np.repeat(self._idf[first : first + step], np.diff(starts))
            squares += np.bincount(self._rows[found], weights.astype(np.float64) ** 2, minlength=self._size)
        return np.sqrt(np.where(squares > 0, squares, 1)).astype(np.float32)


def _blocks(texts: Sequence[str]) -> Iterator[_Postings]:
    """The postings of `texts`, a block of them at a time."""
    first = held = 0
    plain: list[str] = []
    for row, text in enumerate(texts):
        plain.append(_plain(text))
        held += len(plain[-1])
        if held >= _BLOCK_CHARACTERS or row + 1 == len(texts):
            yield _postings(plain, first)
            first, held, plain = row + 1, 0, []


def _joined(blocks: list[_Postings]) -> _Postings:
    """All blocks one behind the other. They are taken out of the list, so that memory holds them once."""
    postings = np.empty(sum(map(len, blocks)), np.uint64)
    end = len(postings)
    while blocks:
        block = blocks.pop()
        postings[end - len(block) : end] = block
        end -= len(block)
    return postings


def _postings(plain: Sequence[str], first: int) -> _Postings:
    """One posting for each text and n-gram in it; the first text is row `first`."""
    hashes, places = _hashes("".join(plain))
    rows = np.repeat(np.arange(first, first + len(plain)), [len(text) for text in plain])[places]
    keys = hashes.astype(np.uint64) << _HASH_SHIFT | rows.astype(np.uint64) << _ROW_SHIFT
    distinct, counts = np.unique(keys, return_counts=True)
    postings: _Postings = distinct | np.minimum(counts, _MOST_COUNTED).astype(np.uint64)
    return postings


def _hashes(plain: str) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The hash of every n-gram in `plain`, and where each begins."""
    codes = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), np.uint32)
    is_dense = _IS_DENSE[codes]
    is_inner = (codes != _SPACE) & ~is_dense
    hashes, places = [], []
    rolling, dense, inner = np.zeros_like(codes), np.ones_like(is_dense), np.ones_like(is_dense)
    for size in range(1, _SIZES[-1] + 1):
        last = codes[size - 1 :]
        rolling = rolling[: len(last)] * _FACTOR + last
        dense = dense[: len(last)] & is_dense[size - 1 :]
        if size > 2:
            inner = inner[: len(last)] & is_inner[size - 2 : -1]
        if size in _DENSE_SIZES or size in _SIZES:
            begins = np.flatnonzero(dense if size in _DENSE_SIZES else inner)
            hashes.append(rolling[begins])
            places.append(begins)
    return np.concatenate(hashes), np.concatenate(places)


def _plain(text: str) -> str:
    """Words between single spaces, those of dense scripts apart from others."""
    folded = fold(text).replace("_", " ")
    if not folded.isascii():
        folded = _DENSE_RUN.sub(r" \1 ", folded)
    return f" {_BETWEEN_WORDS.sub(' ', folded).strip()} "
