"""Whether a sentence is supported by passages: what is not supported is never shown.

A copy of a passage sentence, whole or shortened, is supported. Of any other sentence the numbers, dates,
names and links must all stand in the passage, exactly; whether the rest says the same is judged from the
words that can be aligned, what is left over, and what limits it ("not", "if", "only", "must", …).
It errs on the side of refusing: what is refused is replaced by a quotation, which is always right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.language.languages import detect
from engine.search.embedder import Embedder
from engine.search.terms import content_terms
from engine.support.alignment import Alignment, align
from engine.support.copies import Copies
from engine.support.cutter import SentenceCutter
from engine.support.exact_items import Token, is_equal, tokens
from engine.support.features import features, is_contradicted
from engine.support.grounds import MOST_READ, Ground, Grounds, Sentence
from engine.support.lexicon import lexicon
from engine.support.model import SupportModel, support_model
from engine.support.statement import Statement, read

__all__ = ["SentenceCutter", "Support", "Supported", "has_substance"]

# A sentence with fewer content words ("Yes.") says nothing alone, and is shown only before one that does.
_SUBSTANCE = 3
# Longer sentences are copies or nothing: models write none, and judging them takes long.
_LONGEST = 600
_ENGLISH = "en"
# How alike a name's spellings in two languages are: "Dänemark" and "Denmark".
_SAME_NAME = 0.6

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Supported:
    """What supports a sentence: `passages[row][start:end]`."""

    row: int
    start: int
    end: int
    is_exact_only: bool = False
    """Only numbers, names and links could be checked, because the languages differ."""
    score: float = 1.0
    """Of sentences that are no copies: how sure, from 0 to 1."""


@dataclass(frozen=True)
class Judged:
    """A claim beside the stretch that is most like it."""

    ground: Ground
    features: Mapping[str, float]


class Support:
    """The passages of one answer, ready to check sentences against. Not thread-safe."""

    def __init__(
        self,
        passages: Sequence[str],
        embedder: Embedder | None = None,
        *,
        language: str = "",
        model: SupportModel | None = None,
    ) -> None:
        """`language` is the passages' ISO 639-1 code, found out when it is not given.

        Without an embedder only copies are supported.
        """
        self._passages, self._embedder, self._given = passages, embedder, language
        self._model = model
        self._read: dict[str, tuple[Vectors, Vectors]] = {}

    @cached_property
    def _grounds(self) -> Grounds:
        return Grounds(self._passages)

    @cached_property
    def _copies(self) -> Copies:
        return Copies(self._grounds.sentences)

    @cached_property
    def _languages(self) -> frozenset[str]:
        """Sentence by sentence: a passage may hold several, and none of them is foreign to it."""
        found = [self._given] if self._given else [detect(it.text) for it in self._grounds.sentences]
        return frozenset(filter(None, found))

    def find(self, sentence: str) -> int | None:
        """Which passage supports the sentence, or None."""
        found = self.check(sentence)
        return None if found is None else found.row

    def check(self, sentence: str) -> Supported | None:
        """What supports the sentence, or None."""
        return self.check_all([sentence])[0]

    def check_all(self, sentences: Sequence[str]) -> list[Supported | None]:
        """`check` for several sentences, their vectors computed together."""
        copied = [self._copies.find(sentence) if self._passages else () for sentence in sentences]
        left = [
            sentence
            for sentence, found in zip(sentences, copied, strict=True)
            if not found and len(sentence) <= _LONGEST and content_terms(sentence)
        ]
        judged = dict(zip(left, self._check_meaning(left), strict=True))
        return [
            _supported(found) if found else judged.get(sentence)
            for sentence, found in zip(sentences, copied, strict=True)
        ]

    def _check_meaning(self, sentences: Sequence[str]) -> list[Supported | None]:
        is_foreign = [self._is_foreign(sentence) for sentence in sentences]
        own = [sentence for sentence, foreign in zip(sentences, is_foreign, strict=True) if not foreign]
        judged = iter(
            self.judge(own)
            if self._embedder and (not self._languages or _ENGLISH in self._languages)
            else [None] * len(own)
        )
        return [
            self._check_items(sentence) if foreign else self._accepted(next(judged))
            for sentence, foreign in zip(sentences, is_foreign, strict=True)
        ]

    def _accepted(self, judged: Judged | None) -> Supported | None:
        model = self._model or support_model()
        if judged is None or is_contradicted(judged.features):
            return None
        score = model.score(judged.features) - model.threshold
        return _supported(judged.ground.sentences, score=1 / (1 + math.exp(-score))) if score >= 0 else None

    def judge(self, sentences: Sequence[str]) -> list[Judged | None]:
        """The features of each sentence; None where no stretch has all its numbers, names and links."""
        claims = [read(sentence) for sentence in sentences]
        grounds = [self._possible(claim) for claim in claims]
        self._embed(
            [*sentences, *(s.text for found in grounds for ground in found for s in ground.sentences)]
        )
        return [
            max(
                (self._judged(sentence, claim, ground) for ground in found),
                key=lambda judged: _likeness(judged.features),
                default=None,
            )
            for sentence, claim, found in zip(sentences, claims, grounds, strict=True)
        ]

    def _possible(self, claim: Statement) -> list[Ground]:
        if not claim.contents:
            return []
        return [
            ground
            for ground in self._grounds.of(claim)
            if ground.statement.contents
            and _has_items(claim, ground.statement)
            and self._has_names(claim, ground)
        ]

    def _has_names(self, claim: Statement, ground: Ground) -> bool:
        known = self._grounds.words
        return all(
            known.issuperset(name.root.split())
            or any(lexicon().is_same(name.root, content.root) for content in ground.statement.contents)
            for name in claim.names
        )

    def _judged(self, sentence: str, claim: Statement, ground: Ground) -> Judged:
        words, whole = self._read[sentence]
        parts = [self._read[part.text] for part in ground.sentences]
        mean = np.mean([part for _, part in parts], axis=0)
        cosine = float(whole @ mean / (np.linalg.norm(mean) or 1.0))
        aligned: Alignment = align(
            claim, ground.statement, (words, np.concatenate([part for part, _ in parts]))
        )
        rest = self._grounds.roots(ground.row) - ground.statement.roots
        return Judged(ground, features(claim, ground.statement, aligned, cosine, rest))

    def _embed(self, texts: Iterable[str]) -> None:
        """Have the token vectors of all texts at hand."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._read]
        if not missing or self._embedder is None:
            return
        pieces = zip(missing, self._embedder.spans(missing), self._embedder.words(missing), strict=True)
        for text, spans, vectors in pieces:
            self._read[text] = _by_content(read(text[:MOST_READ]), np.array(spans).reshape(-1, 2), vectors)

    def _is_foreign(self, sentence: str) -> bool:
        spoken = detect(sentence)
        return bool(spoken and self._languages and spoken not in self._languages)

    def _check_items(self, sentence: str) -> Supported | None:
        """The sentence in another language than the passages: whether one passage has all its items."""
        wanted = [token for token in tokens(sentence) if token.is_item and token.kind != "unit"]
        names = _names(sentence)
        for row, passage in enumerate(self._passages):
            have = [token for token in tokens(passage) if token.is_item]
            words = {token.text for token in tokens(passage) if token.kind == "word"}
            if all(any(_is_same(one, other) for other in have) for one in wanted) and all(
                any(_is_spelled(name, word) for word in words) for name in names
            ):
                return _supported(self._best(row, wanted), is_exact_only=True)
        return None

    def _best(self, row: int, wanted: Sequence[Token]) -> tuple[Sentence, ...]:
        """The passage's sentence with the most of the items, else all of the passage."""
        inside = [sentence for sentence in self._grounds.sentences if sentence.row == row]
        if not wanted:
            return inside[0], inside[-1]

        def count(sentence: Sentence) -> int:
            return sum(
                any(_is_same(one, other) for other in tokens(sentence.text) if other.is_item)
                for one in wanted
            )

        return (max(inside, key=count),)


