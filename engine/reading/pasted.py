"""What a message says about a long text: a question and the text itself, or a wish for a summary."""

from __future__ import annotations

import re

# From here on a message may hold a text; one of fewer paragraphs must be longer.
_LEAST_CHARACTERS, _LONG_CHARACTERS = 800, 2000
_LEAST_PARAGRAPHS = 4
# A question beside a text is one paragraph of at most this many characters.
_MOST_QUESTION = 300
_MOST_WISH = 120
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n\s*")
_QUESTION = re.compile(
    r".*[?？][\"'”’)\s]*$"  # and in the languages of the bot's phrases, what begins like one
    r"|(?:please |can you |could you )?(?:what|when|where|why|who|how|which|is|are|does|do|did|can|tell|"
    r"explain|find|list|check|look|summari[sz]e|was|wann|wo|warum|wer|wie|welche\w*|fasse?|"
    r"quand|où|pourquoi|qui|comment|quel\w*|résume\w*|qué|cuándo|dónde|quién|cómo|cuál\w*|resume\w*)\b.*[:.]?$"
    r"|.*(?:总结|總結|概括|摘要|要約|まとめて)\S{0,12}$",
    re.IGNORECASE | re.DOTALL,
)
_SUMMARY = re.compile(
    r"summar|tl;?\s?dr\b|sum (?:it|this|that) up|zusammenfass|fasse? .{0,40}zusammen|résum|resum|riassum|"
    r"samenvat|总结|總結|概括|摘要|要約|まとめ",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\W*(?:(?:here(?: it is| you go|'s)?|this|it|that|see|look(?: at)?|read|please|the|my|a|is|attached|"
    r"attachment|file|document|text|log|logs|contract|manual|pdf|hier|bitte|die|der|das|datei|siehe|anhang|anbei|"
    r"voici|le|la|fichier|aquí|el|archivo|adjunto|这是|文件|请看|見て|これ|ファイル|です)\W*)*",
    re.IGNORECASE,
)


def wants_summary(message: str) -> bool:
    """Whether a message beside a text asks only what it says: an empty one, "here", "summarise this"."""
    text = message.strip()
    if len(text) > _MOST_WISH:
        return False
    return bool(_POINTING.fullmatch(text) or _SUMMARY.search(text))


def split_pasted(message: str) -> tuple[str, str] | None:
    """The question and the text that were pasted into one message; None for an ordinary message.

    Conservative: the text must be long, 2,000 characters or 800 in four paragraphs, and the question a
    short paragraph or line before or behind it. A long letter that ends in a question looks the same:
    whether the question concerns the text or the help pages is for the caller to find out.
    """
    whole = message.strip()
    parts = _PARAGRAPHS.split(whole)
    is_long = len(whole) >= _LONG_CHARACTERS or (
        len(whole) >= _LEAST_CHARACTERS and len(parts) >= _LEAST_PARAGRAPHS
    )
    if not is_long:
        return None
    first = (parts[0] if len(parts) > 1 else whole.partition("\n")[0]).strip()
    last = (parts[-1] if len(parts) > 1 else whole.rpartition("\n")[2]).strip()
    if _asks(first):
        return first, whole[len(first) :].strip("\r\n")
    if _asks(last):
        return last, whole[: -len(last)].strip("\r\n")
    return None


def _asks(part: str) -> bool:
    return 0 < len(part) <= _MOST_QUESTION and _QUESTION.fullmatch(part) is not None
