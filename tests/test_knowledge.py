"""The index follows the library, finds what it holds, and a citation is always a true quotation."""

import asyncio

import pytest

from engine.evaluation.calibration_store import DEFAULT_THRESHOLD
from engine.library.lesson import SAMPLE_PAGES
from engine.library.library import Library
from engine.search.knowledge import KnowledgeBase
from engine.search.vectors import VECTORS_KEY


@pytest.fixture
def pages(tmp_path):
    """A folder with two pages."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "returns.md").write_text("# Returns\n\nYou have 30 days to return an item.")
    (folder / "hours.md").write_text("# Hours\n\nWe are open from 9:00 to 18:00.")
    return folder


class CountingEmbedder:
    """The real embedder, remembering what it was asked to embed."""

    def __init__(self, embedder):
        self.name, self._embedder = embedder.name, embedder
        self.texts = []

    def __getattr__(self, name):
        return getattr(self._embedder, name)

    def __call__(self, texts):
        self.texts += texts
        return self._embedder(texts)

    def embed(self, texts):
        self.texts += texts
        return self._embedder.embed(texts)


class TestIndex:
    async def test_refresh_picks_up_a_change_that_another_process_made(self, store, pages):
        knowledge = KnowledgeBase(store.redis, None)
        await knowledge.refresh()
        assert (await knowledge.search("return an item")).hits == ()
        await Library(store.redis).learn([pages])
        assert (await knowledge.search("return an item")).hits == ()
        await knowledge.refresh()
        (best, *_) = (await knowledge.search("return an item")).hits
        assert best.passage.document == "returns.md"

    async def test_refresh_without_a_change_keeps_the_index(self, sample_knowledge):
        before = sample_knowledge.index
        await sample_knowledge.refresh()
        assert sample_knowledge.index is before

    async def test_nothing_is_embedded_twice(self, store, pages, embedder):
        counting = CountingEmbedder(embedder)
        knowledge = KnowledgeBase(store.redis, counting)
        await knowledge.library.learn([pages])
        await knowledge.refresh()
        assert len(counting.texts) == 2

        # A change embeds only what changed
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        await knowledge.library.learn([pages])
        await knowledge.refresh()
        assert counting.texts[2:] == ["Hours\nWe are closed."]

        # Another engine embeds nothing, and finds the same
        other = KnowledgeBase(store.redis, counting)
        await other.refresh()
        assert len(counting.texts) == 3
        assert (await other.search("are you open?")).hits == (await knowledge.search("are you open?")).hits

    async def test_only_what_changed_is_cut_again(self, store, pages):
        knowledge = KnowledgeBase(store.redis, None)
        await knowledge.library.learn([pages])
        await knowledge.refresh()
        before = {passage.document: passage for passage in knowledge.index.passages}
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        await knowledge.library.learn([pages])
        await knowledge.refresh()
        after = {passage.document: passage for passage in knowledge.index.passages}
        assert after["returns.md"] is before["returns.md"]
        assert after["hours.md"].text == "We are closed."

    async def test_a_removed_document_is_found_no_more_and_its_vectors_are_dropped(
        self, store, pages, embedder
    ):
        knowledge = KnowledgeBase(store.redis, embedder)
        await knowledge.library.learn([pages])
        await store.redis.hset(VECTORS_KEY, b"another embedder's", b"1234")
        await knowledge.refresh()
        assert await store.redis.hlen(VECTORS_KEY) == 3
        await knowledge.library.remove(["hours.md"])
        await knowledge.refresh()
        assert [passage.document for passage in knowledge.index.passages] == ["returns.md"]
        assert await store.redis.hlen(VECTORS_KEY) == 2
        assert await store.redis.hget(VECTORS_KEY, b"another embedder's") == b"1234"

    async def test_a_vector_takes_two_bytes_a_number(self, store, pages, embedder):
        knowledge = KnowledgeBase(store.redis, embedder)
        await knowledge.library.learn([pages])
        await knowledge.refresh()
        assert {len(vector) for vector in await store.redis.hvals(VECTORS_KEY)} == {2 * 384}
        (exact,) = embedder.embed(["Hours\nWe are open from 9:00 to 18:00."])
        (kept,) = await knowledge.embed(["Hours\nWe are open from 9:00 to 18:00."])
        assert abs(float(exact @ kept) - 1) < 1e-3

    async def test_many_new_texts_are_found_by_words_until_they_are_embedded(self, store, tmp_path, embedder):
        # Given a learned file of many rows, and an embedder that lets us look while it works
        rows = [f'{{"id": "{n}", "question": "Is there topic{n}?", "answer": "It is."}}' for n in range(80)]
        (tmp_path / "faq.jsonl").write_text("\n".join(rows))
        knowledge = KnowledgeBase(store.redis, None)
        found = []

        class Slow(CountingEmbedder):
            def embed(self, texts):
                found.append(knowledge.index.search("topic7").hits[0].passage.document)
                return super().embed(texts)

        knowledge = KnowledgeBase(store.redis, Slow(embedder))
        await knowledge.library.learn([tmp_path / "faq.jsonl"])

        # When it is embedded
        await knowledge.refresh()

        # Then it was found all the time
        assert len(found) > 1
        assert set(found) == {"7"}

    async def test_a_change_is_not_kept_waiting_by_a_long_embedding(self, store, tmp_path, pages, embedder):
        # Given an embedder during whose work another page is learned
        rows = [f'{{"id": "{n}", "question": "Is there topic{n}?", "answer": "It is."}}' for n in range(70)]
        (tmp_path / "faq.jsonl").write_text("\n".join(rows))
        sizes = []
        loop = asyncio.get_running_loop()

        class Slow(CountingEmbedder):
            def embed(self, texts):
                sizes.append(len(knowledge.index.passages))
                if len(sizes) == 1:
                    asyncio.run_coroutine_threadsafe(knowledge.library.learn([pages]), loop).result()
                return super().embed(texts)

        counting = Slow(embedder)
        knowledge = KnowledgeBase(store.redis, counting)
        await knowledge.library.learn([tmp_path / "faq.jsonl"])

        # When the index is built
        await knowledge.refresh()

        # Then the page is found after the first batch, and no text was embedded twice
        assert sizes[:2] == [70, 72]
        assert len(counting.texts) == len(set(counting.texts))
        assert len(knowledge.index.passages) == 72

    async def test_without_an_embedder_the_words_decide(self, store):
        knowledge = KnowledgeBase(store.redis, None)
        await knowledge.library.learn([SAMPLE_PAGES])
        await knowledge.refresh()
        (best, *_) = (await knowledge.search("What does a return label cost?")).hits
        assert best.passage.document == "returns.md"
        assert 0.42 < best.score <= 1
        assert (await knowledge.search("zebra xylophone")).hits[0].score < 0.1
        assert knowledge.relevance("question", "passage")("anything")

    async def test_an_empty_library_finds_nothing(self, store, embedder):
        knowledge = KnowledgeBase(store.redis, embedder)
        await knowledge.refresh()
        assert (await knowledge.search("anything")).hits == ()

    async def test_the_teams_own_contact_data_is_known(self, sample_knowledge):
        assert {"12025550143", "help@maplerow.example"} <= sample_knowledge.index.contacts


QUESTIONS = [
    ("How long do I have to send something back?", "returns.md"),
    ("When is customer service open on Saturday?", "opening-hours.md"),
    ("How can I track my parcel?", "tracking.md"),
    ("Which cards can I pay with?", "payment.md"),
    ("I forgot my password", "password-and-sign-in.md"),
    ("How long is the guarantee?", "warranty.md"),
    ("When do I get my money back?", "refunds.md"),
    ("Can I buy a gift card?", "gift-cards.md"),
    ("My plate arrived broken", "damaged-or-missing.md"),
    ("How do I unsubscribe from the newsletter?", "cookies-and-newsletter.md"),
]


class TestSearch:
    @pytest.mark.parametrize(("question", "document"), QUESTIONS)
    async def test_the_right_page_is_found(self, sample_knowledge, question, document):
        found = await sample_knowledge.search(question)
        assert found.hits[0].passage.document == document
        assert found.confidence > DEFAULT_THRESHOLD

    @pytest.mark.parametrize(
        "question", ["Who won the football world cup in 2014?", "Write me a poem about the sea", "xyzzy"]
    )
    async def test_what_no_page_answers_is_too_uncertain_to_be_answered(self, sample_knowledge, question):
        assert (await sample_knowledge.search(question)).confidence < DEFAULT_THRESHOLD

    async def test_a_citation_is_exactly_the_documents_text(self, sample_knowledge):
        texts = {document.id: document.text for document in await sample_knowledge.library.documents()}
        for question, _ in QUESTIONS:
            for hit in (await sample_knowledge.search(question)).hits:
                citation = hit.citation()
                assert texts[citation.document][citation.start : citation.end] == citation.quote != ""

    async def test_hits_come_best_first_and_no_more_than_asked_for(self, sample_knowledge):
        hits = (await sample_knowledge.search("return", limit=5)).hits
        assert len(hits) == 5
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(0 <= hit.score <= 1 for hit in hits)

    async def test_a_true_sentence_about_something_else_is_not_relevant(self, sample_knowledge):
        passage = "Knives can only be returned unopened. The shop in Aarhus opens at 10:00 on Saturday."
        is_relevant = sample_knowledge.relevance("When does the shop open?", passage)
        assert is_relevant("The shop in Aarhus opens at 10:00.")
        assert not is_relevant("Knives can only be returned unopened.")
