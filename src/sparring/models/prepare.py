"""A private copy of a model whose gradient with respect to the input comes as fast as the machine allows."""

import copy
import ctypes
import inspect
import itertools
import logging
import operator
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_flatten, tree_map

log = logging.getLogger(__name__)

Rewrite = Callable[[nn.Module, Tensor], nn.Module]  # a private module and typical inputs

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
FRESH_OUTPUT = (*CONVOLUTIONS, *BATCH_NORMS, nn.Linear, nn.MaxPool2d)
PROBE_NUMBERS = 1 << 17  # 167 MNIST or 42 CIFAR images: enough to time a layer, little enough to be quick
CLEARLY_FASTER = 0.93  # the share of the plain time that noise alone does not reach
NOT_SLOWER = 1.03
TIMING_SECONDS = 0.02


def prepare(module: nn.Module, example: Tensor, *, precision: Literal["exact", "bfloat16"] = "exact") -> nn.Module:
    """Copies a model, frozen and in eval mode, and rewrites the copy for fast gradients with respect to its input.

    `module` and the global random states stay as they are. Batch normalisation is folded into convolutions,
    and on a CPU the layout, the first convolution and the linear layers are chosen by timing. Every rewrite
    is checked against the plain copy, outputs and input gradients, and dropped (logged at debug level) when
    it disagrees, cannot be made or is not clearly faster; so gradients agree up to float rounding, but which
    rewrites are kept may differ between runs. Some allow first derivatives only and then say so. A module
    with hooks keeps them, and is copied and frozen only; one that cannot even be copied is returned as it is,
    with a warning.

    Args:
        module: takes one tensor, batch first; may return any structure of tensors.
        example: a typical batch on the module's device: its shape, range, dtype and device are what counts.
        precision: "bfloat16" computes inside in bfloat16 where that is faster, and still returns float32; 2 to
            17 % of gradient signs then differ, so points found are to be judged by the model itself.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        >>> quick = prepare(model, torch.rand(8, 1, 8, 8))
        >>> quick.training, any(p.requires_grad for p in quick.parameters()), model.training
        (False, False, True)
    """
    with torch.inference_mode(False), torch.enable_grad(), untouched_randomness(example.device):
        try:
            plain = copy.deepcopy(module).eval().requires_grad_(False)
        except Exception:  # a module may hold anything
            log.warning("%s cannot be copied and is used as it is, neither frozen nor faster", type(module).__name__)
            return module
        try:
            return _rewritten(plain, example.detach(), precision)
        except Exception:  # the model itself failed on the probe: its caller will meet the same error
            log.debug("%s is frozen only", type(module).__name__, exc_info=True)
            return plain


def _rewritten(plain: nn.Module, example: Tensor, precision: str) -> nn.Module:
    if any(_has_hooks(part) for part in plain.modules()):
        return plain
    probe = Probe.of(plain, example)
    best = probe.attempt(plain, simplified)
    if example.device.type == "cpu":
        if any(isinstance(part, nn.Conv2d) for part in plain.modules()):
            best = probe.attempt(best, channels_last, share=NOT_SLOWER)  # what it gains grows with the batch
            best = probe.attempt(best, fast_convolutions)
        if precision == "exact":
            best = probe.attempt(best, fast_linears)
    if precision == "bfloat16":
        share = CLEARLY_FASTER if example.device.type == "cpu" else 0
        best = probe.attempt(best, in_bfloat16, share=share, exact=False)
    return best


