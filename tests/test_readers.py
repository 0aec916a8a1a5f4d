"""Files become documents, and what cannot be read is refused with its reason."""

import io
import json
import os
from pathlib import Path

import pytest
from pdfs import make_pdf
from pypdf import PdfWriter

from engine.errors import UnreadableDocument
from engine.library import pdf
from engine.library.documents import passages
from engine.library.readers import MAX_BYTES, MAX_PDF_BYTES, read_bytes, read_documents, text_of


def read(name, content):
    """The one document of a file."""
    (document,) = reading(name, content).documents
    return document


def reading(name, content):
    return read_documents(content if isinstance(content, bytes) else content.encode(), name, f"/docs/{name}")


class TestMarkdown:
    def test_it_is_named_by_its_file_and_titled_by_its_heading(self):
        document = read("page.md", "intro\n\n# Returns\n\ntext")
        assert (document.id, document.title, document.source) == ("page.md", "Returns", "/docs/page.md")

    def test_plain_text_is_titled_by_its_file(self):
        document = read("hours.txt", "We open at 9.\r\nWe close at 5.")
        assert document.title == "hours"
        assert [passage.text for passage in passages(document)] == ["We open at 9.\nWe close at 5."]

    def test_a_title_may_end_in_a_hash(self):
        assert read("page.md", "# C#\n\nA language.").title == "C#"

    def test_a_page_of_only_links_is_refused_and_one_that_describes_them_is_not(self):
        links = "# Links\n\n" + "\n".join(f"- [Page number {n}](https://example.org/{n})" for n in range(20))
        with pytest.raises(UnreadableDocument, match="only links: there is nothing to quote"):
            read("links.md", links)
        assert read("links.md", links.replace("\n-", "\nHere is told how one thing is done.\n-"))


class TestFrontMatter:
    PAGE = '---\ntitle: Sending back\naliases: [return, "it\'s broken"]\nid: 7\n---\n# Returns\n\n30 days.'

    def test_it_gives_title_and_aliases_and_is_no_text(self):
        document = read("page.md", self.PAGE)
        (passage,) = passages(document)
        assert (document.title, document.aliases) == ("Sending back", ("return", "it's broken"))
        assert passage.text == "30 days." == document.text[passage.start : passage.end]
        assert passage.heading == "Sending back › Returns"
        assert passage.questions == ("Returns", "return", "it's broken")

    @pytest.mark.parametrize(
        "aliases", ["return; too late?", "\n  - return\n  - too late?", '["return", "too late?"]']
    )
    def test_aliases_may_be_a_line_or_a_list(self, aliases):
        document = read("page.md", f"---\naliases: {aliases}\n---\n\ntext")
        assert document.aliases == ("return", "too late?")

    @pytest.mark.parametrize(
        "text", ["---\n\nJust a line above.\n\n---\n\nAnd below.", "---\nkey: no end", "---"]
    )
    def test_a_rule_at_the_top_is_no_front_matter(self, text):
        assert "".join(passage.text for passage in passages(read("page.md", text))) == text

    def test_front_matter_alone_is_an_empty_page(self):
        with pytest.raises(UnreadableDocument, match=r"^empty$"):
            read("page.md", "---\ntitle: x\n---\n")


