"""Texts on their way to and from Slack: what its special characters mean, and how they are escaped.

Answers are sent as Markdown, which Slack takes unconverted; but `<…>` keeps Slack's own meaning in it.
"""

from __future__ import annotations

import re

MOST_CHARACTERS = 11_500
"""Of one text, escaped: Slack refuses Markdown over 12,000 characters a message, and blocks need room too."""

_WRAPPED = re.compile(r"<([@#!]?)([^<>|]+)(?:\|([^<>]*))?>")
# What is escaped, from the usual to the least: whatever can begin something (no sequence without `<`), and
# what begins a mention, a command or a link. `>` alone begins nothing but Markdown's quotations. An entity is
# decoded only to be shown, so escaping its `&` makes nothing safer and may be left away; in all other places
# it would spoil the addresses of links.
_SPECIAL = (
    re.compile(r"<|&(?=(?:amp|lt|gt);)"),
    re.compile(r"<(?=\s*[@#!]|[^>]*[:|])|&(?=(?:amp|lt|gt);)"),
    re.compile(r"<(?=\s*[@#!]|[^>]*[:|])"),
)
_ENTITIES = {"&": "&amp;", "<": "&lt;"}


def mention(user: str) -> re.Pattern[str]:
    """A mention of `user`, with the spaces around it."""
    return re.compile(rf" *<@{re.escape(user)}(?:\|[^<>]*)?> *")


def plain_text(text: str, bot_user: str) -> str:
    """What was typed: the bot's mentions taken out, links and names as they were shown, entities decoded."""
    text = _WRAPPED.sub(_unwrapped, mention(bot_user).sub(" ", text))
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text.strip()


def _unwrapped(match: re.Match[str]) -> str:
    kind, target, label = match.groups()
    match kind:
        case "@" | "#":
            return f"{kind}{label or target}"
        case "!" if target in ("here", "channel", "everyone"):
            return f"@{target}"
        case "!":  # a group's name has its @ already, a date its words
            return label or f"@{target.rpartition('^')[2]}"
    return label or re.sub(r"^(?:mailto|tel):", "", target)


def cut(text: str, length: int) -> str:
    """At most `length` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def escape(text: str, length: int = MOST_CHARACTERS) -> str:
    """Slack's special characters, so that no text of ours becomes a mention, a link or a command.

    Each becomes up to five: code may grow beyond what Slack takes. Then only what does begin something is
    escaped, and what is still too long is cut, since nobody would see any of it otherwise.
    """
    escaped = text
    for special in _SPECIAL:
        escaped = special.sub(lambda found: _ENTITIES[found[0]], text)
        if len(escaped) <= length:
            return escaped
    return re.sub(r"&[a-z]*$", "", escaped[: length - 1]) + "…"
