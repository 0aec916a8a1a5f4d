"""Whether passages say what a sentence says."""