class TestHtml:
    PAGE = (
        "<html><head><title>Our shop</title><script>track()</script></head><body>"
        "<nav><a href='/'>Home</a><a href='/cart'>Cart</a></nav><article><h1>Returns</h1>"
        "<p>You have 30 days from delivery to return an item to us.</p>"
        "<h2>Costs</h2><p>The label is free within the EU, as it has always been.</p>"
        "</article></body></html>"
    )

    def test_it_becomes_its_text_without_navigation_and_scripts(self):
        document = read("page.html", self.PAGE)
        found = list(passages(document))
        assert document.title == "Returns"
        assert [passage.heading for passage in found] == ["Returns", "Returns › Costs"]
        assert found[1].text == "The label is free within the EU, as it has always been."
        assert document.text[found[1].start : found[1].end] == found[1].text
        assert "track" not in document.text
        assert "Cart" not in document.text

    def test_what_folds_out_and_what_is_defined_are_faq_entries(self):
        found = passages(
            read(
                "faq.html",
                "<html><body><article><h1>FAQ</h1>"
                "<details><summary>How long does it take?</summary><p>It takes three days or less.</p>"
                "</details>"
                "<h2>Points</h2><dl><dt>What is a point?</dt><dd>A point is worth one cent with us.</dd>"
                "<dt>Who pays?</dt><dd>We pay for the label within the EU.</dd></dl></article></body></html>",
            )
        )
        assert [(passage.questions, passage.text, passage.kind) for passage in found] == [
            (("How long does it take?",), "It takes three days or less.", "faq"),
            (("What is a point?",), "A point is worth one cent with us.", "faq"),
            (("Who pays?",), "We pay for the label within the EU.", "faq"),
        ]

    def test_a_page_may_say_its_encoding(self):
        page = self.PAGE.replace("<head>", "<head><meta charset='shift_jis'>").replace("EU", "東京")
        assert "東京" in read("page.html", page.encode("shift_jis")).text

    @pytest.mark.parametrize("codec", ["undefined", "unicode_escape"])
    def test_what_is_no_encoding_of_the_web_is_not_believed(self, codec):
        page = self.PAGE.replace("<head>", f"<head><meta charset='{codec}'>").replace("EU", r"\x45東京")
        assert r"\x45東京" in read("page.html", page).text

    def test_without_text_or_with_links_alone_it_is_refused(self):
        with pytest.raises(UnreadableDocument, match="no text found in the HTML"):
            read("page.html", "<html><body></body></html>")
        items = "".join(f"<li><a href='/{n}'>To page number {n}</a></li>" for n in range(20))
        with pytest.raises(UnreadableDocument, match="only links"):
            read("page.html", f"<html><body><h1>All the pages of the shop</h1><ul>{items}</ul></body></html>")


class TestPdf:
    def test_each_page_is_a_section_with_its_number(self):
        document = read(
            "manual.pdf", make_pdf("Plug it in.\nWait.", "", "Q: Is it on?\nA: Look at the lamp.")
        )
        found = list(passages(document))
        assert document.title == "manual"
        assert [(passage.heading, passage.text, passage.questions) for passage in found] == [
            ("manual › page 1", "Plug it in.\nWait.", ()),
            ("manual › page 3 › Is it on?", "Look at the lamp.", ("Is it on?",)),
        ]
        assert all(document.text[passage.start : passage.end] == passage.text for passage in found)

    def test_its_title_is_that_of_the_document(self):
        assert read("x81.pdf", make_pdf("Plug it in.", title="The manual")).title == "The manual"

    def test_one_that_needs_a_password_is_refused_and_one_that_anybody_can_open_is_read(self):
        with pytest.raises(UnreadableDocument, match="encrypted: it opens with a password only"):
            read("secret.pdf", make_pdf("Plug it in.", password="x"))
        opened = read("open.pdf", make_pdf("Plug it in.", password="", owner_password="x"))
        assert "Plug it in." in opened.text

    def test_a_scanned_one_is_refused(self):
        with pytest.raises(UnreadableDocument, match=r"no text in its 2 pages: if it is scanned.*OCR"):
            read("scan.pdf", make_pdf("", ""))

    @pytest.mark.parametrize("cut", [0, 20, 300])
    def test_a_broken_one_is_refused(self, cut):
        with pytest.raises(UnreadableDocument, match=r"a broken PDF|no text in its"):
            read("broken.pdf", make_pdf("Plug it in.")[:cut])

    @pytest.mark.parametrize(
        ("limit", "value", "reason"),
        [
            ("_MOST_PAGES", 1, "2 pages, more than 1: split it"),
            ("_MOST_CHARACTERS", 15, "more than 15 characters of text: split it"),
            ("_SECONDS", -1, "takes more than -1 seconds: split it"),
        ],
    )
    def test_one_that_holds_too_much_is_refused(self, monkeypatch, limit, value, reason):
        monkeypatch.setattr(pdf, limit, value)
        with pytest.raises(UnreadableDocument, match=reason):
            read("long.pdf", make_pdf("Plug it in.", "Wait for it."))

    def test_one_whose_small_page_unpacks_to_a_huge_one_is_refused(self):
        writer = PdfWriter(io.BytesIO(make_pdf("Plug it in." + " " * pdf._MOST_STREAM_BYTES)))
        writer.pages[0].compress_content_streams()
        file = io.BytesIO()
        writer.write(file)
        assert len(file.getvalue()) < 50_000
        with pytest.raises(UnreadableDocument, match="more than is read of a PDF"):
            read("bomb.pdf", file.getvalue())


