"""The values behind placeholders: sealed, per conversation and author, gone with the retention time."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from bots.message import ConversationKey
from engine.filter import Finding, normalise
from engine.log import logger

log = logger("bots.vault")

# KEYS: vault, author   ARGV: seconds to live, now, conversation, then triples of index, entity, sealed value
_ASSIGN = """
local placeholders = {}
for i = 4, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], 'i:' .. ARGV[i])
  if not known then
    local number = redis.call('HINCRBY', KEYS[1], 'n:' .. ARGV[i + 1], 1)
    known = '<' .. ARGV[i + 1] .. '_' .. number .. '>'
    redis.call('HSET', KEYS[1], 'i:' .. ARGV[i], known, 'v:' .. known, ARGV[i + 2])
  end
  redis.call('HSET', KEYS[1], 't:' .. known, ARGV[2])
  placeholders[#placeholders + 1] = known
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return placeholders
"""


class Vault:
    """Hands out placeholders and gives values back, only to the author who wrote them."""

    def __init__(self, redis: Redis, envelope: Envelope, retention_days: int) -> None:
        self._redis: Any = redis
        self._envelope = envelope
        self._retention = retention_days * 24 * 3600
        self._assign = redis.register_script(_ASSIGN)

    async def placeholders(
        self, conversation: ConversationKey, author_id: str, found: Sequence[tuple[Finding, str]]
    ) -> list[str]:
        """A placeholder for each value: the same one for the same value of the same author."""
        if not found:
            return []
        args: list[Any] = [self._retention, int(time.time()), str(conversation)]
        for finding, value in found:
            index = self._envelope.index("vault", author_id, finding.entity, normalise(finding.entity, value))
            content = json.dumps({"author": author_id, "value": value})
            args += [index, finding.entity, self._envelope.seal(content, keys.vault(conversation))]
        author = keys.conversations(self._envelope.author_index(conversation, author_id))
        assigned = await self._assign(keys=[keys.vault(conversation), author], args=args)
        return [placeholder.decode() for placeholder in assigned]

    async def values(self, conversation: ConversationKey, author_id: str) -> dict[str, str]:
        """The author's own values in this conversation, by placeholder."""
        stored = await self._redis.hgetall(keys.vault(conversation))
        values = {}
        for field, sealed in stored.items():
            if not field.startswith(b"v:"):
                continue
            try:
                content = json.loads(self._envelope.open(sealed, keys.vault(conversation)))
            except Undecipherable as error:
                log.error("a value of the vault cannot be opened and stays masked", reason=str(error))
                continue
            if content["author"] == author_id:
                values[field[2:].decode()] = content["value"]
        return values

    async def forget(self, conversation: ConversationKey, author_id: str) -> None:
        """Delete the author's values in this conversation; numbers are not used again."""
        mine = {placeholder.encode() for placeholder in await self.values(conversation, author_id)}
        await self._drop(keys.vault(conversation), mine)

    async def purge(self) -> int:
        """Drop every value that was last given longer ago than the retention time; return how many."""
        oldest, dropped = time.time() - self._retention, 0
        async for key in self._redis.scan_iter(match=f"{keys.VAULTS}*", count=500):
            stored = await self._redis.hgetall(key)
            old = {name[2:] for name, at in stored.items() if name.startswith(b"t:") and float(at) < oldest}
            await self._drop(key, old)
            dropped += len(old)
        return dropped

    async def _drop(self, key: Any, placeholders: set[bytes]) -> None:
        if not placeholders:
            return
        stored = await self._redis.hgetall(key)
        # With the index, or the same value given again would get a placeholder without a value.
        indexes = [name for name, known in stored.items() if name.startswith(b"i:") and known in placeholders]
        values = [prefix + placeholder for placeholder in placeholders for prefix in (b"v:", b"t:")]
        await self._redis.hdel(key, *values, *indexes)
