"""Our Discord adapter against the local Discord of discord_server.py: parts that several tests use."""

import contextlib

from running import background

from bots.message import Author, ConversationKey, Message
from bots.platforms.discord import DiscordReceiver
from bots.pulse import Pulse


class Recorder:
    """Stands where the intake stands, and takes everything."""

    def __init__(self):
        self.messages, self.changes, self.ratings = [], [], []

    async def receive(self, message, also=()):
        if message.id in {taken.id for taken in self.messages}:
            return False
        self.messages.append(message)
        return True

    async def change(self, change, event_id=""):
        if event_id not in {taken for taken, _ in self.changes}:
            self.changes.append((event_id, change))

    async def rate(self, rating):
        self.ratings.append(rating)

    @property
    def texts(self):
        return [message.text for message in self.messages]


class WatchedPulse(Pulse):
    """Remembers what was lost."""

    def __init__(self, redis):
        super().__init__(redis, "discord")
        self.lost_as = []

    def lost(self, reason, state="reconnecting"):
        self.lost_as.append(state)
        super().lost(reason, state)


def receiver_of(server, store, intake, **options):
    """A receiver that takes servers to be known soon: discord.py waits for more of them."""
    options = {"guild_ready_seconds": 0.05, "pulse": WatchedPulse(store.redis)} | options
    return DiscordReceiver(server.token, intake, store.redis, **options)


@contextlib.asynccontextmanager
async def receiving(server, store, **options):
    """The receiving half alone, and what it has received."""
    recorder = Recorder()
    async with background(receiver_of(server, store, recorder, **options).run_forever()):
        await server.wait_for(lambda s: s.connected)
        yield recorder


def asked(server, **changes):
    """A question of the customer in the first channel."""
    conversation = ConversationKey("discord", str(server.guild_id), str(server.channel_id))
    author = Author(str(server.user_id), "Customer")
    fields = {"id": "discord:1", "text": "a question", "is_private": False, "author": author}
    return Message(conversation=conversation, **(fields | changes))


def posted(server, channel=None):
    """What the bot shows in a channel, without the mark of a deferral."""
    found = server.messages[channel or server.channel_id]
    return [m["content"] for m in found if m["author"]["bot"] and not m["flags"] & 1 << 7]


def sent(server):
    """Every JSON with a text or buttons that the bot sent."""
    return [
        call
        for call in server.calls
        if isinstance(call.json, dict) and call.json.keys() & {"content", "components"}
    ]
