"""What speaks for and against a claim being said by a passage, as numbers for a linear model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import pairwise

from engine.support.alignment import FAMILY, PART, Alignment, parts_of
from engine.support.lexicon import lexicon, root
from engine.support.statement import Cue, Statement
from engine.support.word_lists import listed

_PAIRED = (
    "not",
    "only",
    "if",
    "unless",
    "until",
    "can",
    "must",
    "should",
    "all",
    "some",
    "mostly",
    "about",
    "or",
)
# A copy, by the share of its words that stand in the ground in their order.
_NEAR_COPY = 0.72
# The weight of one word that is not of the most general.
_ONE_WORD, _TWO_WORDS = 0.9, 1.9
# How far those are from any word of the ground.
_MISSING = 1.2
_HALF = 0.5
# A cosine distance of sentences beyond which they are about different things.
_ELSEWHERE = 0.5
# Cues that a copy has as the ground has them.
_CONDITIONS = ("if", "unless", "until", "only")
_STRICT = ("only", "unless", "must", "some", "mostly")
# A word of a lesser strength is not explained.
_EXPLAINED = PART
_ANCHORS = 2
# Cosines of words in their sentences: of most synonyms, and of most words that have nothing in common.
_LIKE, _STRANGE = 0.75, 0.25
_DENIED = ("un", "in")
_DENYING = frozenset(
    root(word)
    for word in listed(
        "exclude exclusion refuse decline reject unavailable lack miss missing fail impossible "
        "unable prohibit forbid "
        "optional voluntary closed discontinued expire end stop late free lose lost gone without "
        "harmless another "
        "different other separate separately instead nothing unaffected regardless avoid prevent except"
    )
)
# Of each of these lists, words of different groups say different things.
_RELATIONS = [
    {"from", "since"}, {"to", "until", "till"}, {"with"}, {"without"}, {"and", "as"}, {"or"}, {"before"},
    {"after"},
    {"within"}, {"over", "above"}, {"under", "below"}, {"if", "when", "once"}, {"unless", "except"},
]  # fmt: skip
_PERSONS = [{"we", "us", "our", "ours"}, {"you", "your", "yours"}, {"they", "their", "them"}]
# Words that narrow the one behind them.
_NARROWING = frozenset(
    root(word)
    for word in listed(
        "first last final whole entire original same new old single reduced remaining unused "
        "unopened own full "
        "faulty valid normal usual electric open opened"
    )
)


def features(
    claim: Statement, ground: Statement, aligned: Alignment, cosine: float, context: frozenset[str]
) -> dict[str, float]:
    """Features by name; what is absent is 0. `context` are roots of the rest of the passage."""
    found = {"bias": 1.0, "cosine": 1.0 - cosine}
    found |= _unexplained(claim, ground, aligned, context)
    found |= _cues(claim, ground, aligned)
    found |= _limits(claim, ground, aligned)
    found |= _numbers(claim, ground, aligned)
    found |= _actors(claim, ground, aligned)
    found |= _rewritten(claim, ground)
    found["joined"] = len(ground.sentences) - 1.0
    return found


def is_contradicted(found: Mapping[str, float]) -> bool:
    """Whether the claim is refused whatever its score: it says what the ground says, with a change.

    A negation, an opposite, another thing of the same kind, a condition of its own; or, in what is nearly a
    copy, any word, cue or condition that differs: who copies a sentence and changes a word means the change.
    """
    denied = found["not added"] + found["not dropped"] - found["denied otherwise"] >= 1
    return (
        (denied and found["strangers"] < 1)
        or found["turned"] > _HALF
        or found["rivals"] >= 1
        or found["foreign number"] > _HALF
        or (found["all added"] >= 1 and found["some dropped"] + found["only dropped"] >= 1)
        or found["cosine"] > _ELSEWHERE
        or (found["strangers"] >= _TWO_WORDS and found["missing"] > _MISSING)
        or (found["limit added"] >= _ONE_WORD and any(found[f"{kind} added"] >= 1 for kind in _CONDITIONS))
        or (found["overlap"] >= _NEAR_COPY and (denied or _is_changed(found)))
    )


def _is_changed(found: Mapping[str, float]) -> bool:
    """Whether a copy differs in something that matters."""
    return (
        found["strangers"] >= _ONE_WORD
        or found["limit dropped"] > _HALF
        or found["relation changed"] > _HALF
        or found["person changed"] > _HALF
        or found["number dropped"] > _HALF
        or any(found[f"{kind} {way}"] >= 1 for kind in _STRICT for way in ("added", "dropped"))
    )


def _unexplained(
    claim: Statement, ground: Statement, aligned: Alignment, context: frozenset[str]
) -> dict[str, float]:
    total = sum(content.weight for content in claim.contents) or 1.0
    missing, rivals, worst, named, near, strangers = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    weak = 0.0
    taken = set(aligned.places)
    for number, content in enumerate(claim.contents):
        strength = aligned.strengths[number]
        if aligned.is_turned[number]:
            continue
        if strength >= _EXPLAINED:
            weak += content.weight * (1 - strength)
            continue
        if content.root in context:
            near += content.weight
        gap = content.weight * _gap(aligned.likeness[number])
        if content.is_name:
            named += 1
        missing += gap
        strangers += content.weight
        worst = max(worst, gap)
        rivals += any(
            lexicon().is_rival(content.root, other.root)
            and (place not in taken or aligned.places[number] == place)
            for place, other in enumerate(ground.contents)
        )
    copied = _copied(claim, ground, aligned)
    covered = _covered(aligned)
    left = sum(c.weight for place, c in enumerate(ground.contents) if place not in covered)
    whole = sum(c.weight for c in ground.contents) or 1.0
    return {
        "missing": missing,
        "missing share": missing / total,
        "strangers": strangers,
        "worst": worst,
        "rivals": min(rivals, 2.0),
        "missing name": named,
        "missing in a copy": copied * missing,
        "substituted": _substituted(claim, ground, aligned),
        "in context": near,
        "weak": weak,
        "copied": copied,
        "left share": left / whole,
        "scattered": _scattered(claim, ground, aligned),
        "displaced": _displaced(claim, ground, aligned),
    }


def _gap(likeness: float) -> float:
    """From 0 for a word that is as like as a synonym, to 1 for a stranger."""
    return min(1.0, max(0.0, (_LIKE - likeness) / (_LIKE - _STRANGE)))


def _copied(claim: Statement, ground: Statement, aligned: Alignment) -> float:
    """The share of the claim's neighbours that are neighbours in the ground too."""
    places = aligned.places
    pairs = list(pairwise(places))
    return sum(one >= 0 and 1 <= other - one <= 2 for one, other in pairs) / len(pairs) if pairs else 0.0


