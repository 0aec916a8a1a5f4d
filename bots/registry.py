"""Finding and loading plugins, and finding the command that a message calls."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from bots.commands import SPEC, Command, Schedule
from bots.errors import BrokenPlugin
from engine.log import logger

log = logger("bots.registry")

_PREFIXES = ("/", "!")
_COMMAND_LIKE = re.compile(r"[/!][a-z][a-z0-9-]*(?=\s|$)", re.IGNORECASE)


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
        called = text[1:] if text.startswith(_PREFIXES) else None
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
        """What looks like a command but is none: a prefix and a word, alone or nearly a command's name."""
        match = _COMMAND_LIKE.match(text.strip())
        if match is None or self.find(text) is not None:
            return None
        is_alone = match.end() == len(text.strip())
        is_close = difflib.get_close_matches(match[0][1:].lower(), self.commands, cutoff=0.75)
        return match[0] if is_alone or is_close else None

    def _add(self, module: ModuleType) -> None:
        for value in vars(module).values():
            match getattr(value, SPEC, None):
                case Command() as found:
                    self.commands[found.name] = found
                case Schedule() as found:
                    # Two plugins may both have a `monday`: the file belongs to the name.
                    name = f"{Path(module.__file__ or '').stem}.{found.name}"
                    self.schedules[name] = replace(found, name=name)


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
