"""Where the bot is at home: one workspace by a token in the settings, or many by OAuth, or both."""

from __future__ import annotations

from typing import Any

from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize
from slack_bolt.context.async_context import AsyncBoltContext
from slack_sdk.web.async_client import AsyncWebClient

from bots.platforms.slack.calls import check_bot_token
from bots.platforms.slack.installations import Installations


class Workspaces(AsyncAuthorize):
    """Finds the bot's token and user in a workspace. An installation goes before the settings' token."""

    def __init__(
        self, client: AsyncWebClient, bot_token: str | None, installations: Installations | None
    ) -> None:
        self._client, self._bot_token, self._installations = client, bot_token, installations
        self._own: dict[str, Any] = {}

    async def check(self) -> None:
        """Ask who the settings' token belongs to. Raises `WrongToken`, and `PlatformBusy` without Slack."""
        if self._bot_token and not self._own:
            self._own = await check_bot_token(self._client)

    async def token_of(self, workspace: str, enterprise: str = "") -> str | None:
        """The bot's token there; None where the app is not installed, or no longer."""
        installed = None
        if self._installations is not None:
            installed = await self._installations.token_for(enterprise or None, workspace or None)
        return installed or self._bot_token

    async def __call__(
        self,
        *,
        context: AsyncBoltContext,
        enterprise_id: str | None,
        team_id: str | None,
        user_id: str | None,
        actor_enterprise_id: str | None = None,
        actor_team_id: str | None = None,
        actor_user_id: str | None = None,
    ) -> AuthorizeResult | None:
        """As Bolt asks for every event. No call to Slack: who the bot is was stored when it was installed."""
        if self._installations is not None:
            bot = await self._installations.async_find_bot(
                enterprise_id=enterprise_id,
                team_id=team_id,
                is_enterprise_install=context.is_enterprise_install,
            )
            if bot is not None:
                return AuthorizeResult(
                    enterprise_id=enterprise_id,
                    team_id=team_id,
                    bot_token=bot.bot_token,
                    bot_id=bot.bot_id,
                    bot_user_id=bot.bot_user_id,
                )
        return self._own_result(enterprise_id, team_id)

    def _own_result(self, enterprise_id: str | None, team_id: str | None) -> AuthorizeResult | None:
        if not self._own or (self._installations is not None and team_id != self._own["team_id"]):
            return None
        return AuthorizeResult(
            enterprise_id=enterprise_id,
            team_id=team_id,
            bot_token=self._bot_token,
            bot_id=self._own.get("bot_id"),
            bot_user_id=self._own["user_id"],
        )

    async def forget(self, enterprise_id: str | None, team_id: str | None) -> None:
        """The app was uninstalled there, or its token revoked."""
        if self._installations is not None:
            await self._installations.async_delete_all(enterprise_id=enterprise_id, team_id=team_id)

    async def forget_user(self, enterprise_id: str | None, team_id: str | None, user_id: str) -> None:
        """The token of somebody who installed the app was revoked."""
        if self._installations is not None:
            await self._installations.async_delete_installation(
                enterprise_id=enterprise_id, team_id=team_id, user_id=user_id
            )
