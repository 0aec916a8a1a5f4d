"""Plugins: how arguments are read, how files are loaded, what a broken one does, and the five that ship."""

import asyncio
import sys
import threading
import time
from typing import Literal

import pytest
from scripted import ANNA, BEN, ScriptedEngine, conversation, message

from bots import commands, parameter
from bots.build import load_plugins
from bots.commands import cron, every
from bots.desk import Desk
from bots.errors import BrokenPlugin, CommandError, PluginFailed
from bots.history import Turn
from bots.message import Attachment
from bots.registry import Registry
from bots.settings import Settings
from engine.errors import ContextTooLong, Unavailable
from engine.types import TextFile
from plugins import Context, command


def command_of(function):
    """What `@command` made of it."""
    return vars(function)[commands.SPEC]


@command
def kinds(ctx: Context, count: int, share: float = 0.5, loud: bool = False, text: str = "") -> str:
    """Take one of each."""
    return f"{count} {share} {loud} {text}"


@command(name="Pick-One")
async def pick(ctx: Context, size: Literal["S", "M", "XL"], number: Literal[1, 2] = 1) -> str:
    return f"{size!r} {number!r}"


class TestArguments:
    def parse(self, text):
        return command_of(kinds).parse(text)

    def test_each_is_read_as_its_type_and_the_last_text_takes_the_rest(self):
        assert self.parse("3 0.25 yes the rest of  the line") == [3, 0.25, True, "the rest of  the line"]

    def test_what_is_left_out_has_its_default(self):
        assert self.parse("3") == [3, 0.5, False, ""]

    @pytest.mark.parametrize("word", ["true", "YES", "on"])
    def test_yes_has_several_words(self, word):
        assert self.parse(f"1 1 {word}")[2] is True

    @pytest.mark.parametrize("word", ["false", "No", "off"])
    def test_no_has_several_words(self, word):
        assert self.parse(f"1 1 {word}")[2] is False

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "`count` is missing. Usage: `/kinds <count> [share] [loud] [text]`"),
            ("three", "`count` must be a whole number, not `three`."),
            ("1.5", "`count` must be a whole number, not `1.5`."),
            ("9" * 5000, "`count` must be a whole number"),
            ("1 half", "`share` must be a number, not `half`."),
            ("1 1 maybe", "`loud` must be yes or no, not `maybe`."),
        ],
    )
    def test_what_does_not_fit_is_told_clearly(self, text, told):
        with pytest.raises(CommandError) as caught:
            self.parse(text)
        assert told in str(caught.value)

    def test_what_is_too_much_is_told_with_the_usage(self):
        with pytest.raises(
            CommandError, match=r"do not know what to do with `extra`\. Usage: `/pick-one <size>"
        ):
            command_of(pick).parse("S 1 extra")

    def test_a_choice_is_read_whatever_its_case_and_is_what_the_author_wrote(self):
        assert command_of(pick).parse("xl 2") == ["XL", 2]

    def test_another_choice_is_refused_with_the_list(self):
        with pytest.raises(CommandError, match="`size` must be one of S, M, XL, not `tiny`"):
            command_of(pick).parse("tiny")

    def test_quotes_keep_words_together(self):
        @command
        def send(ctx: Context, to: str, subject: str, text: str) -> None: ...

        parse = command_of(send).parse
        assert parse('"Anna Blue" \'it is "so"\' hello there') == ["Anna Blue", 'it is "so"', "hello there"]
        assert parse('an"na b"c x') == ['an"na', 'b"c', "x"]
        assert parse('"unclosed quote here') == ['"unclosed', "quote", "here"]

    def test_lines_and_indentation_in_the_rest_are_kept(self):
        assert self.parse("1 1 no first\n  second")[3] == "first\n  second"


