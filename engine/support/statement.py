"""A sentence as the support check reads it: its content, its exact items, and the words that limit it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from engine.support.exact_items import Token, tokens
from engine.support.lexicon import lexicon, root
from engine.support.word_lists import listed


@dataclass(frozen=True, slots=True)
class Content:
    """A word or phrase that carries meaning, or an item."""

    root: str
    start: int
    end: int
    part: int
    """The clause or list member it stands in, counted from 0."""
    weight: float = 1.0
    item: Token | None = None
    is_name: bool = False


@dataclass(frozen=True, slots=True)
class Cue:
    """A word that limits or turns what is said: "not", "only", "if", "must", …"""

    kind: str
    before: int
    """How many of the statement's contents stand before it."""
    part: int
    token: int


_CUES = {
    tuple(phrase.split()): kind
    for kind, lists in {
        "not": (
            "not, no, never, none, neither, nor, nobody, nothing, nowhere, without, cannot, no "
            "longer, no one, "
            "unable, impossible, rather than, instead of, no other, not any more, nicht, kein, "
            "keine, keinen, ohne, "
            "nie, ne, pas, jamais, sans, nunca, sin, mai, senza, niet, geen"
        ),
        "only": "only, solely, exclusively, merely, nothing but, only if, only when",
        "if": (
            "if, when, whenever, in case, as long as, so long as, provided, provided that, on "
            "condition, once, "
            "as soon as, in the event, should you, while, where"
        ),
        "unless": (
            "unless, except, excluding, except for, other than, apart from, aside from, with the exception"
        ),
        "until": "until, till",
        "can": (
            "can, may, could, might, able to, able, possible, allowed to, allowed, permitted, the "
            "right to, free to"
        ),
        "must": (
            "must, have to, has to, had to, need, needs, needed, require, requires, required, "
            "necessary, mandatory, "
            "obligatory, compulsory, shall, ought"
        ),
        "should": "should, please, recommend, recommended, advise, make sure, be sure, best",
        "all": (
            "all, every, each, any, always, both, everything, everyone, anyone, anything, anytime, "
            "whole, entire"
        ),
        "some": "some, certain, sometimes, occasionally, partly",
        "mostly": (
            "usually, normally, generally, often, typically, mostly, most, nearly, almost, in most "
            "cases, rarely, "
            "seldom"
        ),
        "about": "about, around, roughly, approximately",
        "or": "or, either",
        # Said of numbers, where they are read: no denials.
        "bound": (
            "no later than, not later than, no more than, not more than, no less than, not less than, "
            "no fewer than, not only, at the latest, if so, whether or not"
        ),
    }.items()
    for phrase in lists.split(", ")
}
_LONGEST = max(map(len, _CUES))
_SHOP = frozenset(listed("we us our ours ourselves"))
_CUSTOMER = frozenset(listed("you your yours yourself yourselves i me my mine"))
_OTHERS = frozenset(listed("they them their theirs he she him her his hers it its"))
_FUNCTION = (
    _SHOP
    | _CUSTOMER
    | _OTHERS
    | frozenset(
        listed(
            "a an the this these that those is are was were be been being am has had having do does "
            "did done will "
            "would of in on at for with to from by as into onto than then there here and but so also "
            "just very too "
            "yes sure certainly course well hello hi thank thanks who whom whose which what how why "
            "because since "
            "though although however therefore thus it's that's there's you're we're they're i'm "
            "itself itself "
            "themselves own such even still already yet again simply otherwise means via per within "
            "over under "
            "more many up whether upon about between during through out up down off one ones have let"
        )
    )
)
# Verbs and nouns that say little by themselves.
_WEAK = frozenset(
    root(word)
    for word in listed(
        "make get take give go come keep use want wish like would thing way case time happen become seem "
        "put be follow other more much many long good new as-is own kind part possible available receive "
        "want need able different provide help place item product work find look appear belong "
        "matter whether call fine using apply order case simply plus up later currently able part "
        "something anything say tell"
    )
)
_WEAK_WEIGHT = 0.3
# What frames an answer and says nothing of it.
_OPENING = re.compile(
    r"(?:(?:yes|no(?=[,:!.])|sure|certainly|of course|absolutely|please note(?: that)?|note that|"
    r"hello|hi|thank you|thanks|"
    r"great question|good question|in short|unfortunately|sorry)[,:!.]?\s+){1,3}",
    re.IGNORECASE,
)
_BORDERS = frozenset([",", ";", ":", "(", ")", "—", "–", ".", "!", "?", "，", "；", "：", "。", "！", "？"])
_JOINTS = frozenset(listed("and or but because so while although whereas which"))
_PHRASE_GAP = 4
_CUSTOMERS = frozenset(listed("customer customers shoppers clients"))
_OF_CUSTOMERS = frozenset(listed("service services support care number data account accounts"))
_TEAM = frozenset(listed("team staff"))
_SUBJECTS = {"we": "we", "you": "you", "i": "you", "they": "they", "he": "they", "she": "they"}


