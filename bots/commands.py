"""Plugin commands: a decorated function is a command on every platform, its docstring the help.

    from plugins import Context, command

    @command
    async def hello(ctx: Context, name: str = "you") -> str:
        '''Say hello.'''
        return f"Hello, {name}!"

Arguments are parsed by the signature: `str`, `int`, `float`, `bool`, `Literal[...]`; the last `str` takes
the rest of the line. Plain functions work too and run in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args, get_origin, overload

from apscheduler.triggers.cron import CronTrigger

from bots.errors import BrokenPlugin, CommandError
from bots.history import History, Turn
from bots.message import Message
from bots.vault import Vault
from engine.log import logger
from engine.types import ChatRequest, ChatTurn, Engine, Outcome, Task

log = logger("bots.commands")

Function = TypeVar("Function", bound=Callable[..., Any])
_SPEC = "__frontdesk__"
PREFIXES = ("/", "!")
TIMEOUT_SECONDS = 60.0
_COMMAND_LIKE = re.compile(r"[/!][a-z][a-z0-9-]*(?=\s|$)", re.IGNORECASE)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: how it is called, what it must be, and whether it takes the rest of the line."""

    name: str
    kind: Any
    default: Any
    takes_rest: bool

    @property
    def is_required(self) -> bool:
        return self.default is inspect.Parameter.empty

    def parse(self, text: str) -> Any:
        """`text` as this argument's type. Raises `CommandError` saying what it must be."""
        if get_origin(self.kind) is Literal:
            choices = {str(choice).lower(): choice for choice in get_args(self.kind)}
            if text.lower() not in choices:
                named = ", ".join(map(str, choices.values()))
                raise CommandError(f"`{self.name}` must be one of {named}, not `{text}`.")
            return choices[text.lower()]
        if self.kind is bool:
            if text.lower() not in _WORDS:
                raise CommandError(f"`{self.name}` must be yes or no, not `{text}`.")
            return _WORDS[text.lower()]
        try:
            return self.kind(text)
        except ValueError as error:
            expected = "a whole number" if self.kind is int else "a number"
            raise CommandError(f"`{self.name}` must be {expected}, not `{text}`.") from error


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
                raise CommandError(f"`{parameter.name}` is missing. Usage: `{self.usage}`")
            else:
                values.append(parameter.default)
        if words:
            raise CommandError(f"I do not know what to do with `{words}`. Usage: `{self.usage}`")
        return values


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
def command(*, name: str | None = None) -> Callable[[Function], Function]: ...
def command(function: Function | None = None, *, name: str | None = None) -> Any:
    """Make a function a command, called like the function unless `name` says otherwise.

    The first parameter is the `Context`. Raises `BrokenPlugin` for a parameter that cannot be typed in.
    """

    def register(function: Function) -> Function:
        called = (name or function.__name__.replace("_", "-")).lower()
        setattr(function, _SPEC, _command(function, called))
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
        setattr(function, _SPEC, Schedule(function.__name__, function, channel, every_seconds=seconds))
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
        setattr(function, _SPEC, Schedule(function.__name__, function, channel, cron=named))
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


@dataclass(slots=True)
class Registry:
    """Every command and schedule that was loaded, and what could not be."""

    commands: dict[str, Command] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def load(self, sources: Iterable[str]) -> None:
        """Load modules, files and folders. A broken one is noted in `problems` and stops no other."""
        for source in sources:
            for name, load in _modules(source):
                try:
                    self._add(load())
                # A plugin's own code runs here: anything may happen, sys.exit() too.
                except (Exception, SystemExit) as error:
                    self.problems.append(_problem(name, error))
                    log.error("plugin not loaded; the others are", plugin=name, problem=self.problems[-1])

    def find(self, text: str) -> tuple[Command, str] | None:
        """The command that a message calls, and its arguments; None for anything else.

        `/name …` and `!name …` call; a bare message does when it is nothing but the name.
        """
        text = text.strip()
        called = text[1:] if text.startswith(PREFIXES) else None
        line = text if called is None else called
        for name in sorted(self.commands, key=len, reverse=True):
            for spelling in dict.fromkeys((name, name.replace("-", " "))):
                if line.lower() == spelling:
                    return self.commands[name], ""
                start, rest = line[: len(spelling)], line[len(spelling) :]
                if called is not None and start.lower() == spelling and rest[:1].isspace():
                    return self.commands[name], rest
        return None

    def unknown(self, text: str) -> str | None:
        """What looks like a command but is none: a prefix and one word, then nothing or an argument."""
        match = _COMMAND_LIKE.match(text.strip())
        return match[0] if match and self.find(text) is None else None

    def _add(self, module: ModuleType) -> None:
        for value in vars(module).values():
            match getattr(value, _SPEC, None):
                case Command() as found:
                    self.commands[found.name] = found
                case Schedule() as found:
                    self.schedules[found.name] = found


