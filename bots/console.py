"""What every command of the command line shares: the console, and running an async command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import typer
from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import Progress

from bots.errors import BotError, PlatformBusy
from bots.settings import Settings, load_settings
from bots.up import CANNOT_START
from engine import log
from engine.errors import EngineError

out = Console(highlight=False)


def run(command: Callable[[Settings], Coroutine[Any, Any, None]], *, log_level: str | None = None) -> None:
    """Read the settings and run an async command; what goes wrong on purpose is told in one line."""
    try:
        settings = load_settings()
        log.configure(log_level if log_level and settings.log_level == "info" else settings.log_level)
        loop_runner()(command(settings))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Exception as error:
        cause = _innermost(error)
        if not isinstance(cause, BotError | EngineError | RedisError):
            raise
        print(f"frontdesk: {log.clean(str(cause))}", file=sys.stderr)
        # What may work later is started again by `up`; what cannot is not.
        is_temporary = isinstance(cause, PlatformBusy | RedisError)
        raise typer.Exit(1 if is_temporary else CANNOT_START) from None


def loop_runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """uvloop's, where there is one: an eighth less processor time for each message."""
    if sys.platform == "win32":
        return asyncio.run
    import uvloop

    return uvloop.run


def progress() -> Progress:
    """How far something is, on standard error, and gone when it is done."""
    return Progress(console=Console(stderr=True), transient=True)


def _innermost(error: BaseException) -> BaseException:
    """The first error in nested groups: a task group wraps what its tasks raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