class TestNamedArguments:
    def parse(self, **arguments):
        return command_of(kinds).parse_named(arguments)

    def test_each_is_read_as_its_type(self):
        assert self.parse(text="the rest", loud="yes", count=" 3 ") == [3, 0.5, True, "the rest"]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({}, "`count` is missing. Usage: `/kinds <count> [share] [loud] [text]`"),
            ({"count": " "}, "`count` is missing"),
            ({"count": "three"}, "`count` must be a whole number, not `three`."),
            ({"count": "3", "size": "S"}, "I do not know what to do with `size`. Usage:"),
        ],
    )
    def test_what_does_not_fit_is_told_like_a_typed_one(self, arguments, told):
        with pytest.raises(CommandError) as caught:
            self.parse(**arguments)
        assert told in str(caught.value)

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ({}, "/kinds"),
            ({"count": "3"}, "/kinds 3"),
            ({"count": "3", "text": "the rest"}, "/kinds 3 0.5 False the rest"),
            ({"count": "3", "loud": "yes"}, "/kinds 3 0.5 yes"),
        ],
    )
    def test_the_line_is_what_people_would_have_typed(self, arguments, line):
        found = command_of(kinds)
        assert found.line(arguments) == line
        if arguments:
            assert found.parse(line.removeprefix("/kinds")) == found.parse_named(arguments)

    @pytest.mark.parametrize("city", ["New York", "Saint-Louis du 'Sud'", 'the "Big" one'])
    def test_an_argument_with_spaces_is_quoted(self, city):
        def book(ctx: Context, city: str, days: int) -> str:
            return city

        found = command_of(command(book))
        line = found.line({"city": city, "days": "2"})
        assert found.parse(line.removeprefix("/book")) == [city, 2]


class TestSuggestions:
    def parameter(self, suggest):
        @command(suggest={"city": suggest})
        def weather(ctx: Context, city: str) -> str:
            return city

        return command_of(weather).parameters[0]

    async def test_a_list_is_searched_and_what_begins_so_comes_first(self):
        parameter = self.parameter(["Bergen", "Oslo", "Bad Oslo", "Osnabrück"])
        assert await parameter.suggestions("os") == ["Oslo", "Osnabrück", "Bad Oslo"]
        assert len(await parameter.suggestions("")) == 4

    async def test_a_function_gives_what_it_likes_and_never_more_than_25(self):
        async def later(typed):
            return [f"{typed}{number}" for number in range(30)]

        for suggest in (later, lambda typed: [f"{typed}{number}" for number in range(30)]):
            found = await self.parameter(suggest).suggestions("x")
            assert (found[0], len(found)) == ("x0", 25)

    async def test_a_function_that_fails_or_hangs_suggests_nothing(self, monkeypatch):
        async def hang(typed):
            await asyncio.Event().wait()

        monkeypatch.setattr(parameter, "_SUGGEST_SECONDS", 0.02)
        for suggest in (hang, lambda typed: 1 / 0, lambda typed: sys.exit()):
            assert await self.parameter(suggest).suggestions("x") == []

    async def test_the_choices_of_a_literal_suggest_themselves(self):
        assert await command_of(pick).parameters[0].suggestions("m") == ["M"]

    @pytest.mark.parametrize("name", ["town", "days"])
    def test_suggestions_for_what_is_no_text_are_refused(self, name):
        with pytest.raises(BrokenPlugin, match=f"suggest names '{name}'"):

            @command(suggest={name: ["x"]})
            def weather(ctx: Context, city: str, days: int = 1) -> str:
                return city


