"""Long texts that a customer sends: questions about them, and summaries."""
