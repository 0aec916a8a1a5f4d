"""The model side of frontdesk: filter, knowledge, chunker and generator behind one HTTP face.

Knows nothing of chat platforms; imports nothing from `bots` or `plugins`.
"""
