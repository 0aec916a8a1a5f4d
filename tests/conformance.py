"""What every platform's adapter must do, as tests that know no platform.

`Core` is what no platform can do without, `Contract` all of it. The fixture `harness` gives the platform, as
its people see it; a test that they have no means for is skipped with the reason that `Harness.lacks` gives.
"""

import asyncio
import contextlib
import re
from dataclasses import replace

import pytest
from fault_hostile import CANARY, LINKS, PINGS
from harness import BEN
from redis.exceptions import ConnectionError
from running import background, working
from scripted import AskingBack, Leased, ScriptedEngine, nobody_leaves, until, until_answered

from bots import keys, platforms
from bots.adapter import nonce_of
from bots.build import build_worker
from bots.commands import SPEC
from bots.errors import WrongToken
from bots.feedback import Tally
from bots.message import ConversationKey, Part, Reply
from bots.pulse import Pulse
from bots.registry import Registry
from engine.types import Citation, Outcome
from plugins import Context, command

ANSWER = "You have 30 days to return it."
GROWING = "One two three four five six seven, and then comes what was held back until now."
SHOP = "https://shop.example/returns"


@command
def order(ctx: Context, number: int, is_gift: bool, note: str) -> str:
    """Order something."""
    ctx.attach("order.txt", f"{number} of {note}")
    return f"Ordered {number}, a gift: {is_gift}, {note}."


REGISTRY = Registry({"order": vars(order)[SPEC]})


@contextlib.asynccontextmanager
async def frontdesk(harness, store, engine):
    """Both halves of the platform, and a worker between them."""
    async with (
        harness.receiving(store, REGISTRY),
        harness.sending(store) as senders,
        working(store, engine, senders, REGISTRY),
    ):
        yield


@contextlib.asynccontextmanager
async def dying(store, engine, senders):
    """A worker that ends in the middle of what it does, as by SIGKILL."""
    worker = build_worker(store, engine, REGISTRY, senders)
    worker._partitions.leave = nobody_leaves
    async with background(worker.run(asyncio.Event())):
        yield
    await store.redis.delete(keys.WORKERS)  # as if its time were over


class Half:
    """Holds an engine's first answer in its middle until let go."""

    def __init__(self):
        self._reached, self._release = asyncio.Event(), asyncio.Event()

    async def __call__(self, step):
        if step == "streaming" and not self._reached.is_set():
            self._reached.set()
            await self._release.wait()

    async def said(self):
        await asyncio.wait_for(self._reached.wait(), 10)

    def let_go(self):
        self._release.set()


async def post_all(harness, store, question, texts, *, is_retry):
    """Post the parts of a growing reply, as a process of its own; their ids."""
    async with harness.sending(store) as senders:
        (sender,) = senders.values()
        return [
            await sender.post(
                question,
                text,
                nonce=nonce_of(question.id, part),
                is_retry=is_retry,
                is_growing=part == len(texts) - 1,
            )
            for part, text in enumerate(texts)
        ]


class FailsAtFirst:
    """An intake whose Redis is away when the first message comes."""

    def __init__(self, intake):
        self._intake, self.calls = intake, 0

    async def receive(self, message, also=()):
        self.calls += 1
        if self.calls == 1:
            raise ConnectionError("Redis is away")
        return await self._intake.receive(message, also)


def echo(request):
    return f"You wrote: {request.turns[-1].content}"


def long_answer():
    """30,000 characters with text, a code fence, a table and links; every piece is numbered, in order."""
    number = iter(range(100_000))
    text = "\n\n".join(" ".join(f"w{next(number):05}" for _ in range(60)) + "." for _ in range(28))
    code = "\n".join(f'call("w{next(number):05}", seconds=30)' for _ in range(260))
    rows = "\n".join(f"| w{next(number):05} | thirty days |" for _ in range(260))
    links = " ".join(f"w{next(number):05} [returns]({SHOP})" for _ in range(100))
    return f"{text}\n\n```python\n{code}\n```\n\n| what | how long |\n|---|---|\n{rows}\n\n{links}"


