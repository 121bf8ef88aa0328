"""Gives every activation a layout, "chw" or "plain", and inserts the fewest `to_chw` and `to_plain` that takes.

docs/architecture.md says which op wants which layout. Ops that work in either are divided between the two by a
minimum cut: a tensor costs one permute if its producer and its readers are not all on one side. Permutes of images
with one pixel or one channel move nothing, so they count only between otherwise equal choices.
"""

from __future__ import annotations

from tulle.graph import Graph, Node, Tensor
from tulle.ops import BINARY, OPS
from tulle.ops.layout import EITHER
from tulle.passes.minimum_cut import MinimumCut


def assign_layouts(graph: Graph) -> Graph:
    """The graph with `layout` set on every activation and the permutes inserted."""
    graph = align_ranks(graph)
    layouts = _choose(graph)
    for node in graph.nodes:
        tensor = graph.tensors[node.output]
        # A mean over the image may drop its dimensions, and only images can be chw.
        tensor.layout = layouts[node.output] if len(tensor.shape) == 4 else "plain"
    return _insert_permutes(graph, layouts)


def permutes(graph: Graph) -> tuple[int, int]:
    """How many `to_chw` and `to_plain` move memory, and how many are free (one pixel or one channel)."""
    changed = [graph.tensors[node.output] for node in graph if node.op in ("to_chw", "to_plain")]
    free = sum(_is_free(tensor) for tensor in changed)
    return len(changed) - free, free


def align_ranks(graph: Graph) -> Graph:
    """Gives binary operands of lower rank the four dimensions of the image they are broadcast to, by free reshapes.

    Constants too, but for single numbers and numbers one a channel, which are good as they are.
    """
    graph = graph.copy()
    nodes = []
    for node in graph.nodes:
        if node.op in BINARY and len(graph.tensors[node.output].shape) == 4:
            for position, name in enumerate(node.inputs[:2]):
                tensor = graph.tensors[name or ""]
                if len(tensor.shape) == 4 or (tensor.data is not None and tensor.shape[-1:] in ((), (tensor.size,))):
                    continue
                if tensor.data is not None:
                    data = tensor.data.reshape((1,) * (4 - tensor.data.ndim) + tensor.data.shape)
                    node.inputs[position] = graph.add_constant(tensor.name, data)
                else:
                    image = graph.add_tensor(Tensor(f"{name}_image", (1,) * (4 - len(tensor.shape)) + tensor.shape))
                    nodes.append(Node("reshape", image, [name], [image]))
                    node.inputs[position] = image
        nodes.append(node)
    graph.nodes = nodes
    return graph


def _is_free(tensor: Tensor) -> bool:
    return tensor.shape[-1:] in ((1,), (tensor.size,))


def _choose(graph: Graph) -> dict[str, str]:
    """The layout of every op, by the name of its output, that needs the fewest permutes."""
    layouts = {node.output: OPS[node.op].layout.demand(graph, node) for node in graph.nodes}
    vertices = {output: ("op", output) if layout == EITHER else layout for output, layout in layouts.items()}
    cut, consumers = MinimumCut(), graph.consumers()
    # One permute outweighs any number of floats moved, and one float any number of free changes.
    outputs = set(graph.outputs)
    floats = 1 + sum(tensor.size for tensor in graph.tensors.values())
    for name, tensor in graph.tensors.items():
        if tensor.is_constant:
            continue
        ends = {
            vertices[node.output] for node in consumers[name] if not OPS[node.op].layout.reads_any(graph, node, name)
        }
        ends.add(vertices[name] if name in vertices and len(tensor.shape) == 4 else "plain")
        if name in outputs:
            ends.add("plain")
        if len(ends) > 1 and not ends <= {"chw", "plain"}:
            cost = 1 if _is_free(tensor) else len(graph.tensors) * (floats + tensor.size)
            cut.keep_together(sorted(ends, key=str), cost)
    with_chw = cut.source_side("chw", "plain")
    for output, vertex in vertices.items():
        if layouts[output] == EITHER:
            layouts[output] = "chw" if vertex in with_chw else "plain"
    return layouts


def _insert_permutes(graph: Graph, layouts: dict[str, str]) -> Graph:
    """`layouts` says what each node, by its output's name, wants of its inputs; model outputs are wanted plain."""
    permuted: dict[str, str] = {}  # a tensor to itself in the other layout
    producer = graph.producer()
    images: dict[str, str] = {}  # the outputs among them
    for name in graph.outputs:
        tensor = graph.tensors[name]
        if tensor.layout == "chw":  # the output keeps its name, so what computes it gets another
            image = images[name] = graph.add_tensor(
                Tensor(f"{name}_chw", tensor.shape, layout="chw", levels=tensor.levels)
            )
            producer[name].outputs = [image]
            tensor.layout, permuted[image] = "plain", name
            layouts[image] = layouts.pop(name)
    for node in graph.nodes:
        node.inputs = [None if name is None else images.get(name, name) for name in node.inputs]
    nodes = [Node("to_plain", name, [image], [name]) for image, name in permuted.items()]
    for node in graph.nodes:
        for name in {name for name in node.inputs if name is not None}:
            tensor, wanted = graph.tensors[name], layouts[node.output]
            if tensor.is_constant or tensor.layout == wanted or OPS[node.op].layout.reads_any(graph, node, name):
                continue
            if name not in permuted:
                copy = Tensor(f"{name}_{wanted}", tensor.shape, layout=wanted, levels=tensor.levels)
                permuted[name] = graph.add_tensor(copy)
                nodes.append(Node(f"to_{wanted}", permuted[name], [name], [permuted[name]]))
            node.inputs = [permuted[name] if x == name else x for x in node.inputs]
    graph.nodes = _behind_producers(graph, nodes)
    return graph


def _behind_producers(graph: Graph, added: list[Node]) -> list[Node]:
    """The graph's nodes with each of `added` behind the node that computes its input."""
    readers = {node.inputs[0]: node for node in added}
    nodes = [readers[name] for name in graph.inputs if name in readers]
    for node in graph.nodes:
        nodes.append(node)
        if node.output in readers:
            nodes.append(readers[node.output])
    return nodes


def layout_problem(graph: Graph, node: Node) -> str | None:
    """What is wrong with the layouts around a node, None if they are as docs/architecture.md asks."""
    result, rule = graph.tensors[node.output], OPS[node.op].layout
    images = [
        name for name in node.inputs
        if name is not None and not graph.tensors[name].is_constant and not rule.reads_any(graph, node, name)
    ]  # fmt: skip
    layouts = {graph.tensors[name].layout for name in images}
    if rule.changes:
        wanted, given = rule.changes
        return None if layouts == {wanted} and result.layout == given else f"must turn {wanted} into {given}"
    demand = rule.demand(graph, node)
    if demand == EITHER:
        return None if layouts == {result.layout} else "its activations must have one layout"
    if not layouts <= {demand}:
        return f"needs {demand} inputs"
    wanted = demand if len(result.shape) == 4 else "plain"
    return None if result.layout == wanted else f"its output must be {wanted}"
