"""The library keeps what was learned, the index finds it, and a citation is always a true quotation."""

import shutil

import pytest

from bots.settings import Settings
from engine.knowledge import KnowledgeBase
from engine.library import SAMPLE_PAGES, Learned, Library


@pytest.fixture
def library(store):
    return Library(store.redis)


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

    def __call__(self, texts):
        self.texts += texts
        return self._embedder(texts)

    def embed(self, texts):
        self.texts += texts
        return self._embedder.embed(texts)


def statuses(results):
    return {result.name: result.status for result in results}


class TestLearning:
    async def test_what_is_new_changed_and_unchanged_is_told(self, library, pages):
        assert statuses(await library.learn([pages])) == {"returns.md": "added", "hours.md": "added"}
        assert statuses(await library.learn([pages])) == {"returns.md": "unchanged", "hours.md": "unchanged"}
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        assert statuses(await library.learn([pages])) == {"returns.md": "unchanged", "hours.md": "changed"}
        assert {document.id: document.text for document in await library.documents()}["hours.md"] == (
            "# Hours\n\nWe are closed."
        )

    async def test_what_is_skipped_is_told_with_its_reason_and_stops_nothing(self, library, pages, tmp_path):
        (pages / "empty.md").write_text("")
        (pages / "faq.jsonl").write_text("no json")
        results = await library.learn([pages, tmp_path / "nowhere"])
        assert Learned("empty.md", "skipped", "empty") in results
        assert Learned(str(tmp_path / "nowhere"), "skipped", "no such file or folder") in results
        (faq,) = [result for result in results if result.name == "faq.jsonl"]
        assert faq.status == "skipped"
        assert faq.reason.startswith("line 1:")
        assert [document.id for document in await library.documents()] == ["hours.md", "returns.md"]

    async def test_a_file_named_directly_is_learned_and_one_of_no_known_kind_is_skipped(self, library, pages):
        (pages / "photo.png").write_bytes(b"x")
        (learned,) = await library.learn([pages / "returns.md"])
        (skipped,) = await library.learn([pages / "photo.png"])
        assert learned == Learned("returns.md", "added")
        assert (skipped.name, skipped.status) == ("photo.png", "skipped")

    async def test_hidden_files_and_other_kinds_in_a_folder_are_left_alone(self, library, pages):
        (pages / ".git").mkdir()
        (pages / ".git" / "notes.md").write_text("x")
        (pages / "photo.png").write_bytes(b"x")
        (pages / "deep").mkdir()
        (pages / "deep" / "more.txt").write_text("x")
        assert set(statuses(await library.learn([pages]))) == {"returns.md", "hours.md", "deep/more.txt"}

    async def test_one_name_in_two_folders_keeps_both(self, library, pages, tmp_path):
        # Given two folders whose pages have the same name
        other = tmp_path / "other"
        other.mkdir()
        (other / "returns.md").write_text("# Returns\n\nElsewhere you have 14 days.")
        await library.learn([pages])

        # When the second is learned
        (second,) = await library.learn([other])

        # Then both are there, and learning again changes nothing
        assert second == Learned(str((other / "returns.md").resolve()), "added")
        texts = [document.text for document in await library.documents()]
        assert len(texts) == 3
        assert any("30 days" in text for text in texts)
        assert any("14 days" in text for text in texts)
        version = await library.version()
        assert set(statuses(await library.learn([pages, other])).values()) == {"unchanged"}
        assert await library.version() == version

    async def test_rows_with_the_same_ids_in_two_files_are_all_kept(self, library, tmp_path):
        for name in ("shop", "club"):
            lines = [f'{{"id": "{n}", "title": "t", "text": "{name} {n}"}}' for n in (1, 2)]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        await library.learn([tmp_path / "shop.jsonl", tmp_path / "club.jsonl"])
        assert sorted(document.text for document in await library.documents()) == [
            "club 1",
            "club 2",
            "shop 1",
            "shop 2",
        ]

    async def test_a_page_that_moved_takes_its_old_place(self, library, pages, tmp_path):
        await library.learn([pages])
        shutil.move(pages, tmp_path / "moved")
        results = await library.learn([tmp_path / "moved"])
        assert statuses(results) == {"returns.md": "changed", "hours.md": "changed"}
        assert len(await library.documents()) == 2

    async def test_an_empty_folder_takes_nothing_away(self, library, pages):
        """It may be a volume that is not mounted."""
        await library.learn([pages])
        for page in pages.iterdir():
            page.unlink()
        assert await library.learn([pages]) == []
        assert len(await library.documents()) == 2

    async def test_a_page_that_is_gone_from_its_folder_is_removed(self, library, pages, tmp_path):
        # Given two folders, and a page that can no longer be read
        other = tmp_path / "other"
        other.mkdir()
        (other / "elsewhere.md").write_text("# Elsewhere\n\nAnother folder.")
        await library.learn([pages, other])
        (pages / "returns.md").unlink()
        (pages / "hours.md").write_bytes(b"\xff\xff")
        version = await library.version()

        # When one is learned again
        results = await library.learn([pages])

        # Then only what is gone from it is removed
        assert Learned("returns.md", "removed", "no longer there") in results
        assert [document.id for document in await library.documents()] == ["elsewhere.md", "hours.md"]
        assert await library.version() == version + 1
        await library.learn([pages])
        assert await library.version() == version + 1

    async def test_a_row_that_is_gone_from_its_file_is_removed(self, library, tmp_path):
        rows = [f'{{"id": "{n}", "title": "t", "text": "row {n}"}}' for n in (1, 2)]
        (tmp_path / "faq.jsonl").write_text("\n".join(rows))
        await library.learn([tmp_path / "faq.jsonl"])
        (tmp_path / "faq.jsonl").write_text(rows[1])
        assert await library.learn([tmp_path / "faq.jsonl"]) == [
            Learned("2", "unchanged"),
            Learned("1", "removed", "no longer there"),
        ]

    async def test_learning_one_page_removes_no_other(self, library, pages):
        await library.learn([pages])
        (pages / "hours.md").unlink()
        assert await library.learn([pages / "returns.md"]) == [Learned("returns.md", "unchanged")]
        assert len(await library.documents()) == 2

    async def test_the_version_moves_only_when_something_changed(self, library, pages):
        assert await library.version() == 0
        await library.learn([pages])
        assert await library.version() == 1
        await library.learn([pages])
        await library.learn([pages / "nowhere"])
        assert await library.version() == 1
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        await library.learn([pages])
        assert await library.version() == 2


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

    async def test_without_an_embedder_the_words_decide(self, store):
        knowledge = KnowledgeBase(store.redis, None)
        await knowledge.library.learn([SAMPLE_PAGES])
        await knowledge.refresh()
        (best, *_) = (await knowledge.search("What does a return label cost?")).hits
        assert best.passage.document == "returns.md"
        assert 0.42 < best.score <= 1
        assert (await knowledge.search("zebra xylophone")).hits[0].score == 0
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
        (best, *_) = (await sample_knowledge.search(question)).hits
        assert best.passage.document == document
        assert best.score > Settings().hand_over_below

    @pytest.mark.parametrize(
        "question", ["Who won the football world cup in 2014?", "Write me a poem about the sea", "xyzzy"]
    )
    async def test_what_no_page_answers_scores_too_low_to_be_answered(self, sample_knowledge, question):
        (best, *_) = (await sample_knowledge.search(question)).hits
        assert best.score < Settings().hand_over_below

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
