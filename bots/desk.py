"""One turn, from `Message` to `Reply`: a command goes to its plugin, anything else to the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from bots import commands
from bots.adapter import problem_of
from bots.commands import Command
from bots.context import Context
from bots.errors import CommandError
from bots.history import History, Turn
from bots.message import Message, Provisional, Reply
from bots.privacy import Privacy
from bots.registry import Registry
from bots.summaries import Summaries, Summary
from bots.tasks import end
from engine.errors import BadRequest, ContextTooLong, Unavailable
from engine.language.languages import detect
from engine.language.phrases import based_on, say
from engine.log import logger
from engine.types import ChatRequest, ChatTurn, Engine, Outcome, Progress, TextFile

log = logger("bots.desk")

# So many turns that the summary does not cover make a new one, and so many stay out of it.
_SUMMARISE_FROM, _STAY_WHOLE = 16, 6

# So many of the customer's newest messages tell the language where a short one does not.
_TELLING = 4
# A line as it was typed, or texts by name.
Arguments = str | Mapping[str, str]

# Characters a token, for people who have never heard of tokens.
_TOKEN_CHARACTERS = 3


class Desk:
    """Answers messages. Knows nothing of platforms and of how a reply is delivered."""

    def __init__(
        self,
        engine: Engine,
        history: History,
        summaries: Summaries,
        privacy: Privacy,
        registry: Registry,
        *,
        shows_basis: bool = False,
    ) -> None:
        """With `shows_basis` answers say what they rest on."""
        self._engine, self._history, self._summaries = engine, history, summaries
        self._privacy, self._registry, self._shows_basis = privacy, registry, shows_basis

    async def answer(self, message: Message) -> AsyncGenerator[str | Provisional | Reply, None]:
        """Yield pieces of the reply's text, before them what is shown meanwhile, then the whole `Reply`.

        Raises what the engine raises when it cannot be asked now; the caller tries again.
        """
        if message.job:
            yield await self._run_job(message)
            return
        if message.notice:
            yield Reply(message.notice, decision="command", is_ours=True)
            return
        recent = await self._history.recent(message.conversation)
        language = await _language(message, recent)
        if not message.text.strip() and not message.attachments:
            yield Reply(self._help(language), decision="command", language=language, is_ours=True)
        elif found := self._called(message):
            async with aclosing(self._command(*found, message, language)) as steps:
                async for step in steps:
                    yield step
        elif unknown := self._registry.unknown(message.text):
            yield _said("command_unknown", language, name=unknown)
        elif (problem := _problem(message, language)) and not message.text.strip():
            yield Reply(problem, decision="error", language=language)
        else:
            async with aclosing(self._ask(message, recent, language)) as pieces:
                async for piece in pieces:
                    yield piece

    def _called(self, message: Message) -> tuple[Command, Arguments] | None:
        """The command that the message calls, by its platform's own means or by its text."""
        if message.command in self._registry.commands:
            return self._registry.commands[message.command], message.arguments
        return self._registry.find(message.text)

    async def _ask(
        self, message: Message, recent: Sequence[Turn], language: str
    ) -> AsyncGenerator[str | Provisional | Reply, None]:
        """The engine's answer, with as much of the conversation as it wants to see."""
        turns = [_chat_turn(turn, is_private=message.is_private) for turn in recent]
        # Short conversations have none, and are most.
        is_long = len(recent) >= _SUMMARISE_FROM
        summary = await self._summaries.read(message.conversation) if is_long else Summary()
        request = ChatRequest(
            (*turns, ChatTurn("user", message.text)),
            conversation=str(message.conversation),
            summary=summary.text,
            language=language,
            files=_files(message),
        )
        text = ""
        # What is told of files that nobody could read stands before the answer or instead of it.
        is_held_back = bool(_problem(message, language)) and not request.files
        try:
            async with aclosing(self._engine.chat(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Outcome):
                        whole = _with_problem(text, piece, message, language)
                        yield _reply(whole, piece, footer=_basis(piece) if self._shows_basis else "")
                    elif isinstance(piece, str):
                        text += piece
                        if not is_held_back:
                            yield piece
                    else:
                        yield _provisional(piece, language)
        except BadRequest as error:  # the message itself is at fault: say so, instead of trying again
            yield _refused(error, language)

    async def language(self, message: Message) -> str:
        """The language of a message, ISO 639-1, or of its author's last ones where it does not tell."""
        return await _language(message, await self._history.recent(message.conversation))

    async def remember(self, message: Message) -> None:
        """Bring the conversation's summary up to date once many turns are in neither it nor sight.

        Raises what the engine raises; the next turn tries again.
        """
        summary = await self._summaries.read(message.conversation)
        turns = await self._history.after(message.conversation, summary.covers)
        if len(turns) < _SUMMARISE_FROM:
            return
        old = turns[:-_STAY_WHOLE]
        request = ChatRequest(
            tuple(_chat_turn(turn, is_private=message.is_private) for turn in old),
            conversation=str(message.conversation),
            summary=summary.text,
            task="condense",
        )
        text = ""
        async with aclosing(self._engine.chat(request)) as pieces:
            async for piece in pieces:
                text += piece if isinstance(piece, str) else ""
        if text:
            new = Summary(text, old[-1].id, summary.forgotten)
            if not await self._summaries.replace(message.conversation, new):
                log.info("somebody was forgotten meanwhile; the new summary is dropped")

    async def _command(
        self, command: Command, arguments: Arguments, message: Message, language: str
    ) -> AsyncGenerator[Provisional | Reply, None]:
        """A plugin's reply, and before it how far the engine is with what the plugin asked."""
        context = self._context(message, language)
        running = asyncio.create_task(self._run_command(command, arguments, context))
        running.add_done_callback(lambda _: context.steps.put_nowait(None))
        try:
            while (step := await context.steps.get()) is not None:
                yield _provisional(step, language)
            yield running.result()
        finally:
            await end(running)

    async def _run_command(self, command: Command, arguments: Arguments, context: Context) -> Reply:
        language = context.language
        try:
            values = (
                command.parse(arguments) if isinstance(arguments, str) else command.parse_named(arguments)
            )
            text = await commands.run(command.function, context, *values)
        except CommandError as error:
            return Reply(error.told(language), decision="error", language=language)
        except TimeoutError:
            log.error("a plugin took too long; its caller was told", command=command.name)
            return _said("command_slow", language, name=command.name)
        except BadRequest as error:
            return _refused(error, language)
        except Unavailable:
            raise
        except Exception:  # a plugin's own code: it may raise anything and must break nothing else
            log.exception("a plugin failed; its caller was told", command=command.name)
            return _said("command_failed", language, name=command.name)
        return Reply(
            text if text.strip() else say("done", language),
            decision="command",
            language=language,
            citations=context.citations,
            files=tuple(context.attached),
            is_ours=not context.has_asked,
            tokens=context.tokens,
        )

    async def _run_job(self, message: Message) -> Reply:
        """A scheduled function's text; empty when it has nothing to say or failed."""
        schedule = self._registry.schedules.get(message.job)
        if schedule is None:
            return Reply("", decision="command")
        context = self._context(message)
        try:
            arguments = [context] if schedule.takes_context else []
            text = await commands.run(schedule.function, *arguments)
            return Reply(
                text, decision="command", files=tuple(context.attached), is_ours=not context.has_asked
            )
        except Exception:  # a plugin's own code, see above
            log.exception("a scheduled job failed; nothing was posted", job=message.job)
            return Reply("", decision="command")

    def _context(self, message: Message, language: str = "") -> Context:
        known = tuple(self._registry.commands.values())
        return Context(message, self._engine, self._history, self._privacy, known, language)

    def _help(self, language: str) -> str:
        listed = commands.help_text(tuple(self._registry.commands.values()))
        return f"{say('help', language)}\n{listed}"


def _said(key: str, language: str, **values: object) -> Reply:
    """One of the bot's own phrases about something that went wrong."""
    return Reply(say(key, language, **values), decision="error", language=language, is_ours=True)


def _refused(error: BadRequest, language: str) -> Reply:
    if isinstance(error, ContextTooLong):
        return _said("too_long", language, characters=error.limit * _TOKEN_CHARACTERS)
    return Reply(str(error), decision="error", language=language)


async def _language(message: Message, recent: Sequence[Turn]) -> str:
    own = [turn.content for turn in recent if turn.role == "user" and turn.author.id == message.author.id]
    # In a thread: the first time half a second goes by.
    return await asyncio.to_thread(_told_by, (*own[-_TELLING:], message.text))


def _told_by(texts: Sequence[str]) -> str:
    known = ""
    for text in texts:
        known = detect(text, known)
    return known


def _basis(outcome: Outcome) -> str:
    """What an answer from the help pages rests on: passages, and how much of the conversation."""
    if outcome.decision != "answer" or not outcome.citations:
        return ""
    window = outcome.window
    messages = window.turns_used // 2 + 1  # an answer lies between two of them
    summarised = window.is_summary_used
    return based_on(window.passages, messages, outcome.language, is_summary_used=summarised)


def _with_problem(text: str, outcome: Outcome, message: Message, language: str) -> str:
    """The answer and which files could not be read: that goes first, or alone, where none could."""
    problem = _problem(message, language)
    if not problem:
        return text
    # The list of a question back is only looked for at the beginning of a reply.
    if _files(message) or outcome.decision == "ask_back":
        return f"{text}\n\n{problem}"
    return problem if outcome.decision == "hand_over" else f"{problem}\n\n{text}"


def _reply(text: str, outcome: Outcome, *, footer: str) -> Reply:
    return Reply(
        text=text,
        decision=outcome.decision,
        confidence=outcome.confidence,
        citations=outcome.citations,
        model=outcome.model,
        timings=outcome.timings,
        options=outcome.options,
        window=outcome.window,
        language=outcome.language,
        footer=footer,
        calls_staff=outcome.wants_person,
        tokens=outcome.usage.prompt_tokens + outcome.usage.completion_tokens,
    )


def _chat_turn(turn: Turn, *, is_private: bool) -> ChatTurn:
    """A stored turn for the model; where several people write, with the name of who did."""
    named = turn.role == "user" and not is_private and turn.author.name
    return ChatTurn(turn.role, f"{turn.author.name}: {turn.content}" if named else turn.content)


def _provisional(progress: Progress, language: str) -> Provisional:
    if not progress.total:
        return Provisional(say("reading_begins", language), progress)
    return Provisional(say("reading", language, done=progress.done, total=progress.total), progress)


def _files(message: Message) -> tuple[TextFile, ...]:
    new = [TextFile(file.name, file.text) for file in message.attachments if not file.problem]
    return (*new, *(TextFile(file.name, file.text, is_new=False) for file in message.earlier_files))


def _problem(message: Message, language: str) -> str:
    return "\n".join(problem_of(file, language) for file in message.attachments if file.problem)
