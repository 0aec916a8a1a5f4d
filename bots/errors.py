"""Every error that the chat side raises on purpose.

BotError
├── StartError          frontdesk cannot start, and why; printed as it is
│   ├── DataDirInUse
│   └── WrongToken
├── CommandError        a command was called wrongly; the text goes to the caller
├── BrokenPlugin        a plugin file cannot be loaded
├── LeaseLost           another worker has taken over: stop at once
├── PlatformBusy        send again later
├── PlatformRefused     sending will never work: no such channel, no permission
└── Undecipherable      stored data does not open with this key
"""

from __future__ import annotations


class BotError(Exception):
    """The root."""


class StartError(BotError):
    """Says what to do."""


class DataDirInUse(StartError):
    pass


class WrongToken(StartError):
    pass


class CommandError(BotError):
    pass


class BrokenPlugin(BotError):
    pass


class PluginFailed(BotError):
    pass


class LeaseLost(BotError):
    pass


class PlatformBusy(BotError):
    """`retry_after` in seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class PlatformRefused(BotError):
    pass


class Undecipherable(BotError):
    pass
