"""Showing one reply on its platform while it grows: posts and edits that add up to one answer.

Each part is posted once under its nonce, its platform id stored at once, and only edited from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bots.adapter import Sender, nonce_of
from bots.errors import PlatformBusy, PlatformRefused
from bots.message import Message, Provisional, Reply
from bots.split import split
from bots.turns import Turns, TurnState
from bots.vault import Vault
from engine.filter import mask_placeholders, restore_placeholders
from engine.language.phrases import say
from engine.log import logger
from engine.types import Citation

# An answer shorter than this is not posted yet while more is coming.
_FIRST_CHARACTERS = 20

log = logger("bots.delivery")


class Delivery:
    """One reply's way to one place."""

    def __init__(
        self, sender: Sender, vault: Vault, turns: Turns, message: Message, state: TurnState
    ) -> None:
        self._sender, self._vault, self._turns = sender, vault, turns
        self._message, self._state = message, state
        self._shown: dict[int, str] = {}
        self._last_edit = float("-inf")
        self._values: dict[str, str] = {}

    async def begin(self) -> None:
        """Read the author's values, which are shown only where nobody else reads along."""
        if self._message.is_private:
            self._values = await self._vault.values(self._message.conversation, self._message.author.id)

    async def show(self, text: str) -> None:
        """Show what there is so far, if the last edit is long enough ago."""
        if len(text) >= _FIRST_CHARACTERS and self._may_edit():
            await self._glimpse(text)

    async def progress(self, provisional: Provisional) -> None:
        """Show how far the reading is, where the answer will stand."""
        if not self._may_edit():
            return
        if await self._sender.progress(self._message, provisional):
            self._last_edit = asyncio.get_running_loop().time()
        else:
            await self._glimpse(provisional.text)

    def _may_edit(self) -> bool:
        return asyncio.get_running_loop().time() - self._last_edit >= self._sender.edit_seconds

    async def _glimpse(self, text: str) -> None:
        visible = self._visible(_without_half_placeholder(text))
        if not visible.strip():  # no platform takes an empty post
            return
        wait = 0.0
        try:
            await self._send(visible)
        except PlatformBusy as error:  # only a glimpse was refused: the answer itself goes on
            wait = error.retry_after
            # The post may have arrived all the same: the next one must look for it.
            self._state.is_retry = True
        self._last_edit = asyncio.get_running_loop().time() + wait

    async def finish(self, reply: Reply) -> None:
        """Show the whole reply."""
        text = self._visible(reply.text)
        if reply.footer:
            text += f"\n\n{reply.footer}"
        if not self._sender.shows_citations:
            text += _sources(reply)
        await self._send(text, surplus=say("see_above", reply.language))
        if reply.options:
            await self._offer((*reply.options, say("none_of_these", reply.language)))
        await self._sender.finish(self._message, text, reply)

    async def _offer(self, options: Sequence[str]) -> None:
        """Buttons below the part that holds the list; the list itself can be answered without them."""
        first = f"1. {self._visible(options[0])}"
        for part, text in self._shown.items():
            if first in text.splitlines():
                try:
                    await self._sender.offer(self._message, self._state.refs[part], text, options)
                except PlatformRefused as error:
                    log.warning("the platform refuses buttons; the list stays", reason=str(error))
                return

    def _visible(self, text: str) -> str:
        if self._message.is_private:
            return restore_placeholders(text, self._values)
        return mask_placeholders(text)

    async def _send(self, text: str, *, surplus: str = "") -> None:
        """Post or edit what is new; with `surplus` the text is whole, and that fills parts left over."""
        parts = split(text, self._sender.limit)
        # A reply made again may be shorter than what an earlier attempt showed; a post cannot be empty.
        left_over = [surplus for part in self._state.refs if surplus and part >= len(parts)]
        for part, content in enumerate([*parts, *left_over]):
            if self._shown.get(part) == content:
                continue
            if (ref := self._state.refs.get(part)) is not None:
                await self._sender.edit(self._message, ref, content)
            else:
                nonce = nonce_of(self._message.id, part)
                ref = await self._sender.post(
                    self._message, content, nonce=nonce, is_retry=self._state.is_retry
                )
                self._state.refs[part] = ref
                await self._turns.store_ref(self._message, part, ref)
                # A retry may have found an earlier attempt's post, which shows an older text.
                if self._state.is_retry:
                    await self._sender.edit(self._message, ref, content)
            self._shown[part] = content


def _without_half_placeholder(text: str) -> str:
    """Hold back what may be the beginning of a placeholder."""
    cut = text.rfind("<")
    return text[:cut] if cut >= 0 and ">" not in text[cut:] and len(text) - cut < 40 else text


def _source(citation: Citation, language: str) -> str:
    """Where a quotation stands: a page's heading, or a file's lines."""
    if not citation.first_line:
        return f"{citation.heading} ({citation.document})"
    count = citation.last_line - citation.first_line + 1
    lines = say("lines", language, count=count, first=citation.first_line, last=citation.last_line)
    return f"{citation.document}, {lines}"


def _sources(reply: Reply) -> str:
    """The citations as lines below a text."""
    lines = [_source(citation, reply.language) for citation in reply.citations]
    if len(lines) < 2:
        return f"\n\n{say('source', reply.language, source=lines[0])}" if lines else ""
    return f"\n\n{say('sources', reply.language)}\n" + "\n".join(f"- {line}" for line in lines)
