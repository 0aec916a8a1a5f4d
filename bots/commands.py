"""Plugin commands: a decorated function is a command on every platform, its docstring the help.

    from plugins import Context, command

    @command
    async def hello(ctx: Context, name: str = "you") -> str:
        '''Say hello.'''
        return f"Hello, {name}!"

Arguments are parsed by the signature: `str`, `int`, `float`, `bool`, `Literal[...]`; the last `str` takes
the rest of the line. Plain functions work too and run in a thread. What may be typed for a text can be
suggested where the platform shows it: `@command(suggest={"city": ["Oslo", "Bergen"]})`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_origin, overload

from apscheduler.triggers.cron import CronTrigger

from bots.errors import BrokenPlugin, Misused, PluginFailed
from bots.parameter import Parameter as Parameter
from bots.parameter import Suggested, typed_word
from bots.threads import in_thread

Function = TypeVar("Function", bound=Callable[..., Any])
SPEC = "__frontdesk__"
"""The attribute by which a decorated function is known."""
TIMEOUT_SECONDS = 60.0
_limit: contextvars.ContextVar[tuple[asyncio.Timeout, float] | None] = contextvars.ContextVar(
    "limit", default=None
)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Command:
    """A registered command, its signature worked out once."""

    name: str
    help: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]

    @property
    def usage(self) -> str:
        """`/name <required> [optional]`"""
        shown = (f"<{p.name}>" if p.is_required else f"[{p.name}]" for p in self.parameters)
        return " ".join([f"/{self.name}", *shown])

    def parse(self, text: str) -> list[Any]:
        """Arguments from a line. Raises `CommandError` with the usage when they do not fit."""
        words, values = text.strip(), []
        for parameter in self.parameters:
            word, words = (words, "") if parameter.takes_rest else _next_word(words)
            if word:
                values.append(parameter.parse(word))
            elif parameter.is_required:
                raise Misused("argument_missing", name=parameter.name, usage=self.usage)
            else:
                values.append(parameter.default)
        if words:
            raise Misused("argument_surplus", given=words, usage=self.usage)
        return values

    def parse_named(self, arguments: Mapping[str, str]) -> list[Any]:
        """Arguments that were given by name. Raises `CommandError` as `parse` does."""
        if surplus := [name for name in arguments if name not in {p.name for p in self.parameters}]:
            raise Misused("argument_surplus", given=", ".join(surplus), usage=self.usage)
        values = []
        for parameter in self.parameters:
            if given := arguments.get(parameter.name, "").strip():
                values.append(parameter.parse(given))
            elif parameter.is_required:
                raise Misused("argument_missing", name=parameter.name, usage=self.usage)
            else:
                values.append(parameter.default)
        return values

    def line(self, arguments: Mapping[str, str]) -> str:
        """What people would have typed to give these arguments, `/order 55 yes`."""
        given = [parameter for parameter in self.parameters if arguments.get(parameter.name, "").strip()]
        if not given:
            return f"/{self.name}"
        # Nobody can type the third argument without the second: a default stands in for one left out.
        up_to = self.parameters[: self.parameters.index(given[-1]) + 1]
        words = (typed_word(parameter, arguments.get(parameter.name, "").strip()) for parameter in up_to)
        return " ".join([f"/{self.name}", *filter(None, words)])


@dataclass(frozen=True, slots=True)
class Schedule:
    """A plugin function that runs by the clock and posts what it returns to a channel."""

    name: str
    function: Callable[..., Any]
    channel: str
    every_seconds: float | None = None
    cron: str | None = None

    @property
    def takes_context(self) -> bool:
        """Whether the function wants a `Context`; many need none."""
        return bool(inspect.signature(self.function).parameters)


@overload
def command(function: Function) -> Function: ...
@overload
def command(
    *, name: str | None = None, suggest: Mapping[str, Suggested] | None = None
) -> Callable[[Function], Function]: ...
def command(
    function: Function | None = None,
    *,
    name: str | None = None,
    suggest: Mapping[str, Suggested] | None = None,
) -> Any:
    """Make a function a command, called like the function unless `name` says otherwise.

    The first parameter is the `Context`. Raises `BrokenPlugin` for a parameter that cannot be typed in.

    Parameters
      suggest: by parameter of type `str`, what its users are offered while they type: texts, or a function
        of what was typed so far that returns texts within two seconds
    """

    def register(function: Function) -> Function:
        called = (name or function.__name__.replace("_", "-")).lower()
        setattr(function, SPEC, _command(function, called, suggest or {}))
        return function

    return register if function is None else register(function)


def every(interval: str, *, channel: str) -> Callable[[Function], Function]:
    """Run a function every `interval` ("30s", "10m", "2h", "1d") and post its text to `platform:channel`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if not re.fullmatch(r"[1-9][0-9]{0,5}[smhd]", interval):
        raise BrokenPlugin(f"@every({interval!r}): expected a number and s, m, h or d, like '10m'")
    _check_channel(channel)
    seconds = int(interval[:-1]) * units[interval[-1]]

    def register(function: Function) -> Function:
        setattr(function, SPEC, Schedule(function.__name__, function, channel, every_seconds=seconds))
        return function

    return register


