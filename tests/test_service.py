"""The engine service: what is answered, quoted, handed over, and what never leaves or gets in."""

import asyncio
from contextlib import aclosing

import pytest

from engine.answering.choices import listed
from engine.errors import BadRequest, ContextTooLong
from engine.generation import Ended
from engine.language.phrases import say
from engine.library.library import SAMPLE_PAGES
from engine.types import ChatRequest, ChatTurn, Outcome, Sampling, TextFile, Usage

RETURN = "How long do I have to return something?"
RETURN_ANSWER = "You have 30 days from the day of delivery to return an item."
PHONE = "+1 202-555-0143"
EMAIL, CARD = "jane.doe@mail.example", "4111 1111 1111 1111"


class Recording:
    """A generator that writes down what it was asked and passes everything on to the real one."""

    def __init__(self, real):
        self._real, self.asked = real, []

    def __getattr__(self, name):
        return getattr(self._real, name)

    def generate(self, turns, sampling, deadline=None, conversation=""):
        self.asked.append((tuple(turns), sampling))
        return self._real.generate(turns, sampling, deadline, conversation)


class Writing(Recording):
    """A generator that writes what the test says, five characters at a time."""

    def __init__(self, real, text, finish_reason="stop"):
        super().__init__(real)
        self._text, self._finish_reason = text, finish_reason
        self.shown, self.is_closed = 0, False

    async def generate(self, turns, sampling, deadline=None, conversation=""):
        self.asked.append((tuple(turns), sampling))
        try:
            for start in range(0, len(self._text), 5):
                self.shown = start
                yield self._text[start : start + 5]
            yield Ended(self._finish_reason, Usage(11, 7))
        finally:
            self.is_closed = True


@pytest.fixture
def recorded(sample_service):
    """The sample service, its generator recorded."""
    sample_service.generator = Recording(sample_service.generator)
    return sample_service


@pytest.fixture
def written(sample_service):
    """Make the sample service's model write this."""

    def write(text, **options):
        sample_service.generator = Writing(sample_service.generator, text, **options)
        return sample_service

    return write


def request(*contents, **options):
    """A conversation whose last turn is the customer's."""
    roles = ("user", "assistant")
    turns = [ChatTurn(roles[(len(contents) - 1 - row) % 2], text) for row, text in enumerate(contents)]
    return ChatRequest(tuple(turns), **options)


async def ask(service, *contents, **options):
    """The pieces of the answer, and its outcome."""
    pieces, outcome = [], None
    async for item in service.chat(request(*contents, **options)):
        assert outcome is None, "nothing may follow the outcome"
        if isinstance(item, Outcome):
            outcome = item
        elif isinstance(item, str):
            pieces.append(item)
    return pieces, outcome


async def told(service, *contents, **options):
    pieces, outcome = await ask(service, *contents, **options)
    return "".join(pieces), outcome


async def text_of(service, document):
    return {found.id: found.text for found in await service.knowledge.library.documents()}[document]


class TestDecisions:
    async def test_a_known_question_is_answered_with_its_source(self, sample_service):
        text, outcome = await told(sample_service, RETURN)
        assert "30 days" in text
        assert outcome.decision == "answer"
        assert 0.42 < outcome.confidence <= 1
        assert outcome.model == "frontdesk-starter"
        assert outcome.window.passages >= 1
        assert outcome.usage.prompt_tokens > 0
        assert {"filter_ms", "search_ms", "generation_ms", "total_ms"} <= set(outcome.timings)
        (citation,) = outcome.citations
        page = await text_of(sample_service, citation.document)
        assert citation.document == "returns.md"
        assert citation.heading == f"Returns › {RETURN}"
        assert page[citation.start : citation.end] == citation.quote
        assert "30 days" in citation.quote

    async def test_an_unknown_question_is_handed_over_without_asking_the_model(self, recorded):
        text, outcome = await told(recorded, "Who won the football world cup in 2014?")
        assert (text, outcome.decision, outcome.citations) == (say("not_found", "en"), "hand_over", ())
        assert outcome.confidence < 0.42
        assert recorded.generator.asked == []

    async def test_a_greeting_needs_neither_search_nor_model(self, recorded):
        text, outcome = await told(recorded, "Hello!")
        assert text == "Hello! This is the help desk. What can I help you with?"
        assert outcome.decision == "answer"
        assert "search_ms" not in outcome.timings
        assert recorded.generator.asked == []

    async def test_who_asks_for_a_person_gets_one(self, sample_service):
        _, outcome = await told(sample_service, "Can I talk to a human please?")
        assert outcome.decision == "hand_over"

    async def test_a_short_message_is_searched_with_the_one_before_it(self, sample_service):
        _, outcome = await told(
            sample_service, "How long is the warranty on an appliance?", "Two years.", "And on knives?"
        )
        assert outcome.citations[0].document == "warranty.md"