class TestTheDecorator:
    def test_name_help_and_usage_come_from_the_function(self):
        @command
        def say_hello(ctx: Context, name: str = "you") -> str:
            """Say hello.

            At length.
            """
            return ""

        found = command_of(say_hello)
        assert (found.name, found.usage) == ("say-hello", "/say-hello [name]")
        assert found.help == "Say hello.\n\nAt length."
        assert commands.help_text([found]) == "- `/say-hello [name]`: Say hello."

    def test_a_name_can_be_given_and_is_found_whatever_its_case(self):
        registry = Registry(commands={command_of(pick).name: command_of(pick)})
        assert registry.find("/PICK-ONE S")[1].strip() == "S"

    def test_the_function_stays_what_it_was(self):
        assert kinds(None, 1, 2.0) == "1 2.0 False "

    def test_an_argument_that_nobody_can_type_is_refused(self):
        with pytest.raises(
            BrokenPlugin, match=r"bad: when is of type .*only str, int, float, bool and Literal"
        ):

            @command
            def bad(ctx: Context, when: list) -> None: ...

    def test_a_function_without_a_context_is_refused(self):
        with pytest.raises(BrokenPlugin, match="bad: the first parameter must be the Context"):

            @command
            def bad() -> None: ...


class TestFinding:
    @pytest.fixture
    def registry(self):
        registry = Registry()
        for function in (kinds, pick):
            registry.commands[command_of(function).name] = command_of(function)
        return registry

    @pytest.mark.parametrize(
        ("text", "arguments"),
        [("/kinds 1", " 1"), ("!kinds 1", " 1"), (" /Kinds\n1", "\n1"), ("/pick one S", " S"), ("kinds", "")],
    )
    def test_a_command_is_called_with_a_prefix_or_by_its_bare_name(self, registry, text, arguments):
        assert registry.find(text)[1] == arguments

    @pytest.mark.parametrize("text", ["kinds 1", "/kindsof 1", "what kinds are there?", "", "/"])
    def test_anything_else_calls_none(self, registry, text):
        assert registry.find(text) is None

    @pytest.mark.parametrize(
        ("text", "unknown"), [("/kindz 1", "/kindz"), ("!Nope", "!Nope"), ("!wow my parcel never came", None)]
    )
    def test_what_looks_like_a_command_is_known_to_be_none(self, registry, text, unknown):
        assert registry.unknown(text) == unknown

    @pytest.mark.parametrize("text", ["/kinds 1", "/usr/bin is full", "!!", "nope", "/2 of it"])
    def test_what_is_a_command_or_does_not_look_like_one_is_not_unknown(self, registry, text):
        assert registry.unknown(text) is None


GOOD = (
    "from plugins import Context, command\n@command\ndef {name}(ctx: Context) -> str:\n    return '{name}!'\n"
)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def load(*sources):
    registry = Registry()
    registry.load(map(str, sources))
    return registry


