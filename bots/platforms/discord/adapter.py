"""Discord: direct messages, mentions, replies and `/ask`, through discord.py.

No privileged intent: Discord gives the content of messages that mention the bot, answer it or reach it
directly. Only channels with automatic replies need `message_content`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import aiohttp
import discord
import yarl
from discord import app_commands
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bots import login
from bots.adapter import Receive, insist, nonce_of
from bots.errors import FileRefused, PlatformBusy, PlatformRefused, StartError, WrongToken
from bots.login import Login
from bots.message import Attachment, Author, ConversationKey, Message, Provisional, Reply
from engine.log import logger

log = logger("bots.discord")

# A text bot needs no voice, and no warning that there is none.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False

# The webhook route takes this name of a deferred answer in place of a number.
_ORIGINAL: Any = "@original"
# Webhook token invalid (a deferral lives a quarter of an hour), webhook unknown, message unknown.
_GONE = frozenset({50027, 10015, 10008})
# The close code of the gateway for a token that was valid at login.
_AUTHENTICATION_FAILED = 4004
_WRITTEN = (discord.MessageType.default, discord.MessageType.reply)
_NO_MENTIONS = discord.AllowedMentions.none()
# Buttons that ask an option of a question back; Discord shows this much of it.
_OPTION = "frontdesk:option:"
_LONGEST_LABEL = 80
_REFUSED = (
    "Discord does not accept the token: copy it again from the application's page, under Bot, into "
    "FRONTDESK_DISCORD_TOKEN."
)
_MISSING_INTENT = (
    "Discord refuses the message content intent, which automatic channels need: switch on 'Message Content "
    "Intent' under Bot on the application's page, or remove discord: channels from FRONTDESK_AUTO_CHANNELS."
)


def redirect(api_url: str | None, gateway_url: str | None) -> None:
    """Talk to another server that speaks Discord's protocol. discord.py knows no other way than these."""
    if api_url:
        Route.BASE = api_url.rstrip("/")
    if gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class DiscordReceiver(discord.AutoShardedClient):
    """The receiving half: a gateway connection that turns events into messages."""

    def __init__(self, token: str, receive: Receive, auto_channels: Collection[str] = ()) -> None:
        intents = discord.Intents.default()
        intents.message_content = bool(auto_channels)
        super().__init__(intents=intents, allowed_mentions=_NO_MENTIONS, max_messages=None)
        self._token, self._receive, self._auto_channels = token, receive, frozenset(auto_channels)
        self.tree = app_commands.CommandTree(self)
        self.tree.add_command(
            app_commands.Command(name="ask", description="Ask a question", callback=self._ask)
        )

    async def run_forever(self) -> None:
        """Connect and receive until cancelled. Raises `WrongToken`, `StartError` or `PlatformBusy`."""
        with _login_faults():
            async with self:
                await self.start(self._token)

    async def setup_hook(self) -> None:
        """Register `/ask` where it is missing; Discord limits how often, and mentions work without it."""
        try:
            if {found.name for found in await self.tree.fetch_commands()} != {"ask"}:
                await self.tree.sync()
        except discord.HTTPException as error:
            log.warning("/ask could not be registered; everything else works", reason=str(error))

    async def on_ready(self) -> None:
        """Say so, once a connection."""
        log.info("Discord is connected", guilds=len(self.guilds))

    async def on_message(self, message: discord.Message) -> None:
        """Hand on what is addressed to the bot."""
        author = message.author
        if author.bot or author.system or message.webhook_id or message.type not in _WRITTEN:
            return
        if not self._is_addressed(message):
            return
        assert self.user is not None
        text = re.sub(rf" *<@!?{self.user.id}> *", " ", message.content)
        await insist(
            self._receive,
            Message(
                id=f"discord:{message.id}",
                conversation=_conversation(message.guild, message.channel),
                author=Author(str(author.id), author.display_name),
                text=text.strip(),
                is_private=_is_direct(message.channel),
                attachments=tuple(map(_attachment, message.attachments)),
                address={"message": str(message.id)},
            ),
        )

    async def _ask(self, interaction: discord.Interaction, question: str) -> None:
        """Ask a question."""
        await self._accept_interaction(interaction, question)

    async def _accept_interaction(self, interaction: discord.Interaction, question: str) -> None:
        # Discord waits three seconds for a first answer; a deferral may be filled for a quarter of an hour.
        await interaction.response.defer(thinking=True)
        await insist(
            self._receive,
            Message(
                id=f"discord:{interaction.id}",
                conversation=_conversation(interaction.guild, interaction.channel),
                author=Author(str(interaction.user.id), interaction.user.display_name),
                text=question,
                is_private=_is_direct(interaction.channel),
                address={"application": str(interaction.application_id), "token": interaction.token},
            ),
        )

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """A button of a question back: its option is asked."""
        if interaction.type is not discord.InteractionType.component or interaction.message is None:
            return
        data: Any = interaction.data or {}
        number = str(data.get("custom_id", "")).removeprefix(_OPTION)
        line = re.search(rf"^{re.escape(number)}\. (.+)$", interaction.message.content, re.MULTILINE)
        if line:
            await self._accept_interaction(interaction, line[1])
        else:  # nothing to ask; without an answer Discord shows that the bot has failed
            await interaction.response.defer()

    def _is_addressed(self, message: discord.Message) -> bool:
        if _is_direct(message.channel) or str(message.channel.id) in self._auto_channels:
            return True
        answered = message.reference.resolved if message.reference else None
        is_reply = isinstance(answered, discord.Message) and answered.author == self.user
        # A reply without a ping comes without its content, unless the intent is on: nothing to answer then.
        return (self.user in message.mentions) or (is_reply and bool(message.content or message.attachments))


