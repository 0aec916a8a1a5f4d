"""From a question to an answer: what goes in, what is decided, what may be shown."""
