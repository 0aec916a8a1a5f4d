"""Which blocks of the paged key/value cache are free, who holds them, and which hold a reusable prefix.

Bookkeeping over block numbers: knows nothing of tensors, nor of sequences and their order. Paged caches
are from Kwon et al. 2023 (vLLM); finding shared prefixes by a chain of hashes is vLLM's way, too.
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections import OrderedDict
from collections.abc import Sequence

_DIGEST_BYTES = 16
_KEY_BYTES = 32


class BlockPool:
    """Counts references to blocks, and finds full blocks again by what they hold. Not thread-safe.

    A block is found by the digest of its tokens, of all tokens before it and of the tenant: keys and values
    depend on every earlier token, so equal tokens alone do not make equal blocks. The digests are keyed with
    a secret of this process, so that nobody can make up tokens that collide with another's, and tenants
    cannot find out (by how fast an answer starts) what others asked.

    A block is *held* (someone refers to it), *idle* (nobody does, but it can be found again) or *blank*.
    """

    def __init__(self, num_blocks: int, block_size: int, *, reuse: bool = True) -> None:
        """Make a pool of blank blocks.

        Parameters:
            num_blocks: blocks in the cache, numbered from 0.
            block_size: tokens a block.
            reuse: whether prefixes are found again; without, every block is blank once released.
        """
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"a cache needs blocks and tokens in them, not {num_blocks} of {block_size}")
        self.num_blocks, self.block_size = num_blocks, block_size
        self.num_queried_tokens = 0
        self.num_hit_tokens = 0
        self.num_evictions = 0
        self._reuse = reuse
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._references = [0] * num_blocks
        self._blank = list(reversed(range(num_blocks)))
        self._idle: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._index: dict[bytes, int] = {}
        # Also of held blocks whose content is indexed under another block: their successors need it.
        self._digests: dict[int, bytes] = {}

    @property
    def num_free(self) -> int:
        """Blocks that `allocate` can give: blank and idle ones."""
        return len(self._blank) + len(self._idle)

    @property
    def num_used(self) -> int:
        """Blocks that someone holds."""
        return self.num_blocks - self.num_free

    def blocks_for(self, num_tokens: int) -> int:
        """How many blocks so many tokens take."""
        return -(-num_tokens // self.block_size)

    def num_idle(self, blocks: Sequence[int]) -> int:
        """How many of these count as free as long as nobody shares them."""
        return sum(block in self._idle for block in blocks)

    def is_private(self, block: int) -> bool:
        """Whether one holder has it and nobody can find it: only then may it be written."""
        return self._references[block] == 1 and not self._is_indexed(block)

    def claim(self, block: int) -> bool:
        """Let the content of a full block be changed by its holder, if nobody else has or can find it.

        Returns whether it may be. From then on the block is never found by what it held before.
        """
        if not self.is_private(block):
            return False
        self._digests.pop(block, None)
        return True

    def match(self, tenant: str, token_ids: Sequence[int]) -> list[int]:
        """Find the longest run of full blocks with these tokens, without taking them.

        At least one token is always left over, for without computing one there is nothing to sample from.
        """
        found: list[int] = []
        if not self._reuse:
            return found
        digest = self._root(tenant)
        for number in range((len(token_ids) - 1) // self.block_size):
            digest = self._link(digest, token_ids, number)
            block = self._index.get(digest)
            if block is None:
                break
            found.append(block)
        return found

    def share(self, blocks: Sequence[int], *, queried: int = 0) -> None:
        """Take a reference to each of these blocks, which `match` found just now.

        Parameters:
            queried: tokens that were asked for, for the hit rate; 0 leaves both counters alone.
        """
        for block in blocks:
            assert self._references[block] or block in self._idle, f"block {block} is blank"
            self._idle.pop(block, None)
            self._references[block] += 1
        if queried:
            self.num_queried_tokens += queried
            self.num_hit_tokens += len(blocks) * self.block_size

    def allocate(self, count: int) -> list[int] | None:
        """Give so many blocks, to be written over; None, and no change, when there are not enough."""
        if count > self.num_free:
            return None
        return [self._take_one() for _ in range(count)]

    def publish(self, tenant: str, token_ids: Sequence[int], blocks: Sequence[int], upto: int) -> None:
        """Make full blocks findable. Constant time unless a block has become full since the last call.

        Parameters:
            token_ids: what the blocks hold, from the first token on.
            upto: how many of these tokens are computed.
        """
        num_full = upto // self.block_size
        if not self._reuse or not num_full or blocks[num_full - 1] in self._digests:
            return
        first = num_full - 1
        while first and blocks[first - 1] not in self._digests:
            first -= 1
        digest = self._digests[blocks[first - 1]] if first else self._root(tenant)
        for number in range(first, num_full):
            digest = self._link(digest, token_ids, number)
            self._digests[blocks[number]] = digest
            self._index.setdefault(digest, blocks[number])

    def release(self, blocks: Sequence[int]) -> None:
        """Give back one reference to each. Blocks come in the sequence's order, its first tokens first.

        Later ones are evicted before earlier ones: without its predecessors a block is never found, and a
        conversation's beginning is what the next turn shares.
        """
        for block in reversed(blocks):
            assert self._references[block] > 0, f"block {block} is released twice"
            self._references[block] -= 1
            if not self._references[block]:
                self._retire(block)

    def forget(self) -> None:
        """Make every prefix unfindable, as when the cache's content is in doubt."""
        self._index.clear()
        self._digests.clear()
        self._blank.extend(self._idle)
        self._idle.clear()

    def _take_one(self) -> int:
        if self._blank:
            block = self._blank.pop()
        else:
            block, _ = self._idle.popitem(last=False)
            del self._index[self._digests.pop(block)]
            self.num_evictions += 1
        assert not self._references[block], f"block {block} is free and held"
        self._references[block] = 1
        return block

    def _retire(self, block: int) -> None:
        digest = self._digests.get(block)
        # The first block with this content may have been evicted meanwhile: then this one takes its place.
        if digest is not None and self._index.setdefault(digest, block) == block:
            self._idle[block] = None
            return
        self._digests.pop(block, None)
        self._blank.append(block)

    def _is_indexed(self, block: int) -> bool:
        digest = self._digests.get(block)
        return digest is not None and self._index.get(digest) == block

    def _root(self, tenant: str) -> bytes:
        # `person` keeps a tenant's name from being taken for a link. Names may hold lone surrogates.
        name = tenant.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(name, digest_size=_DIGEST_BYTES, key=self._key, person=b"tenant").digest()

    def _link(self, parent: bytes, token_ids: Sequence[int], number: int) -> bytes:
        start = number * self.block_size
        tokens = array("q", token_ids[start : start + self.block_size]).tobytes()
        return hashlib.blake2b(
            parent + tokens, digest_size=_DIGEST_BYTES, key=self._key, person=b"block"
        ).digest()
