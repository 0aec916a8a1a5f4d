"""CUDA graphs for steps of single tokens: recorded once a batch size, replayed with one launch.

A decode step is hundreds of small kernels, which Python launches more slowly than the GPU computes them. A
graph's addresses are fixed, so the step's arrays are copied to where the graph reads them, and a step between
two sizes is padded to the larger one. What is recorded, and how, comes from outside.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import torch

from engine.generation.arrays import BatchSize, StepArrays
from engine.generation.step import Step, lay_out

Compute = Callable[[], torch.Tensor]
Capture = Callable[[Compute], Compute]
"""Records what a function computes; the result computes it again from what then lies in the same memory."""
Forward = Callable[[StepArrays, int], torch.Tensor]
"""`forward(arrays, longest query) -> logits [rows, vocab]`."""

_MOST_SEQUENCES = 256
"""Beyond, the GPU is busy long enough for Python to keep up."""


def graph_sizes(max_running: int) -> list[int]:
    """Batch sizes worth a graph: powers of two below the most sequences that run, and that number."""
    most = min(max_running, _MOST_SEQUENCES)
    return [size for size in (1 << bit for bit in range(most.bit_length())) if size < most] + [most]


class DecodeGraphs:
    """One graph for each size. Not thread-safe: they share their memory."""

    def __init__(
        self,
        forward: Forward,
        capture: Capture,
        *,
        sizes: list[int],
        pages: int,
        spare_page: int,
        page_tokens: int,
        device: torch.device,
    ) -> None:
        """Record them all, the largest first, in whose memory the smaller ones then find room.

        Parameters:
            sizes: in sequences, ascending.
            pages: most pages that a sequence has.
            spare_page: a page that nobody owns, for the rows of padding.
            page_tokens: tokens a page.
        """
        self._sizes, self._pages, self._spare_page, self._page_tokens = sizes, pages, spare_page, page_tokens
        words = BatchSize.decoding(sizes[-1], pages).num_words
        self._memory = torch.zeros(words, dtype=torch.int64, device=device)
        self._replays: dict[int, Compute] = {}
        for size in reversed(sizes):
            arrays = StepArrays.over(self._memory, BatchSize.decoding(size, pages))
            self._write(lay_out([], page_tokens), size)  # padding alone is a valid batch
            self._replays[size] = capture(lambda arrays=arrays: forward(arrays, 1))  # type: ignore[misc]

    def size_for(self, step: Step) -> int | None:
        """The smallest recorded size that a step fits; None when it has to be run without a graph."""
        if step.prefills or not step.num_decoding or step.tables.shape[1] > self._pages:
            return None
        index = bisect_left(self._sizes, step.num_decoding)
        return self._sizes[index] if index < len(self._sizes) else None

    def replay(self, step: Step, size: int) -> torch.Tensor:
        """The step's logits, `[n, vocab]`: overwritten by the next replay."""
        self._write(step, size)
        return self._replays[size]()[: len(step.rows)]

    def _write(self, step: Step, size: int) -> None:
        batch = BatchSize.decoding(size, self._pages)
        host = written(step, batch, self._spare_page, self._page_tokens, self._memory.device)
        self._memory[: len(host)].copy_(host, non_blocking=True)


def written(
    step: Step, size: BatchSize, spare_page: int, page_tokens: int, device: torch.device
) -> torch.Tensor:
    """The step's arrays on the host, ready to be copied to the device: `[size.num_words]` int64.

    New pinned memory each time: torch's allocator gives none out again before copies from it are done, so
    that nobody has to wait for them.
    """
    host = torch.empty(size.num_words, dtype=torch.int64, pin_memory=device.type == "cuda")
    StepArrays.over(host, size).fill(step, spare_page, page_tokens)
    return host


class CudaCapture:
    """`Capture` for CUDA: all recordings on one stream and from one pool of memory.

    Sharing the pool is right as long as a result is used before anything else is replayed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, compute: Compute) -> Compute:
        """Compute once, so that libraries are loaded and have their workspaces, then record."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            # Entered here as well: a recording that fails leaves its own entry of the stream open.
            with torch.cuda.stream(self._stream):
                compute()
                # Other threads may go on using the GPU: only this one's calls have to be recordable.
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    result = compute()
            torch.cuda.current_stream().wait_stream(self._stream)

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay
