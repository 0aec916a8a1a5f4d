"""Talking in the terminal: answers printed as they grow, files named by path, piped lines."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from rich.console import Console

from bots.adapter import MAX_ATTACHMENT_BYTES, problem_of, text_attachment
from bots.console import out
from bots.errors import StartError
from bots.message import Attachment
from bots.platforms.terminal import Terminal
from bots.tasks import end

_FILE = "/file"


def read_file(path: Path) -> Attachment:
    """A file to send along. Raises `StartError` for one that cannot be read."""
    try:
        if path.stat().st_size > MAX_ATTACHMENT_BYTES:
            raise StartError(f"{path}: {problem_of(Attachment(path.name, problem='too_large'), 'en')}")
        found = text_attachment(path.name, path.read_bytes())
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}") from error
    if found.problem:
        raise StartError(f"{path}: {problem_of(found, 'en')}")
    return found


async def print_answer(
    terminal: Terminal, text: str, files: Sequence[Attachment] = (), *, quiet: bool = False
) -> dict[str, Any]:
    """Print an answer as it grows, and its sources; return the `done` event."""
    done: dict[str, Any] = {}
    texts: list[dict[str, Any]] = []
    reading = Console(stderr=True, quiet=quiet).status("")
    with contextlib.ExitStack() as stack:
        async with aclosing(terminal.ask(text, files)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    reading.stop()
                    if not quiet:
                        out.print(piece, end="", markup=False, soft_wrap=True)
                elif piece["kind"] == "progress":
                    stack.enter_context(reading)
                    reading.update(piece["text"])
                elif piece["kind"] == "file":
                    texts.append(piece)
                else:
                    done = piece
    if not quiet:
        out.print()
        _print_rest(done["citations"], texts)
    return done


def _print_rest(citations: Sequence[dict[str, Any]], texts: Sequence[dict[str, Any]]) -> None:
    for citation in citations:
        out.print(f"  [{_place(citation)}]", style="dim", markup=False, soft_wrap=True)
    for text in texts:
        out.print(f"--- {text['name']} ---", style="dim", markup=False, soft_wrap=True)
        out.print(text["text"], markup=False, soft_wrap=True)


async def chat_piped(terminal: Terminal) -> bool:
    """Answer each line of standard input; whether one failed."""
    failed = False
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            failed |= await _answer_line(terminal, line.strip())
    return failed


async def chat_live(terminal: Terminal) -> bool:
    """Answer what is typed, until there is no more. Ctrl-C stops an answer, a second one the chat."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout

    session: PromptSession[str] = PromptSession("you> ")
    out.print(f"Ask something, or type `help`; `{_FILE} PATH …` asks about a file.", style="dim")
    out.print("Ctrl-C stops an answer, Ctrl-D ends the chat.", style="dim")
    while True:
        try:
            with patch_stdout():
                line = await session.prompt_async()
        except (EOFError, KeyboardInterrupt):
            return False
        if line.strip() and not await _answer_stoppable(terminal, line.strip()):
            return False


async def _answer_stoppable(terminal: Terminal, line: str) -> bool:
    """Answer one line, or as much of it as is wanted; whether the chat goes on."""
    stopping: list[asyncio.Task[None]] = []
    is_enough = asyncio.Event()

    def interrupted() -> None:
        if stopping:
            is_enough.set()
        else:
            stopping.append(asyncio.create_task(terminal.stop()))

    answering = asyncio.create_task(_answer_line(terminal, line))
    leaving = asyncio.create_task(is_enough.wait())
    with _on_interrupt(interrupted):
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
    await end(leaving)
    if is_enough.is_set():
        for task in (answering, *stopping):
            await end(task)
    else:
        await asyncio.gather(answering, *stopping)
    return not is_enough.is_set()


@contextlib.contextmanager
def _on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` for Ctrl-C instead of what is done otherwise."""
    before, loop = signal.getsignal(signal.SIGINT), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, act)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)  # asyncio leaves Python's own, and knew another


async def _answer_line(terminal: Terminal, line: str) -> bool:
    """Answer one line; whether that failed."""
    try:
        text, files = await asyncio.to_thread(_parsed, line)
    except StartError as error:
        out.print(str(error), markup=False, soft_wrap=True)
        return True
    done = await print_answer(terminal, text, files)
    return bool(done["decision"] == "error")


def _parsed(line: str) -> tuple[str, list[Attachment]]:
    """The text of a line, and the file that it names with `/file PATH`."""
    command, _, rest = line.partition(" ")
    if command != _FILE:
        return line, []
    try:
        path, *words = shlex.split(rest)
    except ValueError as error:
        raise StartError(f"expected {_FILE} PATH and then the question") from error
    return " ".join(words), [read_file(Path(path).expanduser())]


def _place(citation: dict[str, Any]) -> str:
    """Where a quotation stands."""
    if first := citation["first_line"]:
        last = citation["last_line"]
        lines = f"line {first}" if first == last else f"lines {first}–{last}"
        return f"{citation['document']}, {lines}"
    return f"{citation['heading']} — {citation['document']}"
