"""The receiving half of Slack, through slack-bolt, by Socket Mode or HTTP.

Bolt acknowledges an event when its listener has returned (`process_before_response`): a listener only
stores, so an event is acknowledged once it is safe, and delivered again if it is not. Whatever else is to be
done at Slack (forms, the Home, thanks) is an errand that nobody waits for.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from redis.exceptions import RedisError
from slack_bolt.async_app import AsyncApp
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from bots.commands import Command
from bots.intake import Intake
from bots.message import Author, ConversationKey, Message, Rating
from bots.platforms.slack import events, home
from bots.platforms.slack.commands import Commands
from bots.platforms.slack.errands import Errands
from bots.platforms.slack.events import Origin
from bots.platforms.slack.languages import Languages
from bots.platforms.slack.slash import asking
from bots.platforms.slack.workspaces import Workspaces
from bots.pulse import Pulse
from bots.tasks import end
from engine.language.phrases import say
from engine.log import logger

log = logger("bots.slack")

Body = dict[str, Any]
# Buttons below answers, see `bots.platforms.slack.sender`.
_OPTION, _FEEDBACK = "frontdesk_option_", "frontdesk_feedback"
_MOST_MET = 10_000


class Line(Protocol):
    """How events come here: `SocketMode` or `HttpServer`."""

    async def run(self, app: AsyncApp) -> None:
        """Receive until cancelled. Raises `StartError` and `PlatformBusy`."""
        ...


class SlackReceiver:
    """Events in, messages out: see `Intake`."""

    def __init__(
        self,
        client: AsyncWebClient,
        workspaces: Workspaces,
        lines: Sequence[Line],
        intake: Intake,
        pulse: Pulse,
        *,
        signing_secret: str = "",
        commands: dict[str, Command] | None = None,
        persona: str = "",
        suggestions: Sequence[str] = (),
        auto_channels: Collection[str] = (),
        knows: Callable[[ConversationKey], Awaitable[bool]],
    ) -> None:
        """`client` has no token of its own; `knows` says whether the bot has answered in a conversation."""
        self._workspaces, self._lines, self._intake, self._pulse = workspaces, lines, intake, pulse
        self._persona, self._suggestions = persona, suggestions
        self._auto_channels, self._knows = frozenset(auto_channels), knows
        self._errands, self._languages = Errands(), Languages()
        self._commands = dict(commands or {})
        # Conversations that were let in lately: the history has them only once they are answered.
        self._met: dict[ConversationKey, None] = {}
        self._turns: WeakValueDictionary[ConversationKey, asyncio.Lock] = WeakValueDictionary()
        self.app = AsyncApp(
            client=client,
            authorize=workspaces,  # type: ignore[arg-type]  # None is right, too: not installed
            signing_secret=signing_secret,
            process_before_response=True,
            # Bolt's own logger takes the root's level; this one keeps to warnings.
            logger=logging.getLogger("slack_bolt"),
        )
        self._listen()

    def _listen(self) -> None:
        app = self.app
        app.error(self._on_error)
        app.middleware(self._count)
        app.event("app_mention")(self._on_mention)
        app.event("message")(self._on_message)
        app.event("agent_session_stopped")(self._on_stop)
        app.event("app_home_opened")(self._on_home)
        app.event("app_uninstalled")(self._on_uninstalled)
        app.event("tokens_revoked")(self._on_revoked)
        app.action(re.compile(f"^{_OPTION}"))(self._on_option)
        app.action(_FEEDBACK)(self._on_feedback)
        Commands(self._commands, self._intake, self._languages, self._errands).register(app)
        app.action(re.compile(""))(self._on_other)  # links in blocks are buttons, too

    async def run_forever(self) -> None:
        """Connect and receive until cancelled. Raises `WrongToken` or `PlatformBusy`."""
        await self._workspaces.check()
        tasks = [asyncio.create_task(line.run(self.app)) for line in self._lines]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                await end(task)
            await self._errands.close()

    async def _count(self, next: Callable[[], Awaitable[BoltResponse]]) -> None:
        self._pulse.event()
        await next()

    async def _on_error(self, error: Exception) -> BoltResponse:
        """Whatever failed was not stored: not acknowledged, so that Slack delivers it again."""
        if isinstance(error, RedisError | OSError):
            log.error("an event could not be stored; Slack will send it again", reason=str(error))
            return BoltResponse(status=503)
        log.error("an event could not be taken", exc_info=error)
        return BoltResponse(status=500)

    async def _on_mention(self, event: Body, body: Body, context: AsyncBoltContext) -> None:
        """Somebody mentions the bot in a channel."""
        if events.is_of_person(event):
            await self._accept(event, body, Origin.of(context, body), is_direct=True)

    async def _on_message(self, event: Body, body: Body, context: AsyncBoltContext) -> None:
        """A message that the bot can see, and what becomes of it later.

        A mention arrives as both events; whichever comes first is taken, and the other has its claim.
        """
        origin = Origin.of(context, body)
        if event.get("subtype") in events.CHANGES:
            await self._change(event, body, origin)
        elif event.get("subtype") in events.SUBTYPES and events.is_of_person(event):
            is_direct = _is_direct(event, origin)
            if is_direct or await self._is_heard(event, origin):
                await self._accept(event, body, origin, is_direct=is_direct)

    async def _is_heard(self, event: Body, origin: Origin) -> bool:
        """Whether this is for the bot without naming it: in an automatic channel, or because it goes on in a
        thread of the bot's; most threads are a customer's own.
        """
        if event["channel"] in self._auto_channels:
            return True
        if not event.get("thread_ts"):
            return False
        conversation = events.conversation_of(event, origin)
        is_known = event.get("parent_user_id") == origin.bot_user or conversation in self._met
        return is_known or await self._knows(conversation)

    async def _accept(self, event: Body, body: Body, origin: Origin, *, is_direct: bool) -> None:
        message = events.message_of(event, origin, is_direct=is_direct)
        async with self._in_turn(message.conversation):
            await self._intake.receive(message, events.claims_of(event, body, origin))
        self._met[message.conversation] = None
        if len(self._met) > _MOST_MET:
            del self._met[next(iter(self._met))]

    async def _change(self, event: Body, body: Body, origin: Origin) -> None:
        """A message was edited or deleted: told where it may have been for the bot."""
        subject = events.subject_of(event)
        change = events.change_of(event, subject, origin) if subject else None
        if subject is None or change is None:
            return
        async with self._in_turn(change.conversation):
            if _is_direct(subject, origin) or await self._is_heard(subject, origin):
                await self._intake.change(change, _event_id(body))

    async def _on_stop(self, event: Body, body: Body, context: AsyncBoltContext) -> None:
        await self._intake.change(events.stop_of(event, Origin.of(context, body)), _event_id(body))

    def _in_turn(self, conversation: ConversationKey) -> asyncio.Lock:
        """One after the other, as they came: Bolt takes all events at once, and some need a look first."""
        return self._turns.setdefault(conversation, asyncio.Lock())

    async def _on_option(self, ack: AsyncAck, action: Body, body: Body, context: AsyncBoltContext) -> None:
        """A button of a question back: its option is asked, where the button stands."""
        origin, conversation = Origin.of(context, body), _place(body, Origin.of(context, body))
        message = Message(
            id=origin.message_id(conversation.channel, action["action_ts"]),
            conversation=conversation,
            author=Author(body["user"]["id"]),
            text=action["value"],
            is_private=events.is_private({"channel": conversation.channel}),
            address=origin.address,
        )
        await self._intake.receive(message)
        await ack()

    async def _on_feedback(
        self, ack: AsyncAck, action: Body, body: Body, context: AsyncBoltContext, client: AsyncWebClient
    ) -> None:
        verdict, _, message_id = str(action.get("value") or "").partition(":")
        conversation, user = _place(body, Origin.of(context, body)), body["user"]["id"]
        if message_id and verdict in ("up", "down"):
            await self._intake.rate(Rating(conversation, message_id, user, is_helpful=verdict == "up"))
            self._errands.start("chat.postEphemeral", self._thank(client, conversation, user))
        await ack()

    async def _thank(self, client: AsyncWebClient, conversation: ConversationKey, user: str) -> None:
        await client.chat_postEphemeral(
            channel=conversation.channel,
            user=user,
            thread_ts=conversation.thread or None,
            text=say("thanks_for_rating", await self._languages.of(client, user)),
        )

    async def _on_other(self, ack: AsyncAck) -> None:
        await ack()

    async def _on_home(self, event: Body, context: AsyncBoltContext, client: AsyncWebClient) -> None:
        """One of the bot's two tabs is opened: the Home, or the messages."""
        if event.get("tab") == "home":
            self._errands.start("views.publish", self._publish(event, context, client))
        elif event.get("tab") == "messages" and self._suggestions:
            self._errands.start("assistant.threads.setSuggestedPrompts", self._suggest(event, client))

    async def _publish(self, event: Body, context: AsyncBoltContext, client: AsyncWebClient) -> None:
        language = await self._languages.of(client, event["user"])
        commands = [*self._commands.values(), asking(say("ask_help", language))]
        view = home.home(commands, self._persona, context.bot_user_id or "", event["channel"], language)
        await client.views_publish(user_id=event["user"], view=view)

    async def _suggest(self, event: Body, client: AsyncWebClient) -> None:
        await client.assistant_threads_setSuggestedPrompts(
            channel_id=event["channel"],
            title=say("suggestions_title", await self._languages.of(client, event["user"])),
            prompts=home.prompts(self._suggestions),
        )

    async def _on_uninstalled(self, context: AsyncBoltContext) -> None:
        await self._workspaces.forget(*_installation(context))

    async def _on_revoked(self, event: Body, context: AsyncBoltContext) -> None:
        revoked = event.get("tokens") or {}
        if revoked.get("bot"):
            await self._workspaces.forget(*_installation(context))
        for user in revoked.get("oauth") or ():
            await self._workspaces.forget_user(*_installation(context), user)


def _installation(context: AsyncBoltContext) -> tuple[str | None, str | None]:
    team = None if context.is_enterprise_install else context.team_id
    return context.enterprise_id, team


def _event_id(body: Body) -> str:
    return f"slack:event:{body['event_id']}" if body.get("event_id") else ""


def _place(body: Body, origin: Origin) -> ConversationKey:
    """Where the post with the button stands; below a slash command's answer there is no thread."""
    thread = (body.get("message") or {}).get("thread_ts") or (body.get("container") or {}).get("thread_ts")
    return origin.conversation(body["channel"]["id"], thread or "")


def _is_direct(event: Body, origin: Origin) -> bool:
    """Whether the bot is meant for certain."""
    return events.is_private(event) or events.mentions(event, origin.bot_user)
