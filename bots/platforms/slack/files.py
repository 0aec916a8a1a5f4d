"""Files from and to Slack."""

from __future__ import annotations

from pathlib import PurePath

import aiohttp
import yarl

from bots.adapter import MAX_ATTACHMENT_BYTES
from bots.errors import FileRefused, PlatformBusy, PlatformRefused
from bots.message import Attachment, Message
from bots.platforms.slack.calls import Calls
from bots.platforms.slack.finder import Finder
from bots.platforms.slack.place import in_reach
from bots.platforms.slack.streams import thread_of
from engine.types import TextFile

_SECONDS = 60
# Of the nonce, in a file's name: enough that no other file is called so.
_MARK_CHARACTERS = 10


class Files:
    def __init__(self, calls: Calls, finder: Finder, api_url: str) -> None:
        self._calls, self._finder, self._api_url = calls, finder, yarl.URL(api_url)

    async def fetch(self, message: Message, file: Attachment) -> bytes:
        """A private file; Slack wants the bot's token for it. Raises `FileRefused`."""
        try:
            url = yarl.URL(file.url)
            if not self._may_get_token(url):
                raise FileRefused("not_uploaded", f"it is not kept at Slack but at {url.host}")
            return await self._download(url, await self._calls.token(message))
        except (aiohttp.ClientError, TimeoutError, ValueError, PlatformRefused) as error:
            raise FileRefused("not_fetched", f"{error}; the bot may need the scope files:read") from error

    def _may_get_token(self, url: yarl.URL) -> bool:
        """Whoever adds a remote file chooses its address: the token goes to Slack alone."""
        if (url.scheme, url.host, url.port) == (self._api_url.scheme, self._api_url.host, self._api_url.port):
            return True
        return url.scheme == "https" and (f".{url.host}").endswith(".slack.com")

    async def _download(self, url: yarl.URL, token: str) -> bytes:
        """The file, or as much of it as shows that it is too large."""
        content = bytearray()
        async with self._calls.session().get(
            url,
            headers={"Authorization": f"Bearer {token}"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
        ) as response:
            # Without the right to read files Slack sends its sign-in page, with status 200 or a redirect.
            if response.status != 200 or "text/html" in response.headers.get("Content-Type", ""):
                raise aiohttp.ClientError(f"status {response.status}")
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MAX_ATTACHMENT_BYTES:
                    break
        return bytes(content)

    async def post(self, message: Message, file: TextFile, *, nonce: str, is_retry: bool) -> str:
        """Upload and share a file; its id. People read its title: the name carries the nonce.

        https://docs.slack.dev/reference/methods/files.completeUploadExternal
        """
        name = _marked(file.name, nonce)
        await self._calls.expect_turn(message)
        if is_retry and (found := await self._finder.file(message, name)):
            return found
        # Slack takes no empty file.
        content = file.text.encode() or b"\n"
        place = await self._calls.call(
            message, "files_getUploadURLExternal", filename=name, length=len(content)
        )
        await self._upload(place["upload_url"], content)

        async def share(channel: str) -> str:
            await self._calls.call(
                message,
                "files_completeUploadExternal",
                files=[{"id": place["file_id"], "title": file.name}],
                channel_id=channel,
                thread_ts=thread_of(message),
            )
            return str(place["file_id"])

        return await in_reach(self._calls, message, share)

    async def _upload(self, url: str, content: bytes) -> None:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with self._calls.session().post(url, data=content, timeout=timeout) as response:
                if response.status != 200:
                    raise PlatformBusy(f"Slack took no file: status {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PlatformBusy(f"Slack took no file: {error}") from error


def _marked(name: str, nonce: str) -> str:
    path = PurePath(name)
    return f"{path.stem}-{nonce[:_MARK_CHARACTERS]}{path.suffix}"