class TestRequests:
    @pytest.mark.parametrize("message", ["", "  \n"])
    async def test_an_empty_message_is_refused(self, sample_service, message):
        with pytest.raises(BadRequest, match="message is empty"):
            await told(sample_service, message)

    @pytest.mark.parametrize("turns", [(), (ChatTurn("user", "hi"), ChatTurn("assistant", "hello"))])
    async def test_the_last_turn_must_be_the_users(self, sample_service, turns):
        with pytest.raises(BadRequest, match="last message must be the user's"):
            async for _ in sample_service.chat(ChatRequest(turns)):
                pass

    @pytest.mark.parametrize("knowledge", [True, False])
    async def test_a_message_beyond_the_context_is_told_how_long_it_may_be(self, sample_service, knowledge):
        with pytest.raises(ContextTooLong) as caught:
            await told(sample_service, "word " * 3000, knowledge=knowledge)
        limit = caught.value.limit
        assert f"at most {limit} tokens" in str(caught.value)
        await told(
            sample_service, "word " * (limit - 10), knowledge=knowledge, sampling=Sampling(max_tokens=1)
        )

    async def test_history_goes_in_newest_first_and_stays_as_it_was(self, recorded):
        # Given more history than fits
        turns = [f"turn {number} " + "blah " * 10 for number in range(20)]
        contents = (*turns, RETURN)
        made = request(*contents)

        # When it is answered
        outcome = [item async for item in recorded.chat(made)][-1]

        # Then the newest turns went in whole, in order, and the request is unchanged
        ((asked, _),) = recorded.generator.asked
        system, *history, message = asked
        assert system.role == "system"
        assert message.content.endswith(f"Question: {RETURN}")
        assert 0 < len(history) < 20
        assert [turn.content for turn in history] == turns[-len(history) :]
        assert history[0].role == "user"
        assert (outcome.window.turns_used, outcome.window.turns_left_out) == (
            len(history),
            20 - len(history),
        )
        assert made == request(*contents)

    async def test_the_persona_speaks_unless_the_request_brings_its_own_system_prompt(self, recorded):
        await told(recorded, RETURN)
        own = (ChatTurn("system", "You are a pirate."), ChatTurn("user", RETURN))
        async for _ in recorded.chat(ChatRequest(own)):
            pass
        first, second = (asked[0] for asked, _ in recorded.generator.asked)
        assert "the help desk" in first.content
        assert second == own[0]


class TestSensitiveContent:
    async def test_what_a_customer_gives_away_never_reaches_the_model(self, recorded):
        message = f"I am {EMAIL} and my card is {CARD}. {RETURN}"
        await told(recorded, f"mine is {EMAIL}", "ok", message)
        await told(recorded, message, knowledge=False, sampling=Sampling(max_tokens=2))
        assert len(recorded.generator.asked) == 2
        for asked, _ in recorded.generator.asked:
            prompt = "\n".join(turn.content for turn in asked)
            assert EMAIL not in prompt
            assert CARD not in prompt
            assert "I am <EMAIL_ADDRESS_1> and my card is <CREDIT_CARD_1>." in prompt

    async def test_what_the_model_makes_up_comes_out_masked(self, written):
        service = written(f"Write to {EMAIL}, pay with {CARD}.")
        pieces, _ = await ask(service, "who", knowledge=False)
        assert "".join(pieces) == "Write to [email address], pay with [credit card]."

    async def test_a_value_keeps_its_placeholder_and_numbering_goes_on_behind_given_ones(self, written):
        service = written(f"You are <EMAIL_ADDRESS_3>, {EMAIL} or new@mail.example.")
        text, _ = await told(service, f"<EMAIL_ADDRESS_2> and {EMAIL}", knowledge=False)
        assert text == "You are <EMAIL_ADDRESS_3>, <EMAIL_ADDRESS_3> or [email address]."

    async def test_the_teams_own_number_and_address_are_shown(self, sample_service):
        text, _ = await told(sample_service, "How can I reach you by phone?")
        assert PHONE in text
        assert "help@maplerow.example" in text

    async def test_the_teams_own_number_is_shown_when_the_model_writes_it_differently(self, written):
        text, _ = await told(written("Call (+1) 202 555 0143 now."), "who", knowledge=False)
        assert text == "Call (+1) 202 555 0143 now."