class DiscordSender:
    """The sending half: REST alone, without a gateway connection."""

    limit = 2000
    edit_seconds = 1.2
    shows_citations = False

    def __init__(self, token: str) -> None:
        self._token, self._client = token, _rest_client()
        self._login = Login(self._log_in)
        # Posts that took the place of a deferral that was gone, by message, while it is being answered.
        self._in_place: dict[str, str] = {}

    async def open(self) -> None:
        """Log in. Raises `WrongToken`, and `PlatformBusy` when Discord cannot be reached: then it may be
        called again, and the first post does so.
        """
        await self._login.now()

    async def _log_in(self) -> None:
        try:
            with _login_faults():
                await self._client.login(self._token)
        except BaseException:
            failed, self._client = self._client, _rest_client()  # it would keep its session
            await failed.close()
            raise

    async def typing(self, message: Message) -> None:
        if "token" not in message.address:  # a deferred command shows by itself that it thinks
            await self._login.ensure()
            with _faults():
                await self._channel(message).typing()

    async def post(self, message: Message, text: str, *, nonce: str, is_retry: bool) -> str:
        """Discord itself sees to once-only: the same nonce within some minutes gives the first post back."""
        await self._login.ensure()
        with _faults():
            if "token" in message.address:
                return await self._post_interaction(message, text, nonce)
            return await self._send(message, text, nonce)

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        """The file; Discord's links work for a day."""
        await self._login.ensure()
        try:
            return await self._client.http.get_from_cdn(file.url)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise FileRefused("not_fetched", str(error)) from error

    async def progress(self, message: Message, provisional: Provisional) -> bool:
        return False

    async def edit(self, message: Message, ref: str, text: str) -> None:
        await self._login.ensure()
        with _faults():
            if ref == _ORIGINAL:
                if message.id not in self._in_place:
                    if await self._fill(message, text):
                        return
                    # An earlier attempt's post comes back under this nonce; the edit below renews its text.
                    self._in_place[message.id] = await self._send(message, text, nonce_of(message.id, 0))
                ref = self._in_place[message.id]
            await self._channel(message).get_partial_message(int(ref)).edit(content=text)

    async def offer(self, message: Message, ref: str, text: str, options: Sequence[str]) -> None:
        """Buttons known by their number: what they ask stands in the post, so they outlive a restart."""
        view = discord.ui.View(timeout=None)
        for number, option in enumerate(options, 1):
            label = option if len(option) <= _LONGEST_LABEL else f"{option[: _LONGEST_LABEL - 1]}…"
            view.add_item(discord.ui.Button(label=label, custom_id=f"{_OPTION}{number}"))
        await self._login.ensure()
        with _faults():
            if ref != _ORIGINAL:
                await self._channel(message).get_partial_message(int(ref)).edit(view=view)
            elif message.id in self._in_place:
                await self.offer(message, self._in_place[message.id], text, options)
            else:
                await self._webhook(message).edit_message(_ORIGINAL, view=view)

    async def finish(self, message: Message, text: str, reply: Reply) -> None:
        """Citations are in the text already."""
        self._in_place.pop(message.id, None)

    async def close(self) -> None:
        await self._client.close()

    async def _post_interaction(self, message: Message, text: str, nonce: str) -> str:
        """The first part fills the deferral, which can be repeated; the others follow in the channel."""
        if nonce == nonce_of(message.id, 0) and await self._fill(message, text):
            return str(_ORIGINAL)
        return await self._send(message, text, nonce)

    async def _send(self, message: Message, text: str, nonce: str) -> str:
        sent = await self._channel(message).send(
            text, nonce=nonce, suppress_embeds=True, **_reference(message)
        )
        return str(sent.id)

    async def _fill(self, message: Message, text: str) -> bool:
        """Write into the deferral; False when it is gone, and the channel has to do."""
        try:
            await self._webhook(message).edit_message(_ORIGINAL, content=text)
        except discord.HTTPException as error:
            if error.status in (401, 404) or error.code in _GONE:
                return False
            raise
        return True

    def _channel(self, message: Message) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(int(message.conversation.channel))

    def _webhook(self, message: Message) -> discord.Webhook:
        address = message.address
        return discord.Webhook.partial(int(address["application"]), address["token"], client=self._client)


