"""Questions and answers in running text are recognised, with aliases, and nothing else is."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.library.documents import Document, passages
from engine.library.faq import is_question


def entries(text):
    """Questions and answer of each FAQ entry of a page."""
    found = list(passages(Document("faq.md", "FAQ", text)))
    assert all(text[passage.start : passage.end] == passage.text for passage in found)
    return [(passage.questions, passage.text) for passage in found if passage.kind == "faq"]


KEPT = "For 30 days.\n\nKnives for 14."


class TestForms:
    @pytest.mark.parametrize(
        "text",
        [
            f"## How long may I keep it?\n\n{KEPT}",
            f"### 3. How long may I keep it?\n\n{KEPT}",
            f"## Q: How long may I keep it?\nA: {KEPT}",
            f"Q: How long may I keep it?\nA: {KEPT}",
            f"Q1. How long may I keep it?\n\nA1. {KEPT}",
            f"**Q:** How long may I keep it?\n**A:** {KEPT}",
            f"**Question: How long may I keep it?**\n\n**Answer:** {KEPT}",
            f"Q: How long may\n   I keep it?\nA: {KEPT}",
            f"Q: How long may I keep it? A: {KEPT}",
            f"Q: How long may I keep it?\n{KEPT}",
            f"- Q: How long may I keep it?\n- A: {KEPT}",
            f"**How long may I keep it?**\n\n{KEPT}",
            f"1. How long may I keep it?\n\n{KEPT}",
            f"<details>\n<summary>How long may I <b>keep</b> it?</summary>\n\n{KEPT}\n\n</details>",
            f"How long may I keep it?\n:   {KEPT}",
            f"An introduction.\n\nHow long may I keep it?\n\n{KEPT}",
        ],
    )
    def test_a_question_is_recognised_however_it_is_written(self, text):
        assert entries(text) == [(("How long may I keep it?",), KEPT)]

    @pytest.mark.parametrize(
        ("text", "question", "answer"),
        [
            ("F: Was kostet es?\nA: Nichts.", "Was kostet es?", "Nichts."),
            ("Frage: Was kostet es?\nAntwort: Nichts.", "Was kostet es?", "Nichts."),
            ("P: ¿Cuánto cuesta?\nR: Nada.", "¿Cuánto cuesta?", "Nada."),
            ("Question : Combien ça coûte ?\nRéponse : Rien.", "Combien ça coûte ?", "Rien."),
            ("问：多久能到？\n答：三天。", "多久能到？", "三天。"),
            ("Q1　送料はいくらですか\nA1　無料です。", "送料はいくらですか", "無料です。"),
            ("## Wie lange dauert es\n\nDrei Tage.", "Wie lange dauert es", "Drei Tage."),
            ("## 如何退货\n\n三十天内。", "如何退货", "三十天内。"),
            ("## 返品できますか\n\nはい。", "返品できますか", "はい。"),
        ],
    )
    def test_in_several_languages(self, text, question, answer):
        assert entries(text) == [((question,), answer)]

    def test_one_answer_ends_where_the_next_question_begins(self):
        text = "Intro.\n\nQ: One?\nA: 1.\n\n**Two?**\n2.\n\n1. Three?\n3.\n\n2. Four?\n4.\n3. Call us."
        assert [(questions[-1], answer) for questions, answer in entries(text)] == [
            ("One?", "1."),
            ("Two?", "2."),
            ("Three?", "3."),
            ("Four?", "4."),
        ]
        others = [p.text for p in passages(Document("faq.md", "FAQ", text)) if p.kind == "section"]
        assert others == ["Intro.", "3. Call us."]

    def test_the_heading_path_leads_to_the_question(self):
        (passage,) = passages(Document("faq.md", "FAQ", "# FAQ\n\n## Costs\n\nQ: How much?\nA: Nothing."))
        assert passage.heading == "FAQ › Costs › How much?"

    def test_a_long_answer_is_cut_and_every_part_knows_the_question(self):
        found = entries("Q: How?\nA: " + "\n\n".join("word " * 100 for _ in range(6)))
        assert len(found) > 2
        assert {questions for questions, _ in found} == {("How?",)}

    def test_a_page_that_is_titled_with_a_question_answers_it(self):
        (passage,) = passages(Document("a.md", "How do I pay?", "# How do I pay?\n\nBy card."))
        assert (passage.questions, passage.kind) == (("How do I pay?",), "faq")


class TestAliases:
    @pytest.mark.parametrize(
        "line",
        [
            "Also asked: return period; too late?",
            "*Also asked:* return period; too late?",
            "**Aliases**: return period; too late?",
            "<!-- aliases: return period; too late? -->",
            "<!-- also asked:\n  return period;\n  too late? -->",
            "Auch gefragt: return period; too late?",
            "También se pregunta: return period; too late?",
            "Aussi demandé : return period; too late?",
            "其他问法：return period；too late?",
            "別の聞き方：return period；too late?",
        ],
    )
    @pytest.mark.parametrize(
        "page",
        [
            "## How long?\n{line}\n\n30 days.",
            "Q: How long?\n{line}\nA: 30 days.",
            "**How long?**\n\n{line}\n\n30 days.",
        ],
    )
    def test_they_stand_below_the_question_and_are_no_part_of_the_answer(self, page, line):
        assert entries(page.format(line=line)) == [(("How long?", "return period", "too late?"), "30 days.")]

    def test_a_heading_that_is_no_question_may_have_them(self):
        text = "## Return period\nAlso asked: too late?\n\n30 days."
        assert entries(text) == [(("Return period", "too late?"), "30 days.")]


class TestWhatIsNone:
    @pytest.mark.parametrize(
        "text",
        [
            "P: +45 33 12 34 56\nF: +45 33 12 34 57\nA: Aarhus",
            "1. Is it plugged in?\n2. Is it on?\n3. Is the lamp green?",
            "**Note**\n\nRead this first.",
            "```\nQ: How?\nA: So.\n```",
            "1. Open the box.\n2. Why not read the manual.\n3. Done.",
            "Q: How?",
            "Text.\n\n:::tip Is it on?\n\nLook at the lamp.\n:::",
            "We asked ourselves why. Is that so? It is.",
            "| Is it free? | Yes |\n|---|---|\n| Is it fast? | No |",
        ],
    )
    def test_it_stays_text(self, text):
        assert entries(text) == []
        assert "".join(passage.text for passage in passages(Document("a.md", "a", text))) == text

    @pytest.mark.parametrize(
        "heading",
        [
            "Returns",
            "Opening hours",
            "Can opener",
            "Wiederholung",
            "What’s-App support",
            "返品",
            "Whatever",
            "Howto",
        ],
    )
    def test_a_heading_that_asks_nothing_is_no_question(self, heading):
        assert not is_question(heading)

    @pytest.mark.parametrize(
        "heading",
        [
            "How to return",
            "What is new",
            "Can I pay later",
            "Wie bezahle ich",
            "Cómo pagar",
            "Comment payer",
            "是否免费",
        ],
    )
    def test_a_heading_may_ask_without_a_question_mark(self, heading):
        assert is_question(heading)


FAQS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "Q: ",
                "A: ",
                "**Why?**",
                "1. How?\n",
                "2) x",
                "## Is it?\n",
                "Also asked: a; b",
                "<!-- aliases: c -->",
            ]
        ),
        st.sampled_from(
            ["<details>", "<summary>How?</summary>", "</details>", ": ", "- ", "问：", "答：", "```\n", "\f"]
        ),
        st.sampled_from(["\n", "\n\n", " ", "?", "？"]),
        st.text(alphabet="ab?é漢😀", max_size=12),
    ),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=FAQS)
def test_passages_are_exact_in_order_and_never_overlap(text):
    found = list(passages(Document("a.md", "a", text)))
    for passage in found:
        assert text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
    assert all(earlier.end <= later.start for earlier, later in pairwise(found))