class TestSupport:
    async def test_a_supported_sentence_is_released_and_an_unsupported_one_dropped(self, written):
        service = written(f"{RETURN_ANSWER} We also give you a free holiday. The item must be unused.")
        text, outcome = await told(service, RETURN)
        assert text == f"{RETURN_ANSWER} The item must be unused."
        assert [citation.document for citation in outcome.citations] == ["returns.md"]

    @pytest.mark.parametrize(
        "invented",
        [
            RETURN_ANSWER.replace("30", "90"),
            RETURN_ANSWER.replace("have", "do not have"),
            "Yes, you can return everything for ever.",
            "Yes.",
            "",
            f"Ask {EMAIL} about returns.",
        ],
    )
    async def test_an_answer_without_support_becomes_a_quotation(self, written, invented):
        service = written(invented)
        text, outcome = await told(service, RETURN)
        page = await text_of(service, "returns.md")
        (citation,) = outcome.citations
        assert text == citation.quote == page[citation.start : citation.end]
        assert RETURN_ANSWER in text

    async def test_a_true_sentence_that_answers_another_question_becomes_a_quotation(self, written):
        service = written("A pan that has been cooked with no longer counts as unused.")
        text, outcome = await told(service, RETURN)
        assert text == outcome.citations[0].quote

    async def test_a_sentence_that_was_cut_off_is_not_shown(self, written):
        text, outcome = await told(
            written(f"{RETURN_ANSWER} The item must be", finish_reason="length"), RETURN
        )
        assert text.strip() == RETURN_ANSWER
        assert outcome.finish_reason == "stop"

    async def test_sentences_are_released_one_by_one(self, written):
        service = written(f"{RETURN_ANSWER} The item must be unused. " + "Made up. " * 50)
        async with aclosing(service.chat(request(RETURN))) as answer:
            first = await anext(answer)
            assert first.startswith("You have 30 days")
            assert service.generator.shown < 100

    async def test_closing_the_answer_closes_the_generation(self, written):
        service = written(f"{RETURN_ANSWER} " * 50)
        async with aclosing(service.chat(request(RETURN))) as answer:
            await anext(answer)
        await asyncio.sleep(0.05)
        assert service.generator.is_closed

    async def test_a_number_in_the_question_supports_nothing(self, written):
        service = written("You have 45 days from the day of delivery to return an item.")
        text, _ = await told(service, "Do I have 45 days to return something?")
        assert "45" not in text


class TestWithoutKnowledge:
    async def test_the_models_text_comes_out_untouched(self, written):
        wild = "The moon is made of cheese!\n\n  And 7 * 6 = 42.  "
        pieces, outcome = await ask(written(wild), RETURN, knowledge=False)
        assert "".join(pieces) == wild
        assert len(pieces) > 3, "it must be streamed"
        assert (outcome.citations, outcome.usage) == ((), Usage(11, 7))

    async def test_nothing_is_added_to_the_prompt(self, recorded):
        await told(recorded, RETURN, knowledge=False, sampling=Sampling(max_tokens=3))
        ((asked, sampling),) = recorded.generator.asked
        assert asked == (ChatTurn("user", RETURN),)
        assert sampling.max_tokens == 3

    async def test_without_a_limit_the_answer_has_the_settings_limit(self, recorded, settings):
        await told(recorded, "go on", knowledge=False)
        assert recorded.generator.asked[0][1].max_tokens == settings.max_answer_tokens


