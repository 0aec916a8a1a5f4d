"""Discord's REST interface as plain payloads: posts and deferrals of one bot.

No payload pings anybody or shows a preview of a link, and nothing is kept in memory: discord.py's own
messages and views would stay there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route, handle_message_parameters

from bots.login import Login
from bots.platforms.discord.faults import login_faults

Json = dict[str, Any]

ORIGINAL = "@original"
"""The webhook route takes this name of a deferred answer in place of a number."""
NO_MENTIONS = discord.AllowedMentions.none()
# The shortest that discord.py takes. A longer wait is raised as `RateLimited`: it is served by trying again.
LONGEST_WAIT_SECONDS = 30.0

# Discord gives at most so many messages a page.
_A_PAGE, _MOST_PAGES = 100, 5
_SUPPRESS_EMBEDS = 1 << 2
# Discord reads mentions out of edits too, each time anew: it has to be told each time.
_QUIET: Json = {"flags": _SUPPRESS_EMBEDS, "allowed_mentions": {"parse": [], "replied_user": False}}

_MESSAGES = "/channels/{channel_id}/messages"
_HOOK = "/webhooks/{webhook_id}/{webhook_token}"

# A text bot needs no voice, and no warning that there is none.
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


def redirect(api_url: str | None, gateway_url: str | None) -> None:
    """Talk to another server that speaks Discord's protocol. discord.py knows no other way than these."""
    if api_url:
        Route.BASE = api_url.rstrip("/")
    if gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)


class Rest:
    """Requests of one bot, logged in by the first of them. Raises what discord.py raises."""

    def __init__(self, token: str) -> None:
        self._token, self._client = token, _client()
        self.login = Login(self._log_in)

    async def _log_in(self) -> None:
        try:
            with login_faults():
                await self._client.login(self._token)
        except BaseException:
            failed, self._client = self._client, _client()  # it would keep its session
            await failed.close()
            raise

    @property
    def user_id(self) -> str:
        """The bot's own, once logged in."""
        return str(self._client.user.id) if self._client.user else ""

    async def typing(self, channel: str) -> None:
        """Show for some ten seconds that something is coming."""
        await self._client.http.send_typing(int(channel))

    async def create(self, channel: str, body: Json) -> str:
        """Post; the post's id. With `nonce` in `body`, once within the next minutes."""
        once = {"enforce_nonce": True} if "nonce" in body else {}
        sent = await self._request("POST", _MESSAGES, body | once, {"channel_id": channel})
        return str(sent["id"])

    async def create_file(self, channel: str, body: Json, file: discord.File) -> str:
        """Post a file; otherwise like `create`."""
        reference = body.get("message_reference", discord.utils.MISSING)
        with handle_message_parameters(
            file=file, nonce=body["nonce"], allowed_mentions=NO_MENTIONS, message_reference=reference
        ) as parameters:
            sent = await self._client.http.send_message(int(channel), params=parameters)
        return str(sent["id"])

    async def edit(self, channel: str, ref: str, body: Json) -> None:
        """Change what is in `body`, leave the rest."""
        await self._request("PATCH", f"{_MESSAGES}/{{ref}}", body, {"channel_id": channel, "ref": ref})

    async def delete(self, channel: str, ref: str) -> None:
        """Take a post away."""
        await self._request("DELETE", f"{_MESSAGES}/{{ref}}", None, {"channel_id": channel, "ref": ref})

    async def since(self, channel: str, message_id: str) -> list[Json]:
        """The five hundred messages after this one, oldest first."""
        found: list[Json] = []
        for _ in range(_MOST_PAGES):
            after = int(found[-1]["id"] if found else message_id)
            page = await self._client.http.logs_from(int(channel), _A_PAGE, after=after)
            found += sorted(map(dict, page), key=lambda message: int(message["id"]))
            if len(page) < _A_PAGE:
                break
        return found

    async def follow_up(self, address: Mapping[str, str], body: Json) -> str:
        """Post behind a deferral, also where the bot is no member. Nothing sees to once-only here."""
        return str((await self._request("POST", _HOOK, body, _hook(address)))["id"])

    async def edit_deferred(self, address: Mapping[str, str], ref: str, body: Json) -> None:
        """Change the answer to an interaction: `ORIGINAL`, or what `follow_up` posted."""
        await self._request("PATCH", f"{_HOOK}/messages/{{ref}}", body, _hook(address) | {"ref": ref})

    async def delete_deferred(self, address: Mapping[str, str], ref: str) -> None:
        """Take the answer to an interaction away."""
        await self._request("DELETE", f"{_HOOK}/messages/{{ref}}", None, _hook(address) | {"ref": ref})

    async def download(self, url: str) -> bytes:
        """A file of the CDN; links work for a day."""
        return await self._client.http.get_from_cdn(url)

    async def name_of(self, user_id: str) -> str:
        """What somebody is called everywhere."""
        user = await self._client.http.get_user(int(user_id))
        return str(user.get("global_name") or user["username"])

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()

    async def _request(self, method: str, path: str, body: Json | None, place: Mapping[str, str]) -> Any:
        content: Json = {} if body is None else {"json": body | _QUIET}
        return await self._client.http.request(Route(method, path, **place), **content)


def _hook(address: Mapping[str, str]) -> dict[str, str]:
    return {"webhook_id": address["application"], "webhook_token": address["token"]}


def _client() -> discord.Client:
    return discord.Client(
        intents=discord.Intents(guilds=True),
        allowed_mentions=NO_MENTIONS,
        max_ratelimit_timeout=LONGEST_WAIT_SECONDS,
    )
