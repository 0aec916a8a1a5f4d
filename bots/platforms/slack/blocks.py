"""What belongs to a reply in Slack besides its text: sources, buttons for options, buttons to rate it.

All blocks of a message together may be no longer than the text of a long answer: what there is no room for
is left out, the sources' quotations first.
https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from bots.message import Reply
from bots.platforms.slack.text import cut
from engine.filter import mask_placeholders
from engine.language.phrases import say
from engine.types import Citation

OPTION = "frontdesk_option_"
FEEDBACK = "frontdesk_feedback"
Block = dict[str, Any]

# What can be rated.
_ANSWERS = frozenset({"answer", "ask_back", "hand_over"})
# Slack refuses a message whose blocks are longer than about 13,200 characters.
_MOST_CHARACTERS = 13_000
_LONGEST_LABEL, _LONGEST_VALUE, _MOST_BUTTONS = 75, 2_000, 25
_LONGEST_QUOTE, _LONGEST_SOURCES = 150, 2_000


def blocks(text: str, reply: Reply | None, options: Sequence[str], message_id: str) -> list[Block]:
    """A part of a reply: its text, escaped, and what belongs there; the reply's own blocks with its last.

    Nothing but the text when there is nothing else, or no room for it.
    """
    shown: list[Block] = [{"type": "markdown", "text": text}]
    ratable = reply is not None and reply.decision in _ANSWERS
    buttons = [_option_buttons(options)] if options else []
    ratings = [_feedback_buttons(message_id, reply.language)] if reply and ratable else []
    for wanted in (buttons, ratings):
        shown += wanted if _length(shown + wanted) <= _MOST_CHARACTERS else []
    # They are read behind the text: found last, since only they can be shortened.
    for sources in _sources(reply) if reply else ():
        if _length([*shown, sources]) <= _MOST_CHARACTERS:
            return [shown[0], sources, *shown[1:]]
    return shown


def _length(shown: Sequence[Block]) -> int:
    return len(json.dumps(shown, ensure_ascii=False))


def _option_buttons(options: Sequence[str]) -> Block:
    buttons = [
        {
            "type": "button",
            "action_id": f"{OPTION}{number}",
            "text": {"type": "plain_text", "text": cut(option, _LONGEST_LABEL), "emoji": False},
            "value": cut(option, _LONGEST_VALUE),
        }
        for number, option in enumerate(options[:_MOST_BUTTONS], 1)
    ]
    return {"type": "actions", "elements": buttons}


def _feedback_buttons(message_id: str, language: str) -> Block:
    """https://docs.slack.dev/reference/block-kit/block-elements/feedback-buttons-element"""
    rating = {
        "type": "feedback_buttons",
        "action_id": FEEDBACK,
        "positive_button": _rating_button("helpful", f"up:{message_id}", language),
        "negative_button": _rating_button("not_helpful", f"down:{message_id}", language),
    }
    return {"type": "context_actions", "elements": [rating]}


def _rating_button(phrase: str, value: str, language: str) -> Block:
    text = {"type": "plain_text", "text": cut(say(phrase, language), _LONGEST_LABEL)}
    return {"text": text, "value": value}


def _sources(reply: Reply) -> Iterator[Block]:
    """The citations, from a full block to shorter ones."""
    if not reply.citations:
        return
    full = [_source(citation, reply.language, with_quote=True) for citation in reply.citations]
    short = [_source(citation, reply.language, with_quote=False) for citation in reply.citations]
    for lines in (full, *(short[:count] for count in range(len(short), 0, -1))):
        text = _list(lines, reply.language)
        if len(text) <= _LONGEST_SOURCES:
            # `verbatim`: Slack makes no links of its own in it.
            yield {"type": "context", "elements": [{"type": "mrkdwn", "text": text, "verbatim": True}]}


def _list(lines: Sequence[str], language: str) -> str:
    if len(lines) == 1:
        return say("source", language, source=lines[0])
    return "\n".join([say("sources", language), *(f"• {line}" for line in lines)])


def _source(citation: Citation, language: str, *, with_quote: bool) -> str:
    place = _place(citation, language)
    quote = " ".join(mask_placeholders(citation.quote).split())
    return f"{place}\n>{_plain(cut(quote, _LONGEST_QUOTE))}" if with_quote and quote else place


def _place(citation: Citation, language: str) -> str:
    """Where a quotation stands: a page's heading, or a file's lines."""
    document = mask_placeholders(citation.document)
    if citation.first_line:
        count = citation.last_line - citation.first_line + 1
        lines = say("lines", language, count=count, first=citation.first_line, last=citation.last_line)
        return _plain(f"{document}, {lines}")
    if document.startswith("https://"):
        return f"<{_plain(document).replace('|', '%7C')}|{_plain(citation.heading or document)}>"
    return _plain(f"{citation.heading} — {document}" if citation.heading else document)


def _plain(text: str) -> str:
    """Text of a `mrkdwn` object in which nothing begins anything."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, entity)
    return text
