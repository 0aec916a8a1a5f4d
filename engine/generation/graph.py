"""A model's forward pass as a flat program of few, large operators, for the CPU.

A decode step is some hundred small operators; called through modules they cost more than their arithmetic.
So the model's own forward is traced once (torch's `make_fx`, the number of tokens left open), and the trace
is rewritten: weights packed for oneDNN with activation and residual fused in, layers that read the same input
joined into one, norms, rotary embeddings and gates as one kernel each. What is not recognised stays as torch
wrote it, so an architecture needs no code of ours: a rewrite makes it faster, never possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from engine.generation import rewrites
from engine.generation.linear import Linear, MakeLinear
from engine.generation.operators import columns, linear, norm, norm_rows, rotate_rows, rotation
from engine.generation.rewrites import Node, aten, constant_of, is_call, replace, value_of

Program = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""`program(ids [1, tokens], positions [1, tokens], rows [n]) -> logits [n, vocab]`, all ids int64."""

_library = torch.library.Library("frontdesk", "DEF")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "attention(Tensor query, Tensor key, Tensor value, int layer, float scale, int window) -> Tensor"
)


@torch.library.register_fake("frontdesk::attention", lib=_library)  # type: ignore[untyped-decorator]
def _attention_shape(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layer: int, scale: float, window: int
) -> torch.Tensor:
    batch, heads, tokens, width = query.shape
    return query.new_empty(batch, tokens, heads, width)


class Attention(Protocol):
    """Attention over the cache, for the tokens of a step."""

    def check(self, query: torch.Tensor, key: torch.Tensor) -> None:
        """Raise `ModelUnusable` when a layer's tensors, `[1, heads, tokens, width]`, do not fit the cache."""
        ...

    def __call__(
        self, rows: torch.Tensor, starts: tuple[int, int, int], layer: int, scale: float, window: int
    ) -> torch.Tensor:
        """Attend for `rows [1, tokens, columns]`: queries, keys and values begin at the columns `starts`.

        Returns `[1, tokens, heads * width]`. `window` in tokens, 0: all.
        """
        ...


def compile_forward(model: Any, attention: Attention, make_linear: MakeLinear) -> Program:
    """The model's forward pass as a program.

    Takes the weights over: what was packed is gone from the model, so that no more than one layer is ever
    held twice.
    """
    graph = _trace(model)
    for rewrite in rewrites.IN_ORDER:
        rewrite(graph)
        graph.graph.eliminate_dead_code()
    for node in list(graph.graph.nodes):
        if is_call(node, torch.ops.frontdesk.attention.default):
            _bind_attention(graph, node, attention)
    graph.graph.eliminate_dead_code()
    _bind_linears(graph, make_linear)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    _let_go(graph)
    program: Program = graph.forward
    return program


