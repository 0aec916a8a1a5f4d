"""Which language somebody has set in Slack: for forms and the Home, where nothing was said yet."""

from __future__ import annotations

from slack_sdk.web.async_client import AsyncWebClient

from bots.platforms.slack.calls import NO_ANSWER

_MOST_KEPT = 10_000


class Languages:
    """Asks once a person; lost when the process ends."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def known(self, user: str) -> str:
        """Without asking: English until somebody was asked about."""
        return self._known.get(user, "en")

    async def of(self, client: AsyncWebClient, user: str) -> str:
        """An ISO 639-1 code; English where Slack does not say."""
        if user not in self._known:
            try:
                found = await client.users_info(user=user, include_locale=True)
            except NO_ANSWER:
                return "en"
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[user] = str(found["user"].get("locale") or "en").partition("-")[0]
        return self._known[user]
