"""What has been done for a message so far, so that whoever takes it over goes on instead of again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.inbox import CLAIM_SECONDS
from bots.message import Message, Reply
from engine.log import logger

log = logger("bots.turns")


@dataclass(slots=True)
class TurnState:
    """`attempts` counts this one, less those that were forgiven; `refs` are the platform's ids of the parts
    already posted.
    """

    attempts: int
    is_retry: bool = False
    reply: Reply | None = None
    refs: dict[int, str] = field(default_factory=dict)


class Turns:
    """The record of each unfinished turn, in a hash that `Inbox.finish` deletes."""

    def __init__(self, redis: Redis, envelope: Envelope) -> None:
        self._redis: Any = redis
        self._envelope = envelope

    async def begin(self, message: Message) -> TurnState:
        """Count an attempt and read what earlier ones left."""
        key = keys.turn(message.id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hincrby(key, "attempts", 1)
            pipe.hincrby(key, "tries", 1)
            pipe.expire(key, CLAIM_SECONDS)
            pipe.hgetall(key)
            attempts, tries, _, fields = await pipe.execute()
        return TurnState(
            attempts=attempts,
            is_retry=tries > 1,
            reply=self._open(fields[b"reply"], key) if b"reply" in fields else None,
            refs={int(name[4:]): ref.decode() for name, ref in fields.items() if name.startswith(b"ref:")},
        )

    async def forgive(self, message: Message) -> None:
        """Take an attempt back: a busy platform is no fault of the message."""
        await self._redis.hincrby(keys.turn(message.id), "attempts", -1)

    def _open(self, sealed: bytes, key: str) -> Reply | None:
        try:
            return Reply.from_json(self._envelope.open(sealed, key))
        except (Undecipherable, KeyError, TypeError) as error:  # another key, or another version's fields
            log.error("a stored reply cannot be opened and is made again", reason=str(error))
            return None

    async def store_reply(self, message: Message, reply: Reply) -> None:
        """Keep the reply before it is sent: generated again it would be another."""
        key = keys.turn(message.id)
        await self._redis.hset(key, "reply", self._envelope.seal(reply.to_json(), key))

    async def store_ref(self, message: Message, part: int, ref: str) -> None:
        """Keep the platform's id of a posted part, so that it is edited and not posted again."""
        await self._redis.hset(keys.turn(message.id), f"ref:{part}", ref)
