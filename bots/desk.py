"""One turn, from `Message` to `Reply`: a command goes to its plugin, anything else to the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from bots import commands
from bots.commands import Command
from bots.context import Context
from bots.errors import CommandError
from bots.history import History, Turn
from bots.message import Message, Reply
from bots.privacy import Privacy
from bots.registry import Registry
from engine.errors import BadRequest, Unavailable
from engine.log import logger
from engine.types import ChatRequest, ChatTurn, Engine, Outcome

log = logger("bots.desk")

FAILED = "Sorry, the command `{name}` did not work. The message was fine; please tell the team."
UNKNOWN = "I do not know the command `{name}`. `/help` lists what I can do."
TOO_SLOW = "Sorry, the command `{name}` took too long and was stopped."


class Desk:
    """Answers messages. Knows nothing of platforms and of how a reply is delivered."""

    def __init__(self, engine: Engine, history: History, privacy: Privacy, registry: Registry) -> None:
        self._engine, self._history, self._privacy, self._registry = engine, history, privacy, registry

    async def answer(self, message: Message) -> AsyncGenerator[str | Reply, None]:
        """Yield pieces of the reply's text, then the whole `Reply`.

        Raises what the engine raises when it cannot be asked now; the caller tries again.
        """
        if message.job:
            yield await self._run_job(message)
        elif not message.text.strip() and not message.attachments:
            yield Reply(self._help(), decision="command")
        elif found := self._registry.find(message.text):
            yield await self._run_command(*found, message)
        elif unknown := self._registry.unknown(message.text):
            yield Reply(UNKNOWN.format(name=unknown), decision="error")
        elif (problem := _problem(message)) and not message.text.strip():
            yield Reply(problem, decision="error")
        else:
            async with aclosing(self._ask(message)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _ask(self, message: Message) -> AsyncGenerator[str | Reply, None]:
        """The engine's answer, with as much of the conversation as it wants to see."""
        recent = await self._history.recent(message.conversation)
        turns = [_chat_turn(turn, is_private=message.is_private) for turn in recent]
        request = ChatRequest(
            (*turns, ChatTurn("user", _content(message))), conversation=str(message.conversation)
        )
        text = ""
        try:
            async with aclosing(self._engine.chat(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Outcome):
                        yield _reply(text, piece, note=_problem(message))
                    elif isinstance(piece, str):
                        text += piece
                        yield piece
        except BadRequest as error:  # the message itself is at fault: say so, instead of trying again
            yield Reply(str(error), decision="error")

    async def _run_command(self, command: Command, arguments: str, message: Message) -> Reply:
        context = self._context(message)
        try:
            text = await commands.run(command.function, context, *command.parse(arguments))
        except CommandError as error:
            return Reply(str(error), decision="error")
        except TimeoutError:
            log.error("a plugin took too long; its caller was told", command=command.name)
            return Reply(TOO_SLOW.format(name=command.name), decision="error")
        except BadRequest as error:
            return Reply(str(error), decision="error")
        except Unavailable:
            raise
        except Exception:  # a plugin's own code: it may raise anything and must break nothing else
            log.exception("a plugin failed; its caller was told", command=command.name)
            return Reply(FAILED.format(name=command.name), decision="error")
        return Reply(text or "Done.", decision="command")

    async def _run_job(self, message: Message) -> Reply:
        """A scheduled function's text; empty when it has nothing to say or failed."""
        schedule = self._registry.schedules.get(message.job)
        if schedule is None:
            return Reply("", decision="command")
        context = self._context(message)
        try:
            arguments = [context] if schedule.takes_context else []
            return Reply(await commands.run(schedule.function, *arguments), decision="command")
        except Exception:  # a plugin's own code, see above
            log.exception("a scheduled job failed; nothing was posted", job=message.job)
            return Reply("", decision="command")

    def _context(self, message: Message) -> Context:
        known = tuple(self._registry.commands.values())
        return Context(message, self._engine, self._history, self._privacy, known)

    def _help(self) -> str:
        listed = commands.help_text(tuple(self._registry.commands.values()))
        return f"Ask me anything about our help pages, or use a command:\n{listed}"


def _reply(text: str, outcome: Outcome, *, note: str) -> Reply:
    return Reply(
        text=f"{text}\n\n{note}" if note else text,
        decision=outcome.decision,
        confidence=outcome.confidence,
        citations=outcome.citations,
        model=outcome.model,
        timings=outcome.timings,
    )


def _chat_turn(turn: Turn, *, is_private: bool) -> ChatTurn:
    """A stored turn for the model; where several people write, with the name of who did."""
    named = turn.role == "user" and not is_private and turn.author.name
    return ChatTurn(turn.role, f"{turn.author.name}: {turn.content}" if named else turn.content)


def _content(message: Message) -> str:
    """The message, with the text of its files behind it."""
    files = [f"[attached: {a.name}]\n{a.text}" for a in message.attachments if not a.problem]
    return "\n\n".join([message.text, *files]).strip()


def _problem(message: Message) -> str:
    return "\n".join(a.problem for a in message.attachments if a.problem)
