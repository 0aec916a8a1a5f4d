"""Recognises the shapes that models are written in, and puts larger operators in their place.

Each rewrite goes over a whole traced graph and changes what it is sure of; see `graph` for their order.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from engine.generation.kernels import GELU_TANH, SILU
from engine.generation.linear import ACTIVATIONS
from engine.generation.operators import centred, columns, gate, linear, norm, rotation

aten = torch.ops.aten

# A node's arguments may be nearly anything; what they are, the patterns below find out.
Node = Any


def value_of(node: Any) -> Any:
    return node.meta.get("val") if isinstance(node, fx.Node) else None


def is_call(node: Any, *targets: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def is_constant(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "get_attr"


def only_user(node: Node) -> Node:
    return next(iter(node.users)) if len(node.users) == 1 else None


def replace(graph: fx.GraphModule, old: Node, target: Any, *args: Any, **kwargs: Any) -> Node:
    """Put a call of `target` in the place of `old`."""
    with graph.graph.inserting_before(old):
        new = graph.graph.call_function(target, args, kwargs)
    new.meta["val"] = value_of(old)
    old.replace_all_uses_with(new)
    return new


def _drop_what_does_nothing(graph: fx.GraphModule) -> None:
    """Dropout outside training, conversions to what a tensor already is, products with one."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        source = node.args[0] if node.args else None
        nothing = is_call(node, aten.dropout.default, aten.alias.default, aten.detach.default)
        if is_call(node, aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.type_as.default):
            nothing = value_of(source) is not None and value_of(source).dtype == value_of(node).dtype
        if is_call(node, aten.contiguous.default):
            nothing = value_of(source).is_contiguous()
        if is_call(node, aten.mul.Tensor):
            nothing = node.args[1] == 1.0 and value_of(source).dtype == value_of(node).dtype
        if nothing:
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
        elif node.target is torch._C._set_grad_enabled:
            graph.graph.erase_node(node)


