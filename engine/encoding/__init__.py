"""Token ids with exact character borders, and where a text may be cut."""