def _substituted(claim: Statement, ground: Statement, aligned: Alignment) -> float:
    """Places of the ground, between the same neighbours as in the claim, that hold another word."""
    covered, places, count = _covered(aligned), aligned.places, 0.0
    sure = [strength >= _EXPLAINED for strength in aligned.strengths]
    for number, place in enumerate(places):
        before = places[number - 1] + 1 if number and sure[number - 1] else None
        after = places[number + 1] - 1 if number + 1 < len(places) and sure[number + 1] else None
        expected = [at for at in (before, after) if at is not None and 0 <= at < len(ground.contents)]
        if expected and len(set(expected)) == 1 and place != expected[0] and expected[0] not in covered:
            count += len(expected) / 2
    return min(count, 2.0)


def _scattered(claim: Statement, ground: Statement, aligned: Alignment) -> float:
    """Parts of the claim of whose words no single sentence of the ground has all that the ground has."""
    worst = 0.0
    for places in parts_of(claim).values():
        known = [aligned.places[place] for place in places if aligned.strengths[place] >= _EXPLAINED]
        if len(known) > 1:
            sentences = [ground.sentence_of(place) for place in known]
            worst = max(worst, 1 - max(map(sentences.count, set(sentences))) / len(known))
    return worst


def _rewritten(claim: Statement, ground: Statement) -> dict[str, float]:
    """Small words exchanged in what is else a copy: "from" and "to", "we" and "you", "and" and "or"."""
    found = dict.fromkeys(("overlap", "relation changed", "person changed", "words exchanged"), 0.0)
    matcher = SequenceMatcher(None, claim.words, ground.words, autojunk=False)
    for operation, first, last, start, end in matcher.get_opcodes():
        if operation == "equal":
            found["overlap"] += (last - first) / len(claim.words)
        if operation != "replace" or last - first > 3 or end - start > 3:
            continue
        said, known = set(claim.words[first:last]), set(ground.words[start:end])
        found["words exchanged"] += 1
        for name, groups in (("relation changed", _RELATIONS), ("person changed", _PERSONS)):
            sides = [
                {number for number, group in enumerate(groups) if group & side} for side in (said, known)
            ]
            found[name] += bool(sides[0]) and bool(sides[1]) and sides[0].isdisjoint(sides[1])
    return {name: min(count, 2.0) for name, count in found.items()}


