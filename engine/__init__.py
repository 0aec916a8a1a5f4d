"""The model side of frontdesk: filter, knowledge, chunker and generator behind one HTTP face.

Knows nothing of chat platforms; imports nothing from `bots` or `plugins`.
"""

import os

# How often a thread of torch's looks for its next operator before it goes to sleep. By libgomp's own figure
# it looks for milliseconds: as soon as another process needs a core, threads wait that long for one that does
# not run, dozens of times a step. This, about a tenth of a millisecond, is as fast on a quiet machine and
# many times faster on a busy one. Read when torch is loaded, so it is set before.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
