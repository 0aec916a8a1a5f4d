"""Discord's errors as ours: a matter of the token, of settings, for later, or for never."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import aiohttp
import discord

from bots import login
from bots.errors import PlatformBusy, PlatformRefused, StartError, WrongToken

# Close codes of the gateway (topics/opcodes-and-status-codes#gateway-gateway-close-event-codes).
_AUTHENTICATION_FAILED = 4004
# Webhook token invalid (a deferral lives a quarter of an hour), webhook unknown, message unknown.
_GONE = frozenset({50027, 10015, 10008})
_REFUSED = (
    "Discord does not accept the token: copy it again from the application's page, under Bot, into "
    "FRONTDESK_DISCORD_TOKEN."
)
_MISSING_INTENT = (
    "Discord refuses the message content intent, which FRONTDESK_DISCORD_MESSAGE_CONTENT and automatic "
    "channels need: switch on 'Message Content Intent' under Bot on the application's page, or set "
    "FRONTDESK_DISCORD_MESSAGE_CONTENT=false and remove discord: channels from FRONTDESK_AUTO_CHANNELS."
)


@contextlib.contextmanager
def send_faults() -> Iterator[None]:
    """What goes wrong with one request: later (`PlatformBusy`), or never (`PlatformRefused`)."""
    try:
        yield
    except discord.RateLimited as error:
        raise PlatformBusy("Discord is busy", retry_after=error.retry_after) from error
    except discord.HTTPException as error:
        if error.status == 429 or error.status >= 500:
            raise _busy(error) from error
        if error.status == 401:  # what is to be said waits for a token that works
            raise PlatformBusy(_REFUSED, retry_after=login.WRONG_TOKEN_SECONDS) from error
        raise PlatformRefused(f"Discord: {error.text or error.status}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise PlatformBusy("Discord cannot be reached") from error


@contextlib.contextmanager
def login_faults() -> Iterator[None]:
    """What goes wrong with logging in and staying connected."""
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


def is_gone(error: discord.HTTPException) -> bool:
    """Whether a deferral can no longer be filled."""
    return error.status in (401, 404) or error.code in _GONE


def _busy(error: discord.HTTPException) -> PlatformBusy:
    wait = error.response.headers.get("Retry-After", "")
    try:
        seconds = float(wait)
    except ValueError:  # none, or a proxy's date
        seconds = 1.0
    return PlatformBusy(f"Discord is busy: status {error.status}", retry_after=seconds)
