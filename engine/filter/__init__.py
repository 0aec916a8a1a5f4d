"""Sensitive content, found in whole texts and in streams. No torch, no network, no state.

`find` says where, `redact` replaces by numbered placeholders, `stream` does the same piece by piece
and never lets a character of a match out. Entity names are Presidio's.
"""

from engine.filter.placeholders import (
    PLACEHOLDER,
    Placeholders,
    escape_placeholders,
    mask,
    mask_placeholders,
    redact,
    restore_placeholders,
)
from engine.filter.rules import Finding, find, normalise
from engine.filter.stream import FilterStream, stream

__all__ = [
    "PLACEHOLDER",
    "FilterStream",
    "Finding",
    "Placeholders",
    "escape_placeholders",
    "find",
    "mask",
    "mask_placeholders",
    "normalise",
    "redact",
    "restore_placeholders",
    "stream",
]
