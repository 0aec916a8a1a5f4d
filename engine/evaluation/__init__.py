"""How good the answers are, on the team's own entries and questions."""