class TestLoading:
    def test_broken_files_are_named_and_stop_no_good_one(self, folder):
        (folder / "apple.py").write_text(GOOD.format(name="apple"))
        (folder / "json.py").write_text(
            "import json\nassert json.dumps(1)\n" + GOOD.format(name="called_json")
        )
        (folder / "broken.py").write_text("x = 1\ndef oops(:\n")
        (folder / "raises.py").write_text("raise RuntimeError('no configuration')\n")
        (folder / "leaves.py").write_text("import sys\nsys.exit('bye')\n")
        (folder / "missing.py").write_text("import a_package_that_nobody_has\n")
        (folder / "untypable.py").write_text(
            GOOD.format(name="x").replace("ctx: Context", "ctx: Context, a: set")
        )
        (folder / "_helper.py").write_text("raise RuntimeError('never loaded')\n")
        (folder / "zebra.py").write_text(GOOD.format(name="zebra"))
        registry = load(folder)
        assert set(registry.commands) == {"apple", "called-json", "zebra"}
        problems = "\n".join(registry.problems)
        assert len(registry.problems) == 5
        assert "broken.py, line 2: " in problems
        assert "raises.py: RuntimeError: no configuration" in problems
        assert "leaves.py: SystemExit: bye" in problems
        assert "a_package_that_nobody_has" in problems
        assert "untypable.py: BrokenPlugin: x: a is of type" in problems

    def test_files_of_one_name_in_two_folders_are_both_loaded(self, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "same.py").write_text(GOOD.format(name=name))
        assert set(load(tmp_path / "one", tmp_path / "two").commands) == {"one", "two"}

    def test_a_single_file_is_loaded(self, folder):
        (folder / "apple.py").write_text(GOOD.format(name="apple"))
        assert set(load(folder / "apple.py").commands) == {"apple"}

    @pytest.mark.parametrize("source", ["nowhere.py", "nowhere/at/all", "no_such_module"])
    def test_what_is_not_there_is_a_problem_with_its_name(self, source):
        (problem,) = load(source).problems
        assert problem.startswith(source)

    def test_a_module_is_loaded_with_what_is_in_it(self):
        assert set(load("plugins").commands) >= {"help", "forget-me", "summarise", "draft", "hours"}

    def test_a_plugin_of_the_team_replaces_one_that_ships(self, folder):
        (folder / "hours.py").write_text(GOOD.format(name="hours"))
        registry = load_plugins(Settings(plugins=(str(folder),)))
        assert str(folder) in registry.commands["hours"].function.__code__.co_filename
        assert "forget-me" in registry.commands

    def test_a_folder_called_plugins_does_not_take_away_those_that_ship(self, tmp_path):
        """The working directory may have one; it is even the likely name for the team's own."""
        (tmp_path / "plugins").mkdir()
        (tmp_path / "plugins" / "mine.py").write_text(GOOD.format(name="mine"))
        registry = load_plugins(Settings(plugins=("plugins",)))
        assert set(registry.commands) == {"mine", "help", "forget-me", "summarise", "draft", "hours"}
        assert registry.problems == []


class TestSchedules:
    @pytest.mark.parametrize(
        ("interval", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)]
    )
    def test_intervals_have_units(self, interval, seconds):
        @every(interval, channel="slack:C1")
        def tick(ctx: Context) -> str:
            return ""

        assert command_of(tick).every_seconds == seconds

    @pytest.mark.parametrize(
        "interval", ["", "10", "m", "0m", "-1m", "1.5h", "1w", "²m", " 1m", "9999999999d"]
    )
    def test_a_bad_interval_is_refused_with_an_example(self, interval):
        with pytest.raises(BrokenPlugin, match="like '10m'") as caught:
            every(interval, channel="slack:C1")
        assert repr(interval) in str(caught.value)

    @pytest.mark.parametrize("expression", ["", "* * * *", "61 * * * *", "* * * * 8", "soon", "0 9 * * 5-1"])
    def test_a_bad_cron_expression_is_refused_and_quoted(self, expression):
        with pytest.raises(BrokenPlugin) as caught:
            cron(expression, channel="slack:C1")
        assert f"@cron({expression!r})" in str(caught.value)

    @pytest.mark.parametrize("channel", ["", "general", "slack:", ":C1"])
    def test_a_channel_without_a_platform_is_refused(self, channel):
        for schedule in (lambda: every("1m", channel=channel), lambda: cron("* * * * *", channel=channel)):
            with pytest.raises(BrokenPlugin, match="like 'slack:C0123456'"):
                schedule()

    def test_a_bad_schedule_is_a_problem_of_its_file_alone(self, folder):
        (folder / "good.py").write_text(GOOD.format(name="good"))
        (folder / "news.py").write_text(
            "from plugins import cron\n@cron('every monday', channel='slack:C1')\ndef news(ctx): return 'x'\n"
        )
        registry = load(folder)
        assert set(registry.commands) == {"good"}
        assert registry.schedules == {}
        assert "news.py: BrokenPlugin: @cron('every monday')" in registry.problems[0]


def desk_with(store, function, engine=None):
    found = command_of(function)
    registry = Registry(commands={found.name: found})
    return Desk(engine or ScriptedEngine(), store.history, store.summaries, store.privacy, registry)


