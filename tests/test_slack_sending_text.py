"""Texts on their way to and from Slack."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.platforms.slack.sender import SlackSender
from bots.platforms.slack.text import MOST_CHARACTERS, escape, plain_text

CONTROLS = [
    "<",
    ">",
    "&",
    "<@U1>",
    "<!channel>",
    "<!here|x>",
    "<#C1>",
    "&lt;",
    "&lt;!channel&gt;",
    "<https://a|b>",
    "< !subteam^S1>",
]
PIECES = st.sampled_from(
    [*CONTROLS, "&amp;", "lt;", "!", "@", " ", "\n", "a", "<div>", "x" * 50, "if (a < b) &&"]
)


@given(st.lists(PIECES, max_size=40), st.integers(1, 400))
def test_no_reply_is_too_long_or_calls_anybody(pieces, times):
    text = ("".join(pieces) * times)[: SlackSender.limit]
    escaped = escape(text)
    assert len(escaped) <= MOST_CHARACTERS < 12_000
    assert not re.search(r"<\s*[@#!]", escaped)
    assert not re.search(r"<[^<>]*[:|][^<>]*>", escaped)
    if not escaped.endswith("…"):
        assert decoded(escaped) in (text, decoded(text))


@given(st.lists(PIECES, max_size=40), st.lists(st.sampled_from(["<", ">", "@U1", "a "]), max_size=9))
def test_what_is_escaped_stays_so_when_more_follows(pieces, more):
    """Only what is new is sent to a stream. A `&` that becomes an entity ends it, and nothing else does."""
    text = "".join(pieces)
    assert escape(text + "".join(more)).startswith(escape(text))


def decoded(text):
    """Slack's own way back."""
    return re.sub("&(lt|gt|amp);", lambda found: {"lt": "<", "gt": ">", "amp": "&"}[found[1]], text)


def test_code_that_grows_by_escaping_is_whole():
    for text in ("if (a < b && c > d) return;\n", "<div><b>&nbsp;</b></div>\n"):
        code = (text * 900)[: SlackSender.limit]
        assert decoded(escape(code)) == code
    entities = ("&lt;b&gt; &amp; " * 900)[: SlackSender.limit]
    assert escape(entities) == entities  # shown as what they stand for, but none is lost


def test_what_grows_beyond_all_room_is_cut_and_not_lost():
    for text in ("<!here>" * 1571, "<@U1>" * 2200):
        escaped = escape(text)
        assert MOST_CHARACTERS - 10 < len(escaped) <= MOST_CHARACTERS
        assert "<" not in escaped
    assert escaped.endswith("…")
    assert escaped.count("&lt;@U1>") > 1400


def test_no_text_of_ours_becomes_a_mention():
    assert escape("<!channel> & <@U1>") == "&lt;!channel> & &lt;@U1>"


def test_what_markdown_needs_stays():
    text = "> quoted\n\n[terms](https://a.example/?a=1&b=2) | a -> b |\n`x && y`"
    assert escape(text) == text


def test_mentions_of_the_bot_are_taken_out_and_nothing_else():
    assert plain_text("<@B1> refund order 55 <@B1> today please", "B1") == "refund order 55 today please"
    assert plain_text("<@B1|frontdesk>: hello <@B12>\n    indented", "B1") == ": hello @B12\n    indented"


@pytest.mark.parametrize(
    ("wrapped", "typed"),
    [
        ("ask <#C123|help-desk> or <#C123>", "ask #help-desk or #C123"),
        ("<#C123|>", "#C123"),
        ("<@U123> and <@U456|anna>", "@U123 and @anna"),
        ("<!here> <!channel|channel> <!everyone>", "@here @channel @everyone"),
        ("<!subteam^S1|@staff> <!subteam^S1>", "@staff @S1"),
        ("<!date^1392734382^{date}|18 February>", "18 February"),
        ("&lt;!here&gt; 1 < 2", "<!here> 1 < 2"),
        ("a<b>c <>", "abc <>"),
    ],
)
def test_names_and_calls_stay_readable(wrapped, typed):
    assert plain_text(wrapped, "B1") == typed


def test_what_slack_wraps_is_unwrapped():
    wrapped = "<@B1> mail <mailto:a@b.example|a@b.example> or <tel:+15550100|+1 555 0100> &lt;now&gt; <https://x.example>"
    assert plain_text(wrapped, "B1") == "mail a@b.example or +1 555 0100 <now> https://x.example"
