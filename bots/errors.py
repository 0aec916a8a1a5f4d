"""Every error that the chat side raises on purpose.

BotError
├── StartError          frontdesk cannot start, and why; printed as it is
│   ├── DataDirInUse
│   └── WrongToken
├── CommandError        a command was called wrongly; the text goes to the caller
│   └── Misused         the same in one of the bot's own phrases
├── BrokenPlugin        a plugin file cannot be loaded
├── PluginFailed        a plugin ended its call in a way that is no ordinary error
├── LeaseLost           another worker has taken over: stop at once
├── PlatformBusy        send again later
├── PlatformRefused     sending will never work: no such channel, no permission
├── FileRefused         a file cannot be had from its platform
└── Undecipherable      stored data does not open with this key
"""

from __future__ import annotations

from engine.language.phrases import say


class BotError(Exception):
    """The root."""


class StartError(BotError):
    """Says what to do."""


class DataDirInUse(StartError):
    pass


class WrongToken(StartError):
    pass


class CommandError(BotError):
    def told(self, language: str) -> str:
        """What the caller reads, in this language where there is more than one."""
        return str(self)


class Misused(CommandError):
    """The phrase `key` of `engine.language.phrases`, and what its placeholders stand for."""

    def __init__(self, key: str, **values: object) -> None:
        self.key, self.values = key, values
        super().__init__(say(key, "en", **values))

    def told(self, language: str) -> str:
        return say(self.key, language, **self.values)


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
    """`reason` is the platform's own word for it, where it has one."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        self.reason = reason
        super().__init__(message)


class FileRefused(BotError):
    """The phrase `key` of `engine.language.phrases` says why to whoever sent the file."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        super().__init__(reason)


class Undecipherable(BotError):
    pass