def _find_linears(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if (
            is_call(node, aten.linear.default)
            and is_constant(node.args[1])
            and value_of(node.args[0]).dim() == 3
        ):
            bias = node.args[2] if len(node.args) > 2 else None
            replace(graph, node, linear, node.args[0], (node.args[1],), (bias,))
        elif is_call(node, aten.addmm.default) and is_constant(node.args[2]):
            _rewrite_conv1d(graph, node)


def _rewrite_conv1d(graph: fx.GraphModule, product: Node) -> None:
    """GPT-2's layers: `view(addmm(bias, view(x, [-1, in]), weight [in, out]), [1, tokens, out])`."""
    bias, flat, weight = product.args
    behind = only_user(product)
    if not (is_call(flat, aten.view.default) and behind and is_call(behind, aten.view.default)):
        return
    turned = constant_of(graph, weight)
    turned.data = turned.data.t()
    replace(graph, behind, linear, flat.args[0], (weight,), (bias,))


def constant_of(graph: fx.GraphModule, node: Node) -> torch.Tensor:
    value: torch.Tensor = operator.attrgetter(str(node.target))(graph)
    return value


def release(graph: fx.GraphModule, node: Node) -> None:
    """Let go of a constant's memory, wherever else the tensor is named."""
    constant = constant_of(graph, node)
    constant.data = constant.new_empty(0)


def own(graph: fx.GraphModule, node: Node) -> None:
    """Give a constant memory of its own: weights are views of their file, which stays in memory with them."""
    constant = constant_of(graph, node)
    constant.data = constant.detach().clone()


def _unconverted(node: Any) -> Any:
    return node.args[0] if is_call(node, aten.to.dtype, aten.type_as.default, aten._to_copy.default) else node


def _find_norms(graph: fx.GraphModule) -> None:
    """`x * rsqrt(mean(x²) + epsilon)`, then times the weight (Llama) or one plus the weight (Gemma)."""
    for root in list(graph.graph.nodes):
        if not is_call(root, aten.rsqrt.default):
            continue
        summed = root.args[0]
        if not is_call(summed, aten.add.Tensor) or not is_call(summed.args[0], aten.mean.dim):
            continue
        squared = summed.args[0].args[0]
        if not is_call(squared, aten.pow.Tensor_Scalar) or squared.args[1] != 2:
            continue
        wide = squared.args[0]
        scaled = only_user(root)
        if scaled is None or not is_call(scaled, aten.mul.Tensor) or set(scaled.args) != {wide, root}:
            continue
        last, weighed = scaled, only_user(scaled)
        while weighed is not None and _unconverted(weighed) is last:
            last, weighed = weighed, only_user(weighed)
        if weighed is None or not is_call(weighed, aten.mul.Tensor):
            continue
        factor = weighed.args[0] if weighed.args[1] is last else weighed.args[1]
        offset = 0.0
        if is_call(factor, aten.add.Tensor) and factor.args[1] == 1.0:
            factor, offset = factor.args[0], 1.0
        factor = _unconverted(factor)
        source = _unconverted(wide)
        if not is_constant(factor) or constant_of(graph, factor).shape != value_of(source).shape[-1:]:
            continue
        if summed.args[0].args[1] != [-1] or constant_of(graph, factor).dtype != value_of(source).dtype:
            continue
        end, user = weighed, only_user(weighed)
        if user is not None and _unconverted(user) is weighed:
            end = user
        if value_of(end).dtype == value_of(source).dtype:
            replace(graph, end, norm, source, factor, summed.args[1], offset)


def _find_layer_norms(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if not is_call(node, aten.layer_norm.default) or len(node.args) < 4:
            continue
        x, shape, weight, bias, *rest = node.args
        if len(shape) == 1 and is_constant(weight) and is_constant(bias):
            replace(graph, node, centred, x, weight, bias, rest[0] if rest else 1e-5)


def _find_gelu(graph: fx.GraphModule) -> None:
    """The tanh form written out, `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`, as one operator."""
    for root in list(graph.graph.nodes):
        if not is_call(root, aten.tanh.default) or not is_call(root.args[0], aten.mul.Tensor):
            continue
        inner = root.args[0].args[0]
        plus_one = only_user(root)
        if not is_call(inner, aten.add.Tensor) or plus_one is None or not is_call(plus_one, aten.add.Tensor):
            continue
        x, product = inner.args[0], only_user(plus_one)
        if product is None or not is_call(product, aten.mul.Tensor):
            continue
        half = product.args[0] if product.args[1] is plus_one else product.args[1]
        if is_call(half, aten.mul.Tensor) and half.args == (x, 0.5):
            replace(graph, product, aten.gelu.default, x, approximate="tanh")


def _join_siblings(graph: fx.GraphModule) -> None:
    """Layers that read the same input become one: queries, keys and values; gate and up."""
    families: dict[Node, list[Node]] = {}
    for node in graph.graph.nodes:
        if is_call(node, linear):
            families.setdefault(node.args[0], []).append(node)
    for x, family in families.items():
        if len(family) < 2:
            continue
        with graph.graph.inserting_before(family[0]):
            # A constant is named where it is used first: the later ones must come before the joined layer.
            named = [_copy_of(graph, node.args[place][0]) for place in (1, 2) for node in family]
            joined = graph.graph.call_function(
                linear, (x, tuple(named[: len(family)]), tuple(named[len(family) :]))
            )
        widths = [value_of(node).shape[-1] for node in family]
        joined.meta["val"] = torch.empty(1, 7, sum(widths), device="meta", dtype=value_of(family[0]).dtype)
        start = 0
        for node, width in zip(family, widths, strict=True):
            replace(graph, node, columns, joined, start, width)
            start += width


def _copy_of(graph: fx.GraphModule, node: Node) -> Node:
    if node is None:
        return None
    copy = graph.graph.get_attr(str(node.target))
    copy.meta["val"] = value_of(node)
    return copy


def _activation(node: Any) -> str | None:
    if is_call(node, aten.silu.default):
        return "silu"
    if is_call(node, aten.gelu.default) and node.kwargs.get("approximate") == "tanh":
        return "gelu_tanh"
    return None


def _fuse_activations(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        name = _activation(node)
        if name in ACTIVATIONS and is_call(node.args[0], linear) and only_user(node.args[0]) is node:
            x, weights, biases = node.args[0].args
            replace(graph, node, linear, x, weights, biases, name)


def _fuse_gates(graph: fx.GraphModule) -> None:
    """`activation(gate) * up`, where gate and up are the halves of one joined layer."""
    for node in list(graph.graph.nodes):
        if not is_call(node, aten.mul.Tensor):
            continue
        for active, up in (node.args, node.args[::-1]):
            name = _activation(active)
            if name is None or not (is_call(active.args[0], columns) and is_call(up, columns)):
                continue
            left, start, width = active.args[0].args
            if up.args == (left, width, width) and start == 0 and value_of(left).shape[-1] == 2 * width:
                replace(graph, node, gate, left, {"silu": SILU, "gelu_tanh": GELU_TANH}[name])
                break


def _fuse_residuals(graph: fx.GraphModule) -> None:
    for node in list(graph.graph.nodes):
        if not is_call(node, aten.add.Tensor) or node.kwargs:
            continue
        for layer, other in (node.args, node.args[::-1]):
            if (
                is_call(layer, linear)
                and len(layer.args) == 3
                and only_user(layer) is node
                and value_of(other) is not None
                and value_of(other).dim() == 3
                and value_of(other).dtype == value_of(layer).dtype
                and value_of(other).shape[-1] == value_of(layer).shape[-1]
            ):
                replace(graph, node, linear, *layer.args, None, other)
                break


def _split_to_columns(graph: fx.GraphModule) -> None:
    """GPT-2 computes queries, keys and values as one and splits them."""
    for node in list(graph.graph.nodes):
        if not is_call(node, operator.getitem) or not is_call(node.args[0], aten.split.Tensor):
            continue
        base, width, *dim = node.args[0].args
        if dim in ([2], [-1]):
            replace(graph, node, columns, base, node.args[1] * width, width)


def _find_rotations(graph: fx.GraphModule) -> None:
    """`x * cos + cat(-right half, left half) * sin`."""
    for node in list(graph.graph.nodes):
        if not is_call(node, aten.add.Tensor):
            continue
        straight, turned = node.args
        if not (is_call(straight, aten.mul.Tensor) and is_call(turned, aten.mul.Tensor)):
            continue
        (x, cos), (swapped, sin) = straight.args, turned.args
        if not (is_call(swapped, aten.cat.default) and is_call(cos, aten.unsqueeze.default)):
            continue
        negative, left = swapped.args[0]
        half = value_of(x).shape[-1] // 2
        if (
            is_call(negative, aten.neg.default)
            and is_call(negative.args[0], aten.slice.Tensor)
            and negative.args[0].args[:3] == (x, 3, half)
            and is_call(left, aten.slice.Tensor)
            and left.args[:4] == (x, 3, 0, half)
            and is_call(sin, aten.unsqueeze.default)
            and (cos.args[1], sin.args[1]) == (1, 1)
        ):
            replace(graph, node, rotation, x, cos.args[0], sin.args[0])


IN_ORDER = (
    _drop_what_does_nothing,
    _find_linears,
    _find_norms,
    _find_layer_norms,
    _find_gelu,
    _find_rotations,
    _split_to_columns,
    _join_siblings,
    _fuse_activations,
    _fuse_gates,
    _fuse_residuals,
)
