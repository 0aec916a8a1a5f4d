"""Plain functions of plugins, each in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from bots.errors import Misused, PluginFailed

_THREAD = "plugin"
_MOST_THREADS = 32


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a plain function in a thread of its own.

    Not in asyncio's pool: a plugin that hangs would take one of its few threads for ever, and with them
    every name look-up. A hanging thread is a daemon, and ends with the process.
    """
    if sum(thread.name == _THREAD for thread in threading.enumerate()) >= _MOST_THREADS:
        raise Misused("commands_busy")
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def deliver(result: Any, error: BaseException | None) -> None:
        if future.done():  # timed out meanwhile
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error if isinstance(error, Exception) else PluginFailed(repr(error)))

    def call() -> None:
        result, failure = None, None
        try:
            result = function(*arguments)
        except BaseException as error:  # handed to the caller, whatever it is
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=contextvars.copy_context().run, args=(call,), name=_THREAD, daemon=True).start()
    return await future
