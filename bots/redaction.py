"""Sensitive values out of what a customer wrote, placeholders in; the values go into the vault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bots.message import ConversationKey
from bots.vault import Vault
from engine.filter import Finding, escape_placeholders, find, mask, normalise

# Values of one message that get a placeholder, and how many the vault is asked for at a time. A log may hold
# a hundred thousand addresses: those beyond are masked for good.
_MOST_VALUES, _AT_ONCE = 5000, 500

_Value = tuple[str, str]
"""A value's entity and its one spelling."""


class Redaction:
    """Redacts texts of one author in one conversation."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def __call__(
        self, conversation: ConversationKey, author_id: str, texts: Sequence[str]
    ) -> list[str]:
        """The texts without sensitive values; a value has one placeholder in all of them.

        Typed placeholders lose their power. Lines keep their numbers. In a thread: 10 MB take seconds.
        """
        cleaned = [escape_placeholders(_encodable(text)) for text in texts]
        found = await asyncio.to_thread(lambda: [_found(text) for text in cleaned])
        distinct: dict[_Value, tuple[Finding, str]] = {}
        for findings in found:
            for value, finding, spelling in findings:
                distinct.setdefault(value, (finding, spelling))
        kept = list(distinct)[:_MOST_VALUES]
        known: dict[_Value, str] = {}
        for start in range(0, len(kept), _AT_ONCE):
            some = kept[start : start + _AT_ONCE]
            values = [distinct[value] for value in some]
            given = await self._vault.placeholders(conversation, author_id, values)
            known |= zip(some, given, strict=True)
        return [_replaced(text, findings, known) for text, findings in zip(cleaned, found, strict=True)]


def _found(text: str) -> list[tuple[_Value, Finding, str]]:
    found = []
    for finding in find(text):
        spelling = text[finding.start : finding.end]
        found.append(((finding.entity, normalise(finding.entity, spelling)), finding, spelling))
    return found


def _replaced(text: str, findings: Sequence[tuple[_Value, Finding, str]], known: dict[_Value, str]) -> str:
    pieces, position = [], 0
    for value, finding, spelling in findings:
        shown = known.get(value) or mask(finding.entity)
        pieces += [text[position : finding.start], shown, "\n" * spelling.count("\n")]
        position = finding.end
    return "".join([*pieces, text[position:]])


def _encodable(text: str) -> str:
    """`text` without lone surrogates, which odd terminals and clients produce and nothing can store."""
    return text.encode("utf-8", "replace").decode()
