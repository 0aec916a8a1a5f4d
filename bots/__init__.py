"""The chat side of frontdesk: adapters, inbox, history, desk. asyncio throughout, never imports torch."""
