"""The command line's part about messages that were given up: `frontdesk dead-letters …`."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from bots.build import open_store
from bots.console import run
from bots.dead_letters import DeadLetter, DeadLetters
from bots.errors import Undecipherable
from bots.redis_server import redis_for
from bots.settings import Settings

dead_letters = typer.Typer(no_args_is_help=True, help="Look at messages that were given up; try them again.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `list` shows them.")]
# What lets its holder write in the customer's channel: no business of whoever looks at a letter.
_KEYS_OF_ADDRESSES = ("token", "url", "secret")


@dead_letters.command("list")
def list_letters(as_json: _Json = False) -> None:
    """Show what was given up, when, where and why; not what was written."""

    async def main(settings: Settings) -> None:
        async with _letters(settings) as letters:
            rows = [_row(letter) async for letter in letters.list()]
        if as_json:
            print(json.dumps(rows, ensure_ascii=False))
            return
        for row in rows:
            shown = row | {"attempts": f"{row['attempts']} attempts"}
            print(_printable("  ".join(shown.values())))
        print(f"{len(rows)} dead letters")

    run(main, log_level="warning")


@dead_letters.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID")], as_json: _Json = False) -> None:
    """Show one letter with its text; sensitive values stay placeholders."""

    async def main(settings: Settings) -> None:
        async with _letters(settings) as letters:
            letter = await letters.show(letter_id)
        if letter is None:
            _say_unknown(letter_id)
            raise typer.Exit(1)
        if as_json:
            print(json.dumps(_whole(letter), ensure_ascii=False))
        else:
            _print_whole(_whole(letter))

    run(main, log_level="warning")


@dead_letters.command()
def replay(
    ids: _Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter there is.")] = False,
) -> None:
    """Put messages back into the inbox, each once: their authors get an answer."""
    _check(ids, everything)

    async def main(settings: Settings) -> None:
        async with _letters(settings) as letters:
            await _each(letters, ids, letters.replay, "put back into the inbox")

    run(main, log_level="warning")


@dead_letters.command()
def drop(
    ids: _Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Every letter there is.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete letters for good."""
    _check(ids, everything)
    what = "every dead letter" if everything else f"{len(ids or ())} dead letters"
    if not yes:
        typer.confirm(f"Delete {what} for good?", abort=True)

    async def main(settings: Settings) -> None:
        async with _letters(settings) as letters:
            await _each(letters, ids, letters.drop, "deleted")

    run(main, log_level="warning")


@asynccontextmanager
async def _letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    async with redis_for(settings, shared=True) as url, open_store(settings, url) as store:
        yield DeadLetters(store.redis, store.envelope, settings.retention_days)


def _check(ids: Sequence[str] | None, everything: bool) -> None:
    if bool(ids) == everything:
        print("frontdesk: name the letters by their ids, or --all of them", file=sys.stderr)
        raise typer.Exit(2)


async def _each(
    letters: DeadLetters, ids: Sequence[str] | None, act: Callable[[str], Awaitable[bool]], done: str
) -> None:
    """Do it to these letters, or to all. What cannot be done is told, and stops no other."""
    wanted = list(dict.fromkeys(ids)) if ids else [letter.id async for letter in letters.list()]
    count, failed = 0, False
    for letter_id in wanted:
        try:
            if await act(letter_id):
                count += 1
            elif ids:  # of `all`, one that is gone meanwhile is somebody else's doing
                failed = _say_unknown(letter_id)
        except Undecipherable as error:
            print(f"frontdesk: {letter_id} stays where it is: {error}", file=sys.stderr)
            failed = True
    print(f"{count} of {len(wanted)} {done}")
    if failed:
        raise typer.Exit(1)


def _say_unknown(letter_id: str) -> bool:
    hint = "`frontdesk dead-letters list` shows what there is"
    print(f"frontdesk: there is no dead letter {letter_id}; {hint}", file=sys.stderr)
    return True


def _row(letter: DeadLetter) -> dict[str, str]:
    message = letter.message
    return {
        "id": letter.id,
        "given_up": _moment(letter.buried_at),
        "platform": message.conversation.platform if message else "?",
        "conversation": str(message.conversation) if message else "?",
        "attempts": str(letter.attempts or "?"),
        "reason": letter.reason if message else f"{letter.reason} (cannot be opened: {letter.problem})",
    }


def _whole(letter: DeadLetter) -> dict[str, Any]:
    message = letter.message
    if message is None:
        return _row(letter)
    address = {name: _address(name, value) for name, value in message.address.items()}
    fields = asdict(message) | {"sent_at": _moment(message.sent_at), "address": address}
    return _row(letter) | {"message": fields}


def _address(name: str, value: str) -> str:
    return "(not shown)" if any(part in name for part in _KEYS_OF_ADDRESSES) else value


def _print_whole(whole: Mapping[str, Any]) -> None:
    for name, value in whole.items():
        if name != "message":
            print(_printable(f"{name:13} {value}"))
    for name, value in whole.get("message", {}).items():
        if value and name not in ("conversation", "text"):
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print(_printable(f"{name:13} {shown}"))
    if "message" in whole:
        print()
        for line in whole["message"]["text"].splitlines():
            print(_printable(line))


def _printable(line: str) -> str:
    """Without what a terminal would obey: customers and platforms wrote this."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix).astimezone().isoformat(timespec="seconds")