class Context:
    """What a plugin is handed: the message, and what it may do."""

    def __init__(
        self, message: Message, engine: Engine, history: History, vault: Vault, registry: Registry
    ) -> None:
        self.message = message
        self.commands = tuple(registry.commands.values())
        self._engine, self._history, self._vault = engine, history, vault

    async def recent(self, count: int = 60) -> list[Turn]:
        """The conversation's newest turns, oldest first."""
        return await self._history.recent(self.message.conversation, count)

    async def ask(self, text: str, *, task: Task = "answer", knowledge: bool = True) -> str:
        """Ask the engine; the answer's text."""
        request = ChatRequest(
            (ChatTurn("user", text),),
            conversation=str(self.message.conversation),
            knowledge=knowledge,
            task=task,
        )
        answer = ""
        async with aclosing(self._engine.chat(request)) as pieces:
            async for piece in pieces:
                answer += "" if isinstance(piece, Outcome) else piece
        return answer

    async def forget_author(self) -> int:
        """Delete everything that the author of this message said, here and in the author's other
        conversations of this workspace; return the number of turns."""
        author = self.message.author.id
        here = self.message.conversation
        for conversation in {here, *await self._history.conversations(here, author)}:
            await self._vault.forget(conversation, author)
        return await self._history.forget(here, author)


async def run(function: Callable[..., Any], *arguments: Any, timeout: float = TIMEOUT_SECONDS) -> str:
    """Call a plugin's function, async or not, for at most `timeout` seconds; its text.

    Raises `CommandError` for what its user should know; everything else that it raises is its fault.
    """
    async with asyncio.timeout(timeout):
        if inspect.iscoroutinefunction(function):
            result = await function(*arguments)
        else:
            result = await asyncio.to_thread(function, *arguments)
    return "" if result is None else str(result)


_QUOTED = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)')(?=\s|$)""")


def _next_word(text: str) -> tuple[str, str]:
    """The first word, or what stands in quotes, and the rest."""
    if quoted := _QUOTED.match(text):
        return quoted[1] or quoted[2] or "", text[quoted.end() :].lstrip()
    word, *rest = text.split(maxsplit=1) or [""]
    return word, rest[0] if rest else ""


def _command(function: Callable[..., Any], name: str) -> Command:
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
    parameters = tuple(
        Parameter(parameter.name, kind, parameter.default, kind is str and parameter is given[-1])
        for parameter, kind in zip(given, kinds, strict=True)
    )
    help_text = inspect.getdoc(function) or "No description."
    return Command(name, help_text, function, parameters)


def _modules(source: str) -> Iterable[tuple[str, Callable[[], ModuleType]]]:
    """What a source names: a folder's files, a file, or a module and its submodules."""
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))
        return [(str(file), _from_file(file)) for file in files]
    if path.suffix == ".py":
        return [(source, _from_file(path))]
    try:
        package = importlib.import_module(source)
    except (Exception, SystemExit) as error:  # the module's own code runs here
        return [(source, _raise(error))]
    inner = [f"{source}.{found.name}" for found in pkgutil.iter_modules(getattr(package, "__path__", ()))]
    return [(name, _from_module(name)) for name in [source, *inner]]


def _from_module(name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(name)


def _from_file(path: Path) -> Callable[[], ModuleType]:
    """A file under a made-up module name, so that it may be called what it likes."""

    def load() -> ModuleType:
        name = f"frontdesk_plugin_{path.stem}_{abs(hash(path.resolve())):x}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise BrokenPlugin("no such file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return load


def _raise(error: BaseException) -> Callable[[], ModuleType]:
    def fail() -> ModuleType:
        raise error

    return fail


def _problem(name: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{name}, line {error.lineno}: {error.msg}"
    return f"{name}: {type(error).__name__}: {error}"


def help_text(commands: Sequence[Command]) -> str:
    """A line a command."""
    ordered = sorted(commands, key=lambda found: found.name)
    lines = [f"- `{found.usage}`: {found.help.splitlines()[0]}" for found in ordered]
    return "\n".join(lines)