class _faults:  # noqa: N801 - used like a function
    """Discord's errors as ours: later, or never."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case discord.RateLimited():
                raise PlatformBusy("Discord is busy", retry_after=error.retry_after) from error
            case discord.HTTPException() if error.status == 429 or error.status >= 500:
                raise _busy(error) from error
            case discord.HTTPException() if error.status == 401:  # the message waits for a token that works
                raise PlatformBusy(_REFUSED, retry_after=login.WRONG_TOKEN_SECONDS) from error
            case discord.HTTPException():
                raise PlatformRefused(f"Discord: {error.text or error.status}") from error
            case aiohttp.ClientError() | OSError():
                raise PlatformBusy("Discord cannot be reached") from error


@contextlib.contextmanager
def _login_faults() -> Iterator[None]:
    """What goes wrong with logging in and staying connected: a matter of the token, of settings, or later."""
    try:
        yield
    except discord.LoginFailure as error:
        raise WrongToken(_REFUSED) from error
    except discord.PrivilegedIntentsRequired as error:
        raise StartError(_MISSING_INTENT) from error
    except discord.ConnectionClosed as error:
        if error.code == _AUTHENTICATION_FAILED:
            raise WrongToken(_REFUSED) from error
        raise PlatformBusy(f"Discord closed the connection: {error}") from error
    except discord.RateLimited as error:
        raise PlatformBusy("Discord is busy", retry_after=error.retry_after) from error
    except discord.HTTPException as error:
        raise _busy(error) from error
    except (discord.GatewayNotFound, aiohttp.ClientError, OSError) as error:
        raise PlatformBusy(f"Discord cannot be reached: {error}") from error


def _busy(error: discord.HTTPException) -> PlatformBusy:
    wait = error.response.headers.get("Retry-After", "")
    seconds = int(wait) if wait.isdecimal() else 1  # a proxy may give a date there
    return PlatformBusy(f"Discord is busy: status {error.status}", retry_after=seconds)


def _rest_client() -> discord.Client:
    # Beyond this discord.py raises instead of waiting: other conversations must not stand behind it.
    return discord.Client(
        intents=discord.Intents(guilds=True), allowed_mentions=_NO_MENTIONS, max_ratelimit_timeout=60
    )


def _is_direct(channel: object) -> bool:
    """Whether nobody else reads along. A guild that is not known yet does not make a channel direct."""
    return isinstance(channel, discord.DMChannel)


def _conversation(guild: discord.Guild | None, channel: Any) -> ConversationKey:
    """A thread is a channel of its own at Discord."""
    workspace = guild.id if guild else getattr(channel, "guild_id", None)
    return ConversationKey("discord", str(workspace or "direct"), str(channel.id))


def _reference(message: Message) -> dict[str, Any]:
    """The message that is answered; if it was deleted meanwhile, the answer is posted all the same."""
    if "message" not in message.address:
        return {}
    reference = discord.MessageReference(
        message_id=int(message.address["message"]),
        channel_id=int(message.conversation.channel),
        fail_if_not_exists=False,
    )
    return {"reference": reference}


def _attachment(found: discord.Attachment) -> Attachment:
    """A file as Discord names it; a worker fetches it, so that messages stay in their order."""
    return Attachment(found.filename, url=found.url, size=found.size)
