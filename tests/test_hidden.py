"""Which elements of a web page its readers do not see."""

import pytest
from trafilatura import load_html

from engine.library.hidden import drop_hidden


def remaining(html):
    tree = load_html(f"<html><body>{html} tail</body></html>")
    drop_hidden(tree)
    return tree.text_content().split()


@pytest.mark.parametrize(
    "html",
    [
        "<p hidden>x</p>",
        "<template><p>x</p></template>",
        '<p style="display: none">x</p>',
        '<p style="color: red; DISPLAY:NONE !important">x</p>',
        '<div style="visibility:hidden"><p>x</p></div>',
        '<p style="opacity:0">x</p>',
        '<p style="font-size: 0px">x</p>',
        '<p style="max-height:.0em; overflow:hidden">x</p>',
        '<p style="position:absolute; left:-9999px">x</p>',
        '<p style="text-indent:-9999px">x</p>',
        '<p style="clip: rect(0 0 0 0)">x</p>',
        '<p style="color:transparent">x</p>',
        '<p style="color:#FFF; background-color: white">x</p>',
        '<div style="background:#000"><p style="color:black">x</p></div>',
    ],
)
def test_what_nobody_sees_goes_and_what_follows_it_stays(html):
    assert remaining(html) == ["tail"]


@pytest.mark.parametrize(
    "html",
    [
        "<p>x</p>",
        '<p style="opacity:0.5; font-size:0.9em; max-width:0.5em; margin-left:-10px">x</p>',
        '<p style="font-size:10px">x</p>',
        '<div style="background:#000"><p style="color:white">x</p></div>',
        '<p style="color:white">x</p>',
        "<details><summary>x</summary></details>",
        '<p hidden="until-found">x</p>',
    ],
)
def test_what_readers_see_or_can_open_stays(html):
    assert remaining(html) == ["x", "tail"]
