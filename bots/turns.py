"""What has been done for a message so far, so that whoever takes it over goes on instead of again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redis.asyncio import Redis

from bots import keys
from bots.envelope import Envelope
from bots.errors import LeaseLost, Undecipherable
from bots.inbox import CLAIM_SECONDS
from bots.message import Message, Reply
from engine.log import logger

log = logger("bots.turns")

# KEYS: leases, turn, the conversation's files   ARGV: partition, token, seconds to live
_BEGIN = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return false end
redis.call('HINCRBY', KEYS[2], 'attempts', 1)
redis.call('HINCRBY', KEYS[2], 'tries', 1)
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {redis.call('HGETALL', KEYS[2]), redis.call('EXISTS', KEYS[3])}
"""
# KEYS: leases, turn   ARGV: partition, token, then pairs of field and value
# What gets somewhere begins to count anew: only what fails again and again at the same place is at fault,
# whatever becomes of its worker.
_STORE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], 'attempts', 1)
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
"""
# KEYS: turn
# Needs no lease: an attempt that ended because that was lost is no failure either.
_FORGIVE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'attempts', -1) end
"""


@dataclass(slots=True)
class TurnState:
    """`tries` counts this attempt and all before, `attempts` those since something was stored, less what was
    forgiven; `refs` are the platform's ids of the parts already posted; `edit` is the id of the newest edit
    of the question that `reply` answers.
    """

    attempts: int
    tries: int = 0
    reply: Reply | None = None
    edit: str = ""
    refs: dict[int, str] = field(default_factory=dict)
    has_files: bool = True
    """Whether anybody sent a file in the conversation, as far as is remembered."""
    is_ambiguous: bool = False
    """A post of this attempt may have arrived without an answer."""

    @property
    def is_retry(self) -> bool:
        """Whether there may be posts that nobody has the ids of."""
        return self.tries > 1 or self.is_ambiguous


class Turns:
    """The records of all unfinished turns, each in a hash that `Inbox.finish` deletes."""

    def __init__(self, redis: Redis, envelope: Envelope) -> None:
        self._envelope = envelope
        self._begin = redis.register_script(_BEGIN)
        self._store = redis.register_script(_STORE)
        self._forgive = redis.register_script(_FORGIVE)

    def record(self, message: Message, partition: int, token: str) -> TurnRecord:
        """The record of one turn, for whoever has the partition under this token."""
        return TurnRecord(self, message, partition, token)

    async def begin(
        self, key: str, files: str, lease: tuple[int, str]
    ) -> tuple[dict[bytes, bytes], bool] | None:
        """Count an attempt; the record's fields and whether there are files, or None without the lease."""
        found = await self._begin(keys=[keys.LEASES, key, files], args=[*lease, CLAIM_SECONDS])
        if found is None:
            return None
        flat, has_files = found
        return dict(zip(flat[::2], flat[1::2], strict=True)), bool(has_files)

    async def store(self, key: str, lease: tuple[int, str], fields: Mapping[str, str | bytes]) -> bool:
        """Write fields; False without the lease."""
        flat = [part for pair in fields.items() for part in pair]
        return bool(await self._store(keys=[keys.LEASES, key], args=[*lease, *flat]))

    async def forgive(self, key: str) -> None:
        """Take an attempt back."""
        await self._forgive(keys=[key])

    def seal(self, reply: Reply, key: str) -> bytes:
        return self._envelope.seal(reply.to_json(), key)

    def open(self, sealed: bytes, key: str) -> Reply | None:
        """The reply, or None when there is none that can be opened: then it is made again."""
        if not sealed:
            return None
        try:
            return Reply.from_json(self._envelope.open(sealed, key))
        except (Undecipherable, KeyError, TypeError) as error:  # another key, or another version's fields
            log.error("a stored reply cannot be opened and is made again", reason=str(error))
            return None


class TurnRecord:
    """One turn's record. Writing raises `LeaseLost` when another worker has the partition."""

    def __init__(self, turns: Turns, message: Message, partition: int, token: str) -> None:
        self._turns, self._key = turns, keys.turn(message.id)
        self._files = keys.files(message.conversation)
        self._lease = (partition, token)

    async def begin(self) -> TurnState:
        """Count an attempt and read what earlier ones left."""
        found = await self._turns.begin(self._key, self._files, self._lease)
        if found is None:
            raise LeaseLost
        fields, has_files = found
        return TurnState(
            attempts=int(fields[b"attempts"]),
            tries=int(fields[b"tries"]),
            reply=self._turns.open(fields.get(b"reply", b""), self._key),
            edit=fields.get(b"edit", b"").decode(),
            has_files=has_files,
            refs={int(name[4:]): ref.decode() for name, ref in fields.items() if name.startswith(b"ref:")},
        )

    async def forgive(self) -> None:
        """Take an attempt back: a busy platform is no fault of the message."""
        await self._turns.forgive(self._key)

    async def store_reply(self, reply: Reply, edit: str) -> None:
        """Keep the reply before it is sent: generated again it would be another."""
        await self._write({"reply": self._turns.seal(reply, self._key), "edit": edit})

    async def store_ref(self, part: int, ref: str) -> None:
        """Keep the platform's id of a posted part, so that it is edited and not posted again."""
        await self._write({f"ref:{part}": ref})

    async def _write(self, fields: Mapping[str, str | bytes]) -> None:
        if not await self._turns.store(self._key, self._lease, fields):
            raise LeaseLost