class TestEncodings:
    @pytest.mark.parametrize(
        ("text", "encoding"),
        [
            ("Grüße aus Köln — schön, daß Sie da sind.", "utf-8-sig"),
            ("Grüße aus Köln — schön, daß Sie da sind.", "utf-16"),
            ("Grüße aus Köln", "utf-32"),
            ("Grüße", "cp1252"),
            ("Le délai est de trois jours à compter de la commande, même après Noël.", "cp1252"),
            ("Los envíos tardan mañana tres días. ¿Cómo puedo devolver un artículo?", "cp1252"),
            ("The café costs 5 € — “naïve” visitors wait.", "cp1252"),
            ("Zwrot jest możliwy w ciągu 30 dni od otrzymania przesyłki.", "cp1250"),
            ("Возврат возможен в течение 30 дней после получения.", "cp1251"),
            ("返品は商品到着後30日以内にお願いします。送料は無料です。", "shift_jis"),
            ("商品送达后三十天内可以退货。运费由我们承担。", "gb18030"),
        ],
    )
    def test_a_text_is_read_in_the_encoding_it_was_written_in(self, text, encoding):
        assert read("page.txt", text.encode(encoding)).text == text

    def test_the_first_line_in_another_encoding_is_named(self):
        lines = [f"Zeile {number}: Grüße".encode() for number in range(1, 21)]
        lines[6] = "Zeile 7: Grüße".encode("cp1252")
        with pytest.raises(UnreadableDocument, match="mixed encodings: line 7 is not UTF-8, other lines are"):
            read("page.md", b"\n".join(lines))

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0", "binary, no text"),
            (bytes(range(1, 32)) * 20, "binary, no text"),
            (bytes(range(1, 256)) * 20, "its encoding cannot be told"),
            (b"\xff\xfea\0b\0c", "it begins as utf-16-le and is none"),
            (b" \n\n", "^empty$"),
        ],
    )
    def test_binary_data_named_as_text_is_refused(self, content, reason):
        with pytest.raises(UnreadableDocument, match=reason):
            read("page.md", content)