class TestTasks:
    async def test_a_text_beyond_the_context_is_summarised_in_its_own_words(self, recorded):
        # Given all sample pages about returns and shipping, several contexts long
        names = ("returns", "shipping", "warranty", "payment", "tracking")
        text = "\n\n".join((SAMPLE_PAGES / f"{name}.md").read_text() for name in names)
        assert recorded.generator.count([ChatTurn("user", text)]) > 2 * recorded.generator.context_length

        # When it is summarised
        summary, outcome = await told(recorded, text, task="summarise")

        # Then every window was read, and every point is a sentence of the text
        points = [line.removeprefix("- ") for line in summary.splitlines()]
        assert len(recorded.generator.asked) > 4
        assert 1 < len(points) <= 24
        assert all(line.startswith("- ") for line in summary.splitlines())
        assert len(set(points)) == len(points)
        assert not any(point.startswith("#") for point in points)
        assert outcome.usage.prompt_tokens > recorded.generator.context_length

    async def test_a_summary_keeps_nothing_that_the_text_does_not_say(self, written):
        notes = "The shop in Aarhus moves to a larger building in May. It keeps its opening hours."
        text, _ = await told(
            written("The shop moves to a larger building in May. It was founded in 1900."),
            notes,
            task="summarise",
        )
        assert text == "The shop moves to a larger building in May."

    async def test_a_draft_keeps_what_the_notes_support(self, written):
        notes = (
            "- the shop in Aarhus moves to a larger building\n- opening on 3 May\n- free coffee for everyone"
        )
        text, _ = await told(
            written("The shop in Aarhus moves to a larger building. The queen will come."),
            notes,
            task="draft",
        )
        assert text == "The shop in Aarhus moves to a larger building."

    async def test_a_draft_from_a_model_that_only_invents_is_made_of_the_notes(self, written):
        notes = "- shop moves to a larger building\n- opening on 3 May"
        text, _ = await told(written("Aliens land in Paris."), notes, task="draft")
        assert text == "**shop moves to a larger building**\n\nOpening on 3 May."

    @pytest.mark.parametrize("notes", ["-", "...", "* *"])
    async def test_notes_without_words_still_give_a_draft(self, written, notes):
        text, _ = await told(written("Aliens."), notes, task="draft")
        assert text.startswith(f"**{notes}**")

    @pytest.mark.parametrize("task", ["summarise", "draft"])
    async def test_sensitive_content_in_a_text_stays_out(self, recorded, task):
        text, _ = await told(recorded, f"Please send the parcel of the customer to {EMAIL} today.", task=task)
        assert EMAIL not in text
        assert all(EMAIL not in turn.content for asked, _ in recorded.generator.asked for turn in asked)


class TestEarlierFiles:
    async def test_small_talk_and_choices_are_not_about_a_file_sent_before(self, sample_service):
        files = (
            TextFile("log.txt", "1. The parcel left.\n2. Thanks, hello and yes were said.", is_new=False),
        )
        for earlier, message, expected in (
            ("Fine.", "thanks", say("thanks", "en")),
            (say("not_found", "en"), "yes please", say("hand_over", "en")),
            (
                listed(("How long do I have to return something?", "Returns"), "en"),
                "3",
                say("not_found", "en"),
            ),
        ):
            text, _ = await told(sample_service, "Hello", earlier, message, files=files)
            assert text == expected

    async def test_a_question_that_only_the_file_answers_is_answered_from_it(self, sample_service):
        files = (
            TextFile("log.txt", "All is well.\nThe zeppelin over Aarhus lost its anchor.", is_new=False),
        )
        text, outcome = await told(sample_service, "Hi", "Hello!", "What did the zeppelin lose?", files=files)
        assert "anchor" in text
        assert (outcome.citations[0].document, outcome.citations[0].first_line) == ("log.txt", 2)

    async def test_a_chosen_option_is_answered_in_the_customers_language(self, sample_service):
        asked = listed((RETURN, "Returns"), "zh")
        _, outcome = await told(sample_service, "我想退货，请问要多久？", asked, RETURN, language="en")
        assert outcome.language == "zh"

    async def test_nothing_learned_and_a_threshold_of_nothing_break_nothing(self, sample_service):
        await sample_service.knowledge.library.remove([str(SAMPLE_PAGES)])
        await sample_service.knowledge.refresh()
        sample_service._hand_over_below = 0.0
        files = (TextFile("log.txt", "All is well.", is_new=False),)
        _, outcome = await told(sample_service, "Hi", "Hello!", "What did the zeppelin lose?", files=files)
        assert outcome.decision == "hand_over"
