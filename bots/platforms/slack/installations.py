"""Where the app is installed, in Redis: encrypted tokens, and the states of installations under way.

A workspace's id and an organisation's are unique over all of Slack, and a workspace keeps its id when it
joins an organisation. So an installation is found by one of them: the organisation's where it is installed
for all of it (Enterprise Grid), else the workspace's.
"""

from __future__ import annotations

import json
import logging
import secrets
from datetime import datetime
from typing import Any

from redis.asyncio import Redis
from slack_sdk.oauth.installation_store import Bot, Installation
from slack_sdk.oauth.installation_store.async_installation_store import AsyncInstallationStore
from slack_sdk.oauth.state_store.async_state_store import AsyncOAuthStateStore

from bots import keys
from bots.envelope import Envelope
from bots.errors import Undecipherable
from engine.log import logger

log = logger("bots.slack")

STATE_SECONDS = 600
"""How long somebody may take to agree to an installation."""
_BOT, _LATEST, _USER = "bot", "latest", "user:"


class Installations(AsyncInstallationStore):
    """One hash an installation: the bot's token, the latest installation, and each installer's own."""

    def __init__(self, redis: Redis, envelope: Envelope) -> None:
        self._redis: Any = redis
        self._envelope = envelope

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger("slack_bolt")

    async def token_for(self, enterprise_id: str | None, team_id: str | None) -> str | None:
        """The bot's token in a workspace, of its own installation or its organisation's."""
        bot = await self.async_find_bot(enterprise_id=enterprise_id, team_id=team_id)
        return bot.bot_token if bot else None

    async def async_save(self, installation: Installation) -> None:
        """Keep an installation, in place of an earlier one; raises `RedisError`."""
        record = _json(installation)
        names = (_LATEST, f"{_USER}{installation.user_id}")
        key = _key(installation.enterprise_id, installation.team_id, installation.is_enterprise_install)
        fields = {name: self._seal(record, key, name) for name in names}
        if installation.bot_token:
            fields[_BOT] = self._seal(_json(installation.to_bot()), key, _BOT)
        await self._redis.hset(key, mapping=fields)

    async def async_save_bot(self, bot: Bot) -> None:
        key = _key(bot.enterprise_id, bot.team_id, bot.is_enterprise_install)
        await self._redis.hset(key, _BOT, self._seal(_json(bot), key, _BOT))

    async def async_find_bot(
        self, *, enterprise_id: str | None, team_id: str | None, is_enterprise_install: bool | None = False
    ) -> Bot | None:
        found = await self._find(_BOT, enterprise_id, team_id, is_enterprise_install)
        return Bot(**found) if found else None

    async def async_find_installation(
        self,
        *,
        enterprise_id: str | None,
        team_id: str | None,
        user_id: str | None = None,
        is_enterprise_install: bool | None = False,
    ) -> Installation | None:
        name = f"{_USER}{user_id}" if user_id else _LATEST
        found = await self._find(name, enterprise_id, team_id, is_enterprise_install)
        return Installation(**found) if found else None

    async def async_delete_bot(self, *, enterprise_id: str | None, team_id: str | None) -> None:
        await self._redis.hdel(_key(enterprise_id, team_id), _BOT)

    async def async_delete_installation(
        self, *, enterprise_id: str | None, team_id: str | None, user_id: str | None = None
    ) -> None:
        key = _key(enterprise_id, team_id)
        if user_id:
            names = [f"{_USER}{user_id}"]
        else:
            names = [name.decode() for name in await self._redis.hkeys(key) if name.decode() != _BOT]
        if names:
            await self._redis.hdel(key, *names)

    async def async_delete_all(self, *, enterprise_id: str | None, team_id: str | None) -> None:
        await self._redis.delete(_key(enterprise_id, team_id))

    async def _find(
        self, name: str, enterprise_id: str | None, team_id: str | None, is_enterprise_install: bool | None
    ) -> dict[str, Any] | None:
        places = [] if is_enterprise_install or not team_id else [_key(enterprise_id, team_id)]
        places += [_key(enterprise_id, None)] if enterprise_id else []
        for key in places:
            if sealed := await self._redis.hget(key, name):
                return self._open(sealed, key, name)
        return None

    def _seal(self, record: str, key: str, name: str) -> bytes:
        return self._envelope.seal(record, f"{key} {name}")

    def _open(self, sealed: bytes, key: str, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._envelope.open(sealed, f"{key} {name}"))
        except Undecipherable as error:
            log.error("an installation in Slack cannot be read; install the app again", reason=str(error))
            return None
        return found


class OAuthStates(AsyncOAuthStateStore):
    """Says once of a state whether it was given out here, within `STATE_SECONDS`."""

    def __init__(self, redis: Redis, envelope: Envelope) -> None:
        self._redis: Any = redis
        self._envelope = envelope

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger("slack_bolt")

    async def async_issue(self, *_: Any, **__: Any) -> str:
        state = secrets.token_urlsafe(32)
        key = self._key(state)
        await self._redis.set(key, self._envelope.seal(state, key), ex=STATE_SECONDS)
        return state

    async def async_consume(self, state: str) -> bool:
        key = self._key(state)
        sealed = await self._redis.getdel(key)
        try:
            return bool(sealed) and self._envelope.open(sealed, key) == state
        except Undecipherable:
            return False

    def _key(self, state: str) -> str:
        """Who reads Redis learns no state from it."""
        return keys.slack_state(self._envelope.index("slack state", state))


def _key(enterprise_id: str | None, team_id: str | None, is_enterprise_install: bool | None = False) -> str:
    if is_enterprise_install or not team_id:
        return keys.slack_installation(enterprise_id or "", "")
    return keys.slack_installation("", team_id)


def _json(record: Bot | Installation) -> str:
    return json.dumps(record.to_dict_for_copying(), default=datetime.isoformat)