class TestJsonLines:
    def test_a_faq_entry_is_one_passage_with_its_questions(self):
        row = {
            "id": 7,
            "question": "How long?",
            "answer": "30 days.\n\n# Really",
            "aliases": ["Return period?"],
        }
        document = read("faq.jsonl", json.dumps(row))
        (passage,) = passages(document)
        assert (document.id, passage.heading, passage.text) == ("7", "How long?", "30 days.\n\n# Really")
        assert passage.questions == ("How long?", "Return period?")
        assert (passage.start, passage.end, passage.kind) == (0, len(document.text), "faq")

    def test_an_entity_and_a_scope_reach_the_passage(self):
        row = {
            "id": 1,
            "question": "Is there wifi?",
            "answer": "Yes.",
            "entity": "Hotel Öst",
            "scope": "slack:T 1",
        }
        (passage,) = passages(read("faq.jsonl", json.dumps(row)))
        assert (passage.heading, passage.entity) == ("Hotel Öst › Is there wifi?", "Hotel Öst")
        assert passage.scope == "slack:T%201"

    def test_documents_and_blank_lines_may_be_mixed_in(self):
        rows = ['{"id": "a", "title": "A", "text": "one"}', "", '{"id": "b", "text": "two"}']
        assert [(d.id, d.title, d.text) for d in reading("all.jsonl", "\n".join(rows)).documents] == [
            ("a", "A", "one"),
            ("b", "b", "two"),
        ]

    def test_line_ends_of_other_kinds_inside_a_text_are_kept(self):
        row = json.dumps({"id": "a", "question": "q", "answer": "one\u2028two\x85three"}, ensure_ascii=False)
        assert read("faq.jsonl", row).text == "one\u2028two\x85three"

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ("no json", "expected an object with id"),
            ("[1, 2]", "expected an object with id"),
            ("3", "expected an object with id"),
            ('{"question": "q", "answer": "a"}', "expected an object with id"),
            ('{"id": "a", "question": "q"}', "expected an object with id"),
            ('{"id": "a", "question": "q", "answer": null}', "expected an object with id"),
            ('{"id": "a", "question": "q", "answer": " "}', "expected an object with id"),
            ('{"id": "a", "title": "t"}', "expected an object with id"),
            ('{"id": "b", "question": "q", "answer": "b"}', "an earlier line has the id b"),
            ('{"id": "a", "text": "\\ud83d"}', "half a character"),
            ('{"id": "a\\n", "text": "a"}', "its id has characters that cannot be shown"),
            ('{"id": "a", "text": "a", "scope": "slack::"}', "'slack::' is no place"),
        ],
    )
    def test_a_bad_line_is_named_and_the_others_are_read(self, bad, reason):
        good = '{"id": "b", "question": "q", "answer": "a"}'
        found = reading("faq.jsonl", f"{good}\n\n{bad}\n{good.replace('b', 'c')}")
        assert [document.id for document in found.documents] == ["b", "c"]
        (problem,) = found.problems
        assert problem.startswith("line 3: ")
        assert reason in problem


class TestBytes:
    @pytest.mark.parametrize(
        ("name", "size", "limit"), [("huge.md", 2**31, "10 MB"), ("huge.pdf", 2**31, "50 MB")]
    )
    def test_a_file_of_two_gigabytes_is_refused_unread(self, tmp_path, name, size, limit):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)  # sparse: it takes no room
        with pytest.raises(UnreadableDocument, match=f"larger than {limit}"):
            read_bytes(path)

    def test_a_file_of_just_the_limit_is_read(self, tmp_path):
        assert MAX_BYTES < MAX_PDF_BYTES
        path = tmp_path / "large.md"
        path.write_bytes(b"x" * MAX_BYTES)
        assert len(read_bytes(path)) == MAX_BYTES

    @pytest.mark.parametrize(
        ("name", "reason"), [("photo.png", r"\.png is none of .*\.md"), ("README", "no suffix is none of")]
    )
    def test_files_of_other_kinds_are_refused(self, tmp_path, name, reason):
        (tmp_path / name).write_text("x")
        with pytest.raises(UnreadableDocument, match=reason):
            read_bytes(tmp_path / name)

    def test_a_pipe_is_refused_and_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.md")
        with pytest.raises(UnreadableDocument, match="no regular file"):
            read_bytes(tmp_path / "pipe.md")


class TestAttachments:
    def test_text_of_every_kind_is_read_whatever_its_name(self):
        assert text_of("error.log", b"line 1\r\nline 2") == "line 1\nline 2"
        assert text_of("page.html", TestHtml.PAGE.encode()).startswith("# Returns")
        assert text_of("contract.pdf", make_pdf("One.", "Two.")) == "One.\n\nTwo.\n\n"
        assert text_of("contract", make_pdf("One.")) == "One.\n\n"

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("photo.png", b"\x89PNG\0", "binary"),
            ("empty.txt", b"", "^empty$"),
            ("secret.pdf", make_pdf("One.", password="x"), "encrypted"),
            ("scan.pdf", make_pdf(""), "no text in its 1 pages"),
        ],
    )
    def test_what_has_no_text_is_refused_with_the_reason(self, name, content, reason):
        with pytest.raises(UnreadableDocument, match=reason):
            text_of(name, content)


def test_the_sample_pages_can_all_be_read():
    pages = Path(__file__).parents[1] / "engine" / "data" / "pages"
    documents = [read(path.name, path.read_bytes()) for path in pages.glob("*.md")]
    assert len(documents) > 20
    assert all(any(passage.kind == "faq" for passage in passages(document)) for document in documents)
