"""Cutting a text into posts: within the limit, nothing lost, fences and characters whole."""

import re
import time

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


LINKS = [
    "[our page about returns](https://docs.example.org/returns)",
    '[a (bracketed) [nested] text](https://docs.example.org/a_(b) "and a title")',
    "![a picture](https://docs.example.org/picture.png)",
    "[text][1]",
    "<https://docs.example.org/some/page?with=query>",
    "https://docs.example.org/some/page?with=query#part",
    "www.example.org/a/page",
    "<:thumbs_up:123456789012345678>",
    "<a:wave:123456789012345678>",
    "<EMAIL_1>",
    "[credit card]",
]
MIXED = st.lists(
    st.sampled_from([*LINKS, *WHOLE, "word", "a longer one", "Sentence.", "\n", "\n\n", "w" * 45]),
    max_size=50,
).map(" ".join)


@settings(max_examples=200)
@given(MIXED, st.integers(110, 300))
def test_no_link_placeholder_or_custom_emoji_is_cut(text, limit):
    parts = split(text, limit)
    for whole in LINKS:
        assert sum(part.count(whole) for part in parts) == text.count(whole)


@settings(max_examples=200)
@given(st.text(alphabet="[]()<>|`~!\n :/.-w\u4f8b\u0301", max_size=600), LIMITS, st.integers(0, 600))
def test_marks_without_sense_neither_break_the_limit_nor_move_earlier_parts(text, limit, end):
    parts = split(text, limit)
    assert all(len(part) <= limit for part in parts)
    earlier = split(text[:end], limit)[:-1]
    assert parts[: len(earlier)] == earlier


HEADER = "| Country | Days | Price |\n|---|:-:|--:|"
ROWS = st.lists(
    st.sampled_from(["| Germany | 2 | 4.90 |", "| France | 3-4 | 9.90, with tracking |", "| a | b | |"]),
    min_size=1,
    max_size=30,
)
TABLE = ROWS.map(lambda rows: "\n".join([HEADER, *rows]))
BLOCKS = st.lists(PROSE | CODE | TABLE, min_size=1, max_size=8).map("\n\n".join)


@settings(max_examples=200)
@given(BLOCKS, st.integers(120, 400))
def test_a_cut_table_goes_on_under_its_header_and_no_row_is_cut(text, limit):
    parts = split(text, limit)
    rows = [line for line in text.split("\n") if line.startswith("|") and line not in HEADER.split("\n")]
    found = []
    for part in parts:
        lines = part.split("\n")
        found += [line for line in lines if line.startswith("|") and line not in HEADER.split("\n")]
        for number, line in enumerate(lines):
            if line in rows:
                assert lines[number - 1].startswith("|"), "a row without its header"
            if line == HEADER.split("\n")[1]:
                assert lines[number - 1] == HEADER.split("\n")[0]
                assert lines[number + 1 :][:1], "a header without a row"
    assert found == rows


@given(BLOCKS, LIMITS, st.integers(0, 2000))
def test_with_fences_and_tables_full_parts_stay_as_they_are_while_the_text_grows(text, limit, end):
    earlier = split(text[:end], limit)[:-1]
    assert split(text, limit)[: len(earlier)] == earlier


def test_a_row_longer_than_a_part_is_cut_as_text():
    row = "| " + "long words " * 30 + "| end |"
    parts = split(f"{HEADER}\n{row}\n| a | b | c |", 150)
    assert all(len(part) <= 150 for part in parts)
    assert squeezed("".join(parts).replace(HEADER, "")) == squeezed(f"{row}\n| a | b | c |")


def test_a_table_in_a_fence_is_code():
    text = "```\n" + HEADER + "\n" + "| a | b | c |\n" * 20 + "```"
    assert sum(part.count(HEADER) for part in split(text, LIMIT)) == 1


@pytest.mark.parametrize("mark", ["```", "````", "~~~", "  ```", "~~~~~"])
def test_every_kind_of_fence_is_closed_with_its_own_mark_and_opened_again(mark):
    parts = split(f"{mark}py\n" + "print(1)\n" * 40 + f"{mark}\nthe end", LIMIT)
    for part in parts[:-1]:
        lines = part.split("\n")
        assert (lines[0], lines[-1]) == (f"{mark}py", mark)
        assert set(lines[1:-1]) <= {"print(1)"}
        assert len(lines) > 2
    assert len(parts) > 4


def test_a_fence_of_another_kind_inside_closes_nothing():
    parts = split("~~~md\n```py\n" + "x = 1\n" * 60 + "```\n~~~", LIMIT)
    assert all(part.startswith("~~~md\n") and part.endswith("\n~~~") for part in parts)


def test_no_part_holds_an_empty_fence():
    for before in range(40, 100):
        for code in range(20, 110):
            text = "p" * before + "\n```py\n" + "c" * code + "\n```\nafter it " + "z" * 40
            assert not re.search(r"```py\n+```", "\n\n".join(split(text, LIMIT)))


def test_what_alone_is_longer_than_a_part_is_cut():
    for text in [
        "https://docs.example.org/" + "a" * 400,
        "[" + "text " * 90 + "](https://docs.example.org/)",
    ]:
        parts = split(text, LIMIT)
        assert squeezed("".join(parts)) == squeezed(text)
        assert all(LIMIT // 3 < len(part) <= LIMIT for part in parts[:-1])


def test_a_bracket_that_is_never_closed_makes_no_short_parts():
    parts = split("[ " + "some words " * 100, LIMIT)
    assert all(len(part) >= LIMIT // 2 for part in parts[:-1])


def test_the_time_grows_with_the_length():
    def seconds(text):
        begun = time.process_time()
        split(text, 2000)
        return time.process_time() - begun

    for hostile in ["[", "[a](", "|a", "```\n", "<a", "w" * 50, "| a |\n|---|\n", "word word. "]:
        short, long = (
            min(seconds(hostile * (n // len(hostile))) for _ in range(2)) for n in (20_000, 160_000)
        )
        assert long < 8 * 3 * short + 0.02, hostile
