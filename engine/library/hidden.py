"""What a web page holds and its readers do not see: taken out before anything is learned from it.

Goes by attributes and inline styles; style sheets are not worked out.
"""

from __future__ import annotations

import re
from typing import Any

_NO_SIZE = r"0*\.?0+(?:px|pt|r?em|%|vw|vh)?"
_UNSEEN = re.compile(
    r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|color:transparent|clip-path:inset\((?:50|100)%\)|"
    rf"clip:rect\(0|(?:opacity|font-size|max-height|max-width):{_NO_SIZE}(?=!|;|$)|"
    r"(?:left|top|right|text-indent|margin-left):-\d{3,})"
)
_COLOUR = re.compile(r"(?:^|;)color:([^;!]+)")
_BACKGROUND = re.compile(r"(?:^|;)background(?:-color)?:([^;!]+)")
_NAMES = {"white": "fff", "#ffffff": "fff", "#fff": "fff", "rgb(255,255,255)": "fff"} | {
    "black": "000",
    "#000000": "000",
    "#000": "000",
    "rgb(0,0,0)": "000",
}


def drop_hidden(tree: Any) -> None:
    """Remove the elements of an lxml tree that no reader sees; the text behind them stays."""
    for element in [it for it in tree.iter() if isinstance(it.tag, str) and _is_hidden(it)]:
        if element.getparent() is not None:
            element.drop_tree()


def _is_hidden(element: Any) -> bool:
    # Browsers find "until-found" and open it, as some accordions have it.
    if element.tag == "template" or element.get("hidden", "until-found") != "until-found":
        return True
    style = "".join(element.get("style", "").lower().split())
    return bool(style) and (bool(_UNSEEN.search(style)) or _is_colour_on_itself(element, style))


def _is_colour_on_itself(element: Any, style: str) -> bool:
    """Text in the colour of what is behind it, as far as inline styles say it."""
    if not (colour := _COLOUR.search(style)):
        return False
    for above in (element, *element.iterancestors()):
        behind = _BACKGROUND.search("".join(above.get("style", "").lower().split()))
        if behind:
            return _plain(colour[1]) == _plain(behind[1])
    return False


def _plain(colour: str) -> str:
    return _NAMES.get(colour, colour)
