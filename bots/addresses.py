"""Addresses: when two are the same, and which words without `https://` a platform takes for one.

The canonical form is made to compare by, not to open: `http` and `https`, an address with and without a slash
at its end, and one with and without a fragment are the same.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from bots.unmasked import unmask

_SCHEME = re.compile(r"([a-z][a-z0-9+-]*):(?!\d+(?:[/?#]|$))", re.IGNORECASE)
_WEB = frozenset({"http", "https"})
_DEFAULT_PORTS = frozenset({"", "80", "443"})
_NUMBER_SCHEMES = frozenset({"tel", "sms", "callto"})
_EMAIL = re.compile(r"[^@/\\\s?#:]+@[^@/\\\s?#:]+")
_HOST_LIKE = re.compile(r"[^\s/\\?#@]+(?:\.[^\s/\\?#@]+)+(?:[/\\?#]|$)")
_NO_HOST = re.compile(r"[/\\?#@%\s]")
_DOTS = re.compile(r"[.。]")

_GENERIC = """
    com org net edu gov mil int info biz name pro mobi travel jobs museum coop aero asia cat post tel xxx
    app dev page web cloud host hosting online site website space store shop tech xyz top club live link click
    icu vip fun work world today life news blog email support help center agency digital media network systems
    solutions services software security domains company group team zone one wtf lol rocks cash money loan bid
    win men date party review trade stream download science racing accountant cricket faith gdn kim mom
    buzz quest monster cyou cfd sbs rest bar best bond beauty hair skin makeup autos boats homes yachts
    art audio bet casino chat dating game games guru ltd llc inc gmbh mba ninja pics pictures photo photos
    pizza plus press pub red blue black pink green run school social studio style surf tips tools tours toys
    university vegas ventures video watch wiki works academy africa bayern berlin hamburg koeln wien london
    nyc paris tokyo amsterdam arpa onion foundation google aws
    example test invalid localhost internal local
"""
_COUNTRIES = """
    ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz
    ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk
    fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq
    ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc me mg mh mk
    ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl
    pm pn pr pt pw qa re ro ru rw sa sb sc sd se sg si sk sl sm sn sr ss st su sv sx sy sz tc td tf tg th
    tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw
"""
_FILES = """
    7z bak bmp bz2 c cfg conf config cpp cs css csv dart dll doc docx eml env exe gif go h hpp htm html
    ics ini ipynb java jpeg jpg js json jsx key kt lock log lua m4a mp3 mp4 ods odt ogg pdf pem php png
    pptx ppt pyc rb rst rtf scss sql svg swift tar tex tif tiff toml ts tsv tsx txt vue wav webm webp xls
    xlsx xml yaml yml
"""
TOP_LEVEL = frozenset((_GENERIC + _COUNTRIES).split())
"""What may end a host's name that stands alone, without a path. Not those that are better known as endings of
files, `.md .py .rs .sh .so .ps .zip .mov`, though they exist."""

FILE_ENDINGS = frozenset(_FILES.split())
"""No host's name ends so, whatever follows it."""


def canonical(address: str) -> str:
    """The form by which addresses are compared: `//host:port/path?query`, `mailto:…`, `scheme:…`, or a path.

    Total: whatever it is given, it returns something, and for different hosts something different.
    """
    text = unmask(address).text.strip()
    scheme = _SCHEME.match(text)
    if scheme is None:
        if _EMAIL.fullmatch(text):
            return _mail(text)
        is_host = text[:2] in {"//", "\\\\"} or _HOST_LIKE.match(text)
        return _web(text) if is_host else unquote(text.partition("#")[0])
    name, rest = scheme[1].lower(), text[scheme.end() :]
    if name in _WEB:
        return _web(rest)
    if name == "mailto":
        return _mail(rest)
    if name in _NUMBER_SCHEMES:
        return f"{name}:{''.join(re.findall('[+0-9]', unquote(rest)))}"
    return f"{name}:{_web(rest)}" if rest[:1] in {"/", "\\"} else f"{name}:{unquote(rest)}"


def host_of(form: str) -> str:
    """Host and port of a canonical form, of a mail address what is behind the @; empty if there is none.

    Also empty where a user or password stands before the host.
    """
    if form.startswith("mailto:"):
        return form.partition("?")[0].rpartition("@")[2]
    host = re.split("[/?]", form[2:], maxsplit=1)[0] if form.startswith("//") else ""
    return "" if "@" in host else host


def _mail(rest: str) -> str:
    address, mark, query = unquote(rest).partition("?")
    return f"mailto:{address.strip().lower()}{mark}{query}"


def _web(rest: str) -> str:
    place = re.match(r"[/\\]*([^/\\?#]*)([^?#]*)(\?[^#]*)?", rest)
    assert place is not None  # every part of it may be empty
    user, at, host = place[1].rpartition("@")
    path = unquote(place[2].replace("\\", "/")).rstrip("/")
    return f"//{user}{at}{_host(host)}{path}{unquote(place[3] or '')}"


def _host(host: str) -> str:
    """In ASCII, lower case, without a final dot and a port that goes without saying."""
    decoded = unmask(unquote(host)).text
    # What becomes more than a host's name by decoding is none, and stays as it is written.
    name, colon, port = (host if _NO_HOST.search(decoded) else decoded).lower().rpartition(":")
    if not colon or not (port.isdigit() or not port):
        name, port = f"{name}{colon}{port}", ""
    labels = _DOTS.split(name.rstrip(".。"))
    name = ".".join(label if label.isascii() else f"xn--{_punycode(label)}" for label in labels)
    return name if port in _DEFAULT_PORTS else f"{name}:{port}"


def _punycode(label: str) -> str:
    return label.encode("punycode", "replace").decode("ascii", "replace")
