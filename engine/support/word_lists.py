"""Word lists written as one string. A leaf."""

from __future__ import annotations


def listed(words: str) -> list[str]:
    """The words of a list that is written as one string."""
    return words.split()
