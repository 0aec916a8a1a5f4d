"""What a message beside a long text wants, and which part of a message is the text."""

import pytest

from engine.reading.pasted import split_pasted, wants_summary

LOG = "\n".join(f"2026-11-14 03:12:{row % 60:02d} INFO worker-{row} done" for row in range(80))
PAGES = "\n\n".join(
    f"Paragraph {row} says that the tenant pays {row} euros for the cellar." * 4 for row in range(6)
)


@pytest.mark.parametrize(
    "message",
    ["", "here", "See attached:", "Summarise this", "Please summarize the attached file.", "tl;dr?"],
)
def test_a_message_that_asks_nothing_else_wants_a_summary(message):
    assert wants_summary(message)


@pytest.mark.parametrize(
    "message", ["zusammenfassen bitte", "Résume ce document", "总结一下", "要約して", "Resumen por favor"]
)
def test_a_summary_is_asked_for_in_other_languages_too(message):
    assert wants_summary(message)


@pytest.mark.parametrize(
    "message",
    [
        "What does it say?",
        "Which errors are in this log?",
        "Is the deposit in the contract?",
        "thanks",
        "summary " * 40,
    ],
)
def test_any_other_message_does_not(message):
    assert not wants_summary(message)


@pytest.mark.parametrize("text", [LOG, PAGES], ids=["log", "pages"])
@pytest.mark.parametrize(
    "question", ["Which worker failed?", "Please explain what this means:", "哪一个失败了？"]
)
def test_a_question_before_or_behind_a_pasted_text_is_found(text, question):
    assert split_pasted(f"{question}\n\n{text}") == (question, text)
    assert split_pasted(f"{text}\n\n{question}\n") == (question, text)


def test_a_question_on_the_first_line_needs_no_empty_line_behind_it():
    assert split_pasted(f"Which worker failed?\n{LOG}") == ("Which worker failed?", LOG)


@pytest.mark.parametrize(
    "message",
    [
        "How long do I have to return something?",
        "I bought a lamp.\n\nIt broke.\n\nThe shop was closed.\n\nCan I return it?",
        LOG,
        "why is the parcel late " * 20,
        "Hello, " + "my parcel is late and nobody answers. " * 80,
    ],
    ids=["short", "short paragraphs", "a log alone", "one question", "a complaint"],
)
def test_an_ordinary_message_is_left_whole(message):
    assert split_pasted(message) is None
