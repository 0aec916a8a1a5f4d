"""Which words of a passage say what the words of a claim say, and what is left over on either side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.support.exact_items import is_equal
from engine.support.lexicon import is_family, lexicon
from engine.support.statement import Content, Statement

Vectors = NDArray[np.float32]
SAME, FAMILY, SYNONYM, OPPOSITE, PART = 1.0, 0.95, 0.9, 0.85, 0.8


@dataclass(frozen=True)
class Alignment:
    """For each content of the claim its place in the passage's statement."""

    places: tuple[int, ...]
    """-1 where nothing was found."""
    strengths: tuple[float, ...]
    """0 to 1: 1 for the same word, less for another one."""
    is_turned: tuple[bool, ...]
    """The place holds an opposite."""
    likeness: tuple[float, ...]
    """Of contents that no list explains, the cosine of the most similar word; else 1."""


def align(claim: Statement, ground: Statement, vectors: tuple[Vectors, Vectors] | None = None) -> Alignment:
    """Find the best place for each content of `claim` in `ground`.

    `vectors` hold one vector of length 1 for each content, of the claim and of the ground.
    """
    options = [_options(content, ground) for content in claim.contents]
    places = [_nearest(number, options) for number in range(len(options))]
    # "Opens at 10:00 and closes at 18:00" turns nothing that is open round.
    kept = {place for place, _, is_turned in places if place >= 0 and not is_turned}
    strengths, turned, likeness = list[float](), list[bool](), list[float]()
    found = list[int]()
    cosines = vectors[0] @ vectors[1].T if vectors is not None and ground.contents else None
    for number, (place, strength, is_turned) in enumerate(places):
        like = 1.0
        if place < 0 and claim.contents[number].item is None:
            like = 0.0
            if cosines is not None:
                best = int(np.argmax(cosines[number]))
                like = float(cosines[number, best])
                place = best
        found.append(place)
        strengths.append(strength)
        turned.append(is_turned and place not in kept)
        likeness.append(like)
    return Alignment(tuple(found), tuple(strengths), tuple(turned), tuple(likeness))


_Option = tuple[int, float, bool]


def _options(content: Content, ground: Statement) -> list[_Option]:
    found: list[_Option] = []
    for place, other in enumerate(ground.contents):
        strength, is_turned = _strength(content, other)
        if strength:
            found.append((place, strength, is_turned))
    best = max((strength for _, strength, _ in found), default=0.0)
    return [option for option in found if option[1] >= best - 0.11]


def _strength(one: Content, other: Content) -> tuple[float, bool]:
    if one.item or other.item:
        return (SAME if one.item and other.item and is_equal(one.item, other.item) else 0.0), False
    if one.root == other.root:
        return SAME, False
    words = lexicon()
    if words.is_same(one.root, other.root):
        return SYNONYM, False
    if words.is_opposite(one.root, other.root):
        return OPPOSITE, True
    if is_family(one.root, other.root):
        return FAMILY, False
    first, second = set(one.root.split()) - {"~"}, set(other.root.split()) - {"~"}
    if first < second:
        return PART, False
    return 0.0, False


def _nearest(number: int, options: Sequence[list[_Option]]) -> _Option:
    """Of several places for one word, the one that stands by what its neighbours mean."""
    if not options[number]:
        return -1, 0.0, False
    around = [
        place
        for step in (-2, -1, 1, 2)
        if 0 <= number + step < len(options)
        for place, _, _ in options[number + step]
    ]

    def worth(option: _Option) -> tuple[float, float]:
        gap = min((abs(option[0] - place) for place in around if place != option[0]), default=9)
        return option[1] - 0.02 * min(gap, 9), -option[0]

    return max(options[number], key=worth)


def parts_of(statement: Statement) -> dict[int, list[int]]:
    """The contents of each part."""
    found = defaultdict[int, list[int]](list)
    for place, content in enumerate(statement.contents):
        found[content.part].append(place)
    return found
