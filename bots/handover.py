"""Conversations that people see to: staff is called once, and the bot keeps out of it meanwhile.

That a conversation is handed over is a state in Redis, looked at before every answer; nothing that a model
writes can begin or end it.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from bots import keys
from bots.history import History, Turn
from bots.inbox import Inbox
from bots.links import clean
from bots.message import Author, ConversationKey, Message
from engine.filter import mask_placeholders
from engine.language.phrases import say
from engine.log import logger

log = logger("bots.handover")

# So long the bot keeps out of a conversation, unless it is spoken to.
_SECONDS = 12 * 3600
_TURNS = 12
_LONGEST_TURN = 600


class HandOver:
    """Calls staff and remembers where. `channel` is `platform:channel`, or `platform:workspace/channel` where
    the bot is in several; None where nobody can be called.
    """

    def __init__(self, redis: Redis, inbox: Inbox, history: History, channel: str | None) -> None:
        self._redis: Any = redis
        self._inbox, self._history, self._channel = inbox, history, channel

    async def is_with_people(self, message: Message) -> bool:
        """Whether this message is for the people who see to its conversation. To speak to the bot ends that;
        where nobody else reads along nobody else can answer.
        """
        if self._channel is None or message.is_private:
            return False
        key = keys.handed_over(message.conversation)
        if message.is_direct:
            await self._redis.delete(key)
            return False
        return bool(await self._redis.exists(key))

    async def call(self, message: Message, link: str) -> None:
        """Post the last turns to the staff's channel, once for each message.

        Parameters
          link: where the conversation is, for those who come
        """
        if self._channel is None:
            log.error("a customer wants a person, and nobody is told: set FRONTDESK_STAFF_CHANNEL")
            return
        platform, _, place = self._channel.partition(":")
        workspace, _, channel = place.rpartition("/")
        earlier = await self._history.recent(message.conversation, _TURNS)
        turns = [*earlier, Turn("user", message.text, message.author)]
        notice = Message(
            id=f"staff:{message.id}",
            conversation=ConversationKey(platform, workspace or _workspace(message, platform), channel),
            author=Author(""),
            text="",
            is_private=False,
            notice=_notice(message, turns, link),
            address=_address(message, platform),
        )
        await self._inbox.put(notice)
        if not message.is_private:
            await self._redis.set(keys.handed_over(message.conversation), 1, ex=_SECONDS)


def _workspace(message: Message, platform: str) -> str:
    """The staff's channel is in the customer's workspace where both are on the same platform."""
    return message.conversation.workspace if message.conversation.platform == platform else ""


def _address(message: Message, platform: str) -> dict[str, str]:
    """Slack needs to know under which organisation the app is installed."""
    is_same = message.conversation.platform == platform and "enterprise" in message.address
    return {"enterprise": message.address["enterprise"]} if is_same else {}


def _notice(message: Message, turns: list[Turn], link: str) -> str:
    name = message.author.name or say("customer", "en")
    lines = [say("staff_call", "en", name=name, place=link or str(message.conversation.platform))]
    for turn in turns:
        who = (turn.author.name or say("customer", "en")) if turn.role == "user" else say("bot", "en")
        # Staff must not be led anywhere by what a customer, or a model, wrote.
        said = clean(mask_placeholders(turn.content), lambda _: False, say("link_removed", "en"))
        said = " ".join(said.split())
        lines.append(f"> {who}: {said[:_LONGEST_TURN]}{'…' if len(said) > _LONGEST_TURN else ''}")
    return "\n".join(lines)
