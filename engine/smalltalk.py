"""What needs no knowledge base: greetings, thanks, goodbyes, and asking for a person."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.types import Decision

NOT_FOUND = "I could not find that in our help pages. Shall I pass you on to a colleague?"


@dataclass(frozen=True, slots=True)
class Phrase:
    """A kind of message that is known by its words alone, and its answer."""

    pattern: re.Pattern[str]
    answer: str
    decision: Decision = "answer"


def _whole(words: str) -> re.Pattern[str]:
    """The whole message is one of these, give or take punctuation, emoji, repetition and an address.

    No phrase may be another one twice: a long repetition could then be read in too many ways to try.
    """
    return re.compile(rf"\W*(?:(?:{words})(?:\s+(?:there|all|everyone|again|bot|team))?\W*)+", re.IGNORECASE)


PHRASES = (
    Phrase(
        _whole(
            r"hi+|hello|hey+|hiya|howdy|good (?:morning|afternoon|evening|day)|greetings|hallo|moin|"
            r"guten (?:tag|morgen|abend)|bonjour|salut|hola|buen[oa]s(?: d[ií]as| tardes| noches)?|"
            r"ciao|ol[áa]|hej|"
            r"你好|您好|こんにちは"
        ),
        "Hello! This is {persona}. What can I help you with?",
    ),
    Phrase(
        _whole(
            r"(?:(?:ok(?:ay)?|great|perfect|cool)[\s,!.]*)?(?:(?:many )?thanks|thank you)"
            r"(?: a lot| (?:so|very) much)?|thx|ty|cheers|danke(?: sch[öo]n)?|merci|gracias|tak|grazie"
            r"|谢谢|ありがとう"
        ),
        "You are welcome! Is there anything else?",
    ),
    Phrase(
        _whole(
            r"(?:good)?bye|see you(?: later)?|have a (?:nice|good|great) (?:day|one)|cya|"
            r"tsch[üu]ss|auf wiedersehen|au revoir|adi[óo]s|再见"
        ),
        "Goodbye, and take care!",
    ),
    Phrase(
        re.compile(
            r".*\b(?:(?:talk|speak|chat)(?:ing)? (?:to|with)|"
            r"(?:connect|transfer|pass|put|hand|get) (?:me|us))\b.{0,30}"
            r"\b(?:human|person|people|someone|somebody|agent|representative|colleague|operator|"
            r"member of staff)\b.*"
            r"|.*\b(?:need|want|like) an? (?:real |live )?(?:human|person|agent|operator)(?: please)?\W*"
            r"|(?:human|agent|operator)\W*",
            re.IGNORECASE | re.DOTALL,
        ),
        "Of course. I will pass you on to a colleague.",
        "hand_over",
    ),
)
_LONGEST = 200


def reply_to(message: str, persona: str) -> tuple[str, Decision] | None:
    """The answer to small talk, or None when the message is something else."""
    text = message.strip()
    if len(text) > _LONGEST:
        return None
    for phrase in PHRASES:
        if phrase.pattern.fullmatch(text):
            return phrase.answer.format(persona=persona), phrase.decision
    return None