@contextmanager
def untouched_randomness(device: torch.device) -> Iterator[None]:
    """Puts the global random states of Python, NumPy and torch back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _seed(device: torch.device) -> None:
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # not `torch.manual_seed`, which reaches every device
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(0)


def _has_hooks(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds)


# Checking and timing ------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    outputs: list[Tensor]
    structure: object
    gradient: Tensor | None


class Probe(NamedTuple):
    """Inputs to compare two models on, and what the plain one answers."""

    x: Tensor
    plain: Answer

    @classmethod
    def of(cls, plain: nn.Module, example: Tensor) -> "Probe":
        x = example[: max(1, PROBE_NUMBERS // max(1, example[:1].numel()))].clone()
        if x.is_floating_point():
            low, high = example.aminmax()
            noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
            x = (x + low + noise * (high - low if high > low else 1)) / 2
        return cls(x, answer(plain, x))

    def attempt(self, best: nn.Module, rewrite: Rewrite, *, share: float = 0, exact: bool = True) -> nn.Module:
        """The rewritten copy of `best` if it agrees with the plain model (and takes that share of its time)."""
        name = getattr(rewrite, "__name__", "rewrite")
        try:
            candidate = rewrite(copy.deepcopy(best), self.x).eval().requires_grad_(False)
            agrees = self.agrees(candidate, exact)
        except Exception:  # whatever a foreign model does when rewritten, the last good copy remains
            log.debug("%s dropped: it failed", name, exc_info=True)
            return best
        if not agrees:
            log.debug("%s dropped: it disagrees with the plain model", name)
            return best
        if share and not faster(lambda: answer(candidate, self.x), lambda: answer(best, self.x), share):
            log.debug("%s dropped: it is slower", name)
            return best
        return candidate

    def agrees(self, candidate: nn.Module, exact: bool) -> bool:
        outputs, structure, gradient = answer(candidate, self.x)
        reference = self.plain
        tolerance = 1e-4 if exact else 0.1
        if structure != reference.structure or not outputs or (gradient is None) != (reference.gradient is None):
            return False
        for seen, expected in zip(outputs, reference.outputs, strict=True):
            if seen.shape != expected.shape or seen.dtype != expected.dtype:
                return False
            scale = expected.abs().amax() if expected.numel() else 0
            if not ((seen - expected).abs() <= tolerance * scale).all():
                return False
        if gradient is None or reference.gradient is None:
            return True
        # Rounding may flip a ReLU and with it one image's gradient: the usual image decides.
        rows = len(gradient)
        seen, expected = (g.reshape(rows, -1).double() for g in (gradient, reference.gradient))
        error = (seen - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-300)
        error = torch.where((seen == expected).all(1), 0.0, error)
        return bool(error.median() <= (1e-3 if exact else 0.3)) and bool(error.mean() <= (0.03 if exact else 0.5))


def answer(module: nn.Module, x: Tensor) -> Answer:
    """Outputs, their structure and the gradient of a fixed random mixture of them, from a fixed seed."""
    _seed(x.device)
    x = x.detach().requires_grad_(x.is_floating_point())
    leaves, structure = tree_flatten(module(x))
    outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    differentiable = [output for output in outputs if output.requires_grad and output.is_floating_point()]
    gradient = None
    if differentiable:
        generator = torch.Generator().manual_seed(1)
        weights = [torch.rand(output.shape, generator=generator).to(output) for output in differentiable]
        (gradient,) = torch.autograd.grad(differentiable, x, weights, allow_unused=True)
    return Answer([output.detach() for output in outputs], structure, gradient)


def faster(candidate: Callable[[], object], plain: Callable[[], object], share: float = CLEARLY_FASTER) -> bool:
    """Whether the candidate's best time is below that share of the plain one's, on one thread of the CPU.

    Turns alternate and the thread's own processor time counts, so a busy machine changes no decision.
    """
    best = [float("inf")] * 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        end = time.thread_time() + TIMING_SECONDS
        turns = 0
        while turns < 3 or (turns < 20 and time.thread_time() < end):
            for index, call in enumerate((candidate, plain)):
                start = time.thread_time()
                call()
                best[index] = min(best[index], time.thread_time() - start)
            turns += 1
    finally:
        torch.set_num_threads(threads)
    return best[0] < share * best[1]


# Rewrites of the graph ----------------------------------------------------------------------------------------------


def simplified(module: nn.Module, _: Tensor) -> nn.Module:
    """Batch normalisation folded into convolutions and, where the model can be traced, cheaper ReLUs."""
    traced = _traced(module)
    if traced is None:
        for part in module.modules():
            if type(part) is nn.Sequential:
                _fold_sequential(part)
        return module
    for rewrite in (_fold_graph, _pool_before_relu, _relu_in_place):
        for node in list(traced.graph.nodes):
            rewrite(traced, node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _traced(module: nn.Module) -> fx.GraphModule | None:
    """The module as a graph, or None where its path depends on values or chance."""
    options = list(inspect.signature(module.forward).parameters.values())[1:]
    fixed = {option.name: option.default for option in options if option.default is not inspect.Parameter.empty}
    before = _random_states()
    try:
        traced = fx.symbolic_trace(module, concrete_args=fixed or None)
    except Exception as error:
        log.debug("%s cannot be traced: %s", type(module).__name__, error)
        return None
    return traced if _random_states() == before else None  # what was drawn while tracing would stay fixed


def _random_states() -> tuple[bytes, object, bytes]:
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state()).encode()


def _fold_sequential(sequence: nn.Sequential) -> None:
    layers = list(sequence)
    for index, (layer, after) in enumerate(itertools.pairwise(layers)):
        if type(layer) in CONVOLUTIONS and _folds(after):
            sequence[index], sequence[index + 1] = _folded(layer, after), nn.Identity()


def _folds(module: nn.Module | None) -> bool:
    return isinstance(module, BATCH_NORMS) and type(module) in BATCH_NORMS and module.running_mean is not None


def _folded(convolution: nn.Module, norm: nn.Module | None) -> nn.Module:
    assert isinstance(convolution, CONVOLUTIONS)  # both are the caller's checks, repeated for the type checker
    assert isinstance(norm, BATCH_NORMS)
    return fuse_conv_bn_eval(convolution, norm)


def _layer(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def _fold_graph(graph: fx.GraphModule, node: fx.Node) -> None:
    if not _folds(_layer(graph, node)):
        return
    before = node.args[0] if node.args else None
    if not isinstance(before, fx.Node) or len(before.users) > 1:
        return
    convolution = _layer(graph, before)
    if convolution is None or type(convolution) not in CONVOLUTIONS:
        return
    name = f"folded_{before.name}"  # its own name: the convolution may be called elsewhere too
    graph.add_submodule(name, _folded(convolution, _layer(graph, node)))
    before.target = name
    node.replace_all_uses_with(before)
    graph.graph.erase_node(node)


def _is_relu(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(_layer(graph, node)) is nn.ReLU
    return node.target in (F.relu, torch.relu, torch.relu_) or (node.op == "call_method" and node.target == "relu")


def _pool_before_relu(graph: fx.GraphModule, node: fx.Node) -> None:
    """The maximum of rectified values is the rectified maximum, on fewer values."""
    relu = node.args[0] if node.args else None
    pool = _layer(graph, node)
    if type(pool) is not nn.MaxPool2d or pool.return_indices or not isinstance(relu, fx.Node):
        return
    if not _is_relu(graph, relu) or len(relu.users) > 1:
        return
    node.replace_input_with(relu, relu.args[0])  # pyright: ignore[reportArgumentType]
    graph.graph.erase_node(relu)
    with graph.graph.inserting_after(node):
        after = graph.graph.call_function(torch.relu, (node,))
    node.replace_all_uses_with(after, delete_user_cb=lambda user: user is not after)


def _relu_in_place(graph: fx.GraphModule, node: fx.Node) -> None:
    before = node.args[0] if node.args else None
    if not _is_relu(graph, node) or not isinstance(before, fx.Node) or len(before.users) > 1:
        return
    if type(_layer(graph, before)) in FRESH_OUTPUT or before.target in (operator.add, torch.add):
        with graph.graph.inserting_after(node):
            after = graph.graph.call_function(_relu_, (before,))
        node.replace_all_uses_with(after)
        graph.graph.erase_node(node)


def _relu_(x: Tensor) -> Tensor:
    """A ReLU in place that hands gradients on in the layout of its output; pooling and means tend to lose it."""
    if x.ndim == 4 and x.requires_grad and torch.is_grad_enabled() and not x.is_contiguous():
        return _LayoutKeepingReLU.apply(x)  # pyright: ignore[reportReturnType]
    return torch.relu_(x)


class _LayoutKeepingReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
        ctx.mark_dirty(x)
        ctx.save_for_backward(torch.relu_(x))
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(g.contiguous(memory_format=torch.channels_last), y, 0)


# Rewrites of layers -------------------------------------------------------------------------------------------------


def channels_last(module: nn.Module, _: Tensor) -> nn.Module:
    """Weights with the channels innermost, which convolutions pass on to all that follows."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def fast_convolutions(module: nn.Module, x: Tensor) -> nn.Module:
    """Convolutions of few input channels with the quickest input gradient."""
    return _swap_layers(module, x, _fast_convolution)