class Core:
    """What no platform can do without. The fixture `harness` gives the platform, `store` an empty Redis."""

    async def test_a_question_is_answered_once_and_as_stored(self, harness, store):
        engine = ScriptedEngine(ANSWER)
        async with frontdesk(harness, store, engine):
            await harness.ask("How long?")
            await harness.shows(ANSWER)
            await until_answered(store)
        turns = await store.history.recent(ConversationKey.parse(engine.requests[0].conversation))
        assert [(turn.role, turn.content) for turn in turns] == [("user", "How long?"), ("assistant", ANSWER)]

    async def test_the_same_event_is_answered_once_however_often_it_comes(self, harness, store):
        harness.needs("redeliver")
        engine = ScriptedEngine(ANSWER)
        async with frontdesk(harness, store, engine):
            question = await harness.ask("How long?")
            await harness.redeliver(question)
            await harness.shows(ANSWER)
            await until_answered(store)
            await harness.redeliver(question)
            await harness.ask("And a gift?", after=question)
            await harness.shows(ANSWER, ANSWER)
        assert engine.asked == ["How long?", "And a gift?"]

    async def test_questions_of_one_conversation_are_answered_in_order(self, harness, store):
        harness.needs("haste")
        async with frontdesk(harness, store, ScriptedEngine(echo)):
            first = await harness.ask("question 0")
            for number in range(1, 3):
                await harness.ask(f"question {number}", after=first)
            await harness.shows(*(f"You wrote: question {number}" for number in range(3)))

    async def test_what_could_not_be_stored_comes_again(self, harness, store):
        harness.needs("patience")
        engine, failing = ScriptedEngine(ANSWER), FailsAtFirst(store.intake)
        async with (
            harness.receiving(replace(store, intake=failing), REGISTRY),
            harness.sending(store) as senders,
            working(store, engine, senders, REGISTRY),
        ):
            await harness.ask("How long?")
            await harness.shows(ANSWER)
            await until_answered(store)
        assert failing.calls > 1
        assert engine.asked == ["How long?"]

    async def test_what_a_sender_is_told_twice_it_does_once(self, harness, store):
        """Also when another process tells it again: what the first one showed is found."""
        # Where there is no limit, a reply has one part.
        texts = ["This is the beginning.", "This is the end."][: 2 if harness.limit else 1]
        async with harness.receiving(store, REGISTRY):
            await harness.ask("How long?")
            await until(store.inbox.backlog)
            (entry,) = await Leased(store).take()
            refs = [
                await post_all(harness, store, entry.content, texts, is_retry=again)
                for again in (False, True)
            ]
            assert refs[0] == refs[1]
            async with harness.sending(store) as senders:
                (sender,) = senders.values()
                for _ in range(2):
                    await sender.edit(entry.content, refs[0][-1], texts[-1], is_growing=False)
                parts = [Part(*part) for part in zip(refs[0], texts, strict=True)]
                for _ in range(2):
                    await sender.finish(entry.content, parts, Reply("", language="en"), ())
                await harness.shows(*texts)
                if "delete" not in harness.lacks:
                    for ref in refs[0] * 2:
                        await sender.delete(entry.content, ref)
                    await sender.finish(entry.content, (), Reply("", decision="stopped"), ())
                    await harness.shows()

    async def test_an_answer_grows_in_one_place(self, harness, store):
        half = Half()
        async with frontdesk(harness, store, ScriptedEngine(GROWING, at=half)):
            await harness.ask("How long?")
            await half.said()
            begun = await harness.begun()
            assert GROWING.startswith(begun.text)
            assert len(begun.text) < len(GROWING)
            half.let_go()
            await harness.shows(GROWING)
        assert [post.ref for post in harness.posts()] == [begun.ref]

    async def test_another_worker_goes_on_where_one_died(self, harness, store):
        half = Half()
        engine = ScriptedEngine(GROWING, at=half)
        async with harness.receiving(store, REGISTRY):
            async with harness.sending(store) as senders, dying(store, engine, senders):
                await harness.ask("How long?")
                await half.said()
                begun = await harness.begun()
            half.let_go()
            async with harness.sending(store) as senders, working(store, engine, senders, REGISTRY):
                await harness.shows(GROWING)
        assert [post.ref for post in harness.posts()] == [begun.ref]
        assert len(engine.requests) == 2

    async def test_a_long_answer_arrives_whole_and_in_order(self, harness, store):
        answer = long_answer()
        assert len(answer) > 30_000
        async with frontdesk(harness, store, ScriptedEngine(answer)):
            await harness.ask(f"What about {SHOP} then?")
            await until(lambda: any(answer[-40:] in text for text in harness.texts()), 20)
            await until_answered(store)
        texts = harness.texts()
        assert re.findall(r"w\d{5}", "\n".join(texts)) == re.findall(r"w\d{5}", answer)
        assert "\n".join(texts).count(f"[returns]({SHOP})") == 100
        assert all(text.count("```") % 2 == 0 for text in texts)
        assert all(text.startswith("```python\n") for text in texts if re.match(r"\W*call\(", text))
        assert not harness.limit or all(len(text) <= harness.limit for text in texts)
        assert not harness.limit or len(texts) >= len(answer) / harness.limit

    async def test_stop_keeps_what_was_said(self, harness, store):
        harness.needs("stop")
        half = Half()
        async with frontdesk(harness, store, ScriptedEngine(GROWING, at=half)):
            question = await harness.ask("How long?")
            await half.said()
            begun = await harness.begun()
            await harness.stop(question)
            await until(lambda: "(stopped)" in harness.texts()[0], 10)
            await until_answered(store)
            (post,) = harness.posts()
        assert post.ref == begun.ref
        assert post.text.startswith(begun.text)
        assert "held back" not in post.text

    async def test_an_edited_question_restarts_its_answer(self, harness, store):
        harness.needs("edit")
        half = Half()
        engine = ScriptedEngine([GROWING, ANSWER], at=half)
        async with frontdesk(harness, store, engine):
            question = await harness.ask("How long?")
            await half.said()
            begun = await harness.begun()
            await harness.edit(question, "How much?")
            await harness.shows(ANSWER)
            await until_answered(store)
        assert [post.ref for post in harness.posts()] == [begun.ref]
        assert engine.asked == ["How long?", "How much?"]

    async def test_of_a_deleted_question_nothing_stays(self, harness, store):
        harness.needs("delete")
        half = Half()
        engine = ScriptedEngine([GROWING, ANSWER], at=half)
        async with frontdesk(harness, store, engine):
            question = await harness.ask("How long?")
            await half.said()
            await harness.begun()
            await harness.delete(question)
            await harness.shows()
            await until_answered(store)
        assert not await store.history.recent(ConversationKey.parse(engine.requests[0].conversation))

    async def test_citations_are_shown(self, harness, store):
        cited = Outcome(citations=(Citation("returns.md", "Sending it back", 0, 16, "You have 30 days"),))
        async with frontdesk(harness, store, ScriptedEngine(ANSWER, outcome=cited)):
            await harness.ask("How long?")
            await until(lambda: "Sending it back" in harness.sources(), 10)

    async def test_no_link_that_nobody_vouches_for_gets_out(self, harness, store):
        own = "https://mine.example/order/7"
        hostile = ScriptedEngine("\n\n".join([*LINKS, f"Yours is {own} and stays."]))
        async with frontdesk(harness, store, hostile):
            await harness.ask(f"Where is {own} now?")
            await until(lambda: any(f"Yours is {own} and stays." in text for text in harness.texts()), 10)
            await until_answered(store)
        assert not [text for text in harness.outgoing() if CANARY in text.lower()]


