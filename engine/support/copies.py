"""Whether a sentence is copied from passages, possibly shortened: what needs no judgement of meaning.

Its words stand in one passage sentence in the same order, from that sentence's beginning on, and nothing is
left out that limits what is said: no number or neighbour of a number, no negation, no condition ("if",
"only", "or", "before", "over", "must", …). Two neighbouring sentences may be joined ("…, and it …").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, pairwise

from engine.search.terms import content_terms, terms
from engine.support.grounds import Sentence

# Places at which a sentence is tried as two joined ones.
_MOST_JOINTS = 32
# Bounded, so that no text makes it slow: RFC 5321 gives an address' local part 64 characters.
_TOKEN = re.compile(
    r"(?P<link>https?://\S+|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"
    r"|(?P<number>\d+(?:[.,:]\d+)*)|(?P<word>[^\W_]+(?:['’][^\W_]+)?)|[€$£¥%]"
)
_JOINT = re.compile(r"[,;–—]?\s+(?:and|but)\s+|[,;–—]\s+")
_PRONOUN = re.compile(r"(?:it|they|this|these|he|she)\s+", re.IGNORECASE)


def _listed(words: str) -> list[str]:
    return words.split()


# Words that may come and go.
_FILLER = frozenset(
    _listed(
        "a an the this these those it its is are was were be been being am have has had having do does did "
        "done will would of in on at for with there here then so as also please very too yes sure certainly "
        "course well hello hi thank thanks"
    )
)
# One spelling for words that say the same.
_SAME = {
    word: same
    for same, words in {
        "not": "no never none neither nor nothing nicht kein keine keinen keinem keiner nie ne pas jamais "
        "nunca mai niet geen nooit ikke aldrig inte não не",
        "without": "ohne sans sin senza zonder uden utan sem",
        "only": "nur seulement solo sólo solamente kun alleen",
        "unless": "except sauf außer salvo",
        "if": "when whenever provided wenn falls si se als hvis",
        "can": "could may might",
        "must": "shall",
        "we": "us our ours",
        "you": "your yours",
        "they": "them their theirs",
        "eur": "€ euro euros",
        "usd": "$ dollar dollars",
        "gbp": "£ pound pounds",
        "%": "percent percents",
    }.items()
    for word in _listed(words)
}
# Words that limit what is said: a sentence has all of its passage sentence's, and no other.
_LIMITS = frozenset(
    _listed(
        "not without only just unless if or can must should free over under above below before after more "
        "less fewer least most until till than between within some sometimes often usually normally "
        "generally almost about that which who whose % eur usd gbp"
    )
)
_SMALL = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = _listed("twenty thirty forty fifty sixty seventy eighty ninety hundred")
_NUMBERS = {word: str(value) for value, word in enumerate(_SMALL)} | {
    word: str(10 * value) for value, word in enumerate(_TENS, 2)
}


def _tokens(text: str) -> list[str]:
    """The words that count, in order, each in one spelling."""
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match[0].lower()
        if match["link"]:
            found.append(token.rstrip(".,;:!?)\"'"))
        elif match["word"]:
            found.extend(_words(token))
        else:
            found.append(_SAME.get(token, token))
    return found


def _words(word: str) -> Iterator[str]:
    if word == "cannot" or word.endswith(("n't", "n’t")):
        verb = {"cannot": "can", "ca": "can"}.get(word.removesuffix("n't").removesuffix("n’t"), word[:-3])
        yield from _words(verb) if verb in _LIMITS or verb in _SAME else ()
        yield "not"
    elif word in _NUMBERS:
        yield _NUMBERS[word]
    elif word not in _FILLER:
        yield _SAME.get(word) or (word if word in _LIMITS else "".join(terms(word)))


@dataclass(frozen=True)
class _Copied:
    """A sentence of a passage: its tokens, and which of them may not be left out."""

    sentence: Sentence
    tokens: list[str] = field(repr=False)

    @cached_property
    def _has(self) -> frozenset[str]:
        return frozenset(self.tokens)

    @cached_property
    def _is_fixed(self) -> list[bool]:
        is_number = [False, *(token[0].isdigit() for token in self.tokens), False]
        return [
            token in _LIMITS or any(is_number[place : place + 3]) for place, token in enumerate(self.tokens)
        ]

    def says(self, claim: Sequence[str], named: Sequence[str] = ()) -> bool:
        """Whether `claim` is this sentence less words that may be left out.

        At the beginning only words that were `named` already may be missing.
        """
        if not claim or not self._has.issuperset(claim):
            return False
        places: dict[str, int] = {}
        for place, token in enumerate(claim):
            places[token] = places.get(token, 0) | 1 << place
        # Bit n is set when the first n tokens of the claim were found so far.
        found = 1
        for token, is_fixed in zip(self.tokens, self._is_fixed, strict=True):
            kept = 0 if is_fixed else found if token in named else found & ~1
            found = (found & places.get(token, 0)) << 1 | kept
            if not found:
                return False
        return bool(found >> len(claim))


class Copies:
    """The sentences of passages, ready to find shortened copies of them."""

    def __init__(self, sentences: Iterable[Sentence]) -> None:
        self._sentences = [
            _Copied(sentence, found) for sentence in sentences if (found := _tokens(sentence.text))
        ]
        self._neighbours = [
            (left, right)
            for left, right in pairwise(self._sentences)
            if left.sentence.row == right.sentence.row
        ]

    def find(self, sentence: str) -> tuple[Sentence, ...]:
        """The one or two sentences that `sentence` copies; empty when there are none."""
        claim = _tokens(sentence)
        if not claim or not content_terms(sentence):
            return ()
        for candidate in self._sentences:
            if candidate.says(claim):
                return (candidate.sentence,)
        for first, second, is_pronoun in _halves(sentence):
            for left, right in self._neighbours:
                if left.says(first) and right.says(second, first if is_pronoun else ()):
                    return left.sentence, right.sentence
        return ()


def _halves(sentence: str) -> Iterator[tuple[list[str], list[str], bool]]:
    """The ways to take a sentence for two joined ones; whether a pronoun opens the second."""
    for joint in islice(_JOINT.finditer(sentence), _MOST_JOINTS):
        pronoun = _PRONOUN.match(sentence, joint.end())
        rest = sentence[pronoun.end() if pronoun else joint.end() :]
        yield _tokens(sentence[: joint.start()]), _tokens(rest), pronoun is not None
