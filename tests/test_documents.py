"""Documents become passages with exact offsets, and what cannot be read is refused with its reason."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.documents import MAX_BYTES, Document, passages, read_documents, sentences
from engine.errors import UnreadableDocument

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


@pytest.fixture
def read(tmp_path):
    """Write a file and read its documents."""

    def read(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_documents(path))

    return read


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

    def test_a_title_may_end_in_a_hash(self, read):
        (document,) = read("page.md", "# C#\n\nA language.")
        assert document.title == "C#"

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
    for line in left.split("\n"):
        assert not line.strip() or line.startswith("#")


@settings(max_examples=200, deadline=None)
@given(text=MARKDOWN)
def test_sentences_lose_nothing_and_do_not_overlap(text):
    found = list(sentences(text))
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(found))
    covered = {position for start, end in found for position in range(start, end)}
    assert all(position in covered for position, character in enumerate(text) if not character.isspace())


class TestFiles:
    def test_markdown_is_named_by_its_file_and_titled_by_its_heading(self, read):
        (document,) = read("page.md", "intro\n\n# Returns\n\ntext")
        assert (document.id, document.title) == ("page.md", "Returns")
        assert Path(document.source).is_absolute()

    def test_plain_text_is_titled_by_its_file(self, read):
        (document,) = read("hours.txt", "We open at 9.\r\nWe close at 5.")
        assert document.title == "hours"
        assert [passage.text for passage in passages(document)] == ["We open at 9.\nWe close at 5."]

    def test_the_mark_that_windows_puts_first_hides_no_heading(self, read):
        (document,) = read("page.md", "\ufeff# Returns\n\ntext")
        assert document.title == "Returns"
        assert [passage.text for passage in passages(document)] == ["text"]

    def test_html_becomes_its_text_without_navigation_and_scripts(self, read):
        (document,) = read(
            "page.html",
            "<html><head><title>Our shop</title><script>track()</script></head><body>"
            "<nav><a href='/'>Home</a><a href='/cart'>Cart</a></nav><article><h1>Returns</h1>"
            "<p>You have 30 days from delivery to return an item to us.</p>"
            "<h2>Costs</h2><p>The label is free within the EU, as it has always been.</p>"
            "</article></body></html>",
        )
        found = list(passages(document))
        assert document.title == "Returns"
        assert [passage.heading for passage in found] == ["Returns", "Returns › Costs"]
        assert found[1].text == "The label is free within the EU, as it has always been."
        assert document.text[found[1].start : found[1].end] == found[1].text
        assert "track" not in document.text
        assert "Cart" not in document.text

    def test_html_without_text_is_refused(self, read):
        with pytest.raises(UnreadableDocument, match="no text found in the HTML"):
            read("page.html", "<html><body></body></html>")

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("photo.png", b"x", ".png is none of .*\\.md"),
            ("README", b"x", "no suffix is none of"),
            ("empty.md", b" \n\n", "^empty$"),
            ("latin.txt", "Grüße".encode("latin-1"), "no text in UTF-8"),
            ("binary.txt", b"abc\0def", "binary"),
            ("huge.txt", b"x" * (MAX_BYTES + 1), "larger than 10 MB"),
        ],
    )
    def test_what_cannot_be_read_is_refused_with_the_reason(self, read, name, content, reason):
        with pytest.raises(UnreadableDocument, match=reason):
            read(name, content)


class TestJsonLines:
    def test_a_faq_entry_is_one_passage_with_its_questions(self, read):
        row = {
            "id": 7,
            "question": "How long?",
            "answer": "30 days.\n\n# Really",
            "aliases": ["Return period?"],
        }
        (document,) = read("faq.jsonl", json.dumps(row))
        (passage,) = passages(document)
        assert (document.id, passage.heading, passage.text) == ("7", "How long?", "30 days.\n\n# Really")
        assert passage.questions == ("How long?", "Return period?")
        assert (passage.start, passage.end) == (0, len(document.text))

    def test_documents_and_blank_lines_may_be_mixed_in(self, read):
        rows = ['{"id": "a", "title": "A", "text": "one"}', "", '{"id": "b", "text": "two"}']
        assert [(d.id, d.title, d.text) for d in read("all.jsonl", "\n".join(rows))] == [
            ("a", "A", "one"),
            ("b", "b", "two"),
        ]

    def test_line_ends_of_other_kinds_inside_a_text_are_kept(self, read):
        row = json.dumps({"id": "a", "question": "q", "answer": "one\u2028two\x85three"}, ensure_ascii=False)
        (document,) = read("faq.jsonl", row)
        assert document.text == "one\u2028two\x85three"

    @pytest.mark.parametrize(
        "bad",
        [
            "no json",
            "[1, 2]",
            "3",
            '{"question": "q", "answer": "a"}',
            '{"id": "a", "question": "q"}',
            '{"id": "a", "question": "q", "answer": null}',
            '{"id": "a", "question": "q", "answer": " "}',
            '{"id": "a", "title": "t"}',
        ],
    )
    def test_a_bad_line_is_named(self, read, bad):
        with pytest.raises(UnreadableDocument, match="line 3: expected an object with id"):
            read("faq.jsonl", f'{{"id": "a", "question": "q", "answer": "a"}}\n\n{bad}\n')


def test_a_document_survives_json_and_its_digest_follows_its_content():
    document = Document("a", "A", "täxt", "/a.md", "q", ("x", "y"))
    assert Document.from_json(document.to_json()) == document
    assert document.digest != Document("a", "A", "text", "/a.md", "q", ("x", "y")).digest