class Contract(Core):
    """Everything that people expect of a platform."""

    async def test_a_question_back_has_buttons_that_ask_what_they_say(self, harness, store):
        harness.needs("choose")
        async with frontdesk(harness, store, AskingBack()):
            question = await harness.ask("return?")
            await until(harness.options, 10)
            assert harness.options() == [*AskingBack.options, "None of these"]
            await harness.choose(question, AskingBack.options[1])
            await until(lambda: f"You asked a colleague: {AskingBack.options[1]}" in harness.texts(), 10)
            await until_answered(store)
        assert len(harness.posts()) == 2

    async def test_a_rating_is_kept_and_the_later_one_counts(self, harness, store):
        harness.needs("rate")

        async def is_rated(**counted):
            return await store.feedback.tally() == Tally(rated=1, **counted)

        async with frontdesk(harness, store, ScriptedEngine(ANSWER)):
            question = await harness.ask("How long?")
            await harness.shows(ANSWER)
            await until_answered(store)
            await harness.rate(question, is_helpful=True)
            await until(lambda: is_rated(helpful=1))
            await harness.rate(question, is_helpful=False)
            await until(lambda: is_rated(helpful=0))

    async def test_a_file_that_comes_along_is_read(self, harness, store):
        engine = ScriptedEngine(ANSWER)
        async with frontdesk(harness, store, engine):
            await harness.ask("What is broken?", file=("notes.txt", b"The oven, since Monday."))
            await harness.shows(ANSWER)
        assert [(file.name, file.text) for file in engine.requests[0].files] == [
            ("notes.txt", "The oven, since Monday.")
        ]

    async def test_a_command_is_called_by_the_platforms_own_means_and_sends_a_file(self, harness, store):
        async with frontdesk(harness, store, ScriptedEngine(ANSWER)):
            await harness.call("order", {"number": "55", "is_gift": "yes", "note": "blue bowls"})
            await harness.shows("Ordered 55, a gift: True, blue bowls.")
            await until(lambda: harness.files() == {"order.txt": "55 of blue bowls"})
            await until_answered(store)

    async def test_an_empty_mention_is_answered_with_the_help(self, harness, store):
        harness.needs("silence")
        async with frontdesk(harness, store, ScriptedEngine(ANSWER)):
            await harness.ask("")
            assert "/order" in (await harness.begun()).text

    async def test_bots_are_not_answered_and_the_bot_is_one(self, harness, store):
        harness.needs("bots_say")
        engine = ScriptedEngine(ANSWER)
        async with frontdesk(harness, store, engine):
            await harness.bots_say("How long do bots have?")
            await harness.ask("How long?")
            await harness.shows(ANSWER)
            await until_answered(store)
        assert engine.asked == ["How long?"]

    async def test_names_are_kept_where_several_people_write(self, harness, store):
        harness.needs("groups")
        engine = ScriptedEngine(ANSWER)
        async with frontdesk(harness, store, engine):
            first = await harness.ask("How long?")
            await harness.shows(ANSWER)
            await harness.ask("And for me?", person=BEN, after=first)
            await harness.shows(ANSWER, ANSWER)
            await harness.ask("And for her?", person=BEN, after=first)
            await harness.shows(ANSWER, ANSWER, ANSWER)
        asked = [turn.content for turn in engine.requests[-1].turns if turn.role == "user"]
        assert asked[:2] == ["Anna: How long?", "Ben: And for me?"]

    async def test_what_a_model_says_pings_nobody(self, harness, store):
        harness.needs("pings")
        hostile = "@everyone <!channel> <!here> <@U1> <@&1> <!subteam^S1>\n" + "\n".join(PINGS)
        engine = ScriptedEngine(f"{hostile}\n{harness.mentions()}\nThat is all.")
        async with frontdesk(harness, store, engine):
            await harness.ask("How long?")
            await until(lambda: any("That is all." in text for text in harness.texts()), 10)
            await until_answered(store)
        assert not harness.pings()

    async def test_a_busy_platform_gets_the_answer_later(self, harness, store):
        harness.needs("busy")
        engine = ScriptedEngine(ANSWER)
        async with frontdesk(harness, store, engine):
            refused = harness.busy()
            await harness.ask("How long?")
            await harness.shows(ANSWER)
            await until_answered(store)
            assert refused()
        assert len(harness.posts()) == 1

    async def test_a_wrong_token_is_told_at_the_start(self, harness, store):
        harness.needs("wrong_settings")
        platform, settings = platforms.load(harness.name), harness.wrong_settings()
        with pytest.raises(WrongToken):
            await platform.open_sender(settings, store)
        pulse = Pulse(store.redis, harness.name)
        with pytest.raises(WrongToken):
            await asyncio.wait_for(platform.make_receiver(settings, store, REGISTRY, pulse).run_forever(), 10)

    async def test_a_sensitive_value_comes_back_in_private(self, harness, store):
        engine = ScriptedEngine(echo)
        async with frontdesk(harness, store, engine):
            await harness.ask("Write to jane@x.example please", is_private=True)
            await harness.shows("You wrote: Write to jane@x.example please")
        assert "jane" not in engine.asked[0]

    async def test_a_sensitive_value_is_masked_where_others_read_along(self, harness, store):
        harness.needs("groups")
        async with frontdesk(harness, store, ScriptedEngine(echo)):
            await harness.ask("Write to jane@x.example please")
            await harness.shows("You wrote: Write to [email address] please")
        assert not [text for text in harness.outgoing() if "jane" in text]
