"""The web chat's page: `web.html`, with its words in the language that the browser asks for.

Knows nothing of sessions and of what is asked.
"""

from __future__ import annotations

import html
import json
import re
import secrets
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fastapi.responses import HTMLResponse

from bots.adapter import MAX_ATTACHMENT_BYTES
from engine.language.phrases import LANGUAGES, say

SAMPLE_QUESTIONS = (
    "How long do I have to return something?",
    "What are your opening hours?",
    "How do I reset my password?",
)
"""What the sample pages answer."""
MAX_TEXT_CHARACTERS = 100_000
_PAGE = Path(__file__).with_name("web.html")
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LIMITS = {"characters": f"{MAX_TEXT_CHARACTERS:,}", "megabytes": MAX_ATTACHMENT_BYTES // 1024**2}
# Phrases of the page besides those that begin with `web_`.
_SHARED_WORDS = (
    "source",
    "helpful",
    "not_helpful",
    "thanks_for_rating",
    "sorry",
    "too_large",
    "no_text_inside",
    "not_fetched",
)
# What the page fills in itself stays a placeholder.
_LATER = {name: f"{{{name}}}" for name in ("name", "source", "first", "last", "reason", "status")}
# One range of an Accept-Language header: RFC 9110, section 12.5.4.
_LANGUAGE_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[\w-]*)?\s*(?:;\s*[qQ]\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def page_response(language: str, suggestions: Sequence[str]) -> HTMLResponse:
    """The page, with a policy that lets no script run but its own."""
    nonce = secrets.token_urlsafe(16)
    response = HTMLResponse(_page(language, tuple(suggestions)).replace("{{NONCE}}", nonce))
    response.headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept-Language"
    return response


@cache
def _page(language: str, suggestions: tuple[str, ...]) -> str:
    """The page in one language: `{{WORD name}}` stands for a phrase, `{{DATA}}` for what its script reads."""
    words = page_words(language)
    data = json.dumps({"words": words, "suggestions": suggestions}, ensure_ascii=False).replace(
        "<", "\\u003c"
    )
    page = _PAGE.read_text(encoding="utf-8").replace("{{LANGUAGE}}", language)
    page = re.sub(r"\{\{WORD (\w+)\}\}", lambda found: html.escape(words[found[1]]), page)
    return page.replace("{{DATA}}", data)


def tell(key: str, language: str) -> str:
    """A phrase of the page's. What the page fills in itself stays a `{placeholder}`."""
    return say(key, language, **_LATER, **_LIMITS)


def page_words(language: str) -> dict[str, str]:
    """Every phrase that the page uses, by key."""
    named = set(re.findall(r"\bweb_\w+", _PAGE.read_text(encoding="utf-8")))
    words = {key: tell(key, language) for key in (*named, *_SHARED_WORDS)}
    one = say("lines", language, count=1, **_LATER)
    return words | {"line": one, "lines": say("lines", language, count=2, **_LATER)}


def language_of(accepted: str) -> str:
    """The language of an Accept-Language header that the phrases exist in and that is wanted most."""
    wanted: dict[str, float] = {}
    for found in map(_LANGUAGE_RANGE.fullmatch, accepted.split(",")):
        if found and (code := found[1].lower()) in LANGUAGES:
            wanted.setdefault(code, float(found[2] or 1))
    best = max(wanted, key=lambda code: wanted[code], default="en")
    return best if wanted.get(best) else "en"
