"""Showing one reply on its platform while it grows: posts and edits that add up to one answer.

Each part is posted once under its nonce, its platform id stored at once, and only edited from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bots.adapter import Sender, confirm_by, nonce_of
from bots.errors import PlatformBusy, PlatformRefused
from bots.known_links import KnownLinks
from bots.links import Links, clean, held_back
from bots.message import Message, Part, Provisional, Reply
from bots.split import split
from bots.turns import TurnRecord, TurnState
from bots.vault import Vault
from engine.filter import mask_placeholders, restore_placeholders
from engine.language.phrases import say
from engine.log import logger
from engine.types import Citation, TextFile

# An answer shorter than this is not posted yet while more is coming.
_FIRST_CHARACTERS = 20
# An answer that is there within so many seconds is posted once, and not edited.
_QUICK = 0.15
# Files are numbered from here among a reply's parts: no text has that many.
_FIRST_FILE = 1000
# And the posts that take the place of others from here.
_ANOTHER = 10_000

log = logger("bots.delivery")


class Delivery:
    """One reply's way to one place."""

    def __init__(
        self,
        sender: Sender,
        vault: Vault,
        known_links: KnownLinks,
        record: TurnRecord,
        message: Message,
        state: TurnState,
        *,
        confirm: Callable[[], Awaitable[None]],
    ) -> None:
        """`confirm` raises `LeaseLost` once another worker may see to this message."""
        self._sender, self._vault, self._known_links = sender, vault, known_links
        self._record, self._message, self._state, self._confirm = record, message, state, confirm
        self._links: Links | None = None
        self._language = ""
        self.is_holding_back = False
        """Whether there is something to show, and it is too early for it."""
        self.posting: int | None = None
        """The part that is being posted: after a cancellation nobody knows whether it is out."""
        self.posted: set[int] = set()
        """The parts that were posted by this delivery, not by an earlier attempt."""
        self._shown: dict[int, str] = {}
        self._growing: set[int] = set()
        self._last_edit = self._quick_until = float("-inf")
        self._values: dict[str, str] = {}

    async def begin(self) -> None:
        """Read the author's values, which are shown only where nobody else reads along."""
        self._links = await self._known_links.links_for(self._message.conversation, self._message.text)
        confirm_by(self._confirm)
        now = asyncio.get_running_loop().time()
        self._quick_until = now + min(_QUICK, self._sender.edit_seconds)
        if self._message.is_private:
            self._values = await self._vault.values(self._message.conversation, self._message.author.id)

    async def show(self, text: str) -> None:
        """Show what there is so far, if the last edit is long enough ago."""
        self.is_holding_back = asyncio.get_running_loop().time() < self._quick_until
        if self._may_edit() and not self.is_holding_back:
            whole_words = held_back(_without_half_placeholder(text)).rstrip()
            if len(whole_words) >= _FIRST_CHARACTERS:
                await self._glimpse(whole_words)

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
        visible = self._visible(text)
        if not visible.strip():  # no platform takes an empty post
            return
        wait = 0.0
        try:
            await self._send(visible)
        except PlatformRefused as error:  # the whole answer may still find another way
            log.info("the platform refuses a part of a growing answer", reason=str(error))
        except PlatformBusy as error:  # only a glimpse was refused: the answer itself goes on
            wait = error.retry_after
            # The post may have arrived all the same: the next one must look for it.
            self._state.is_ambiguous = True
        self._last_edit = asyncio.get_running_loop().time() + wait

    async def finish(self, reply: Reply) -> None:
        """Show the whole reply."""
        self._language = reply.language
        text = self._visible(reply.text, is_ours=reply.is_ours)
        if reply.footer:
            text += f"\n\n{reply.footer}"
        if not self._sender.shows_citations:
            text += _sources(reply)
        await self._send(text, surplus=say("see_above", reply.language))
        await self._send_files(reply)
        options = [self._visible(option) for option in reply.options]
        if options:
            options.append(say("none_of_these", reply.language))
        parts = [Part(self._state.refs[number], text) for number, text in sorted(self._shown.items())]
        quoted = tuple(replace(it, quote=self._visible(it.quote, is_ours=True)) for it in reply.citations)
        shown = replace(reply, citations=quoted)
        try:
            await self._sender.finish(self._message, parts, shown, options)
        except PlatformRefused as error:  # the text is there, and can be read and answered without the rest
            log.warning("the platform refuses what belongs to a reply; the text stays", reason=str(error))

    async def _send_files(self, reply: Reply) -> None:
        for number, file in enumerate(reply.files):
            part = _FIRST_FILE + number
            if part not in self._state.refs:
                nonce = nonce_of(self._message.id, part)
                shown = TextFile(file.name, self._visible(file.text))
                await self._confirm()
                ref = await self._sender.post_file(
                    self._message, shown, nonce=nonce, is_retry=self._state.is_retry
                )
                await self._note(part, ref)

    async def take_away(self, unsure: set[int]) -> None:
        """The question was deleted: nothing of the answer stays.

        Parameters
          unsure: parts that may have been posted, without anybody knowing their ids
        """
        for part in unsure - self._state.refs.keys():  # the platform knows, under its nonce
            await self._send_part(part, "…", is_growing=False)
        for ref in self._state.refs.values():
            with contextlib.suppress(PlatformRefused):
                await self._sender.delete(self._message, ref)
        with contextlib.suppress(PlatformRefused):
            await self._sender.finish(self._message, (), Reply("", decision="stopped"), ())

    def _visible(self, text: str, *, is_ours: bool = False) -> str:
        """The text as it may be shown here: own values in private, and no link that nobody vouches for."""
        if not is_ours and self._links is not None:
            text = clean(text, self._links.allows, say("link_removed", self._language))
        if self._message.is_private:
            return restore_placeholders(text, self._values)
        return mask_placeholders(text)

    async def _send(self, text: str, *, surplus: str = "") -> None:
        """Post or edit what is new; with `surplus` the text is whole, and that fills parts left over."""
        parts, is_whole = split(text, self._sender.limit), bool(surplus)
        # A reply made again may be shorter than what an earlier attempt showed; a post cannot be empty.
        left_over = [surplus for part in self._state.refs if is_whole and len(parts) <= part < _FIRST_FILE]
        for part, content in enumerate([*parts, *left_over]):
            is_growing = not is_whole and part == len(parts) - 1
            if self._shown.get(part) == content and (is_growing or part not in self._growing):
                continue
            await self._send_part(part, content, is_growing=is_growing)

    async def _send_part(self, part: int, content: str, *, is_growing: bool) -> None:
        await self._confirm()
        if part in self._state.refs:
            await self._edit(part, content, is_growing=is_growing)
        else:
            is_retry = self._state.is_retry
            ref = await self._post(part, content, is_retry=is_retry, is_growing=is_growing)
            await self._note(part, ref)
            # A retry may have found an earlier attempt's post, which shows an older text.
            if is_retry:
                await self._sender.edit(self._message, ref, content, is_growing=is_growing)
        self._shown[part] = content
        (self._growing.add if is_growing else self._growing.discard)(part)

    async def _edit(self, part: int, content: str, *, is_growing: bool) -> None:
        """A post that is gone, or can be edited no more, is followed by another when the text is whole."""
        try:
            await self._sender.edit(self._message, self._state.refs[part], content, is_growing=is_growing)
        except PlatformRefused:
            if is_growing:
                raise
            nonce = nonce_of(self._message.id, part + _ANOTHER)
            ref = await self._sender.post(
                self._message, content, nonce=nonce, is_retry=self._state.is_retry, is_growing=False
            )
            await self._note(part, ref)

    async def _post(self, part: int, content: str, *, is_retry: bool, is_growing: bool) -> str:
        self.posting, nonce = part, nonce_of(self._message.id, part)
        ref = await self._sender.post(
            self._message, content, nonce=nonce, is_retry=is_retry, is_growing=is_growing
        )
        self.posting = None
        return ref

    async def _note(self, part: int, ref: str) -> None:
        self.posted.add(part)
        self._state.refs[part] = ref
        await self._record.store_ref(part, ref)


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
