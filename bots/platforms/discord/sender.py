"""The sending half: REST alone, without a gateway connection."""

from __future__ import annotations

import contextlib
import io
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import discord

from bots.adapter import nonce_of
from bots.errors import FileRefused, PlatformBusy, PlatformRefused
from bots.message import Attachment, Message, Part, Provisional, Reply
from bots.platforms.discord.buttons import Row, feedback_rows, option_rows, stop_rows
from bots.platforms.discord.faults import is_gone, send_faults
from bots.platforms.discord.rest import ORIGINAL, Json, Rest
from engine.types import TextFile

# Discord keeps nonces for "the past few minutes" (resources/message#create-message).
_NONCE_SECONDS = 180
# Marks the id of a post that only its interaction's webhook can change.
_FOLLOW_UP = "+"
_MOST_IN_PLACE = 1_000
_RATED = ("answer", "ask_back", "hand_over")


class DiscordSender:
    """See `bots.adapter.Sender`."""

    limit = 2000
    edit_seconds = 1.2
    shows_citations = False

    def __init__(self, token: str) -> None:
        self._rest = Rest(token)
        # Posts that took the place of a deferral that was gone, by message, while it is being answered. One
        # that is forgotten is found again under its nonce.
        self._in_place: OrderedDict[str, str] = OrderedDict()

    async def open(self) -> None:
        """Log in. Raises `WrongToken`, and `PlatformBusy` when Discord cannot be reached: then it may be
        called again, and the first post does so.
        """
        await self._rest.login.now()

    async def typing(self, message: Message) -> None:
        if "token" not in message.address:  # a deferred command shows by itself that it thinks
            async with self._requests():
                await self._rest.typing(message.conversation.channel)

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool, is_growing: bool) -> str:
        """Discord itself sees to once-only for some minutes; after that a retry looks for the first post."""
        body: Json = {"content": text, "nonce": nonce}
        if is_growing:
            body["components"] = stop_rows(message)
        async with self._requests():
            # The first part fills the deferral, which can be repeated; the others follow in the channel.
            is_first = "token" in message.address and nonce == nonce_of(message.id, 0)
            if is_first and await self._fill(message, body):
                return ORIGINAL
            earlier = await self._earlier(message, nonce, is_retry=is_retry)
            return _earlier_text(earlier, message, nonce, text) or await self._send(message, body)

    async def edit(self, message: Message, ref: str, text: str, *, is_growing: bool) -> None:
        body: Json = {"content": text} if is_growing else {"content": text, "components": []}
        async with self._requests():
            if ref == ORIGINAL and message.id not in self._in_place:
                if await self._fill(message, body):
                    return
                # An earlier attempt's post comes back under this nonce; the edit below renews its text.
                again = {"content": text, "nonce": nonce_of(message.id, 0)}
                self._in_place[message.id] = await self._send(message, again)
                if len(self._in_place) > _MOST_IN_PLACE:
                    self._in_place.popitem(last=False)
            await self._change(message, self._place(message, ref), body)

    async def finish(
        self, message: Message, parts: Sequence[Part], reply: Reply, options: Sequence[str]
    ) -> None:
        """Options are known by their number: what they ask stands in the post above them."""
        is_rated = reply.decision in _RATED and not message.job and not message.notice
        for part in parts:
            rows: list[Row] = []
            if options and f"1. {options[0]}" in part.text.splitlines():
                rows += option_rows(options)
            if is_rated and part is parts[-1]:
                rows += feedback_rows(message)
            if rows:
                async with self._requests():
                    await self._change(message, self._place(message, part.ref), {"components": rows})
        self._in_place.pop(message.id, None)

    async def post_file(self, message: Message, file: TextFile, *, nonce: str, is_retry: bool) -> str:
        async with self._requests():
            earlier = await self._earlier(message, nonce, is_retry=is_retry)
            if found := _earlier_file(earlier, file.name):
                return found
            content = discord.File(io.BytesIO(file.text.encode()), file.name)
            body = {"nonce": nonce, **_reference(message)}
            return await self._rest.create_file(message.conversation.channel, body, content)

    async def delete(self, message: Message, ref: str) -> None:
        place = self._place(message, ref)
        async with self._requests():
            with contextlib.suppress(discord.NotFound):
                if place == ORIGINAL or place.startswith(_FOLLOW_UP):
                    await self._rest.delete_deferred(message.address, place.removeprefix(_FOLLOW_UP))
                else:
                    await self._rest.delete(message.conversation.channel, place)

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        await self._rest.login.ensure()
        try:
            return await self._rest.download(file.url)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise FileRefused("not_fetched", str(error)) from error

    async def name_of(self, message: Message) -> str:
        if message.author.name or not message.author.id.isdecimal():
            return message.author.name
        try:
            async with self._requests():
                return await self._rest.name_of(message.author.id)
        except (PlatformBusy, PlatformRefused):
            return ""

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        return False

    def link_to(self, message: Message) -> str:
        where = message.conversation
        guild = "@me" if where.workspace == "direct" else where.workspace
        return f"https://discord.com/channels/{guild}/{where.channel}"

    async def close(self) -> None:
        await self._rest.close()

    @contextlib.asynccontextmanager
    async def _requests(self) -> AsyncIterator[None]:
        await self._rest.login.ensure()
        with send_faults():
            yield

    async def _send(self, message: Message, body: Json) -> str:
        try:
            return await self._rest.create(message.conversation.channel, body | _reference(message))
        except (discord.Forbidden, discord.NotFound):
            # Somebody who brought the app along may use it where the bot is no member.
            if "token" not in message.address:
                raise
            follow_up = {name: value for name, value in body.items() if name != "nonce"}
            return _FOLLOW_UP + await self._rest.follow_up(message.address, follow_up)

    async def _fill(self, message: Message, body: Json) -> bool:
        """Write into the deferral; False when it is gone, and the channel has to do."""
        content = {name: value for name, value in body.items() if name != "nonce"}
        try:
            await self._rest.edit_deferred(message.address, ORIGINAL, content)
        except discord.HTTPException as error:
            if is_gone(error):
                return False
            raise
        return True

    async def _change(self, message: Message, place: str, body: Json) -> None:
        if place == ORIGINAL or place.startswith(_FOLLOW_UP):
            await self._rest.edit_deferred(message.address, place.removeprefix(_FOLLOW_UP), body)
        else:
            await self._rest.edit(message.conversation.channel, place, body)

    def _place(self, message: Message, ref: str) -> str:
        return self._in_place.get(message.id, ref) if ref == ORIGINAL else ref

    async def _earlier(self, message: Message, nonce: str, *, is_retry: bool) -> list[Json]:
        """What the bot posted since the question, oldest first, where a retry has to look by itself: Discord
        may have forgotten the nonce. The post that still has it comes alone."""
        question = _question(message)
        if not is_retry or not question or time.time() - message.sent_at < _NONCE_SECONDS:
            return []
        later = await self._rest.since(message.conversation.channel, question)
        mine = [post for post in later if post["author"]["id"] == self._rest.user_id]
        if "message" in message.address:
            mine = [post for post in mine if _referred(post) == question]
        return [post for post in mine if post.get("nonce") == nonce] or mine