@dataclass(frozen=True)
class Statement:
    """Contents and cues of one sentence, or of neighbours that were joined."""

    contents: tuple[Content, ...]
    cues: tuple[Cue, ...]
    actors: tuple[tuple[str, int], ...]
    """Who acts ("we", "you", "they") and how many contents stand before the word."""
    limits: tuple[tuple[int, int], ...]
    """First and last content (exclusive) of each condition."""
    words: tuple[str, ...]
    """Every word, contractions written out."""
    sentences: tuple[int, ...] = (0,)
    """First content of each sentence."""

    @cached_property
    def names(self) -> tuple[Content, ...]:
        return tuple(content for content in self.contents if content.is_name)

    @cached_property
    def items(self) -> tuple[Content, ...]:
        return tuple(content for content in self.contents if content.item)

    @cached_property
    def roots(self) -> frozenset[str]:
        return frozenset(content.root for content in self.contents)

    def sentence_of(self, content: int) -> int:
        """Which of the joined sentences a content belongs to."""
        return sum(first <= content for first in self.sentences) - 1


def read(text: str) -> Statement:
    """Read one sentence."""
    opening = _OPENING.match(text)
    found = _expanded(tokens(text, opening.end() if opening else 0))
    words = tuple(token.text for token in found if token.kind == "word" or token.is_item)
    contents, cues = list[Content](), list[Cue]()
    actors = list[tuple[str, int]]()
    part, place, is_first = 0, 0, True
    limits = list[tuple[int, int]]()
    open_limit: int | None = None
    while place < len(found):
        token = found[place]
        if token.text in _BORDERS or token.text in _JOINTS:
            part += 1
            if token.text in _BORDERS and open_limit is not None:
                limits.append((open_limit, len(contents)))
                open_limit = None
        cue, length = _cue(found, place)
        phrase, used = _phrase(found, place) if not token.is_item else ("", ())
        if phrase and len(used) > length:
            contents.append(Content(phrase, token.start, found[used[-1]].end, part))
            found = [other for number, other in enumerate(found) if number not in used[1:]]
            length = 1
        elif cue:
            cues.append(Cue(cue, len(contents), part, place))
            if cue in {"if", "unless", "only", "until"} and open_limit is None:
                open_limit = len(contents)
        else:
            length = 1
            if (actor := _actor(found, place)) and not _is_object(found, place):
                actors.append((actor, len(contents)))
            if not actor:
                contents.extend(_content(token, part, is_first))
        is_first = is_first and not (token.is_item or token.kind == "word")
        place += length
    if open_limit is not None:
        limits.append((open_limit, len(contents)))
    kept = tuple(limit for limit in limits if limit[1] > limit[0])
    return Statement(tuple(contents), tuple(cues), tuple(actors), kept, words)


def _actor(found: Sequence[Token], place: int) -> str:
    """Who a word stands for, when it is a pronoun or does a pronoun's work: "customers may …"."""
    text = found[place].text
    following = found[place + 1].text if place + 1 < len(found) else ""
    if (
        text in _CUSTOMERS
        and following not in _OF_CUSTOMERS
        and (not place or found[place - 1].text != "business")
    ):
        return "you"
    if text in _TEAM and place and found[place - 1].text == "our":
        return "we"
    return _SUBJECTS.get(text, "")