def fast_linears(module: nn.Module, x: Tensor) -> nn.Module:
    """Linear layers through the quicker of two libraries."""
    return _swap_layers(module, x, _fast_linear)


def in_bfloat16(module: nn.Module, _: Tensor) -> nn.Module:
    """The model under autocast."""
    return Bfloat16(module)


def _swap_layers(module: nn.Module, x: Tensor, replacement: Callable[[nn.Module, Tensor], nn.Module | None]) -> nn.Module:
    """Replaces layers by what `replacement` makes of the layer and the input it saw."""
    seen: dict[nn.Module, Tensor] = {}

    def remember(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            seen[layer] = inputs[0].detach()

    hooks = [part.register_forward_pre_hook(remember) for part in module.modules()]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    swapped = {layer: made for layer, given in seen.items() if (made := replacement(layer, given)) is not None}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if child in swapped:
                parent._modules[name] = swapped[child]
    return module


def _timed_layer(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    x = x.clone().requires_grad_()
    weights = torch.ones_like(layer(x))
    return lambda: torch.autograd.grad(layer(x), x, weights)


def _fast_convolution(layer: nn.Module, x: Tensor) -> nn.Module | None:
    """Few input channels leave the usual kernel for the input gradient idle; a grouped one does not."""
    if type(layer) is not nn.Conv2d or layer.in_channels > 4 or layer.groups > 1 or x.ndim != 4:
        return None
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or not x.is_floating_point():
        return None
    best: nn.Module | None = None
    for blocks in (1, 2, 4):
        candidate = BlockedConvolution(layer, (x.shape[2], x.shape[3]), blocks)
        if faster(_timed_layer(candidate, x), _timed_layer(best or layer, x)):
            best = candidate
    return best


def _blocks(size: int, kernel: int, stride: int, padding: int, dilation: int, blocks: int) -> tuple[Tensor, int, int]:
    """Which output gradients reach each position of a block of input positions, along one axis.

    Input position `p = stride * blocks * q + r` meets output `o` through tap `k` where
    `o * stride = p + padding - k * dilation`, so `o = blocks * q + t` with `t` the same for every block `q`.
    Returns the 0/1 table (position r, window place, tap k), the padding of the outputs and the count of blocks.
    """
    side = stride * blocks
    met = [(r, (r + padding - k * dilation) // stride, k) for r in range(side) for k in range(kernel) if (r + padding - k * dilation) % stride == 0]
    first, last = min(t for _, t, _ in met), max(t for _, t, _ in met)
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    count = -(-size // side)
    pad = max(-first, blocks * (count - 1) + last - (outputs - 1), 0)
    table = torch.zeros(side, last + pad + 1, kernel)
    for r, t, k in met:
        table[r, t + pad, k] = 1
    return table, pad, count


class BlockedConvolution(nn.Conv2d):
    """A convolution whose input gradient is itself a convolution, computing whole blocks of pixels as channels."""

    spread: Tensor

    def __init__(self, layer: nn.Conv2d, size: tuple[int, int], blocks: int) -> None:
        shape = layer.in_channels, layer.out_channels, layer.kernel_size
        super().__init__(*shape, layer.stride, layer.padding, layer.dilation, device="meta")  # pyright: ignore
        self.weight, self.bias = layer.weight, layer.bias
        self.size, self.blocks = size, blocks
        axes = zip(size, layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
        (rows, row_pad, row_count), (columns, column_pad, column_count) = (_blocks(*axis, blocks) for axis in axes)  # pyright: ignore
        weight = layer.weight.detach()
        spread = torch.einsum("ockl,rtk,sul->crsotu", weight, rows.to(weight), columns.to(weight))
        self.register_buffer("spread", spread.flatten(0, 2).contiguous(), persistent=False)
        self.pad, self.count = (row_pad, column_pad), (row_count, column_count)
        self.sides = len(rows), len(columns)

    def forward(self, input: Tensor) -> Tensor:
        if input.requires_grad and torch.is_grad_enabled() and input.shape[2:] == self.size:
            return _BlockedGradient.apply(input, self)  # pyright: ignore[reportReturnType]
        return super().forward(input)

    def input_gradient(self, g: Tensor) -> Tensor:
        """From the gradient of the output, (n, out, h, w), to that of the input, (n, in, H, W)."""
        tall, wide = self.sides
        rows, columns = self.count
        blocks = F.conv2d(g, self.spread.to(g.dtype), stride=self.blocks, padding=self.pad)[:, :, :rows, :columns]
        if tall == wide:
            whole = F.pixel_shuffle(blocks, tall)
        else:
            parts = blocks.unflatten(1, (self.in_channels, tall, wide)).permute(0, 1, 4, 2, 5, 3)
            whole = parts.reshape(len(g), self.in_channels, rows * tall, columns * wide)
        return whole[:, :, : self.size[0], : self.size[1]].contiguous()


class _BlockedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: BlockedConvolution) -> Tensor:  # pyright: ignore
        ctx.layer, ctx.dtype = layer, x.dtype
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        return ctx.layer.input_gradient(g).to(ctx.dtype), None


def _fast_linear(layer: nn.Module, x: Tensor) -> nn.Module | None:
    if type(layer) is not nn.Linear or x.dtype != torch.float32 or x.ndim != 2 or min(layer.weight.shape) < 32:
        return None
    candidate = OneDnnLinear(layer)
    return candidate if faster(_timed_layer(candidate, x), _timed_layer(layer, x)) else None


class OneDnnLinear(nn.Linear):
    """A linear layer through oneDNN: on AMD machines twice as fast as MKL, which torch prefers for matrices."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.register_buffer("transposed", layer.weight.detach().t().contiguous(), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        usable = input.ndim == 2 and input.dtype == self.weight.dtype == torch.float32 and input.device.type == "cpu"
        if usable and len(input) and not torch.is_autocast_enabled("cpu"):
            return _OneDnnProduct.apply(input, self)  # pyright: ignore[reportReturnType]
        return super().forward(input)


class _OneDnnProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: OneDnnLinear) -> Tensor:  # pyright: ignore
        ctx.layer = layer
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        return torch.ops.mkldnn._linear_pointwise(g.contiguous(), ctx.layer.transposed, None, "none", [], ""), None


class Bfloat16(nn.Module):
    """A model computing in bfloat16 under autocast, its heavy weights converted once; float32 comes out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for part in model.modules():
            if type(part) in (*CONVOLUTIONS, nn.Linear, BlockedConvolution):
                part.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = self.model(x)
        return tree_map(lambda leaf: leaf.float() if _is_half(leaf) else leaf, outputs)


def _is_half(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.dtype == torch.bfloat16


# The process --------------------------------------------------------------------------------------------------------


def tune_allocator() -> bool:
    """Lets glibc keep freed memory for the next step instead of giving it back; returns whether it did.

    A switch of the whole process, so for a program's entry point, before large tensors exist; the library
    never calls it. Large networks gain 1.1 to 2 times. Without glibc on Linux nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # names and numbers of <malloc.h>
    settings = ((mmap_threshold, 32 << 20), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20))
    return all(mallopt(*setting) for setting in settings)