async def answer(desk, question):
    *_, reply = [piece async for piece in desk.answer(question)]
    return reply


class TestRunning:
    async def test_a_plain_function_runs_beside_the_others(self, store):
        @command
        def slow(ctx: Context) -> str:
            time.sleep(0.2)
            return "done"

        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        assert (await answer(desk_with(store, slow), message("/slow"))).text == "done"
        ticking.cancel()
        assert ticks > 5

    async def test_a_function_without_a_text_says_that_it_is_done(self, store):
        @command
        async def quiet(ctx: Context) -> None: ...

        reply = await answer(desk_with(store, quiet), message("/quiet"))
        assert (reply.text, reply.decision) == ("Done.", "command")

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_a_function_that_hangs_is_stopped_and_its_caller_told(self, store, monkeypatch, is_async):
        async def hang(ctx: Context) -> None:
            await asyncio.Event().wait()

        def block(ctx: Context) -> None:
            time.sleep(0.3)

        monkeypatch.setattr(commands.run, "__kwdefaults__", {"timeout": 0.05})
        function = command(name="hang")(hang if is_async else block)
        reply = await answer(desk_with(store, function), message("/hang"))
        assert reply.decision == "error"
        assert "`hang` took too long" in reply.text

    async def test_a_function_that_raises_is_told_without_its_insides(self, store):
        @command
        async def fails(ctx: Context) -> str:
            raise ZeroDivisionError("the database password is hunter2")

        reply = await answer(desk_with(store, fails), message("/fails"))
        assert reply.decision == "error"
        assert "`fails` did not work" in reply.text
        assert "hunter2" not in reply.text

    async def test_what_a_plugin_wants_its_user_to_know_is_told(self, store):
        @command
        async def picky(ctx: Context) -> str:
            raise CommandError("Only on Mondays.")

        assert (await answer(desk_with(store, picky), message("/picky"))).text == "Only on Mondays."

    async def test_wrong_arguments_are_told(self, store):
        reply = await answer(desk_with(store, kinds), message("/kinds three"))
        assert (reply.decision, reply.text) == ("error", "`count` must be a whole number, not `three`.")

    async def test_a_text_that_is_too_long_for_the_engine_is_told(self, store):
        @command
        async def long(ctx: Context, text: str) -> str:
            return await ctx.ask(text)

        engine = ScriptedEngine(ContextTooLong(tokens=9000, limit=1000))
        reply = await answer(desk_with(store, long, engine), message("/long text"))
        assert "about 3000 characters" in reply.text

    async def test_while_the_engine_is_away_a_command_is_tried_again_later(self, store):
        @command
        async def asks(ctx: Context) -> str:
            return await ctx.ask("what?")

        with pytest.raises(Unavailable):
            await answer(desk_with(store, asks, ScriptedEngine(Unavailable("starting"))), message("/asks"))


