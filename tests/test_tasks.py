"""Summaries of texts of any length, each point with its lines, and drafts from notes; and tasks of the other
kind, that end for certain."""

import asyncio
import time
from contextlib import aclosing

import pytest
from reading_parts import NEEDLE, Saying, about, log_with, pages, told

from bots.tasks import end
from engine.generation.local import LocalGenerator
from engine.reading.tasks import central_sentences, draft, share_note, summarise
from engine.types import ChatRequest, ChatTurn, Progress, Stopwatch

SHORT = "The shop in Aarhus moves to a larger building in May. It keeps its opening hours."


@pytest.fixture
async def model(starter):
    """The starter model."""
    made = LocalGenerator(starter)
    yield made
    await made.close()


async def summary(generator, request):
    return await told(summarise(generator, request, Stopwatch()))


def points(text):
    lines = text.partition("\n\n")[0].splitlines()
    assert all(line.startswith("- ") for line in lines)
    return [line.removeprefix("- ") for line in lines]


class TestSummary:
    async def test_a_text_of_many_windows_becomes_few_points_with_their_lines(self, model):
        # Given all sample pages about returns and shipping, several contexts long
        text = pages("returns", "shipping", "warranty", "payment", "tracking", "refunds", "exchanges")
        generator = Saying(model, lambda prompt: "This was never written.")

        # When it is summarised by a model that only invents
        answer, outcome, steps = await summary(generator, about("", text))

        # Then every window was read, and each point is a sentence of the text, cited where it stands
        found = points(answer)
        assert 1 < len(found) <= 8
        assert not any(point.startswith("#") for point in found)
        assert [citation.quote.lstrip("-* ") for citation in outcome.citations] == found
        for citation in outcome.citations:
            assert text[citation.start : citation.end] == citation.quote
            lines = text.split("\n")[citation.first_line - 1 : citation.last_line]
            assert citation.quote in "\n".join(lines)
        assert [citation.start for citation in outcome.citations] == sorted(
            it.start for it in outcome.citations
        )
        assert steps == [(done, len(steps) - 1) for done in range(len(steps))]
        assert outcome.window.share_read == 1.0
        assert "I read" not in answer

    async def test_more_points_than_can_be_told_are_made_fewer_in_rounds(self, model):
        text = pages()
        generator = Saying(model, lambda prompt: "This was never written.")
        answer, outcome, steps = await summary(generator, about("", text))
        windows = steps[-1][1]
        assert windows == 24
        assert len(points(answer)) <= 8
        assert len(generator.asked) > windows, "the points themselves were summarised"
        assert 0.2 < outcome.window.share_read < 1
        assert f"I read {100 * outcome.window.share_read:.0f} % of the text" in answer

    async def test_of_a_very_long_text_places_all_over_it_are_read(self, model):
        text, _ = log_with(NEEDLE, 2_000_000)
        generator = Saying(model, lambda prompt: "This was never written.")
        answer, outcome, steps = await summary(generator, about("", text))
        assert steps[-1] == (24, 24)
        assert "I read 1 % of the text" in answer
        starts = [citation.start / len(text) for citation in outcome.citations]
        assert min(starts) < 0.25
        assert max(starts) > 0.75

    async def test_what_the_model_says_stays_when_the_text_says_it(self, model):
        generator = Saying(
            model, lambda prompt: "The shop moves to a larger building in May. It was founded in 1900."
        )
        answer, outcome, _ = await summary(generator, about("", SHORT))
        assert answer == "The shop moves to a larger building in May."
        assert [(it.first_line, it.last_line) for it in outcome.citations] == [(1, 1)]

    async def test_closing_it_stops_every_generation(self, model):
        generator = Saying(model, lambda prompt: None)
        pieces = summarise(generator, about("", pages()), Stopwatch())
        async with aclosing(pieces):
            assert await anext(pieces) == Progress(0, 24)
            waiting = asyncio.ensure_future(anext(pieces))
            while generator.running < 4:
                await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait({waiting})
        assert (generator.running, len(generator.asked)) == (0, 4)

    async def test_near_the_deadline_the_texts_own_sentences_are_told(self, model):
        generator = Saying(model, lambda prompt: None)
        answer, _, _ = await summary(generator, about("", pages("returns"), deadline=time.monotonic() + 5.5))
        assert points(answer)
        assert generator.running == 0

    async def test_what_was_typed_is_summarised_without_lines(self, model):
        request = ChatRequest((ChatTurn("user", SHORT),), task="summarise")
        answer, outcome, _ = await summary(Saying(model, lambda prompt: SHORT), request)
        assert (answer, outcome.citations) == (SHORT, ())

    async def test_a_german_text_is_summarised_in_german(self, model):
        text = "Die Kaution beträgt zwei Monatsmieten und wird nach dem Auszug zurückgezahlt. " * 2
        generator = Saying(model, lambda prompt: "nichts")
        await summary(generator, about("", text))
        assert "in German" in generator.asked[0]


class TestDraft:
    async def drafted(self, model, notes, said):
        request = ChatRequest((ChatTurn("user", notes),), task="draft")
        return (await told(draft(Saying(model, lambda prompt: said), request, Stopwatch())))[0]

    async def test_a_draft_keeps_what_the_notes_support(self, model):
        notes = "- the shop in Aarhus moves to a larger building\n- opening on 3 May"
        said = "The shop in Aarhus moves to a larger building. The queen will come."
        assert await self.drafted(model, notes, said) == "The shop in Aarhus moves to a larger building."

    async def test_a_draft_from_a_model_that_only_invents_is_made_of_the_notes(self, model):
        notes = "- shop moves to a larger building\n- opening on 3 May"
        text = await self.drafted(model, notes, "Aliens land in Paris.")
        assert text == "**shop moves to a larger building**\n\nOpening on 3 May."

    @pytest.mark.parametrize("notes", ["-", "...", "* *"])
    async def test_notes_without_words_still_give_a_draft(self, model, notes):
        assert (await self.drafted(model, notes, "Aliens.")).startswith(f"**{notes}**")


def test_central_sentences_are_those_that_share_most_with_the_text():
    text = "# Parcels\nParcels are sent daily. Parcels sent late are tracked daily. The sun shines."
    assert central_sentences(text, 1) == ["Parcels sent late are tracked daily."]


@pytest.mark.parametrize(
    ("share", "told"), [(1.0, ""), (0.999, ""), (0.5, "50 %"), (0.01, "1 %"), (0.002, "<1 %")]
)
def test_the_share_that_was_read_is_told_when_it_is_not_all(share, told):
    note = share_note("share_read", share, "en")
    assert told in note
    assert bool(note) == bool(told)


async def test_who_ends_a_task_and_is_cancelled_meanwhile_ends_it_all_the_same():
    swallowed = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)  # it has begun
    ending = asyncio.create_task(end(task))
    await swallowed.wait()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.cancelled()
