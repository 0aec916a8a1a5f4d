"""The checks that need a platform's own client but no processes: 4 (events that come again), 15 and 16 (what
a model may say). Judged from the local servers' messages and calls.
"""

import asyncio
import html
import json
import re
import unicodedata
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from discord.gateway import DiscordWebSocket
from discord.http import Route
from discord_server import DiscordServer
from fault_hostile import CANARY, LINKS, PINGS
from fault_platform import SLACK_ACTS
from fault_rig import redis_at
from fault_table import Row
from running import background, working
from scripted import ScriptedEngine
from slack_server import SlackServer

from bots import platforms
from bots.build import open_store
from bots.message import Author, ConversationKey, Message
from bots.pulse import Pulse
from bots.registry import Registry
from bots.settings import Settings

_SUPPRESS_EMBEDS = 1 << 2
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
_OWN = "https://shop.example/my-order?id=7"


def settings_for(folder, platform, server):
    """Settings with which frontdesk finds this server."""
    if platform == "discord":
        urls = {"discord_api_url": server.rest_url, "discord_gateway_url": server.gateway_url}
        return Settings(data_dir=folder / "data", discord_token=server.token, **urls)
    tokens = {"slack_bot_token": server.bot_token, "slack_app_token": server.app_token}
    return Settings(data_dir=folder / "data", slack_api_url=server.api_url, **tokens)


@asynccontextmanager
async def running(folder, platform, server, engine, *, receives=True):
    """Both halves of a platform and a worker, on a Redis of their own: the store."""
    settings, registry = settings_for(folder, platform, server), Registry()
    base, gateway = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    async with redis_at(folder) as url, open_store(settings, url) as store:
        module = platforms.load(platform)
        sender = await module.open_sender(settings, store)
        try:
            async with working(store, engine, {platform: sender}, registry):
                if not receives:
                    yield store
                    return
                receiver = module.make_receiver(settings, store, registry, Pulse(store.redis, platform))
                async with background(receiver.run_forever()):
                    yield store
        finally:
            await sender.close()
            Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = base, gateway


async def _until(condition, seconds=15):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def _until_quiet(store):
    """Until nothing is in the inbox for a while: whatever would come twice has come."""
    quiet = 0
    async with asyncio.timeout(30):
        while quiet < 15:
            quiet = quiet + 1 if await store.inbox.backlog() == 0 else 0
            await asyncio.sleep(0.02)


def _row(name, answers):
    is_passed = all(count == 1 for count in answers.values())
    return Row("4", name, is_passed, {"answers": answers})


def _echo(request):
    return f"This is what I know about: {request.turns[-1].content}"


async def slack_events(folder, scale):
    """One event four times, a mention that comes as two events, one that was never acknowledged."""
    folder = Path(folder)
    async with SlackServer(ack_timeout=0.5, retry_gaps=(0.05, 0.5, 3.0)) as server:
        async with running(folder, "slack", server, ScriptedEngine(_echo)) as store:
            await _until(lambda: server.sockets)
            await server.say(server.channel_id, "Where is parcel alpha?", mention=True)
            await _until(lambda: _slack_answers(server, "alpha"))
            for envelope in list(server.envelopes):
                for _ in range(3):
                    await server.redeliver(envelope)
            claims = [await store.redis.ttl(key) async for key in store.redis.scan_iter("frontdesk:claim:*")]
            await server.drop_connections()
            await server.say(server.channel_id, "Where is parcel beta?", mention=True)
            await _until(lambda: _slack_answers(server, "beta"), 30)
            await _until_quiet(store)
        answers = {word: _slack_answers(server, word) for word in ("alpha", "beta")}
    row = _row("Slack: events again", answers)
    hours = min(claims) / 3600
    return [
        Row(
            row.check,
            row.name,
            row.is_passed and hours > 23,
            row.figures | {"claims_kept_h": round(hours, 1)},
        )
    ]


def _slack_answers(server, word):
    """How many posts of the bot name the word."""
    posts = [
        post for posts in server.messages.values() for post in posts if post.get("bot_id") == server.bot_id
    ]
    return sum(f"know about: Where is parcel {word}" in json.dumps(post) for post in posts)


async def discord_events(folder, scale):
    """One message three times, over a RESUME and after a session that could not be resumed."""
    folder = Path(folder)
    async with DiscordServer() as server:
        async with running(folder, "discord", server, ScriptedEngine(_echo)) as store:
            await _until(lambda: server.sessions)
            said = await server.say(server.channel_id, "Where is parcel alpha?", mention_bot=True)
            await _until(lambda: _discord_answers(server, "alpha"))
            for _ in range(2):
                await server.event("MESSAGE_CREATE", said | {"guild_id": str(server.guild_id)})
            await server.drop_connections(code=4000)
            await server.say(server.channel_id, "Where is parcel beta?", mention_bot=True)
            await _until(lambda: _discord_answers(server, "beta"), 30)
            await server.drop_connections(code=4000, keep_sessions=False)
            await server.say(server.channel_id, "Where is parcel gamma?", mention_bot=True)
            await _until(lambda: _discord_answers(server, "gamma"), 40)
            await _until_quiet(store)
        answers = {word: _discord_answers(server, word) for word in ("alpha", "beta", "gamma")}
        resumed, identified = len(server.resumes), len(server.identifies)
    row = _row("Discord: events again", answers)
    figures = row.figures | {"resumes": resumed, "identifies": identified}
    return [Row(row.check, row.name, row.is_passed and resumed > 0 and identified == 2, figures)]


