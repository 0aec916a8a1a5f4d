"""Documents become passages with exact offsets, seen where they may be seen."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bots.message import ConversationKey
from engine.library.documents import Document, is_visible, passages, scope_of, sentences
from engine.library.faq import bare_question

PAGE = """\
Before any heading.

# Returns

You have 30 days.

## Costs

Free within the EU.

Norway pays 6.90 EUR.

### Exceptions ###

Knives.

# Contact

Call us.
"""


def cut(text, title="page"):
    return list(passages(Document("page.md", title, text)))


class TestSections:
    def test_each_section_carries_its_heading_path(self):
        found = [(passage.heading, passage.text) for passage in cut(PAGE, title="Returns")]
        assert found == [
            ("Returns", "Before any heading."),
            ("Returns", "You have 30 days."),
            ("Returns › Costs", "Free within the EU.\n\nNorway pays 6.90 EUR."),
            ("Returns › Costs › Exceptions", "Knives."),
            ("Returns › Contact", "Call us."),
        ]

    def test_offsets_are_exact(self):
        for passage in cut(PAGE):
            assert PAGE[passage.start : passage.end] == passage.text

    def test_the_last_heading_is_a_question_but_a_page_title_is_none(self):
        assert [passage.questions for passage in cut(PAGE, title="Returns")] == [
            (),
            (),
            ("Costs",),
            ("Exceptions",),
            ("Contact",),
        ]

    @pytest.mark.parametrize("fence", ["```", "~~~"])
    def test_a_comment_in_a_code_block_is_no_heading(self, fence):
        text = f"# Install\n\n{fence}\n# not a heading\n{fence}\n\n## Use\n\nRun it."
        assert [passage.heading for passage in cut(text, title="Install")] == ["Install", "Install › Use"]
        assert "# not a heading" in cut(text)[0].text

    @pytest.mark.parametrize("text", ["#hashtag is no heading", "####### seven", "a # b", "#\ntext below"])
    def test_what_only_looks_like_a_heading_stays_text(self, text):
        assert "".join(passage.text for passage in cut(text)) == text

    def test_paragraphs_are_grouped_up_to_a_thousand_characters(self):
        text = "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(10))
        found = cut(text)
        assert len(found) == 4
        assert all(600 < len(passage.text) <= 1000 for passage in found[:-1])
        assert all(passage.text.startswith("Paragraph") for passage in found)

    def test_a_long_paragraph_is_cut_at_its_sentences(self):
        text = " ".join(f"Sentence {number} says something short." for number in range(60))
        found = cut(text)
        assert len(found) > 1
        assert all(len(passage.text) <= 1000 and passage.text.endswith(".") for passage in found)

    def test_text_without_any_border_is_cut_all_the_same(self):
        found = cut("x" * 2500)
        assert [len(passage.text) for passage in found] == [1000, 1000, 500]


MARKDOWN = st.lists(
    st.one_of(
        st.sampled_from(["# Title\n", "## Part ##\n", "#\n", "```\n", "~~~\n# in code\n~~~\n", "\n", "\n\n"]),
        st.sampled_from(
            ["- item\n", "1. one\n", "> quoted\n", "| a | b |\n", "a。b！c", "Mr. X? ", "é漢😀 ", "\t"]
        ),
        st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40),
        st.integers(900, 1300).map(lambda length: "long " * (length // 5)),
        st.integers(900, 1300).map(lambda length: "x" * length),
    ),
    max_size=25,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=MARKDOWN)
@example(text="#\nabc\n\ndef")
@example(text="# \n\nabc")
def test_passages_are_exact_do_not_overlap_and_lose_nothing(text):
    found = cut(text)
    for passage in found:
        assert text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert len(passage.text) <= 1000
    assert all(earlier.end <= later.start for earlier, later in pairwise(found))

    left, position = "", 0
    for passage in found:
        left += text[position : passage.start]
        position = passage.end
    left += text[position:]
    asked = {question for passage in found for question in passage.questions}
    for line in left.split("\n"):
        assert not line.strip() or line.startswith("#") or bare_question(line) in asked


@settings(max_examples=200, deadline=None)
@given(text=MARKDOWN)
def test_sentences_lose_nothing_and_do_not_overlap(text):
    found = list(sentences(text))
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(found))
    covered = {position for start, end in found for position in range(start, end)}
    assert all(position in covered for position, character in enumerate(text) if not character.isspace())


class TestPages:
    def test_a_form_feed_ends_a_page(self):
        text = "One.\n\f# no heading\n\nTwo.\n\f"
        found = list(passages(Document("book.txt", "book", text)))
        assert [(passage.heading, passage.text) for passage in found] == [
            ("book › page 1", "One."),
            ("book › page 2", "# no heading\n\nTwo."),
        ]
        assert all(text[passage.start : passage.end] == passage.text for passage in found)


class TestScope:
    @pytest.mark.parametrize(
        ("scope", "conversation", "is_seen"),
        [
            ("", "slack:T1:C1:", True),
            ("", "", True),
            ("slack:T1", "slack:T1:C1:", True),
            ("slack:T1", "slack:T1:C1:17.5", True),
            ("slack:T1", "slack:T1", True),
            ("slack:T1", "slack:T12:C1:", False),
            ("slack:T1", "discord:T1:C1:", False),
            ("slack:T1", "", False),
            ("slack:T1:C1", "slack:T1:C1:", True),
            ("slack:T1:C1", "slack:T1:C2:", False),
            ("slack", "slack:T1:C1:", True),
            ("discord:8 slack:T1", "slack:T1:C1:", True),
            ("discord:8 slack:T1", "discord:81:C1:", False),
        ],
    )
    def test_a_document_is_seen_in_its_places_and_no_other(self, scope, conversation, is_seen):
        assert is_visible(scope, conversation) is is_seen

    def test_a_place_is_written_as_a_conversation_is_named(self):
        scope = scope_of(["slack:T 1:C/1", "discord:8"])
        assert is_visible(scope, str(ConversationKey("slack", "T 1", "C/1")))
        assert is_visible(scope, str(ConversationKey("discord", "8", "81", "7")))
        assert not is_visible(scope, str(ConversationKey("slack", "T 1", "C")))

    def test_quoting_a_place_twice_changes_nothing(self):
        assert scope_of([scope_of(["slack:T 1"])]) == "slack:T%201"

    @pytest.mark.parametrize("place", ["", ":", "slack:", "slack::C1", "a:b:c:d:e"])
    def test_what_is_no_place_is_named(self, place):
        with pytest.raises(ValueError, match="is no place: write platform:workspace"):
            scope_of([place])

    def test_every_passage_carries_its_documents_scope_and_entity(self):
        page = Document("page.md", "page", PAGE, scope="slack:T1", entity="Hotel")
        assert {(passage.scope, passage.entity) for passage in passages(page)} == {("slack:T1", "Hotel")}


def test_a_document_survives_json_and_its_digest_follows_its_content():
    document = Document("a", "A", "täxt", "/a.md", "q", ("x", "y"))
    assert Document.from_json(document.to_json()) == document
    assert document.digest != Document("a", "A", "text", "/a.md", "q", ("x", "y")).digest