class TestThoseThatShip:
    @pytest.fixture
    def engine(self):
        return ScriptedEngine("From the engine.")

    @pytest.fixture
    def desk(self, store, engine):
        return Desk(engine, store.history, store.summaries, store.privacy, load_plugins(Settings()))

    async def test_help_lists_every_command(self, desk, engine):
        reply = await answer(desk, message("/help"))
        for usage in ("/help", "/forget-me", "/summarise [text]", "/draft <notes>", "/hours"):
            assert f"`{usage}`: " in reply.text
        assert engine.requests == []

    async def test_forget_me_deletes_what_its_author_said_and_gave(self, store, desk):
        for author in (ANNA, BEN):
            await store.intake.receive(message(f"{author.name}@x.example", author=author))
            turns = [Turn("user", "write to me", author), Turn("assistant", "I will.", author)]
            await store.history.append(conversation(), turns)
        reply = await answer(desk, message("/forget-me", author=ANNA))
        assert "2 messages" in reply.text
        assert {turn.author for turn in await store.history.recent(conversation())} == {BEN}
        assert await store.vault.values(conversation(), ANNA.id) == {}
        assert await store.vault.values(conversation(), BEN.id)
        again = await answer(desk, message("forget me", author=ANNA))
        assert again.text == "I have nothing of yours stored."

    async def test_summarise_takes_the_thread(self, store, desk, engine):
        turns = [Turn("user", "The parcel is late.", ANNA), Turn("assistant", "I am sorry.", ANNA)]
        await store.history.append(conversation(), turns)
        assert (await answer(desk, message("/summarise"))).text == "From the engine."
        assert engine.asked == ["The parcel is late.\nI am sorry."]
        assert engine.requests[0].task == "summarise"

    async def test_summarise_takes_an_attached_file_before_the_thread(self, store, desk, engine):
        await store.history.append(conversation(), [Turn("user", "from the thread", ANNA)])
        await answer(desk, message("/summarise", attachments=["from the file"]))
        assert engine.requests[0].files == (TextFile("notes.txt", "from the file"),)

    async def test_summarise_takes_the_text_behind_it(self, desk, engine):
        await answer(desk, message("/summarise this very text"))
        assert engine.asked == ["this very text"]

    async def test_summarise_says_what_is_wrong_with_a_file(self, desk, engine):
        broken = Attachment("photo.png", problem="not_text")
        reply = await answer(desk, message("/summarise", attachments=[broken]))
        assert "photo.png" in reply.text
        assert engine.requests == []

    async def test_summarise_with_nothing_to_summarise_says_so(self, desk, engine):
        reply = await answer(desk, message("/summarise"))
        assert (reply.decision, engine.requests) == ("error", [])
        assert "nothing to summarise" in reply.text

    async def test_draft_hands_the_notes_to_the_engine(self, desk, engine):
        reply = await answer(desk, message("/draft new shop\nopens on Monday"))
        assert reply.text == "From the engine."
        assert engine.asked == ["new shop\nopens on Monday"]
        assert engine.requests[0].task == "draft"

    async def test_draft_without_notes_shows_how_it_is_used(self, desk, engine):
        reply = await answer(desk, message("/draft"))
        assert "`notes` is missing. Usage: `/draft <notes>`" in reply.text
        assert engine.requests == []

    async def test_hours_asks_the_help_pages(self, desk, engine):
        assert (await answer(desk, message("hours"))).text == "From the engine."
        assert engine.requests[0].knowledge
        assert "opening hours" in engine.asked[0]


async def test_plugins_that_hang_take_no_thread_from_anybody_else(store):
    """Asyncio's own pool has few threads, and looks names up in them."""
    hanging = threading.Event()

    def hang(ctx):
        hanging.wait(20)

    calls = [commands.run(hang, None, timeout=0.05) for _ in range(20)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, TimeoutError) for result in results)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
    more = [commands.run(hang, None, timeout=0.05) for _ in range(20)]
    refused = await asyncio.gather(*more, return_exceptions=True)
    assert any(isinstance(result, CommandError) for result in refused)
    hanging.set()
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("kind", ["plain", "async", "cancel"])
async def test_a_plugin_that_ends_the_process_only_fails(kind):
    def plain():
        sys.exit(2)

    async def coroutine():
        sys.exit(2)

    async def cancel():
        raise asyncio.CancelledError

    function = {"plain": plain, "async": coroutine, "cancel": cancel}[kind]
    with pytest.raises(PluginFailed):
        await commands.run(function)


def test_two_plugins_may_both_have_a_monday(tmp_path):
    for name in ("greet", "report"):
        (tmp_path / f"{name}.py").write_text(
            "from plugins import cron\n\n@cron('0 9 * * 1', channel='slack:C1')\ndef monday(): return 'hi'\n"
        )
    registry = Registry()
    registry.load([str(tmp_path)])
    assert set(registry.schedules) == {"greet.monday", "report.monday"}