def has_substance(sentence: str) -> bool:
    """Whether a sentence says something by itself."""
    return len(set(content_terms(sentence))) >= _SUBSTANCE


def _by_content(
    statement: Statement, spans: NDArray[np.int64], pieces: NDArray[np.float16]
) -> tuple[Vectors, Vectors]:
    """Vectors of a sentence's contents `[contents, width]`, and of the whole `[width]`, each of length 1."""
    vectors = pieces.astype(np.float32)
    words = np.zeros((len(statement.contents), vectors.shape[1]), np.float32)
    for row, content in enumerate(statement.contents):
        inside = (spans[:, 0] < content.end) & (spans[:, 1] > content.start)
        if inside.any():
            words[row] = vectors[inside].mean(0)
    # A sentence of characters that the embedder does not know has no vectors at all.
    return _normal(words), _normal(vectors.sum(0))


def _normal(vectors: Vectors) -> Vectors:
    normal: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return normal


def _supported(
    sentences: Sequence[Sentence], *, is_exact_only: bool = False, score: float = 1.0
) -> Supported:
    first, last = sentences[0], sentences[-1]
    return Supported(first.row, first.start, last.end, is_exact_only, score)


def _likeness(found: Mapping[str, float]) -> float:
    """How much of the claim a stretch covers, whatever it may contradict: the judgement comes after."""
    return (
        1
        - found["missing share"]
        - 0.5 * found["cosine"]
        - 0.06 * min(2.0, found["joined"])
        - 0.3 * found["scattered"]
        - 0.2 * found["left share"]
    )


def _has_items(claim: Statement, ground: Statement) -> bool:
    return all(
        any(other.item and content.item and is_equal(content.item, other.item) for other in ground.items)
        for content in claim.items
    )


def _is_same(one: Token, other: Token) -> bool:
    """Across languages, where units and months may not be known."""
    if is_equal(one, other):
        return True
    if one.kind == "number" and other.kind == "date":
        return other.text.rsplit("-", 1)[-1] == f"{one.count:.0f}"
    return one.kind == other.kind == "number" and one.count == other.count and not (one.unit and other.unit)


def _names(sentence: str) -> list[str]:
    """Names that stay what they are in every language, lower-cased.

    Words with a capital letter inside; and capitalised ones, but for German, which writes all nouns so.
    """
    is_german = detect(sentence) == "de"
    words = [token for token in tokens(sentence) if token.kind == "word"]
    return [
        token.text
        for place, token in enumerate(words)
        if sentence[token.start + 1 : token.end] != token.text[1:]
        or (token.is_capital and place and not is_german and sentence[token.start - 1] in " (")
    ]


def _is_spelled(name: str, word: str) -> bool:
    return name == word or SequenceMatcher(None, name, word).ratio() >= _SAME_NAME
