"""What a passage does not support is never released."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.documents import passages, read_documents
from engine.library import SAMPLE_PAGES
from engine.support import SentenceCutter, Support, has_substance

RETURNS = (
    "You have 30 days from the day of delivery to return an item. The item must be unused and in its "
    "original packaging. The return label is free inside the EU."
)
SHOP = (
    "Our shop in Aarhus is open Monday to Friday from 10:00 to 18:00. The shop is closed on Sunday. "
    "Write to help@maplerow.example or see https://maplerow.example/help for more. "
    "Bed linen that has been opened cannot be returned, for hygiene reasons."
)
SUPPORT = Support([RETURNS, SHOP])


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("You have 30 days from the day of delivery to return an item.", 0),
        ("You have 30 days from delivery to return an item.", 0),
        ("The item must be unused.", 0),
        ("You have 30 days to return an item, and it must be unused.", 0),
        ("Our shop in Aarhus is open from 10:00 to 18:00.", 1),
        ("Opened bed linen cannot be returned.", 1),
        ("Write to help@maplerow.example.", 1),
    ],
)
def test_what_a_passage_says_is_supported_by_that_passage(sentence, passage):
    assert SUPPORT.find(sentence) == passage


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("You have 60 days from the day of delivery to return an item.", id="changed number"),
        pytest.param("Our shop in Aarhus is open from 10:00 to 20:00.", id="changed time"),
        pytest.param("You have 30 days and 5 hours to return an item.", id="added number"),
        pytest.param("The item must not be unused and in its original packaging.", id="added negation"),
        pytest.param("Bed linen that has been opened can be returned.", id="dropped negation"),
        pytest.param("The shop isn't closed on Sunday.", id="contracted negation"),
        pytest.param(
            "Our shop in Copenhagen is open Monday to Friday from 10:00 to 18:00.", id="swapped name"
        ),
        pytest.param("Write to support@maplerow.example for more.", id="swapped address"),
        pytest.param("For more see https://evil.example/help.", id="swapped link"),
        pytest.param("You have 30 days to return an item and we send a courier.", id="added claim"),
        pytest.param("Our founder was born in Sweden.", id="nothing of it"),
        pytest.param("Yes.", id="no content"),
        pytest.param("...", id="no words"),
        pytest.param("", id="empty"),
    ],
)
def test_what_no_passage_says_is_not_supported(sentence):
    assert SUPPORT.find(sentence) is None


def test_every_sentence_of_every_sample_page_supports_itself():
    for path in sorted(SAMPLE_PAGES.glob("*.md")):
        (document,) = read_documents(path)
        for passage in passages(document):
            cutter = SentenceCutter()
            for sentence in [*cutter.feed(passage.text), cutter.close()]:
                assert Support([passage.text]).find(sentence) == 0 or not has_substance(sentence), sentence


def test_without_passages_nothing_is_supported():
    assert Support([]).find("You have 30 days.") is None


def test_a_sentence_needs_some_words_to_say_something():
    assert has_substance("You have 30 days to return it.")
    assert not has_substance("Yes, of course.")


class TestCutting:
    def cut(self, *chunks):
        cutter = SentenceCutter()
        finished = [sentence for chunk in chunks for sentence in cutter.feed(chunk)]
        return finished, cutter.close()

    def test_a_sentence_is_out_once_the_next_begins(self):
        assert self.cut("You have", " 30 days. Then", " no more.") == (
            ["You have 30 days. "],
            "Then no more.",
        )

    def test_lines_and_list_items_are_sentences(self):
        assert self.cut("- one\n- two\n") == (["- one\n", "- two\n"], "")

    def test_prices_and_addresses_are_not_cut(self):
        assert self.cut("It costs 6.90 EUR at maplerow.example today") == (
            [],
            "It costs 6.90 EUR at maplerow.example today",
        )

    def test_chinese_sentences_need_no_space(self):
        assert self.cut("您好。请稍等！谢谢") == (["您好。", "请稍等！"], "谢谢")

    @given(st.lists(st.text(alphabet="ab .!?\n。é\"'", max_size=12)))
    def test_nothing_is_lost(self, chunks):
        finished, rest = self.cut(*chunks)
        assert "".join(finished) + rest == "".join(chunks)

    @given(st.lists(st.text(alphabet="ab .!?\né\"'", max_size=12)))
    def test_how_the_text_arrives_makes_no_difference(self, chunks):
        finished, rest = self.cut(*chunks)
        assert (finished, rest) == self.cut("".join(chunks))