def cron(expression: str, *, channel: str) -> Callable[[Function], Function]:
    """Run a function by a five-field cron expression (UTC) and post its text to `platform:channel`.

    Weekdays count from Sunday, 0 or 7, as in cron. Where both the day of the month and the weekday are
    given, both must fit.
    """
    try:
        CronTrigger.from_crontab(named := _named_weekdays(expression))
    except ValueError as error:
        raise BrokenPlugin(f"@cron({expression!r}): {error}") from error
    _check_channel(channel)

    def register(function: Function) -> Function:
        setattr(function, SPEC, Schedule(function.__name__, function, channel, cron=named))
        return function

    return register


def _check_channel(channel: str) -> None:
    if not re.fullmatch(r"[^:]+:.+", channel):
        raise BrokenPlugin(f"channel {channel!r}: expected platform:channel, like 'slack:C0123456'")


def _named_weekdays(expression: str) -> str:
    """Weekday numbers as names: cron counts from Sunday, APScheduler 3 from Monday (its issue 286)."""
    *fields, weekdays = expression.split() or [""]

    def named(days: re.Match[str]) -> str:
        first, last, step = int(days[1]), int(days[2] or days[1]), int(days[3] or 1)
        return ",".join(_DAYS[day % 7] for day in range(first, last + 1, step or 1))

    weekdays = re.sub(r"^\*(?=/)", "0-6", weekdays)
    return " ".join([*fields, re.sub(r"(?<![\w/])([0-7])(?:-([0-7]))?(?:/(\d+))?(?!\w)", named, weekdays)])


def go_on() -> None:
    """The running plugin is getting somewhere: its time counts from now."""
    if (found := _limit.get()) is None:
        return
    limit, seconds = found
    with contextlib.suppress(RuntimeError):  # a task that the plugin left behind
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def run(function: Callable[..., Any], *arguments: Any, timeout: float = TIMEOUT_SECONDS) -> str:
    """Call a plugin's function, async or not, for at most `timeout` seconds; its text.

    Raises `CommandError` for what its user should know, `TimeoutError`, and what the function raises;
    a `sys.exit()` or a cancellation of the plugin's own making comes out as `PluginFailed`.
    """
    try:
        async with asyncio.timeout(timeout) as limit:
            _limit.set((limit, timeout))
            if inspect.iscoroutinefunction(function):
                result = await function(*arguments)
            else:
                result = await in_thread(function, *arguments)
    except SystemExit as error:
        raise PluginFailed("the plugin called sys.exit()") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # we are being stopped ourselves
            raise
        raise PluginFailed("the plugin cancelled itself") from error
    return "" if result is None else str(result)


_QUOTED = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)')(?=\s|$)""")


def _next_word(text: str) -> tuple[str, str]:
    """The first word, or what stands in quotes, and the rest."""
    if quoted := _QUOTED.match(text):
        return quoted[1] or quoted[2] or "", text[quoted.end() :].lstrip()
    word, *rest = text.split(maxsplit=1) or [""]
    return word, rest[0] if rest else ""


def _command(function: Callable[..., Any], name: str, suggest: Mapping[str, Suggested]) -> Command:
    hints = typing.get_type_hints(function)
    if not (parameters_given := list(inspect.signature(function).parameters.values())):
        raise BrokenPlugin(f"{name}: the first parameter must be the Context")
    given = parameters_given[1:]
    kinds = [hints.get(parameter.name, str) for parameter in given]
    for parameter, kind in zip(given, kinds, strict=True):
        if kind not in (str, int, float, bool) and get_origin(kind) is not Literal:
            raise BrokenPlugin(
                f"{name}: {parameter.name} is of type {kind}; only str, int, float, bool and Literal can be "
                "typed into a chat"
            )
    texts = {parameter.name for parameter, kind in zip(given, kinds, strict=True) if kind is str}
    for suggested in suggest:
        if suggested not in texts:
            raise BrokenPlugin(f"{name}: suggest names {suggested!r}, which is no parameter of type str")
    parameters = tuple(
        Parameter(
            parameter.name,
            kind,
            parameter.default,
            takes_rest=kind is str and parameter is given[-1],
            suggest=suggest.get(parameter.name),
        )
        for parameter, kind in zip(given, kinds, strict=True)
    )
    help_text = inspect.getdoc(function) or "No description."
    return Command(name, help_text, function, parameters)


def help_text(commands: Sequence[Command]) -> str:
    """A line a command."""
    ordered = sorted(commands, key=lambda found: found.name)
    lines = [f"- `{found.usage}`: {found.help.splitlines()[0]}" for found in ordered]
    return "\n".join(lines)
