"""Texts of files that customers sent: sealed under keys of their own, kept for a day after they were read.

A message in the inbox only names them: 10 MB have no place in a stream. For that day later questions in the
same conversation may be about them.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.adapter import MAX_ATTACHMENT_BYTES
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.message import Attachment, ConversationKey, Message
from engine.log import logger

KEPT_SECONDS = 24 * 3600
"""How long a file is remembered after it was read."""
# How long it waits for a worker, in days; never beyond the retention time.
_WAITING_DAYS = 7
_MOST_REMEMBERED = 8

log = logger("bots.files")


class Files:
    """Put, read, remember, forget."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600
        self._waiting = min(_WAITING_DAYS, retention_days) * 24 * 3600
        self._longest = self._waiting + KEPT_SECONDS  # one may be read at the very end of its wait

    async def put(self, message: Message) -> Message:
        """Store the texts of the message's files, redacted before; it only names them then. Idempotent."""
        files = [await self.put_one(message, row, file) for row, file in enumerate(message.attachments)]
        return replace(message, attachments=tuple(files))

    async def put_one(self, message: Message, row: int, file: Attachment) -> Attachment:
        """As `put`, for the file in this place."""
        if not file.text:
            return file
        key, index = keys.file(message.id, row), keys.files(message.conversation)
        author = self._envelope.author_index(message.conversation, message.author.id)
        about = {"name": file.name, "author": author, "at": time.time(), "size": len(file.text)}
        sealed = await asyncio.to_thread(self._envelope.seal, file.text, key)
        gone = await self._gone(message.conversation)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key, sealed, ex=self._waiting)
            pipe.hset(index, key, self._envelope.seal(json.dumps(about), index))
            if gone:
                pipe.hdel(index, *gone)
            pipe.expire(index, self._longest)
            # Where `Privacy.forget` looks: a file that only a command read leaves no turn behind.
            pipe.sadd(keys.conversations(author), str(message.conversation))
            pipe.expire(keys.conversations(author), self._retention)
            await pipe.execute()
        return replace(file, text="", is_stored=True)

    async def text(self, message: Message, row: int) -> str | None:
        """The text of the file in this place, from now on kept for a day; None when it is not there."""
        key = keys.file(message.id, row)
        return await self._open(await self._redis.getex(key, ex=KEPT_SECONDS), key)

    async def earlier(self, conversation: ConversationKey) -> tuple[Attachment, ...]:
        """The conversation's files that are still there, newest first, as far as they are 10 MB together."""
        found: list[Attachment] = []
        room = MAX_ATTACHMENT_BYTES
        index = await self._index(conversation)
        for key, about in sorted(index.items(), key=lambda entry: -entry[1]["at"])[:_MOST_REMEMBERED]:
            if about["size"] > room:
                break
            if (text := await self._open(await self._redis.get(key), key)) is not None:
                room -= about["size"]
                found.append(Attachment(about["name"], text))
        return tuple(found)

    async def forget(self, conversation: ConversationKey, author_id: str) -> None:
        """Delete the files that this author sent in this conversation."""
        author = self._envelope.author_index(conversation, author_id)
        mine = [key for key, about in (await self._index(conversation)).items() if about["author"] == author]
        if mine:
            await self._redis.delete(*mine)
            await self._redis.hdel(keys.files(conversation), *mine)

    async def _gone(self, conversation: ConversationKey) -> list[str]:
        """The keys of files that are over their time, read or not."""
        oldest = time.time() - self._longest
        return [key for key, about in (await self._index(conversation)).items() if about["at"] < oldest]

    async def _index(self, conversation: ConversationKey) -> dict[str, dict[str, Any]]:
        """What is known of each file, by its key."""
        name, found = keys.files(conversation), {}
        for key, sealed in (await self._redis.hgetall(name)).items():
            try:
                found[key.decode()] = json.loads(self._envelope.open(sealed, name))
            except Undecipherable as error:
                log.error("a file's entry cannot be opened and is left out", reason=str(error))
        return found

    async def _open(self, sealed: bytes | None, key: str) -> str | None:
        if sealed is None:
            return None
        try:
            return await asyncio.to_thread(self._envelope.open, sealed, key)
        except Undecipherable as error:
            log.error("a stored file cannot be opened and is left out", reason=str(error))
            return None
