"""Which language is spoken, and what the bot says in it."""
