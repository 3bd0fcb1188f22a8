"""Checks proof files by itself: this file, numpy and the standard library, nothing of what made the proof. `python check_proof.py PROOF [--network NET.onnx]`.

A proof file is a zip of header.json and .npy arrays: a network, and by sample an input set, what outputs would be unsafe, and leaves that cover it: for each
clause boxes that fill it, and for each box a binary tree of signs of ReLUs' inputs. Or trees, and boxes. Every sum and product in float64 is widened by what
rounding can do: n products summed in any order are off by at most n u / (1 - n u) of the sum of their magnitudes, u = 2^-53 (Higham, Accuracy and Stability,
section 3.1). Trusted are this file, Python, and numpy, whose products have to be such sums. Of slopes, multipliers and weights nothing is trusted: all that are
in range prove only what is true.
"""
# ruff: noqa: B905

import argparse
import copy
import hashlib
import io
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "sparring proof 1"
EPS = 2.0**-52  # 2 u
TINY = 1e-280  # more than all products that underflow can lose, by unit of what they are multiplied with
ROOM, RATIO = 1 << 28, 100  # bytes that a file may unpack to, or how many times its own
BLOCK = 1 << 22  # numbers in one array of a block
AFFINE = ("Linear", "Conv", "ConvTranspose", "Scale", "Reshape", "Select")


class Rejected(Exception):
    """Represent the file proves nothing.

    Whatever else goes wrong is no proof either.
    """


def need(condition: Any, reason: str) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise Rejected(reason)


def whole(value: Any, least: int, most: int, what: str) -> int:
    """Return the value, if it is such a number."""
    need(type(value) is int and least <= value <= most, f"{what} is {value!r}, not a whole number from {least} to {most}")
    return value


def gamma(terms: int) -> float:
    """Return twice n u and some, for sums of so many products and a few operations on top."""
    return (terms + 16) * EPS


class File:
    """Represent a proof file.

    Arrays have to have exactly the type and shape that is asked for, and finite numbers.
    """

    def __init__(self, path: str):
        need(Path(path).is_file() or not Path(path).exists(), "it is a folder, a pipe or a device")
        self.zip = zipfile.ZipFile(path)
        sizes = {entry.filename: entry.file_size for entry in self.zip.infolist()}
        need(len(sizes) == len(self.zip.infolist()) and sum(sizes.values()) <= max(ROOM, RATIO * Path(path).stat().st_size), "an entry twice, or too large")
        self.header = json.loads(self.zip.read("header.json"))
        need(self.header["format"] == FORMAT, f"its format is {self.header['format']!r}, not {FORMAT!r}")

    def array(self, name: str, kind: str, *shape: int | None) -> np.ndarray:
        """Read an array of the file.

        shape: None for any length; without any, every shape is good.
        """
        content = io.BytesIO(self.zip.read(f"{name}.npy"))
        need(np.lib.format.read_magic(content) == (1, 0), f"{name} has another version of .npy")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(content)
        need(dtype == np.dtype(kind) and not fortran, f"{name} has type {dtype}, not {kind}")
        fits = not shape or (len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found)))
        need(fits and math.prod(found) * dtype.itemsize == len(content.getvalue()) - content.tell(), f"{name} has shape {found}, not {shape} or what it holds")
        values = np.frombuffer(content.read(), dtype).reshape(found)
        need(np.isfinite(values).all(), f"{name} holds numbers that are not finite")
        return values


