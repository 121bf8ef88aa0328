"""Dead channels: what is removed, what must stay, and that outputs do not change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import networks
from tulle import tflite
from tulle.graph import Graph, Node, Tensor, reference
from tulle.graph.stats import total_macs
from tulle.passes import lower
from tulle.passes.dead_channels import remove_dead_channels
from tulle.passes.explicit_padding import explicit_padding
from tulle.passes.fold_constants import fold_constants
from tulle.passes.fuse_activations import fuse_activations
from tulle.passes.known_channels import known_channels
from tulle.passes.lowering_report import Report
from tulle.zoo.builder import Builder


def edit(build: Builder, name: str, change: Callable[[np.ndarray], None]) -> None:
    """Changes a constant of the graph being built."""
    data = build.graph.tensors[name].data
    assert data is not None
    copy = data.copy()
    change(copy)
    build.graph.tensors[name].data = copy


def kill(build: Builder, layer: str, channels: list[int], bias: float) -> None:
    """Zeroes the weights of some output channels and gives them a bias: their result is constant."""
    depthwise = build.graph.tensors[f"{layer}/weight"].shape[0] == 1
    where = (..., channels) if depthwise else (channels,)
    edit(build, f"{layer}/weight", lambda weight: weight.__setitem__(where, 0))
    edit(build, f"{layer}/bias", lambda values: values.__setitem__(channels, bias))


def channels(graph: Graph) -> dict[str, int]:
    return {node.name: graph.tensors[node.output].shape[-1] for node in graph}


def removed(build: Builder, *outputs: str) -> tuple[Graph, Graph]:
    """The finished graph and the one without dead channels, which has been found to compute the same."""
    graph = explicit_padding(build.finish(*outputs))
    after = remove_dead_channels(graph)
    assert networks.same_outputs(graph, after)
    return graph, after


def inverted_residual(padding: str, activation: str = "relu6") -> Builder:
    """expand (8) -> depthwise (8) -> project (4) over a 6x6 image with 4 channels; nothing is dead yet."""
    build = networks.builder()
    x = build.input("x", (1, 6, 6, 4))
    x = build.conv2d(x, "expand", 8, activation=activation)
    x = build.depthwise_conv2d(x, "depthwise", activation=activation)
    build.graph.nodes[-1].attrs["padding"] = padding
    if padding == "valid":
        build.graph.tensors["depthwise"].shape = (1, 4, 4, 8)
    build.conv2d(x, "project", 4)
    for name in ("expand/bias", "depthwise/bias", "project/bias"):
        edit(build, name, lambda bias: bias.__setitem__(slice(None), networks.noise_array(bias.shape, 5)))
    return build


def test_nothing_is_removed_from_a_network_without_dead_channels() -> None:
    graph, after = removed(inverted_residual("same"), "project")
    assert str(after) == str(graph)
    assert all(after.tensors[name].data is graph.tensors[name].data for name in graph.tensors)


def test_zero_depthwise_weights_make_a_constant_whatever_the_border() -> None:
    """As in hand_landmark_full: the same channels are zero in the expansion and in the depthwise convolution."""
    build = inverted_residual("same")
    kill(build, "expand", [1, 4, 5], bias=0.7)
    kill(build, "depthwise", [1, 4, 5], bias=0.3)
    graph, after = removed(build, "project")
    assert channels(after) == {"expand": 5, "depthwise": 5, "project": 4}
    bias = after.constant(after.nodes[-1].inputs[2])
    weight = graph.tensors["project/weight"].data
    assert bias is not None and weight is not None and bias.dtype == np.float32
    moved = 0.3 * weight[:, 0, 0, [1, 4, 5]].sum(axis=1)
    np.testing.assert_allclose(bias - graph.tensors["project/bias"].data, moved, rtol=1e-5)


def test_a_live_input_of_a_zero_depthwise_channel_goes_with_it() -> None:
    build = inverted_residual("same")
    kill(build, "depthwise", [2], bias=0.3)
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 7, "depthwise": 7, "project": 4}


def test_a_constant_in_a_padded_depthwise_is_not_constant_at_the_border() -> None:
    build = inverted_residual("same")
    kill(build, "expand", [1, 4], bias=0.7)
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 8, "depthwise": 8, "project": 4}


def test_zero_in_a_padded_depthwise_is_constant() -> None:
    build = inverted_residual("same")
    kill(build, "expand", [1, 4], bias=-0.7)  # relu6 makes it 0
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 6, "depthwise": 6, "project": 4}


@pytest.mark.parametrize(("bias", "axis", "left"), [(0.7, 1, 8), (-0.7, 1, 6), (-0.7, 3, 8)])
def test_only_sums_of_zeros_along_rows_are_constant(bias: float, axis: int, left: int) -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 6, 6, 4)), "expand", 8, activation="relu6")
    y = build.graph.add_tensor(Tensor("sums", (1, 6, 6, 8)))
    build.graph.nodes.append(Node("cumsum", y, [x], [y], {"axis": axis, "exclusive": False, "reverse": False}))
    build.conv2d(y, "project", 4)
    kill(build, "expand", [1, 4], bias)  # relu6 makes a negative one 0
    _, after = removed(build, "project")
    assert channels(after) == {"expand": left, "sums": left, "project": 4}


def test_a_constant_in_a_depthwise_without_padding_is_constant() -> None:
    build = inverted_residual("valid")
    kill(build, "expand", [1, 4], bias=0.7)
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 6, "depthwise": 6, "project": 4}


@pytest.mark.parametrize("activation", ["none", "hard_swish", "sigmoid", "tanh", "relu"])
def test_constants_pass_through_activations(activation: str) -> None:
    build = inverted_residual("same", activation)
    kill(build, "expand", [0], bias=0.9)
    kill(build, "depthwise", [0], bias=-0.6)
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 7, "depthwise": 7, "project": 4}


def test_channels_that_nobody_reads_go() -> None:
    build = inverted_residual("same")
    edit(build, "project/weight", lambda weight: weight.__setitem__((..., [0, 3, 7]), 0))
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 5, "depthwise": 5, "project": 4}


def test_a_constant_meets_padding_in_a_larger_convolution() -> None:
    for bias, left in ((0.5, 6), (-0.5, 5)):  # relu makes the second 0, which padding cannot be told from
        build = networks.builder()
        x = build.conv2d(build.input("x", (1, 5, 5, 3)), "first", 6, activation="relu")
        kill(build, "first", [2], bias)
        _, after = removed(build, build.conv2d(x, "second", 4, kernel=3))
        assert channels(after) == {"first": left, "second": 4}


def test_a_convolution_of_nothing_but_constants_is_constant_itself() -> None:
    build = networks.builder()
    x = build.conv2d(build.input("x", (1, 5, 5, 3)), "a", 6, activation="relu")
    kill(build, "a", [0, 1], bias=0.5)
    x = build.conv2d(x, "b", 6, activation="relu")
    edit(
        build, "b/weight", lambda weight: weight.__setitem__((slice(3), ..., slice(2, 6)), 0)
    )  # 3 channels read only those
    _, after = removed(build, build.conv2d(x, "c", 4))
    assert channels(after) == {"a": 4, "b": 3, "c": 4}


def test_outputs_and_inputs_keep_all_their_channels() -> None:
    build = networks.builder()
    x = build.input("x", (1, 5, 5, 3))
    y = build.conv2d(x, "y", 6)
    kill(build, "y", [0, 1], bias=0.5)
    edit(build, "y/weight", lambda weight: weight.__setitem__((..., 2), 0))  # nobody reads the input's last channel
    _, after = removed(build, y)
    assert channels(after) == {"y": 6} and after.tensors["x"].shape == (1, 5, 5, 3)


def test_a_dead_channel_that_is_also_an_output_stays_for_both_readers() -> None:
    build = inverted_residual("same")
    kill(build, "expand", [1], bias=-1)
    _, after = removed(build, "expand", "project")
    assert channels(after) == {"expand": 8, "depthwise": 8, "project": 4}


def test_a_reshape_that_mixes_channels_keeps_them() -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 3)), "conv", 6)
    kill(build, "conv", [0, 1], bias=0.5)
    y = build.node("reshape", [y], "flat", shape=(1, 96))
    weight = build.graph.add_constant("w", networks.noise_array((5, 96)))
    _, after = removed(build, build.node("fully_connected", [y, weight], "y", activation="none", keep_num_dims=False))
    assert channels(after)["conv"] == 6


@pytest.mark.parametrize(
    "op", ["mean", "reshape", "max_pool2d", "average_pool2d", "resize_bilinear", "transpose", "pad"]
)
def test_dead_channels_pass_through_ops_that_keep_channels_apart(op: str) -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 3)), "conv", 6)
    kill(build, "conv", [1, 2], bias=0.5)
    pool = {"kernel": (2, 2), "strides": (2, 2), "padding": "same", "activation": "relu"}
    image = (1, 4, 4, 6)
    if op == "mean":
        y, image = build.node(op, [y], "mid", axes=(1, 2), keep_dims=True), (1, 1, 1, 6)
    elif op == "reshape":
        y, image = build.node(op, [y], "mid", shape=(1, 2, 8, 6)), (1, 2, 8, 6)
    elif op.endswith("pool2d"):
        y, image = build.node(op, [y], "mid", **pool), (1, 2, 2, 6)
    elif op == "resize_bilinear":
        y, image = (
            build.node(op, [y], "mid", shape=(1, 7, 5, 6), align_corners=False, half_pixel_centers=True),
            (1, 7, 5, 6),
        )
    elif op == "transpose":
        y = build.node(op, [y], "mid", perm=(0, 2, 1, 3))
    else:  # around the image with the very value that the channels have
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        y, image = build.node(op, [y], "mid", pads=pads, pad_value=0.5, pad_mode="constant"), (1, 6, 6, 6)
    assert build.graph.tensors[y].shape == image
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"conv": 4, "mid": 4, "y": 4}


def test_padding_with_another_value_is_not_constant() -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 3)), "conv", 6)
    kill(build, "conv", [1, 2], bias=0.5)
    y = build.node("pad", [y], "pad", pads=((0, 0), (1, 1), (1, 1), (0, 0)), pad_value=0.0, pad_mode="constant")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"conv": 6, "pad": 6, "y": 4}


def test_channels_added_by_a_pad_are_constant() -> None:
    """As in the palm detector, where the shortcut is widened with zeros."""
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 3)), "conv", 3)
    kill(build, "conv", [0], bias=0.5)
    y = build.node("pad", [y], "pad", pads=((0, 0), (0, 0), (0, 0), (2, 4)), pad_value=1.5, pad_mode="constant")
    graph, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"conv": 2, "pad": 2, "y": 4}
    assert after.nodes[1].attrs["pads"][3] == (0, 0)
    known = known_channels(graph)["pad"]
    np.testing.assert_array_equal(known, [1.5, 1.5, 0.5, np.nan, np.nan, 1.5, 1.5, 1.5, 1.5])


def test_channels_that_are_mirrored_stay() -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 3)), "conv", 4)
    kill(build, "conv", [1], bias=0.5)
    y = build.node("pad", [y], "pad", pads=((0, 0), (0, 0), (0, 0), (2, 2)), pad_value=0.0, pad_mode="reflect")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"conv": 4, "pad": 8, "y": 4}


def test_channels_in_the_opposite_order_are_not_taken_for_the_same() -> None:
    """The constant channel is the last of those that the next layer reads; its value acts through the last weight."""
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 4, 4, 3)), "conv", 4)
    kill(build, "conv", [0], bias=0.5)
    y = build.node("slice", [y], "slice", shape=(1, 4, 4, 4), begin=(0, 0, 0, 3), strides=(1, 1, 1, -1))
    graph, _ = removed(build, build.conv2d(y, "y", 4))
    assert np.isnan(known_channels(graph)["slice"]).all()


def test_a_sum_keeps_what_either_side_needs() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 3))
    a, b = build.conv2d(x, "a", 6), build.conv2d(x, "b", 6)
    kill(build, "a", [0, 1], bias=0.5)
    kill(build, "b", [1, 2], bias=0.25)
    y = build.node("add", [a, b], "add", activation="relu")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"a": 5, "b": 5, "add": 5, "y": 4}  # only channel 1 is constant in the sum


def test_a_product_with_zero_is_zero() -> None:
    """Squeeze and excite: a dead channel stays dead whatever its gate."""
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 3))
    a = build.conv2d(x, "a", 6, activation="relu")
    kill(build, "a", [0, 3], bias=-0.5)
    gate = build.node("mean", [a], "pool", axes=(1, 2), keep_dims=True)
    gate = build.conv2d(gate, "gate", 6, activation="sigmoid")
    y = build.node("mul", [a, gate], "mul", activation="none")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"a": 4, "pool": 4, "gate": 4, "mul": 4, "y": 4}


def test_a_gate_of_one_channel_is_for_all() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 3))
    a, gate = build.conv2d(x, "a", 6, activation="relu"), build.conv2d(x, "gate", 1)
    kill(build, "a", [0, 3], bias=-0.5)
    y = build.node("mul", [a, gate], "mul", activation="none")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"a": 4, "gate": 1, "mul": 4, "y": 4}


def test_concat_loses_the_dead_channels_of_each_input() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 3))
    a, b = build.conv2d(x, "a", 5), build.conv2d(x, "b", 6)
    c = build.graph.add_constant("c", networks.noise_array((1, 1, 1, 2)).repeat(4, 1).repeat(4, 2))
    kill(build, "a", [4], bias=0.5)
    kill(build, "b", [0, 1], bias=0.25)
    y = build.node("concat", [a, c, b], "concat", axis=3, activation="none")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"a": 4, "b": 4, "concat": 8, "y": 4}
    assert len(after.nodes[2].inputs) == 2  # nothing was left of the constant


def test_concat_along_the_image_needs_them_equal() -> None:
    build = networks.builder()
    x = build.input("x", (1, 4, 4, 3))
    a, b = build.conv2d(x, "a", 5), build.conv2d(x, "b", 5)
    for layer, bias in (("a", 0.5), ("b", 0.5)):
        kill(build, layer, [1], bias)
    kill(build, "a", [2], bias=0.5)
    kill(build, "b", [2], bias=0.75)
    y = build.node("concat", [a, b], "concat", axis=1, activation="none")
    _, after = removed(build, build.conv2d(y, "y", 4))
    assert channels(after) == {"a": 4, "b": 4, "concat": 4, "y": 4}


def test_prelu_and_a_channel_multiplier() -> None:
    build = networks.builder()
    y = build.conv2d(build.input("x", (1, 5, 5, 3)), "conv", 4)
    alpha = build.graph.add_constant("alpha", networks.noise_array((1, 1, 4)))
    y = build.node("activation", [y, alpha], "prelu", activation="prelu")
    kill(build, "conv", [1], bias=-0.5)
    weight = networks.noise_array((1, 3, 3, 12))
    weight[..., [3, 4, 5, 6]] = 0  # all three of channel 1, one of channel 2
    attrs = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "activation": "none"}
    y = build.node("depthwise_conv2d", [y, build.graph.add_constant("w", weight)], "depthwise", **attrs)
    build.conv2d(y, "y", 4)
    graph = fuse_activations(explicit_padding(build.finish("y")))
    after = remove_dead_channels(graph)
    assert networks.same_outputs(graph, after)
    assert channels(after) == {"conv": 3, "depthwise": 9, "y": 4}


def test_a_network_that_is_constant_as_a_whole_still_computes() -> None:
    build = inverted_residual("same")
    kill(build, "depthwise", list(range(8)), bias=0.4)
    _, after = removed(build, "project")
    assert channels(after) == {"expand": 1, "depthwise": 1, "project": 4}


def random_network(seed: int) -> Graph:
    """Inverted residuals, squeeze and excite, pools, resizes and concats in random order, with random dead channels."""
    random = np.random.default_rng(seed)
    build = networks.builder(seed)
    x = build.conv2d(build.input("x", (1, 9, 8, 3)), "entry", 6, kernel=3, stride=2, activation="relu6")
    heads = []
    for index in range(6):
        activation = str(random.choice(["relu", "relu6", "hard_swish", "none", "sigmoid"]))
        width = build.graph.tensors[x].shape[3]
        kind = random.integers(7)
        if kind <= 2:
            stride = int(random.integers(1, 3))
            y = build.conv2d(x, f"expand{index}", 12, activation=activation)
            kernel = int(random.choice([3, 5]))
            y = build.depthwise_conv2d(y, f"depthwise{index}", kernel=kernel, stride=stride, activation=activation)
            y = build.conv2d(y, f"project{index}", width)
            x = build.node("add", [x, y], f"add{index}", activation="none") if stride == 1 else y
        elif kind == 3:
            gate = build.node("mean", [x], f"mean{index}", axes=(1, 2), keep_dims=True)
            gate = build.conv2d(gate, f"gate{index}", width, activation="sigmoid")
            x = build.node("mul", [x, gate], f"mul{index}", activation="none")
        elif kind == 4:
            y = build.conv2d(x, f"branch{index}", 5, kernel=3, activation=activation)
            x = build.node("concat", [x, y], f"concat{index}", axis=3, activation="none")
        elif kind == 5:
            size = build.graph.tensors[x].shape[1:3]
            x = build.node(
                "resize_bilinear", [x], f"resize{index}", shape=(1, size[0] + 3, size[1] * 2, width),
                align_corners=False, half_pixel_centers=True,
            )  # fmt: skip
        else:
            pads = ((0, 0), (0, 0), (0, 0), (int(random.integers(3)), 2))
            y = build.node("pad", [x], f"pad{index}", pads=pads, pad_value=0.0, pad_mode="constant")
            x = build.node(
                "average_pool2d", [y], f"pool{index}", kernel=(3, 3), strides=(1, 1), padding="same", activation="none"
            )
        if random.random() < 0.3:
            heads.append(build.conv2d(x, f"head{index}", 3))
    for node in build.graph.nodes:
        name = f"{node.name}/weight"
        if name not in build.graph.tensors:
            continue
        edit(build, f"{node.name}/bias", lambda bias: bias.__setitem__(..., random.standard_normal(bias.shape)))
        count = build.graph.tensors[node.output].shape[-1]
        dead = np.flatnonzero(random.random(count) < 0.35).tolist()
        kill(build, node.name, dead, 0.0)
        edit(
            build,
            f"{node.name}/bias",
            lambda bias, dead=dead: bias.__setitem__(dead, random.standard_normal(len(dead))),
        )  # type: ignore[misc]
        if node.op == "conv2d":  # and some that nobody reads
            unread = random.random(build.graph.tensors[name].shape[3]) < 0.2
            edit(build, name, lambda weight, unread=unread: weight.__setitem__((..., unread), 0))  # type: ignore[misc]
    return explicit_padding(build.finish(x, *heads))


def test_random_networks_compute_the_same() -> None:
    saved = 0
    for seed in range(80):
        graph = random_network(seed)
        after = remove_dead_channels(graph)
        assert networks.same_outputs(graph, after, 1e-5), seed
        assert total_macs(after) <= total_macs(graph)
        saved += total_macs(after) < 0.9 * total_macs(graph)
    assert saved > 40


def test_hand_landmark_full_loses_half_of_its_last_blocks(model_path: Callable, litert: Callable) -> None:
    path = model_path("hand_landmark_full")
    graph = explicit_padding(fold_constants(tflite.read(path)))
    after = remove_dead_channels(graph)
    report = Report()
    report.count_channels(graph, after)
    most = sorted(report.removed_channels.values())[-8:]
    assert most == [565, 565, 648, 648, 653, 653, 742, 742]  # expansion and depthwise of the last four blocks, of 1152
    assert (report.macs_before, report.macs_after) == (330_968_800, 279_024_893)
    assert report.parameters_after < 0.62 * report.parameters_before
    assert report.bytes_before - report.bytes_after == 4 * (report.parameters_before - report.parameters_after)
    inputs = networks.patchwork(graph)
    # The sigmoids are by the name of an activation here, as nothing has been fused.
    assert networks.error(reference.run(after, inputs), litert(path, inputs), graph) < 1e-5


def test_a_constant_of_one_channel_in_a_concat_is_folded_away() -> None:
    """It is known everywhere, so it goes into the convolution's bias; random models found that it stayed behind."""
    build = networks.builder()
    x = build.input("image", (1, 4, 4, 3))
    ones = build.graph.add_constant("ones", np.ones((1, 4, 4, 1), np.float32))
    y = build.node("concat", [x, ones], "wider", axis=3, activation="none")
    graph = build.finish(build.conv2d(y, "mix", 5))
    lowered = lower(graph)
    assert lowered.tensors["image"].shape == (1, 4, 4, 3)
    inputs = networks.noise(graph)
    assert networks.error(reference.run(lowered, inputs), reference.run(graph, inputs)) < 1e-6
