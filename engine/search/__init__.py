"""Passages out: by words, by wording and by meaning, and how sure that is."""