class Graph:
    """Hold the network of the file.

    nodes: dicts with operator, inputs, fields, shape, count, and of affine ones constant [count] and terms. relus: what each takes. fingerprint: sha256.
    """

    def __init__(self, file: File):
        digest, self.nodes = hashlib.sha256(), []
        for place, entry in enumerate(file.header["network"]):
            node = {}
            for name, value in entry.items():
                if isinstance(value, str) and name != "operator":
                    value = file.array(value, "<i8" if name == "index" else "<f8")
                    digest.update(f"{name} torch.{value.dtype} {value.shape}".encode() + value.tobytes())
                else:
                    value = tuple(value) if isinstance(value, list) and name != "inputs" else value
                    digest.update(f"{name} {value}".encode())
                node[name] = value
            shapes = [self.nodes[whole(before, 0, place - 1, f"an input of node {place}")]["shape"] for before in node["inputs"]]
            need((node["operator"] == "Input") == (place == 0), "the first node and no other is the input")
            node["shape"] = shape_of(node, shapes)
            node["count"] = math.prod(node["shape"])
            self.nodes.append(node)
        self.fingerprint, self.last, self.step = digest.hexdigest(), len(self.nodes) - 1, max(1, BLOCK // max(node["count"] for node in self.nodes))
        self.relus = {place: node["inputs"][0] for place, node in enumerate(self.nodes) if node["operator"] == "Relu"}


def shape_of(node: dict, shapes: list[tuple]) -> tuple:
    """Return the shape of a node's value.

    Of what a node gives for values of these shapes, which have to fit. Sets constant and terms (products summed at most) of affine nodes.
    """
    kind, shape, bias, terms = node["operator"], shapes[0] if shapes else tuple(node["size"]), node.get("bias"), 2
    need(len(shapes) == (kind != "Input") or kind in ("Add", "Concat"), f"{kind} of {len(shapes)} values")
    if kind == "Concat":
        axis = whole(node["axis"], 0, len(shape) - 1, "axis")
        need({one[:axis] + one[axis + 1 :] for one in shapes} == {shape[:axis] + shape[axis + 1 :]}, "values side by side that do not fit")
        return (*shape[:axis], sum(one[axis] for one in shapes), *shape[axis + 1 :])
    if kind == "Linear":
        need(node["weight"].ndim == 2 and shape[-1:] == node["weight"].shape[1:], f"a weight {node['weight'].shape} on a value {shape}")
        shape, terms = (*shape[:-1], len(node["weight"])), max(node["weight"].shape)
    elif kind in ("Conv", "ConvTranspose"):
        shape, terms = convolution_shape(node, shape)
        bias = bias if bias is None else bias.reshape(shape[0], *[1] * (len(shape) - 1))
    elif kind == "Scale":
        node["factor"], bias = np.broadcast_to(node["factor"], shape).ravel(), node["shift"]
    elif kind == "Reshape":
        need(math.prod(node["size"]) == math.prod(shape), f"{shape} cannot be reshaped to {node['size']}")
        shape = node["size"]
    elif kind == "Select":
        need(((node["index"] >= -1) & (node["index"] < math.prod(shape))).all(), "a place that is not there is selected")
        shape, terms = node["index"].shape, node["index"].size
    else:
        need(kind in ("Input", "Add", "Relu") and set(shapes) <= {shape}, f"{kind} of values {shapes} is not known")
    need(all(whole(side, 1, 1 << 40, "a side") for side in shape), "no shape")
    node["constant"] = np.broadcast_to(0.0 if bias is None else bias, shape).ravel()
    node["terms"] = terms if bias is None else max(terms, math.prod(shape))
    return shape


def convolution_shape(node: dict, shape: tuple) -> tuple[tuple, int]:
    """Return the shape of a convolution.

    (shape, products summed at most) of a convolution over one or two axes; sets what `slide` needs.
    """
    weight, axes = node["weight"], node["weight"].ndim - 2
    need(axes in (1, 2) and len(shape) == axes + 1, f"a convolution with weight {weight.shape} of a value {shape}")
    kernel, sides, steps = (1, *weight.shape[2:])[-2:], (1, *shape[1:])[-2:], []
    for name, least in (("stride", 1), ("dilation", 1), ("padding", 0), ("output_padding", 0)):
        given = node.get(name, (0,) * axes)
        need(len(given) == axes, f"{name} {given} of a convolution over {axes} axes")
        steps.append((least, *(whole(one, least, 1 << 20, name) for one in given))[-2:])
    groups, transposed = whole(node["groups"], 1, len(weight), "groups"), node["operator"] == "ConvTranspose"
    rest, channels = list(zip(sides, kernel, *steps)), (weight.shape[1] * groups, len(weight))
    inner, outer = channels[::-1] if transposed else channels
    out = [(z - 1) * s - 2 * p + d * (k - 1) + o + 1 if transposed else (z + 2 * p - d * (k - 1) - 1) // s + 1 for z, k, s, d, p, o in rest]
    node["small"], node["large"] = [(inner, *sides), (outer, *out)][:: 1 if transposed else -1]
    need(inner == shape[0] and len(weight) % groups == 0 and min(*out, *kernel) > 0, f"a weight {weight.shape} in {groups} groups on a value {shape}")
    node["slide"] = groups, kernel, *steps[:3]
    return (outer, *out[2 - axes :]), max(outer, inner) * math.prod(kernel)


def slide(node: dict, x: np.ndarray, weight: np.ndarray, forward: bool) -> np.ndarray:
    """Compute a convolution or its adjoint.

    The convolution of x [n, numbers] from large to small, or its adjoint: kernel place by kernel place.
    """
    groups, kernel, (s, t), (d, e), (p, q) = node["slide"]
    (wide, height, width), (narrow, rows, columns) = node["large"], node["small"]
    weight = weight.reshape(groups, narrow // groups, wide // groups, *kernel)
    large = np.zeros((len(x), groups, wide // groups, height + 2 * p, width + 2 * q))
    inside = large[..., p : p + height, q : q + width]
    small = np.zeros((len(x), groups, narrow // groups, rows * columns)) if forward else x.reshape(len(x), groups, -1, rows * columns)
    inside[...] = x.reshape(inside.shape) if forward else 0.0
    for i, j in np.ndindex(*kernel):
        here = large[..., i * d : i * d + s * (rows - 1) + 1 : s, j * e : j * e + t * (columns - 1) + 1 : t]
        if forward:
            small += weight[..., i, j] @ here.reshape(*here.shape[:3], -1)
        else:
            here += (weight[..., i, j].swapaxes(1, 2) @ small).reshape(here.shape)
    return (small if forward else inside).reshape(len(x), -1)


def linear(node: dict, before: dict, x: np.ndarray, backward: bool = False, absolute: bool = False) -> np.ndarray:
    """Return a x, |A| x, or backward x A, for x [n, numbers]."""
    kind, change = node["operator"], np.abs if absolute else np.asarray
    if kind == "Linear":
        weight = change(node["weight"]) if backward else change(node["weight"]).T
        return (x.reshape(-1, len(weight)) @ weight).reshape(len(x), -1)
    if kind == "Scale":
        return x * change(node["factor"])
    if kind == "Select":
        index = node["index"].ravel()
        if not backward:
            return np.where(index >= 0, x[:, index], 0.0)
        found = np.zeros((before["count"], len(x)))
        np.add.at(found, index[index >= 0], x.T[index >= 0])
        return found.T
    return x if kind == "Reshape" else slide(node, x, change(node["weight"]), (kind == "Conv") != backward)


def dot(g: np.ndarray, values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return g [k, numbers] times values [1 or n, numbers] of the owners, [k]."""
    return g @ values[0] if len(values) == 1 else np.einsum("kn,kn->k", g, values[owner])


class Region:
    """Hold bounds of the network over boxes.

    Bounds of all nodes over n boxes. low, high: by node [n, numbers]; size: at most so large are the magnitudes; reach: |A| size + |b| of affine nodes.
    ball: None or (center [numbers], radius, order 1 or 2) of a ball that the one box is cut with.
    """

    def __init__(self, graph: Graph, low: np.ndarray, high: np.ndarray, ball: tuple | None = None):
        self.graph, self.ball, bent = graph, ball, ball is not None
        self.low, self.high, self.size, self.reach = [low], [high], [np.maximum(np.abs(low), np.abs(high))], [low[:, :0]]
        for place in range(1, graph.last + 1):
            self.reach.append(self.reach[0])
            low, high = self.interval(place)
            self.low, self.high, self.size = [*self.low, low], [*self.high, high], [*self.size, np.maximum(np.abs(low), np.abs(high))]
            bent |= place in graph.relus
            if bent and place in graph.relus.values():
                owner, index = ((low < 0) & (high > 0)).nonzero()
                self.tighten(place, np.tile(owner, 2), np.tile(index, 2), np.repeat([1.0, -1.0], len(owner)))
                self.size[place] = np.maximum(np.abs(low), np.abs(high))

    def interval(self, place: int) -> tuple[Any, ...]:
        """Return (low, high) of a node from those before it."""
        node, nodes = self.graph.nodes[place], self.graph.nodes
        kind, before = node["operator"], [(self.low[one], self.high[one]) for one in node["inputs"]]
        low, high = before[0]
        if kind in AFFINE:
            first, size = nodes[node["inputs"][0]], self.size[node["inputs"][0]]
            self.reach[place] = (linear(node, first, size, absolute=True) + np.abs(node["constant"])) * (1 + 1e-9)
            middle = (low + high) / 2
            spread = linear(node, first, np.maximum(high - middle, middle - low) * (1 + 2 * EPS), absolute=True)
            center, spread = linear(node, first, middle) + node["constant"], spread + gamma(node["terms"]) * self.reach[place] + TINY
            return center - spread, center + spread
        if kind == "Add":
            slack = gamma(len(before)) * sum(self.size[one] for one in node["inputs"]) + TINY
            return sum(one[0] for one in before) - slack, sum(one[1] for one in before) + slack
        if kind == "Concat":
            shapes = [nodes[one]["shape"] for one in node["inputs"]]
            low, high = ([side.reshape(-1, *shape) for side, shape in zip(sides, shapes)] for sides in zip(*before))
            return tuple(np.concatenate(sides, node["axis"] + 1).reshape(len(sides[0]), -1) for sides in (low, high))
        return np.maximum(low, 0), np.maximum(high, 0)

    def tighten(self, place: int, owner: np.ndarray, index: np.ndarray, sign: np.ndarray, slopes: dict | None = None, push: dict | None = None) -> None:
        """Cut the bounds of single numbers of a node with backward bounds.

        Sign +1 is from below, -1 from above.
        """
        for cut in (slice(begin, begin + self.graph.step) for begin in range(0, len(index), self.graph.step)):
            rows = np.zeros((len(index[cut]), self.graph.nodes[place]["count"]))
            rows[np.arange(len(rows)), index[cut]] = sign[cut]
            here, pushed = ({bend: one[cut] for bend, one in (many or {}).items()} for many in (slopes, push))
            found = self.least(place, rows, owner[cut], here, pushed)
            for side, which, value in ((self.low, sign[cut] > 0, found), (self.high, sign[cut] < 0, -found)):
                (np.maximum if side is self.low else np.minimum).at(side[place], (owner[cut][which], index[cut][which]), value[which])

    def least(self, place: int, rows: np.ndarray, owner: np.ndarray, slopes: dict, push: dict, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """Return lower bounds of rows [k, numbers] , [k].

        (value of a node) + shift, over the boxes of their owners, where push . (what goes into the bend) <= 0.
        """
        waiting, constant, best = {place: rows}, np.zeros(len(rows)) + shift, np.full(len(rows), -np.inf)
        error = np.zeros(len(rows)) + TINY * (1 + sum(float(size.max(0).sum()) for size in self.size[: place + 1]))
        for here in range(place, -1, -1):
            if here in waiting or here == 0:  # what holds if the values so far are anything in their bounds
                parts = [dot(np.maximum(g, 0), self.low[one], owner) + dot(np.minimum(g, 0), self.high[one], owner) for one, g in waiting.items()]
                slack = error + sum((g.shape[1] + 16) * self.rounding(g, one, owner) for one, g in waiting.items())
                best = np.maximum(best, constant + sum(parts) - slack - 8 * EPS * (np.abs(constant) + slack + sum(map(np.abs, parts))))
            if here in waiting and here > 0:
                pieces, value, slack = self.back(here, waiting.pop(here), owner, slopes, push)
                constant = constant + value
                error = error + slack + EPS * np.abs(constant)
                for before, g in zip(self.graph.nodes[here]["inputs"], pieces):
                    if before in waiting:
                        g = waiting[before] + g
                        error = error + self.rounding(g, before, owner)
                    waiting[before] = g
        if self.ball is not None:
            best = np.maximum(best, self.over_ball(waiting.get(0, np.zeros((len(rows), 1)))) + constant - error - 8 * EPS * np.abs(constant))
        need(np.isfinite(best).all(), "bounds that are not finite")
        return best

    def rounding(self, g: np.ndarray, here: int, owner: np.ndarray) -> np.ndarray:
        """Bound the effect of rounding.

        [k]: what rounding each number of g once can change of g . (value of a node).
        """
        return EPS * dot(np.abs(g), self.size[here], owner)

    def back(self, here: int, g: np.ndarray, owner: np.ndarray, slopes: dict, push: dict) -> tuple[list, Any, Any]:
        """Propagate a linear bound back by one node.

        g . (value of a node) is at least the sum of pieces, one for each value that it takes, times those, plus a number [k], but for rounding by [k].
        """
        node, nodes = self.graph.nodes[here], self.graph.nodes
        if node["operator"] in AFFINE:
            slack = gamma(node["terms"]) * dot(np.abs(g), self.reach[here], owner)
            return [linear(node, nodes[node["inputs"][0]], g, backward=True)], g @ node["constant"], slack
        if node["operator"] == "Add":
            return [g] * len(node["inputs"]), 0.0, 0.0
        if node["operator"] == "Concat":
            ends = np.cumsum([nodes[one]["shape"][node["axis"]] for one in node["inputs"]])[:-1]
            return [one.reshape(len(g), -1) for one in np.split(g.reshape(-1, *node["shape"]), ends, node["axis"] + 1)], 0.0, 0.0
        (before,) = node["inputs"]
        low, high = self.low[before], self.high[before]
        split = (low < 0) & (high > 0)
        chord = np.where(split, np.minimum(high / np.where(split, high - low, 1.0), 1.0), low >= 0)
        above = np.where(split, np.maximum(-chord * low, (1 - chord) * high) * (1 + 8 * EPS) + TINY, 0.0)
        value, flat = dot(np.minimum(g, 0), above, owner), high >= -low
        slack = gamma(g.shape[1]) * np.abs(value) + self.rounding(g, before, owner)
        split, chord, flat, on = (one if len(one) == 1 else one[owner] for one in (split, chord, flat, low >= 0))
        g = np.maximum(g, 0) * np.where(split, slopes.get(here, flat), on) + np.minimum(g, 0) * chord + push.get(here, 0.0)
        return [g], value, slack + self.rounding(g, before, owner)

    def over_ball(self, g: np.ndarray) -> np.ndarray:
        """Bound a linear function over box and ball.

        [k]: lower bounds of g . x over the box and the ball: g is cut into what the ball and what the box bounds, where the two cost least together.
        """
        (center, radius, order), low, high = self.ball or (0.0, 0.0, 1), self.low[0][0], self.high[0][0]
        steep, room = np.abs(g), np.where(g > 0, center - low, high - center)
        near, far = np.zeros((len(g), 1)), (steep.max(1, keepdims=True) if order == 1 else np.sqrt((steep * steep).sum(1, keepdims=True)) / radius)
        for _ in range(60):  # every cut is sound
            middle = (near + far) / 2
            step = room * (steep > middle) if order == 1 else np.minimum(steep / (middle + TINY), room)
            long = (step if order == 1 else step * step).sum(1, keepdims=True) > radius**order
            near, far = np.where(long, middle, near), np.where(long, far, middle)
        own = np.copysign(np.minimum(steep, far if order == 1 else far * room), g)
        cost = radius * (np.abs(own).max(1) if order == 1 else np.sqrt((own * own).sum(1)))
        found = own @ center - cost + np.maximum(g - own, 0) @ low + np.minimum(g - own, 0) @ high
        return found - gamma(4 * g.shape[1]) * (steep @ self.size[0][0] + cost) - 1e-150 * radius * g.shape[1]


def signs_cover(leaves: list[dict]) -> bool:
    """Return whether the leaves cover all choices of signs.

    Do the leaves, dicts from number to sign, belong to a binary tree, so that every choice of signs is one of theirs? Uses them up.
    """
    stack = [leaves]
    while stack:
        own = stack.pop()
        if any(not leaf for leaf in own):
            continue
        number = next((number for number in (own[0] if own else ()) if all(number in leaf for leaf in own)), None)
        if number is None:
            return False
        stack += [[leaf for leaf in own if leaf[number] == sign] for sign in (-1, 1)]
        for leaf in own:
            del leaf[number]
    return True


def boxes_cover(low: np.ndarray, high: np.ndarray, bottom: np.ndarray, top: np.ndarray, before: Callable = lambda value, axis: value) -> bool:
    """Return whether boxes fill a box.

    Do boxes [n, axes] fill the one from bottom to top? Cut where none is cut, until one holds the part. before: the last number below a cut that counts.
    """
    stack = [(np.arange(len(low)), bottom, top)]
    while stack:
        own, bottom, top = stack.pop()
        if ((low[own] <= bottom) & (high[own] >= top)).all(1).any():
            continue
        for axis in range(len(bottom)):
            order = own[np.argsort(low[own, axis], kind="stable")]
            starts, last = low[order[1:], axis], before(low[order[1:], axis], axis)
            cuts = np.flatnonzero((np.maximum.accumulate(high[order[:-1], axis]) <= last) & (starts > bottom[axis]) & (last < top[axis]))
            if len(cuts):
                break
        else:
            return False
        cut, under, over = cuts[len(cuts) // 2], top.copy(), bottom.copy()
        under[axis], over[axis] = last[cut], starts[cut]
        stack += [(order[: cut + 1], bottom, under), (order[cut + 1 :], over, top)]
    return True


def by_bend(file: File, graph: Graph, names: dict[str, str], kind: str, most: float, count: int) -> dict:
    """Return slopes or multipliers: by the place of a ReLU [count, numbers] from 0 to most."""
    found = {int(bend): file.array(name, kind, count, graph.nodes[graph.relus[int(bend)]]["count"]) for bend, name in names.items()}
    need(all(((one >= 0) & (one <= most)).all() for one in found.values()), f"a slope or multiplier that is not from 0 to {most}")
    return found


def places(file: File, name: str, count: int | None, below: int) -> np.ndarray:
    """Read places from the file.

    int64 [count] from 0 to below.
    """
    found = file.array(name, "<i8", count)
    need(((found >= 0) & (found < below)).all(), f"{name} points to what is not there")
    return found


def tighten(file: File, region: Region, entry: dict[str, Any], signs: dict) -> None:
    """Do what a tightening of the file says.

    signs: of the splits of the leaves that it is about.
    """
    graph, node = region.graph, whole(entry["node"], 1, region.graph.last, "a tightened node")
    index = places(file, entry["index"], None, graph.nodes[node]["count"])
    leaf, sign = places(file, entry["leaf"], len(index), len(region.low[node])), file.array(entry["sign"], "|i1", len(index))
    need((np.abs(sign) == 1).all(), "a sign that is neither +1 nor -1")
    push = by_bend(file, graph, entry["multipliers"], "<f8", np.inf, len(index))
    slopes = by_bend(file, graph, entry["slopes"], "<f4", 1, len(index))
    region.tighten(node, leaf, index, sign.astype(float), slopes, {bend: signs[bend][leaf] * push[bend] for bend in push if bend in signs})


def check_part(file: File, region: Region, part: dict[str, Any], rows: np.ndarray, offset: np.ndarray, clause: np.ndarray) -> list[tuple[int, int, dict]]:
    """Check the leaves of one part.

    [(clause, box, splits)] of leaves, on each of which the output is safe for its clause. A leaf is a box of the region, or the part where splits hold.
    """
    graph, target = region.graph, places(file, part["clause"], None, clause.max() + 1)
    count, each = len(target), np.arange(len(target))
    box, weights = places(file, part["box"], count, len(region.low[0])), file.array(part["weights"], "<f8", count, len(rows))
    need((weights >= 0).all() and not weights[clause != target[:, None]].any(), "weights below 0, or for rows of another clause")
    here, names, signs = copy.copy(region), [{} for _ in each], {}
    here.low, here.high, here.size, here.reach = ([one[box] for one in many] for many in (here.low, here.high, here.size, here.reach))
    for leaf, bend, index, sign in file.array(part["splits"], "<i8", None, 4).tolist():
        need(0 <= leaf < count and bend in graph.relus and 0 <= index < graph.nodes[bend]["count"] and sign in (-1, 1), "a split of what is not there")
        need((bend, index) not in names[leaf], "a leaf splits a number twice")
        names[leaf][bend, index] = sign
        signs.setdefault(bend, np.zeros((count, graph.nodes[bend]["count"])))[leaf, index] = sign
    for bend, sign in signs.items():
        low, high = here.low[graph.relus[bend]], here.high[graph.relus[bend]]
        low[sign < 0], high[sign > 0] = np.maximum(low[sign < 0], 0), np.minimum(high[sign > 0], 0)
    for entry in part["tightenings"]:
        tighten(file, here, entry, signs)
    push = {bend: signs[bend] * one for bend, one in by_bend(file, graph, part["multipliers"], "<f8", np.inf, count).items() if bend in signs}
    slack = gamma(len(rows)) * (weights @ np.abs(offset) + dot(weights @ np.abs(rows), here.size[-1], each)) + TINY
    least = here.least(graph.last, weights @ rows, each, by_bend(file, graph, part["slopes"], "<f4", 1, count), push, weights @ offset - slack)
    empty = sum((low > high).any(1) for low, high in zip(here.low, here.high)) > 0
    need(((least > 0) | empty).all(), "a leaf on which no weighted sum of rows is proved to be positive")
    return list(zip(target.tolist(), box.tolist(), names))


def check_sample(file: File, graph: Graph, sample: dict[str, Any]) -> str:
    """Return in words what the leaves of one sample prove."""
    count = graph.nodes[0]["count"]
    low, high = (file.array(sample[side], "<f8", count) for side in ("low", "high"))
    rows = file.array(sample["rows"], "<f8", None, graph.nodes[-1]["count"])
    offset, clause = file.array(sample["offset"], "<f8", len(rows)), file.array(sample["clause"], "<i8", len(rows))
    need((low <= high).all() and set(clause.tolist()) == set(range(clause.max() + 1)), "an empty set, or clauses that are not numbered from 0 without gaps")
    if (ball := sample["ball"]) is not None:
        ball = file.array(ball["center"], "<f8", count), float(file.array(ball["radius"], "<f8")), whole(ball["order"], 1, 2, "the order of a norm")
        need((low <= ball[0]).all() and (ball[0] <= high).all() and ball[1] > 0, "a ball whose center is not in the box, or without radius")
    root, done, covered = Region(graph, low[None], high[None], ball), 0, {one: {} for one in clause.tolist()}
    for number, part in sorted(enumerate(sample["parts"]), key=lambda one: one[1]["tightened"]):
        for entry in sample["tightenings"][done : whole(part["tightened"], done, len(sample["tightenings"]), "a count of tightenings")]:
            tighten(file, root, entry, {})
            done += 1
        region, number = root, -1 if part["boxes"] is None else number
        if number >= 0:
            bottom, top = (file.array(part["boxes"][side], "<f8", None, count) for side in ("low", "high"))
            need(bottom.shape == top.shape and (bottom <= top).all(), "a box with low above high")
            region = Region(graph, bottom, top)
        for target, box, splits in check_part(file, region, part, rows, offset, clause):
            covered[target].setdefault((number, box), (region.low[0][box], region.high[0][box], []))[2].append(splits)
    for boxes in covered.values():
        held = [(bottom, top) for bottom, top, leaves in boxes.values() if signs_cover(leaves)]
        bottom, top = np.array(held).reshape(-1, 2, count).swapaxes(0, 1)
        need(boxes_cover(bottom, top, low, high), "the leaves of a clause do not cover the input set")
    return words(low, high, ball, rows, offset, clause)


def check_trees(file: File, sample: dict[str, Any], trees: dict[str, np.ndarray]) -> str:
    """Check the proofs of a tree ensemble.

    trees: feature (-1 at a leaf), edge, left, right [nodes]: left is row[feature] <= edge; value [nodes, classes], root [trees], base [classes].
    """
    feature, value, base, count, classes = trees["feature"], trees["value"], trees["base"], len(trees["root"]), trees["value"].shape[1]
    low, inner = file.array(sample["low"], "<f8", None), np.flatnonzero(feature >= 0)
    high, integral = file.array(sample["high"], "<f8", len(low)), file.array(sample["whole"], "|i1", len(low)) == 1
    need(trees["root"].min() >= 0 and feature.max() < len(low) and (low <= high).all() and sample["rivals"], "an empty box, or a root that is not there")
    need(all((trees[side][inner] > inner).all() for side in ("left", "right")), "a node whose children do not come after it")
    right, margin = whole(sample["right"], 0, classes - 1, "a class"), float(file.array(sample["margin"], "<f8"))
    for name, boxes in sample["rivals"].items():
        rival = whole(int(name), 0, classes - 1, "a class")
        bottom, top = (file.array(boxes[side], "<f8", None, len(low)) for side in ("low", "high"))
        lead, total = value[:, right] - value[:, rival], np.full(len(bottom), base[right] - base[rival])
        for root in trees["root"].tolist():
            least, stack = np.full(len(bottom), np.inf), [(root, np.arange(len(bottom)))]
            while stack:
                node, own = stack.pop()
                if feature[node] < 0:
                    least[own] = np.minimum(least[own], lead[node])
                elif len(own):
                    stack.append((trees["left"][node], own[bottom[own, feature[node]] <= trees["edge"][node]]))
                    stack.append((trees["right"][node], own[top[own, feature[node]] > trees["edge"][node]]))
            total = total + least
        total = total - gamma(4 * count) * (np.abs(base).max() + count * np.abs(value).max())
        need((total > margin).all(), f"a box in which class {rival} may come near class {right}")
        filled = boxes_cover(bottom, top, low, high, lambda cut, axis: np.ceil(cut) - 1 if integral[axis] else np.nextafter(cut, -np.inf))
        need(filled, f"the boxes for class {rival} do not fill the box")
    return tree_words(low, high, integral, right, margin, sample["rivals"])


def tree_words(low: np.ndarray, high: np.ndarray, integral: np.ndarray, right: int, margin: float, rivals: Iterable[str]) -> str:
    """Return in words what is proved of one sample of a tree ensemble."""
    where = f"for float64 rows from {ends(low, high)} (whole numbers in columns {np.flatnonzero(integral).tolist()})"
    return f"{where} the leaves of class {right} add up to over {margin!r} more than those of each of {list(map(int, rivals))}"


def ends(low: np.ndarray, high: np.ndarray) -> str:
    """Return the first sides of a box."""
    return ", ".join(f"{bottom!r} to {top!r}" for bottom, top in zip(low[:5].tolist(), high[:5].tolist())) + (", ..." if len(low) > 5 else "")


def words(low: np.ndarray, high: np.ndarray, ball: tuple | None, rows: np.ndarray, offset: np.ndarray, clause: np.ndarray) -> str:
    """Return in words what is proved of one sample."""
    near = "" if ball is None else f", and within L{ball[2]} distance {ball[1]!r} of the center,"
    label, unit = int(rows[0].argmax()), np.eye(rows.shape[1])
    expected = unit[label] - np.delete(unit, label, 0)
    if np.array_equal(rows, expected) and not offset.any() and (clause == np.arange(len(rows))).all():
        return f"for all inputs from {ends(low, high)}{near} output {label} is greater than each other of the {len(unit)}"
    texts = [" ".join(f"{one:+.17g} y{place}" for place, one in enumerate(row) if one) + f" {shift:+.17g} <= 0" for row, shift in zip(rows, offset)]
    unsafe = [" and ".join(text for text, one in zip(texts, clause) if one == number) for number in range(clause.max() + 1)]
    return f"for no input from {ends(low, high)}{near} does this hold: " + "; or ".join(unsafe)


def check(path: str, network: str | None = None) -> list[str]:
    """Return the statements that a file proves.

    Raises Rejected, or something else where it cannot be read.
    """
    file = File(path)
    if network is not None:
        need(hashlib.sha256(Path(network).read_bytes()).hexdigest() == file.header["source"]["sha256"], f"it was not made from {network}")
    with np.errstate(all="ignore"):
        if "trees" in file.header:
            names = ("feature", "edge", "left", "right", "value", "root", "base")
            trees = {name: file.array(file.header["trees"][name], "<f8" if name in ("edge", "value", "base") else "<i8") for name in names}
            name = "trees with sha256 " + hashlib.sha256(b"".join(array.tobytes() for array in trees.values())).hexdigest()
            found = [check_trees(file, sample, trees) for sample in file.header["samples"]]
        else:
            graph = Graph(file)
            name = f"network with sha256 {graph.fingerprint}, in real arithmetic"
            found = [check_sample(file, graph, sample) for sample in file.header["samples"]]
    need(found and file.header["statement"] == found, "it is about no input at all, or what it says in words is not what it proves")
    return [f"{len(found)} statements of the {name}:", *found]


def main(given: list[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(description="Check a proof file. Exit code 0: verified, 1: rejected, 2: it cannot be read.")
    parser.add_argument("proof")
    parser.add_argument("--network", help="the ONNX file that it is about")
    try:
        said, code = ["verified:", *check(*vars(parser.parse_args(given)).values())], 0
    except Exception as error:
        said, code = ([f"REJECTED: {error}"], 1) if isinstance(error, Rejected) else ([f"cannot be read: {type(error).__name__}: {error}"], 2)
    print("\n".join("".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line) for line in said))  # names control no terminal
    return code


if __name__ == "__main__":
    sys.exit(main())
