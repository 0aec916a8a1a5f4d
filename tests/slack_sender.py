"""The sending half of Slack inside a test, at a local server, and questions for it to answer."""

import time
from contextlib import asynccontextmanager

from bots.adapter import nonce_of
from bots.message import Author, ConversationKey, Message
from bots.platforms.slack.sender import SlackSender


def token_of(server):
    """The token of the one workspace that a server has; see `bots.platforms.slack.calls.TokenOf`."""

    async def find(workspace, enterprise):
        return server.bot_token

    return find


@asynccontextmanager
async def sending(server, redis=None):
    """A sender for this server, closed afterwards."""
    sender = SlackSender(token_of(server), server.api_url, redis)
    try:
        yield sender
    finally:
        await sender.close()


async def ask(server, text="How long?", channel="", **more):
    """A question that the server has, in a thread that it begins."""
    channel = channel or server.channel_id
    asked = await server.say(channel, text, **more)
    return Message(
        f"slack:{server.team_id}:{channel}:{asked['ts']}",
        ConversationKey("slack", server.team_id, channel, asked.get("thread_ts") or asked["ts"]),
        Author(server.user_id),
        text,
        is_private=channel == server.dm_channel_id,
    )


def called(server, channel, at=None):
    """A slash command of a channel: it stands in no thread, and its time is our own clock's."""
    at = at or time.time()
    return Message(
        f"slack:{server.team_id}:{channel}:{at:.6f}",
        ConversationKey("slack", server.team_id, channel),
        Author(server.user_id),
        "/returns",
        is_private=False,
        sent_at=at,
    )


async def post(sender, message, text, part=0, *, is_retry=False, is_growing=False):
    nonce = nonce_of(message.id, part)
    return await sender.post(message, text, nonce=nonce, is_retry=is_retry, is_growing=is_growing)


def shown(server, message):
    """What the bot's posts in the message's thread say, in order: beside blocks, `text` only notifies."""
    posts = server.messages[message.conversation.channel]
    thread = message.conversation.thread
    own = [m for m in posts if m.get("bot_id") and m.get("thread_ts") == thread]
    return [m["blocks"][0]["text"] if m.get("blocks") else m["text"] for m in own]


def made(server, method):
    return [call.args for call in server.calls if call.method == method]
