"""Word by word: the nearest word of an entry counts, the rare ones more, and what was read is remembered."""

import math

import numpy as np
import pytest

from engine.search.mentions import Mentions
from engine.search.remembered import Remembered
from engine.search.wording import Wording

ENTRIES = [
    ("How do I cancel my hotel booking?", "Cancel a room"),
    ("How do I cancel my flight?",),
    ("How do I change my flight?",),
    (),
    ("🙂",),
]


@pytest.fixture(scope="module")
def wording(embedder):
    return Wording(ENTRIES, embedder)


class TestWording:
    def test_the_entry_whose_words_are_nearest_comes_closest(self, wording):
        assert wording.closeness("please call off my plane ticket", range(3)).argmax() == 1
        assert wording.closeness("get rid of the room I booked", range(3)).argmax() == 0

    def test_the_same_words_are_as_close_as_can_be(self, wording):
        (closeness,) = wording.closeness(ENTRIES[1][0], [1])
        assert closeness == pytest.approx(1, abs=1e-3)

    def test_an_entry_without_texts_has_no_closeness(self, wording):
        none, some = wording.closeness("cancel", [3, 0])
        assert math.isnan(none)
        assert 0 < some <= 1

    def test_a_question_without_words_harms_nothing(self, wording):
        for question in ("", "\u200b"):
            assert all(math.isnan(one) or 0 <= one <= 1 for one in wording.closeness(question, range(5)))


class TestMentions:
    MENTIONS = Mentions(["Ashley Hotel", "Acorn Guest House", "", "Ashley Hotel"])

    def test_a_title_that_was_said_counts_for_all_of_its_passages_and_no_other(self):
        assert self.MENTIONS.search(["is the ashley hotel nice?"]).tolist() == [1, 0, 0, 1]

    def test_a_part_of_a_title_counts_less_than_all_of_it_and_so_does_an_older_turn(self):
        part, whole = self.MENTIONS.search(["the ashley"])[0], self.MENTIONS.search(["ashley hotel"])[0]
        older = self.MENTIONS.search(["and?", "ashley hotel"])[0]
        assert 0 < part < whole
        assert 0 < older < whole

    def test_titles_may_be_missing_altogether(self):
        assert Mentions(["", ""]).search(["anything"]).tolist() == [0, 0]


class TestRemembered:
    def test_what_was_not_asked_for_the_longest_is_forgotten_first(self):
        array = np.zeros(4, np.float16)
        kept = Remembered(most_bytes=2 * array.nbytes)
        kept.put("a", array)
        kept.put("b", array)
        assert kept.get("a") is array
        kept.put("c", array)
        assert (kept.get("a") is None, kept.get("b") is None, kept.get("c") is None) == (False, True, False)

    def test_what_is_larger_than_all_the_room_is_not_kept(self):
        kept = Remembered(most_bytes=4)
        kept.put("a", np.zeros(8, np.float16))
        assert kept.get("a") is None


def test_words_read_together_are_those_read_alone(embedder):
    texts = ["Where is my order?", "a", "", "Where is my order?"]
    together = embedder.words(texts)
    assert [len(words) for words in together] == [len(ids) for ids in embedder.pieces(texts)]
    assert np.allclose(together[0], embedder.words([texts[0]])[0])
    assert np.allclose(np.linalg.norm(together[0].astype(np.float32), axis=1), 1, atol=1e-2)
