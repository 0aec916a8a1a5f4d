"""The index finds what answers: in other words, in conversations, in other scripts, where it is seen."""

import numpy as np
import pytest

from engine.library.documents import Document, Passage, passages
from engine.search.index import Index
from engine.types import ChatTurn

ANSWERS = {
    "returns": ("How do I send something back?", "Use the label in the parcel within 30 days."),
    "invoice": ("Where do I find my invoice?", "It is in your account, below each order."),
    "password": ("I forgot my password", "Ask for a new one on the sign-in page."),
    "delivery": ("How long does delivery take?", "Two to four working days."),
    "gift": ("Can I buy a gift card?", "Yes, from 10 to 500 euros."),
}
HOTELS = ("Ashley Hotel", "Lensfield Hotel", "Acorn Guest House")


def build(documents, embedder):
    index = Index(1, [passage for document in documents for passage in passages(document)], embedder)
    if embedder is not None:
        texts, owners = index.embedded_texts()
        index.add_vectors(embedder.embed(texts), owners)
    return index


def faq(**more):
    return [Document(name, q, a, question=q, **more) for name, (q, a) in ANSWERS.items()]


def hotels():
    asked = {"parking": "Is there parking?", "pets": "Are pets allowed?"}
    return [
        Document(f"{name}/{key}", question, f"Ask at the desk of {name}.", question=question, entity=name)
        for name in HOTELS
        for key, question in asked.items()
    ]


@pytest.fixture(scope="module")
def shop(embedder):
    return build(faq(), embedder)


def first(found):
    return found.hits[0].passage.document


class TestRanking:
    @pytest.mark.parametrize(
        ("question", "document"),
        [
            ("I want to give an item back", "returns"),
            ("can't log in any more", "password"),
            ("when will my order arrive", "delivery"),
            ("do you sell vouchers as a present?", "gift"),
        ],
    )
    def test_a_question_in_other_words_finds_its_entry(self, shop, question, document):
        assert first(shop.search(question)) == document

    def test_an_entry_is_found_by_an_alias_and_by_its_answer(self, embedder):
        alias = Document(
            "fees", "Charges", "Nothing at all.", question="Charges", aliases=("What do I pay?",)
        )
        body = Document("body", "", "Our office in Odense is closed in July.")
        index = build([*faq(), alias, body], embedder)
        assert first(index.search("what do i have to pay")) == "fees"
        assert first(index.search("Is the Odense office open in July?")) == "body"

    def test_hits_come_best_first_and_no_more_than_asked_for(self, shop):
        hits = shop.search("invoice", limit=4).hits
        assert len(hits) == 4
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(0 <= hit.score <= 1 for hit in hits)

    def test_texts_of_no_letters_are_searched_without_harm(self, embedder):
        index = build(
            [*faq(), Document("odd", "?", "🙂🙂", question="🙂"), Document("dots", "", "…")], embedder
        )
        for question in ("🙂", "???", "", "\u200b"):
            found = index.search(question)
            assert 0 <= found.confidence <= 1
            assert np.isfinite([hit.score for hit in found.hits]).all()

    def test_before_vectors_are_added_the_words_decide(self, embedder):
        index = Index(1, [passage for document in faq() for passage in passages(document)], embedder)
        assert first(index.search("gift card")) == "gift"

    @pytest.mark.parametrize("with_meaning", [True, False])
    def test_chinese_and_japanese_are_found_by_their_characters(self, embedder, with_meaning):
        documents = [
            Document("退货", "", "三十天之内可以退货。", question="怎么退货？"),
            Document("发票", "", "发票在您的账户里。", question="在哪里找发票？"),
            Document("配送", "", "配送には二日かかります。", question="配送は何日かかりますか。"),
        ]
        index = build([*faq(), *documents], embedder if with_meaning else None)
        assert first(index.search("我想退货")) == "退货"
        assert first(index.search("发票在哪")) == "发票"
        assert first(index.search("配送の日数")) == "配送"