def _discord_answers(server, word):
    bot = str(server.bot_id)
    posts = [post for posts in server.messages.values() for post in posts if post["author"]["id"] == bot]
    return sum(f"know about: Where is parcel {word}" in post["content"] for post in posts)


async def hostile(folder, scale, platform):
    """The model pings everybody and leaks by links in 40 forms; the customer's own link is left."""
    folder = Path(folder)
    said = [*PINGS, *LINKS, f"your order {_OWN} is on its way"]

    def script(request):
        number = request.turns[-1].content.split()[0]
        return f"Answer {number}: {said[int(number)]}"

    async with (DiscordServer if platform == "discord" else SlackServer)() as server:
        channels = [_channel(server, platform, number) for number in range(len(said))]
        async with running(folder, platform, server, ScriptedEngine(script), receives=False) as store:
            for number in range(len(said)):
                channel = channels[number]
                key = ConversationKey(platform, "T100" if platform == "slack" else "1", channel)
                text = f"{number} please, about {_OWN}"
                id_ = (
                    f"discord:{10**18 + number}"
                    if platform == "discord"
                    else f"slack:T100:{channel}:{number}.0"
                )
                await store.intake.receive(
                    Message(id_, key, Author(f"U{number}", "Anna"), text, is_private=False)
                )
            await _until_quiet(store)
        found = _discord_texts(server) if platform == "discord" else _slack_texts(server)
    return _hostile_rows(platform, found, len(said))


def _channel(server, platform, number):
    """A channel of its own for each question: Slack takes one post a second in each."""
    if platform == "slack":
        server.subscriptions = set()
        server.add_channel(f"C{6000 + number}", f"hostile-{number}")
        return f"C{6000 + number}"
    return str(server._add_channel(1_300_000_000_000_000_000 + number, 0, name="hostile", position=number))


def _discord_texts(server):
    """Every text sent, what is wrong with how it was sent, and what it shows in the end."""
    sent = [call for call in server.calls if "/messages" in call.path and call.method in ("POST", "PATCH")]
    wrong = [call.path for call in sent if (call.json.get("allowed_mentions") or {}).get("parse") != []]
    posts = [call for call in sent if call.method == "POST"]
    unfurled = [call.path for call in posts if not call.json.get("flags", 0) & _SUPPRESS_EMBEDS]
    texts = [call.json.get("content") or "" for call in sent]
    last = [post["content"] for posts in server.messages.values() for post in posts]
    return {"texts": texts, "pings": wrong, "unfurled": unfurled, "last": last}


def _slack_texts(server):
    sent = [call for call in server.calls if call.method in SLACK_ACTS]
    texts = [_visible(call.args) for call in sent]
    pings = [text for text in texts if re.search(r"<(!|@|#|subteam)", text)]
    posts = [call for call in sent if call.method == "chat.postMessage"]
    off = ("false", "0", False, 0)
    unfurled = [
        c.method
        for c in posts
        if not (c.args.get("unfurl_links") in off and c.args.get("unfurl_media") in off)
    ]
    last = [_visible(post) for posts in server.messages.values() for post in posts if post.get("bot_id")]
    return {"texts": texts, "pings": pings, "unfurled": unfurled, "last": last}


def _visible(arguments):
    """Every string that a customer may see."""
    kept = {name: arguments.get(name) for name in ("text", "markdown_text", "blocks", "chunks")}
    return "\n".join(_strings(kept))


def _strings(found):
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for name, value in found.items():
            if name not in ("type", "action_id", "block_id", "value"):
                yield from _strings(value)
    elif isinstance(found, list):
        for value in found:
            yield from _strings(value)


def _hostile_rows(platform, found, wanted):
    leaked = sorted({text[:160] for text in found["texts"] if CANARY in _plain(text)})
    answered = sum("Answer" in text for text in found["last"])
    own = any(_OWN in html.unescape(text) for text in found["last"])
    pings = {"sends": len(found["texts"]), "pings": len(found["pings"]), "examples": found["pings"][:2]}
    links = {"links": len(LINKS), "live": len(leaked), "unfurled": len(found["unfurled"]), "own_kept": own}
    is_silent = not found["pings"] and answered == wanted
    is_clean = not leaked and not found["unfurled"] and own
    return [
        Row("15", f"pings, {platform}", is_silent, {**pings, "answered": answered}),
        Row("16", f"links, {platform}", is_clean, {**links, "examples": leaked[:3]}),
    ]


def _plain(text):
    """As the most generous reader of links sees it."""
    for _ in range(3):
        text = unquote(html.unescape(_INVISIBLE.sub("", text)))
    return unicodedata.normalize("NFKC", text).casefold()
