"""Documents in: reading them, cutting them into passages, keeping them in Redis. Needs no torch."""
