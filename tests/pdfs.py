"""PDFs for tests, made with pypdf: with text, without, and encrypted."""

import io

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject


def make_pdf(*pages, title=None, password=None, owner_password=None):
    """A PDF of these pages' texts; an empty one is a page without any text, as a scan is."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(595, 842)
        if text:
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): _font()})
            page[NameObject("/Contents")] = writer._add_object(_content(text))
    if title:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, owner_password, algorithm="AES-256")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _font():
    names = {
        "/Type": "/Font",
        "/Subtype": "/Type1",
        "/BaseFont": "/Helvetica",
        "/Encoding": "/WinAnsiEncoding",
    }
    font = DictionaryObject({NameObject(key): NameObject(value) for key, value in names.items()})
    return DictionaryObject({NameObject("/F1"): font})


def _content(text):
    lines = [f"({line}) Tj T*" for line in text.split("\n")]
    stream = DecodedStreamObject()
    stream.set_data("\n".join(["BT /F1 12 Tf 14 TL 72 750 Td", *lines, "ET"]).encode("cp1252"))
    return stream
