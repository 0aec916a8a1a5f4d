"""Measures the chat side on this machine, beside `engine.bench`, which measures the engine."""