def _is_object(found: Sequence[Token], place: int) -> bool:
    """Whether a pronoun follows a verb: "we send you"."""
    before = found[place - 1] if place else None
    return (
        before is not None
        and before.kind == "word"
        and before.text not in _FUNCTION
        and not _cue(found, place - 1)[0]
    )


def joined(statements: Sequence[Statement]) -> Statement:
    """Neighbouring sentences as one statement. Places of later ones are moved behind the earlier ones'."""
    contents, cues, actors = list[Content](), list[Cue](), list[tuple[str, int]]()
    limits, sentences = list[tuple[int, int]](), list[int]()
    for statement in statements:
        at, part = len(contents), contents[-1].part + 1 if contents else 0
        sentences.append(at)
        contents += [
            Content(c.root, c.start, c.end, c.part + part, c.weight, c.item, c.is_name)
            for c in statement.contents
        ]
        cues += [Cue(cue.kind, cue.before + at, cue.part + part, cue.token) for cue in statement.cues]
        actors += [(actor, before + at) for actor, before in statement.actors]
        limits += [(first + at, last + at) for first, last in statement.limits]
    words = tuple(word for statement in statements for word in statement.words)
    return Statement(tuple(contents), tuple(cues), tuple(actors), tuple(limits), words, tuple(sentences))


def _expanded(found: Sequence[Token]) -> list[Token]:
    """Contractions written out: "don't" is "do not"."""
    made: list[Token] = []
    for token in found:
        text = token.text.replace("’", "'")
        if token.kind != "word" or "'" not in text:
            made.append(token)
            continue
        verb, _, end = text.partition("'")
        if end == "t":
            verb = {"can": "can", "won": "will"}.get(verb, verb.removesuffix("n"))
            made += [_word(token, verb), _word(token, "not")]
        elif end in {"ll", "ve", "re", "m", "d", "s"}:
            made.append(_word(token, verb))
        else:
            made.append(token)
    return [part for token in made for part in _split_cannot(token)]


def _split_cannot(token: Token) -> Iterator[Token]:
    if token.text == "cannot":
        yield _word(token, "can")
        yield _word(token, "not")
    else:
        yield token


def _word(token: Token, text: str) -> Token:
    return Token(text, "word", token.start, token.end, token.is_capital)


def _cue(found: Sequence[Token], place: int) -> tuple[str, int]:
    for length in range(_LONGEST, 0, -1):
        words = tuple(token.text for token in found[place : place + length])
        if kind := _CUES.get(words):
            return ("", 1) if kind == "about" and not _before_number(found, place + 1) else (kind, len(words))
    return "", 1


def _before_number(found: Sequence[Token], place: int) -> bool:
    return place < len(found) and found[place].is_item


def _phrase(found: Sequence[Token], place: int) -> tuple[str, tuple[int, ...]]:
    """The longest known phrase that begins here, and the places of its words."""
    for words in lexicon().phrases.get(root(found[place].text), ()):
        used = [place]
        is_gapped = False
        for word in words[1:]:
            if word == "~":
                is_gapped = True
                continue
            reach = _PHRASE_GAP + 1 if is_gapped else 1
            following = _places(found, used[-1] + 1, reach)
            at = next((n for n in following if root(found[n].text) == word), None)
            if at is None:
                break
            used.append(at)
        else:
            return " ".join(words), tuple(used)
    return "", ()


def _places(found: Sequence[Token], first: int, reach: int) -> Iterator[int]:
    """The next `reach` words of the same clause; a hyphen is passed over."""
    for place in range(first, min(first + reach + 1, len(found))):
        if found[place].text in _BORDERS:
            return
        if found[place].text != "-" and reach > 0:
            reach -= 1
            yield place


def _content(token: Token, part: int, is_first: bool) -> Iterator[Content]:
    if token.is_item:
        yield Content(token.text, token.start, token.end, part, item=token)
    elif token.kind == "word" and token.text not in _FUNCTION and len(token.text) > 1:
        stem = root(token.text)
        yield Content(
            stem,
            token.start,
            token.end,
            part,
            _WEAK_WEIGHT if stem in _WEAK else 1.0,
            is_name=token.is_capital and not is_first,
        )