def _question(message: Message) -> str:
    """The snowflake of what is answered; empty when nobody wrote."""
    number = message.address.get("message") or message.id.rpartition(":")[2]
    return number if number.isdecimal() else ""


def _earlier_text(posts: Sequence[Json], message: Message, nonce: str, text: str) -> str | None:
    """The post under this nonce: part n is the n-th that refers to the question."""
    texts = [post for post in posts if not post["attachments"]]
    if "message" not in message.address:  # nothing is referred to: only a whole text can be known again
        texts = [post for post in texts if post["content"] == text]
        return str(texts[0]["id"]) if texts else None
    if len(texts) == 1 and texts[0].get("nonce") == nonce:
        return str(texts[0]["id"])
    number = next((part for part in range(len(texts)) if nonce_of(message.id, part) == nonce), None)
    return None if number is None else str(texts[number]["id"])


def _earlier_file(posts: Sequence[Json], name: str) -> str | None:
    # Discord writes names in its own way, with _ for a space, and drops what it does not like.
    wanted = _letters(name)
    found = [post for post in posts for file in post["attachments"] if _letters(file["filename"]) == wanted]
    return str(found[0]["id"]) if found else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name))


def _reference(message: Message) -> Json:
    """The message that is answered; if it was deleted meanwhile, the answer is posted all the same."""
    if "message" not in message.address:
        return {}
    place = {"message_id": message.address["message"], "channel_id": message.conversation.channel}
    return {"message_reference": place | {"fail_if_not_exists": False}}


def _referred(post: dict[str, Any]) -> str:
    return str((post.get("message_reference") or {}).get("message_id", ""))