def _trace(model: Any) -> fx.GraphModule:
    def forward(ids: torch.Tensor, positions: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(
            input_ids=ids,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=rows,
            attend=torch.ops.frontdesk.attention,
        ).logits
        return logits[0]

    # Symbolic tracing takes the sizes 0 and 1 for constants; 7 and 3 are as good as any other.
    example = (torch.zeros(1, 7, dtype=torch.long), torch.arange(7)[None], torch.tensor([1, 3, 6]))
    with torch.no_grad():
        traced: fx.GraphModule = make_fx(
            forward, tracing_mode="symbolic", pre_dispatch=True, _allow_non_fake_inputs=True
        )(*example)
    return traced


@dataclass(frozen=True, slots=True)
class _Heads:
    """Where a query, key or value comes from: columns of a joined layer, and what happens to them."""

    base: Node
    start: int
    heads: int
    width: int
    norm: tuple[Node, float, float] | None
    """Weight, epsilon, offset."""
    turn: tuple[Node, Node] | None
    """Cosine and sine."""


def _heads_of(node: Node) -> _Heads | None:
    """Read `rotation(transpose(norm(view(columns(base)))))` backwards; None for any other origin."""
    _, heads, _, width = value_of(node).shape
    turn = normed = None
    if is_call(node, rotation):
        node, *both = node.args
        turn = (both[0], both[1])
    if not is_call(node, aten.transpose.int) or node.args[1:] != (1, 2):
        return None
    node = node.args[0]
    if is_call(node, norm):
        node, *rest = node.args
        normed = (rest[0], rest[1], rest[2])
    if not is_call(node, aten.view.default):
        return None
    node = node.args[0]
    if is_call(node, columns) and node.args[2] == heads * width:
        base, start, _ = node.args
        return _Heads(base, start, heads, width, normed, turn)
    return None


def _bind_attention(graph: fx.GraphModule, node: Node, attention: Attention) -> None:
    query, key, value, layer, scale, window = node.args
    attention.check(value_of(query), value_of(key))
    parts = [_heads_of(part) for part in (query, key, value)]
    bases = {part.base for part in parts if part}
    # Norms and rotations go over the joined layer's result in place, so nobody else may read it.
    if None not in parts and len(bases) == 1 and len(next(iter(bases)).users) <= len(parts):
        bound = _attend_in_place(graph, node, attention, [part for part in parts if part])
    else:

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            flat = [x.transpose(1, 2).flatten(2) for x in (q, k, v)]
            starts = (0, flat[0].shape[-1], flat[0].shape[-1] + flat[1].shape[-1])
            return attention(torch.cat(flat, -1), starts, layer, scale, window)

        bound = replace(graph, node, attend, query, key, value)
    for user in list(bound.users):
        if is_call(user, aten.reshape.default, aten.view.default) and value_of(user).dim() == 3:
            user.replace_all_uses_with(bound)
        else:
            _, _, heads, width = value_of(node).shape
            with graph.graph.inserting_after(bound):
                split = graph.graph.call_function(aten.unflatten.int, (bound, 2, [heads, width]))
            user.replace_input_with(bound, split)


def _attend_in_place(graph: fx.GraphModule, node: Node, attention: Attention, parts: list[_Heads]) -> Node:
    """Norms and rotations are done where the joined layer wrote its result: nobody else reads it."""
    *_, layer, scale, window = node.args
    starts = (parts[0].start, parts[1].start, parts[2].start)
    normed = [part for part in parts if part.norm]
    turned = [part for part in parts if part.turn]
    spans = [(part.start, part.heads, part.width) for part in turned]
    if len(spans) == 2 and spans[0][0] + spans[0][1] * spans[0][2] == spans[1][0]:
        spans = [(spans[0][0], spans[0][1] + spans[1][1], spans[0][2])]
    places = [(part.start, part.heads, part.width) for part in normed]
    numbers = [part.norm[1:] for part in normed if part.norm]

    def attend(rows: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        count = rows.shape[1]
        for (start, heads, width), weight, (epsilon, offset) in zip(places, tensors, numbers, strict=False):
            norm_rows(rows, rows, start, heads, width, weight, epsilon, offset, rows=count)
        for start, heads, width in spans:
            rotate_rows(rows, start, heads, width, tensors[-2], tensors[-1])
        return attention(rows, starts, layer, scale, window)

    weights = [part.norm[0] for part in normed if part.norm]
    turn = next((part.turn for part in turned), ())
    return replace(graph, node, attend, parts[0].base, *weights, *(turn or ()))


def _bind_linears(graph: fx.GraphModule, make_linear: MakeLinear) -> None:
    uses = Counter(node.target for node in graph.graph.nodes if node.op == "get_attr")
    for node in list(graph.graph.nodes):
        if not is_call(node, linear):
            continue
        x, weights, biases, activation, residual = (*node.args, None, None)[:5]
        weight = _joined([constant_of(graph, item) for item in weights])
        layer = make_linear(weight, _joined_biases(graph, weights, biases), activation)
        if layer.can_look_up and len(weights) == 1:
            uses[weights[0].target] -= _bind_lookups(graph, weights[0].target, layer)
        for item in weights:
            uses[item.target] -= 1
            if not uses[item.target]:
                rewrites.release(graph, item)

        def call(
            x: torch.Tensor, residual: torch.Tensor | None = None, layer: Callable[..., Any] = layer
        ) -> Any:
            return layer(x, residual)

        replace(graph, node, call, x, *([] if residual is None else [residual]))
        graph.graph.erase_node(node)
        for item in (*weights, *filter(None, biases)):
            if not item.users:
                graph.graph.erase_node(item)


def _bind_lookups(graph: fx.GraphModule, weight: str, layer: Linear) -> int:
    """Read tied embeddings from the packed weights; how many there were."""
    found = [
        node
        for node in graph.graph.nodes
        if is_call(node, aten.embedding.default) and node.args[0].target == weight
    ]
    for node in found:

        def look_up(ids: torch.Tensor) -> torch.Tensor:
            return layer.look_up(ids)

        replace(graph, node, look_up, node.args[1])
        graph.graph.erase_node(node)
    return len(found)


def _let_go(graph: fx.GraphModule) -> None:
    """Forget what only rewriting needed: symbolic shapes, constants that nobody reads any more, and with the
    last of them the file that the weights came from."""
    used = set()
    for node in graph.graph.nodes:
        node.meta.clear()
        if node.op == "get_attr":
            used.add(node.target)
            rewrites.own(graph, node)
    for name in [*dict(graph.named_parameters()), *dict(graph.named_buffers())]:
        if name not in used:
            delattr(graph, name)


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    return tensors[0].detach() if len(tensors) == 1 else torch.cat([t.detach() for t in tensors])


def _joined_biases(graph: fx.GraphModule, weights: Any, biases: Any) -> torch.Tensor | None:
    if all(bias is None for bias in biases):
        return None
    found = []
    for weight, bias in zip(weights, biases, strict=True):
        matrix = constant_of(graph, weight)
        found.append(matrix.new_zeros(len(matrix)) if bias is None else constant_of(graph, bias))
    return _joined(found).clone()  # not a view of the file that the weights were read from