def _displaced(claim: Statement, ground: Statement, aligned: Alignment) -> float:
    """Words found elsewhere, where a rival stands beside what the claim's neighbours mean."""
    covered, count = _covered(aligned), 0
    for number, content in enumerate(claim.contents):
        place = aligned.places[number]
        if aligned.strengths[number] < _EXPLAINED:
            continue
        beside = [
            aligned.places[other]
            for other in _companions(claim, number)
            if aligned.strengths[other] >= _EXPLAINED and abs(other - number) <= 3
        ]
        homes = {ground.contents[other].part for other in beside}
        count += ground.contents[place].part not in homes and any(
            other not in covered and found.part in homes and lexicon().is_rival(content.root, found.root)
            for other, found in enumerate(ground.contents)
        )
    return min(float(count), 2.0)


def _anchors(statement: Statement, cue: Cue) -> list[int]:
    """The contents that a cue stands by."""
    ahead = list(range(cue.before, min(cue.before + _ANCHORS, len(statement.contents))))
    behind = [cue.before - 1] if cue.before else []
    return ahead + behind


def _cues(claim: Statement, ground: Statement, aligned: Alignment) -> dict[str, float]:
    covered = _covered(aligned)
    found: dict[str, float] = {}
    for kind in _PAIRED:
        said = [cue for cue in claim.cues if cue.kind == kind]
        known = [cue for cue in ground.cues if cue.kind == kind]
        apart, rest = _unmatched(claim, ground, aligned, said, known)
        moved = min(len(apart), len(rest))
        told = sum(_told(ground, cue, covered) for cue in rest)
        found |= {
            f"{kind} added": float(len(apart) - moved),
            f"{kind} dropped": max(0.0, told - moved),
            f"{kind} moved": float(moved),
        }
    turned = float(sum(aligned.is_turned))
    denied = _denied(claim, ground, aligned)
    differing = found["not added"] + found["not dropped"]
    found["denied otherwise"] = min(differing, turned + denied)
    found["turned"] = max(0.0, turned - differing)
    return {name: min(value, 2.0) for name, value in found.items()}


def _told(ground: Statement, cue: Cue, covered: set[int]) -> float:
    """How far the claim speaks of what a cue of the ground stands by."""
    if cue.before in covered or (cue.kind != "not" and cue.before - 1 in covered):
        return 1.0
    return 0.5 if cue.before + 1 in covered else 0.0


def _unmatched(
    claim: Statement, ground: Statement, aligned: Alignment, said: list[Cue], known: list[Cue]
) -> tuple[list[Cue], list[Cue]]:
    """Cues of one kind that stand by other words, or have no twin: the claim's, and the ground's."""
    apart, rest = list[Cue](), list(known)
    for cue in said:
        places = {aligned.places[place] for place in _anchors(claim, cue)} - {-1}
        twin = next(
            (other for other in rest if places & set(_anchors(ground, other)) or _is_last(ground, other)),
            None,
        )
        if twin is None:
            apart.append(cue)
        else:
            rest.remove(twin)
    return apart, rest


def _is_last(statement: Statement, cue: Cue) -> bool:
    """Whether a cue stands by nothing but a pronoun: "not without them"."""
    return cue.before == len(statement.contents)


def _denied(claim: Statement, ground: Statement, aligned: Alignment) -> float:
    """Words that deny without "not", on one side only."""
    covered = _covered(aligned)
    alone = [
        c.root for c, strength in zip(claim.contents, aligned.strengths, strict=True) if strength < _EXPLAINED
    ]
    alone += [c.root for place, c in enumerate(ground.contents) if place not in covered]
    return float(
        sum(stem in _DENYING or (stem.startswith(_DENIED) and stem[2:] in lexicon().known) for stem in alone)
    )


def _covered(aligned: Alignment) -> set[int]:
    return {
        place
        for place, strength in zip(aligned.places, aligned.strengths, strict=True)
        if strength >= _EXPLAINED
    }


def _limits(claim: Statement, ground: Statement, aligned: Alignment) -> dict[str, float]:
    """Conditions of the ground that the claim leaves out, and of the claim that the ground has not."""
    covered = _covered(aligned)
    dropped = 0.0
    for first, last in ground.limits:
        inside = sum(place in covered for place in range(first, last)) / (last - first)
        if any(place in covered for place in _limited(ground, first, last)):
            dropped = max(dropped, 1 - inside)
    added = 0.0
    for first, last in claim.limits:
        unknown = sum(
            claim.contents[place].weight
            for place in range(first, last)
            if aligned.strengths[place] < _EXPLAINED
        )
        added = max(added, unknown)
    return {
        "limit dropped": dropped,
        "limit added": added,
        "number dropped": _numbers_dropped(ground, covered),
        "narrowing dropped": _narrowing_dropped(ground, covered),
    }


def _limited(ground: Statement, first: int, last: int) -> list[int]:
    """The contents that a condition is about: its own clause, else the one beside it."""
    part, sentence = ground.contents[first].part, ground.sentence_of(first)
    outside = [
        place
        for place, content in enumerate(ground.contents)
        if ground.sentence_of(place) == sentence and not first <= place < last
    ]
    own = [place for place in outside if ground.contents[place].part == part]
    before = [place for place in outside if place < first]
    beside = before[-1:] if before else outside[:1]
    return own or [
        place
        for place in outside
        if beside and ground.contents[place].part == ground.contents[beside[0]].part
    ]


def _numbers_dropped(ground: Statement, covered: set[int]) -> float:
    """Numbers that bound what the claim says and are left out of it."""
    dropped = 0.0
    parts = parts_of(ground)
    for place, content in enumerate(ground.contents):
        if content.item is not None and place not in covered and content.item.bound:
            beside = [other for other in parts[content.part] if ground.contents[other].item is None]
            dropped += bool(beside) and sum(other in covered for other in beside) >= len(beside) / 2
    return min(dropped, 2.0)


def _narrowing_dropped(ground: Statement, covered: set[int]) -> float:
    return min(
        2.0,
        sum(
            content.root in _NARROWING and place not in covered and place + 1 in covered
            for place, content in enumerate(ground.contents)
        )
        + 0.0,
    )


def _numbers(claim: Statement, ground: Statement, aligned: Alignment) -> dict[str, float]:
    """Numbers that bound other things, or bound them the other way round."""
    parts = parts_of(ground)
    conflict, turned, bound, unbound, half = 0.0, 0.0, 0.0, 0.0, 0.0
    for number, content in enumerate(claim.contents):
        if content.item is None or aligned.places[number] < 0:
            continue
        place = aligned.places[number]
        twin = ground.contents[place].item
        assert twin is not None
        conflict += _foreign(claim, ground, aligned, number, parts)
        sides = (content.item.bound, twin.bound)
        turned += set(sides) == {"least", "most"}
        bound += bool(sides[0]) and not sides[1] and not twin.is_range
        unbound += bool(sides[1]) and not sides[0] and not content.item.is_range
        half += twin.is_range and not content.item.is_range and content.item.bound == ""
    return {
        "foreign number": min(conflict, 2.0),
        "bound turned": turned,
        "bound added": bound,
        "bound dropped": unbound,
        "half a range": half,
    }


def _foreign(
    claim: Statement, ground: Statement, aligned: Alignment, number: int, parts: dict[int, list[int]]
) -> float:
    """The share of a number's companions that stand by another number of its kind in the ground."""
    item, place = claim.contents[number].item, aligned.places[number]
    assert item is not None
    home = ground.contents[place].part
    companions = [
        aligned.places[other]
        for other in _companions(claim, number)
        if aligned.strengths[other] >= _EXPLAINED and claim.contents[other].item is None
    ]
    if not companions:
        return 0.0
    strangers = 0
    own = {aligned.places[other] for other in _companions(claim, number) if claim.contents[other].item}
    for companion in companions:
        part = ground.contents[companion].part
        rivals = [
            other
            for other in parts[part]
            if (twin := ground.contents[other].item) is not None
            and twin.kind == item.kind
            and twin.unit == item.unit
        ]
        strangers += part != home and bool(set(rivals) - own) and place not in rivals
    return strangers / len(companions)


def _companions(claim: Statement, number: int) -> Iterator[int]:
    part = claim.contents[number].part
    for place, content in enumerate(claim.contents):
        if place != number and abs(content.part - part) == 0:
            yield place


def _actors(claim: Statement, ground: Statement, aligned: Alignment) -> dict[str, float]:
    """Verbs that somebody else does."""
    swapped, known = 0.0, 0.0
    acting = {before: actor for actor, before in ground.actors}
    for actor, before in claim.actors:
        if before < len(aligned.places) and aligned.strengths[before] >= FAMILY:
            other = acting.get(aligned.places[before])
            if other is None:
                continue
            known += other == actor
            swapped += {other, actor} == {"we", "you"}
    return {"actor swapped": min(swapped, 2.0), "actor same": min(known, 2.0)}
