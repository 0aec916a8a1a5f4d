"""Cutting a text into posts: within the limit, nothing lost, fences and characters whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.split import split

LIMIT = 100
WHOLE = ["👨‍👩‍👧‍👦", "👍🏽", "🇩🇪", "❤️", "1️⃣", "é", "नि", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
PIECES = st.sampled_from(
    [
        "word",
        "a longer one",
        " ",
        "\n",
        "\n\n",
        ". ",
        "x" * 30,
        "y" * 250,
        "```\n",
        "\n```\n",
        "\n```py\n",
        *WHOLE,
    ]
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
LIMITS = st.integers(60, 400)


def squeezed(text):
    return re.sub(r"\s", "", text)


@given(TEXTS | st.text(max_size=400), LIMITS)
def test_every_part_is_within_the_limit_and_none_is_empty(text, limit):
    parts = split(text, limit)
    assert all(len(part) <= limit for part in parts)
    assert all(part.strip() for part in parts) or not text.strip()


@given(TEXTS.filter(lambda text: "```" not in text), LIMITS)
def test_nothing_but_white_space_is_lost(text, limit):
    assert squeezed("".join(split(text, limit))) == squeezed(text)


@given(TEXTS, LIMITS)
def test_with_fences_nothing_but_white_space_and_fences_is_lost(text, limit):
    def content(found):
        return squeezed(re.sub(r"```(py)?", "", found))

    assert content("\n".join(split(text, limit))) == content(text)


WORDS = st.lists(st.sampled_from(["word", "longer words", "x = 1", "if y:\n    z()", "\n"]), min_size=1)
PROSE = WORDS.map(" ".join)
CODE = WORDS.map(lambda words: "```py\n" + "\n".join(words) + "\n```")


@given(st.lists(PROSE | CODE, min_size=1, max_size=12).map("\n\n".join), LIMITS)
def test_every_part_closes_the_fences_that_it_opens(text, limit):
    for part in split(text, limit):
        assert len(re.findall(r"^```", part, re.MULTILINE)) % 2 == 0


@settings(max_examples=200)
@given(st.lists(st.sampled_from(WHOLE), min_size=20, max_size=120), st.integers(60, 90))
def test_a_character_of_several_code_points_is_never_cut(characters, limit):
    """Even where there is no space to cut at."""
    found = []
    for part in split("".join(characters), limit):
        at = 0
        while at < len(part):
            whole = next((w for w in sorted(WHOLE, key=len, reverse=True) if part.startswith(w, at)), None)
            assert whole is not None, f"cut within a character: {part[at:]!r}"
            found.append(whole)
            at += len(whole)
    assert found == characters


@given(TEXTS.filter(lambda text: "```" not in text), LIMITS, st.integers(0, 400))
def test_parts_that_are_full_stay_as_they_are_while_the_text_grows(text, limit, end):
    earlier = split(text[:end], limit)[:-1]
    assert split(text, limit)[: len(earlier)] == earlier


def test_a_short_text_is_one_part():
    assert split("Hello.", LIMIT) == ["Hello."]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("p" * 60 + "\n\n" + "l" * 20 + "\nmore. and " + "z" * 60, "p" * 60),
        ("p" * 60 + "\n" + "l" * 20 + ". and " + "z" * 60, "p" * 60),
        ("p" * 60 + ". and so " + "z" * 60, "p" * 60 + "."),
        ("p" * 60 + " and " + "z" * 60, "p" * 60 + " and"),
        ("p" * 200, "p" * 96),
    ],
    ids=["paragraph", "line", "sentence", "word", "anywhere"],
)
def test_a_cut_is_at_the_best_place_there_is(text, first):
    assert split(text, LIMIT)[0] == first


def test_a_fence_is_closed_and_opened_again_with_its_language():
    parts = split("```python\n" + "print('x')\n" * 15 + "```\ndone", LIMIT)
    assert parts[0].startswith("```python\n") and parts[0].endswith("\n```")
    assert parts[1].startswith("```python\nprint")
    assert parts[-1].endswith("done")


def test_the_indentation_of_cut_code_stays():
    parts = split("```\n" + "    indented()\n" * 15 + "```", LIMIT)
    for part in parts:
        assert {line for line in part.splitlines() if "```" not in line} <= {"    indented()"}


@pytest.mark.parametrize("opening", ["```" + "a" * 500, "```" + "a b " * 200, "```py\n```" + "c" * 300])
def test_a_fence_longer_than_a_part_comes_to_an_end(opening):
    parts = split(opening, LIMIT)
    assert len(parts) < 30
    assert all(len(part) <= LIMIT for part in parts)


def test_the_backticks_of_a_fence_are_never_cut():
    for before in range(85, 105):
        text = "y" * before + "```" + "z" * 50
        assert "```" in "\n".join(split(text, LIMIT))


def test_endless_marks_do_not_make_endless_parts():
    assert len(split("a" + "\u0301" * 3000, LIMIT)) < 60


def test_white_space_alone_makes_no_empty_part():
    assert split(" " * 300 + "x", LIMIT) == ["x"]
