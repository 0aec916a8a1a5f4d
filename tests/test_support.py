"""What a passage does not support is never released."""

import re
import time
from itertools import pairwise

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
        ("Bed linen that has been opened cannot be returned.", 1),
        ("Write to help@maplerow.example or see https://maplerow.example/help for more.", 1),
        ("You have thirty days from the day of delivery to return an item.", 0),
        ("Yes, the return label is free inside the EU.", 0),
        (
            "The shop is closed on Sunday and write to help@maplerow.example or see "
            "https://maplerow.example/help for more.",
            1,
        ),
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
        pytest.param("You have sixty days from the day of delivery to return an item.", id="number word"),
        pytest.param("You have 30 hours from the day of delivery to return an item.", id="changed unit"),
        pytest.param("You have 30 days from the day of purchase to return an item.", id="changed word"),
        pytest.param("Bed linen cannot be returned.", id="condition left out"),
        pytest.param("The item may be unused and in its original packaging.", id="weaker verb"),
        pytest.param("The return label is not free inside the EU.", id="not free"),
        pytest.param("The return label is free.\nIt is in its original packaging.", id="pooled"),
        pytest.param("Our founder was born in Sweden.", id="nothing of it"),
        pytest.param("Yes.", id="no content"),
        pytest.param("...", id="no words"),
        pytest.param("", id="empty"),
    ],
)
def test_what_no_passage_says_is_not_supported(sentence):
    assert SUPPORT.find(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "You have 14 days from the day of delivery to return an item.",
        "The refund arrives within 30 days of its arrival.",
        "The refund arrives within 30 days from the day of delivery.",
        "Express shipping takes 3-5 business days.",
        "Standard shipping takes 3 days.",
        "Standard shipping is free for orders under 50 euros.",
        "Standard shipping is free.",
        "The shop is open on Saturday from 10:00 to 18:00.",
        "The shop is open Monday to Friday and Saturday from 11:00 to 14:00.",
    ],
)
def test_numbers_of_other_sentences_and_other_places_support_nothing(sentence):
    pages = [
        "You have 30 days from the day of delivery to return an item. The refund arrives within 14 days of "
        "its arrival.",
        "Standard shipping takes 3-5 business days. Express shipping is quicker. Standard shipping is free "
        "for orders over 50 euros.",
        "The shop is open Monday to Friday from 10:00 to 18:00 and Saturday from 11:00 to 14:00.",
    ]
    assert Support(pages).find(sentence) is None


def test_a_sentence_that_runs_over_lines_is_one():
    support = Support(
        ["# Returns\nYou have 30 days from\nthe day of delivery to\nreturn an item.\n- free label"]
    )
    assert support.find("You have 30 days from the day of delivery to return an item.") == 0
    assert support.find("Return an item - free label") is None


def test_a_pronoun_stands_only_for_what_was_named():
    support = Support(["Standard shipping costs 4.90 EUR. Express shipping arrives on Monday."])
    assert support.find("Standard shipping costs 4.90 EUR, and it arrives on Monday.") is None


def test_time_is_linear_on_hostile_input():
    started = time.monotonic()
    for hostile in ("a." * 50_000, "a@" * 50_000, "a@a." * 25_000, "1,1." * 25_000, "n't" * 30_000):
        Support([hostile]).find(hostile)
    assert time.monotonic() - started < 10


def sample_sentences():
    """Every sentence of the sample pages that says something, with its passage."""
    for path in sorted(SAMPLE_PAGES.glob("*.md")):
        (document,) = read_documents(path)
        for passage in passages(document):
            cutter = SentenceCutter()
            for sentence in [*cutter.feed(passage.text), cutter.close()]:
                if has_substance(sentence):
                    yield sentence.strip(), passage.text


SWAPS = [
    ("days", "hours"), ("months", "weeks"), ("EUR", "USD"), ("Standard", "Express"), ("express", "standard"),
    ("Monday", "Sunday"), ("Aarhus", "Copenhagen"), ("before", "after"), ("after", "before"), ("or", "and"),
    ("free", "expensive"), ("from", "until"), ("until", "from"), ("must", "may"), ("can", "must"),
    ("only", "always"), ("not", ""), ("without", "with"), ("all", "some"), ("email", "letter"),
    ("If", "Unless"), ("we", "you"), ("Denmark", "Norway"), ("more than", "less than"),
    ("delivery", "purchase"),
]  # fmt: skip


def corrupted(sentence):
    """The sentence with one fact changed, each way that applies."""
    for number in re.finditer(r"(?<![\w.:@-])\d+(?![\w@])", sentence):
        yield f"{sentence[: number.start()]}{int(number[0]) + 7}{sentence[number.end() :]}"
        yield f"{sentence[: number.start()]}eighty{sentence[number.end() :]}"
    for old, new in SWAPS:
        changed = re.sub(rf"\b{old}\b", new, sentence, count=1)
        if changed != sentence:
            yield changed
    verb = re.search(r" (?:is|are|can|must|will|have)(?= )", sentence)
    if verb:
        yield f"{sentence[: verb.end()]} not{sentence[verb.end() :]}"
        yield f"{sentence[: verb.end()]} only{sentence[verb.end() :]}"
    if sentence.endswith("."):
        for condition in (" for members", " if you are a member", " within 3 days", " and we pay you 10 EUR"):
            yield f"{sentence[:-1]}{condition}."


def test_what_the_sample_pages_say_is_supported_and_what_they_do_not_is_not():
    """Measured: 638 of 638 sentences, 306 of 308 joined pairs, and 0 of 4,436 corrupted ones."""
    told = list(sample_sentences())
    assert len(told) > 300
    assert [sentence for sentence, passage in told if Support([passage]).find(sentence) != 0] == []

    joined = [
        (f"{first[:-1]} and {second[0].lower()}{second[1:]}", passage)
        for (first, passage), (second, other) in pairwise(told)
        if passage == other and first.endswith(".") and f"{first} {second}" in passage
    ]
    missed = [sentence for sentence, passage in joined if Support([passage]).find(sentence) != 0]
    assert len(missed) <= len(joined) / 100, missed[:3]

    wrong = [(claim, passage) for sentence, passage in told for claim in corrupted(sentence)]
    accepted = [claim for claim, passage in wrong if Support([passage]).find(claim) is not None]
    assert len(wrong) > 1000
    assert len(accepted) <= len(wrong) / 200, accepted[:3]


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