class TestConversations:
    def test_an_entity_that_was_spoken_of_picks_among_the_same_questions(self, embedder):
        index = build(hotels(), embedder)
        for name in HOTELS:
            earlier = (
                ChatTurn("user", "I need a place to stay."),
                ChatTurn("assistant", f"I recommend the {name}. Shall I book a room?"),
                ChatTurn("user", "Maybe. What does it cost?"),
                ChatTurn("assistant", "It is 80 pounds a night."),
            )
            assert first(index.search("Can I bring my dog?", earlier)) == f"{name}/pets"

    def test_the_last_entity_counts_most(self, embedder):
        earlier = (
            ChatTurn("user", "Tell me about the Ashley Hotel."),
            ChatTurn("assistant", "The Ashley Hotel is in the north and is cheap."),
            ChatTurn("user", "And what about the Acorn Guest House?"),
            ChatTurn("assistant", "The Acorn Guest House is in the centre."),
        )
        found = build(hotels(), embedder).search("Do they have parking?", earlier)
        assert first(found) == "Acorn Guest House/parking"

    def test_a_new_topic_is_not_drawn_back_to_the_old_one(self, shop):
        earlier = (ChatTurn("user", ANSWERS["returns"][0]), ChatTurn("assistant", ANSWERS["returns"][1]))
        assert first(shop.search("And can I buy a gift card?", earlier)) == "gift"

    def test_what_the_system_says_is_no_part_of_the_conversation(self, shop):
        told = (ChatTurn("system", "Talk about invoices only."),)
        assert shop.search("gift card?", told) == shop.search("gift card?")


class TestWhatIsSeen:
    def test_what_is_left_out_is_as_if_it_had_never_been_learned(self, shop, embedder):
        lacking = build([document for document in faq() if document.id != "gift"], embedder)
        for question in ("Can I buy a gift card?", "How do I return it?", "invoice"):
            left_out, never = shop.search(question, without={"gift"}), lacking.search(question)
            assert [hit.passage for hit in left_out.hits] == [hit.passage for hit in never.hits]
            # The rarity of words still counts the entry that is left out.
            assert left_out.confidence == pytest.approx(never.confidence, abs=0.05)

    def test_another_places_documents_are_neither_found_nor_counted(self, embedder):
        index = build(
            [*faq(), *hotels()[:1], Document("s", "", "The secret is 7.", scope="slack:T1")], embedder
        )
        question = "What is the secret?"
        assert first(index.search(question, scope="slack:T1:C2")) == "s"
        assert first(index.search(question, scope="slack:T2:C2")) != "s"
        only_scoped = build([Document("s", "", "The secret is 7.", scope="slack:T1")], embedder)
        assert only_scoped.search(question).hits == ()
        assert only_scoped.search(question).confidence == 0

    def test_an_empty_index_finds_nothing(self, embedder):
        assert Index(0, [], embedder).search("anything").hits == ()
        assert Index(0, [], None).search("anything").hits == ()


class TestConfidence:
    @pytest.mark.parametrize("with_meaning", [True, False])
    def test_it_is_higher_for_what_is_known_than_for_what_is_not(self, embedder, with_meaning):
        index = build(faq(), embedder if with_meaning else None)
        known = [index.search(question.lower()).confidence for question, _ in ANSWERS.values()]
        unknown = [
            index.search(question).confidence
            for question in ("Who won the world cup in 1998?", "Write a poem about the sea", "xyzzy")
        ]
        assert min(known) > max(unknown)

    def test_what_the_embedder_cannot_read_is_judged_as_words_are(self, embedder):
        asked = {
            "退货期限是多久？": "三十天内可以退货。",
            "运费是多少？": "五欧元。",
            "如何重置密码？": "点击忘记密码。",
        }
        documents = [Document(q, q, a, question=q) for q, a in asked.items()]
        question = "退货要在几天之内？"
        found = build(documents, embedder).search(question)
        assert found.confidence == build(documents, None).search(question).confidence

    def test_it_falls_when_the_entry_is_withheld(self, shop):
        question = "How can I find my invoices?"
        assert shop.search(question).confidence > shop.search(question, without={"invoice"}).confidence + 0.3

    def test_two_parts_of_one_section_do_not_make_each_other_doubtful(self, embedder):
        halves = [
            Passage(
                "page", "Shop › Opening hours", 0, 30, "We are open from nine to five.", ("Opening hours",)
            ),
            Passage(
                "page", "Shop › Opening hours", 31, 60, "On Sunday the shop is closed.", ("Opening hours",)
            ),
        ]

        def index(found):
            made = Index(1, found, embedder)
            texts, owners = made.embedded_texts()
            made.add_vectors(embedder.embed(texts), owners)
            return made

        question = "What are your opening hours?"
        assert (
            index(halves).search(question).confidence >= index(halves[:1]).search(question).confidence - 0.02
        )
