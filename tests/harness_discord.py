"""Discord for the contract: a channel in which the bot is mentioned, and direct messages."""

import contextlib

from discord_parts import receiver_of
from discord_people import components
from discord_server import SUPPRESS_EMBEDS, DiscordServer
from harness import ANNA, BEN, Harness, Post
from running import background

from bots.platforms.discord import open_sender
from bots.settings import Settings


class DiscordHarness(Harness):
    """A channel in which the bot is mentioned, and direct messages."""

    name, limit = "discord", 2000

    def __init__(self, monkeypatch, tmp_path):
        self._monkeypatch, self._own = monkeypatch, set()

    async def __aenter__(self):
        self.server = await DiscordServer().__aenter__()
        self.server.redirect(self._monkeypatch)
        self._people = {ANNA: self.server.user_id, BEN: self.server.user_id + 1}
        for name, user_id in self._people.items():
            self.server.add_user(user_id, name)
        return self

    async def __aexit__(self, *_):
        await self.server.__aexit__()

    @contextlib.asynccontextmanager
    async def receiving(self, store, registry):
        receiver = receiver_of(self.server, store, store.intake, commands=registry.commands.values())
        async with background(receiver.run_forever()):
            await self.server.wait_for(lambda s: s.connected and s.commands.get(None))
            yield

    @contextlib.asynccontextmanager
    async def sending(self, store):
        sender = await open_sender(self._settings(self.server.token), store)
        try:
            yield {"discord": sender}
        finally:
            await sender.close()

    def _settings(self, token):
        urls = {"discord_api_url": self.server.rest_url, "discord_gateway_url": self.server.gateway_url}
        return Settings(discord_token=token, **urls)

    def wrong_settings(self):
        return self._settings("bot-token.wrong")

    async def ask(self, text, *, person=ANNA, is_private=False, file=None, after=None):
        files = dict([file]) if file else None
        user_id = self._people[person]
        if is_private:
            return await self.server.dm(text, user_id=user_id, attachments=files)
        more = {"author": user_id, "mention_bot": True, "attachments": files}
        return await self.server.say(self.server.channel_id, text, **more)

    async def redeliver(self, question):
        for session in list(self.server.sessions.values()):
            for name, data in list(session.events):
                if name == "MESSAGE_CREATE" and data["id"] == question["id"]:
                    await self.server.event(name, data)

    async def bots_say(self, text):
        channel = self.server.channel_id
        self.server.add_user(1_200_000_000_000_000_000, "otherbot", bot=True)
        await self.server.say(channel, text, author=1_200_000_000_000_000_000, mention_bot=True)
        self._own.add(
            (await self.server.say(channel, text, author=self.server.bot_id, mention_bot=True))["id"]
        )

    async def edit(self, question, text):
        await self.server.rewrite(question, f"<@{self.server.bot_id}> {text}")

    async def delete(self, question):
        await self.server.remove(question)

    async def stop(self, question):
        await self._press("frontdesk:stop:")

    async def rate(self, question, *, is_helpful):
        await self._press(f"frontdesk:rate:{'up' if is_helpful else 'down'}:")

    async def _press(self, prefix):
        def found(_):
            for message in self._shown():
                for button in components(message["components"]):
                    if button.get("custom_id", "").startswith(prefix):
                        return message, button["custom_id"]
            return None

        await self.server.click(*await self.server.wait_for(found))

    def options(self):
        return list(self._options())

    async def choose(self, question, option):
        await self._press(self._options()[option])

    def _options(self):
        buttons = [button for message in self._shown() for button in components(message["components"])]
        return {b["label"]: b["custom_id"] for b in buttons if "option" in b.get("custom_id", "")}

    async def call(self, name, arguments):
        typed = {"number": int, "is_gift": lambda word: word == "yes"}
        options = {key: typed.get(key, str)(value) for key, value in arguments.items()}
        await self.server.interact(name, options)

    def _shown(self):
        """The bot's messages, but a deferral that is still empty."""
        everything = [message for messages in self.server.messages.values() for message in messages]
        found = [m for m in everything if m["author"]["id"] == str(self.server.bot_id)]
        return [m for m in found if m["id"] not in self._own and not m["flags"] & 1 << 7]

    def posts(self):
        return [Post(m["id"], m["content"]) for m in self._shown() if m["content"]]

    def files(self):
        attached = [file for message in self._shown() for file in message["attachments"]]
        found = {name.rpartition("/")[2]: content for name, (_, content) in self.server.files.items()}
        return {file["filename"]: found[file["filename"]].decode() for file in attached}

    def _sent(self):
        return [
            call.json for call in self.server.calls if isinstance(call.json, dict) and call.method != "PUT"
        ]

    def outgoing(self):
        return [body.get("content") or "" for body in self._sent()]

    def mentions(self):
        return " ".join(f"<@{user_id}>" for user_id in (*self._people.values(), self.server.bot_id))

    def pings(self):
        texts = [body for body in self._sent() if body.get("content")]
        loud = [body for body in texts if body.get("allowed_mentions", {}).get("parse") != []]
        unfurled = [body for body in texts if not body.get("flags", 0) & SUPPRESS_EMBEDS]
        return loud + unfurled + [m for m in self._shown() if m["mentions"] or m["mention_everyone"]]

    def busy(self):
        self.server.fail_next(429, times=2, path=f"POST /channels/{self.server.channel_id}/messages")
        return lambda: [call.status for call in self.server.calls].count(429) == 2
