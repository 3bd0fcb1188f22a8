"""Compares an imported network with the model it was read from."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sparring.core.errors import LoadError
from sparring.graph.builder import Built, Unsupported

SPREADS = ((0.0, 1.0), (0.5, 0.5), (0.0, 0.05), (0.0, 10.0), (0.0, 300.0))
"""Middle and half width of the ranges that inputs are drawn from; the wide ones reach into saturated clips and every branch of a pool."""

PER_SPREAD = 3


def check_agreement(
    built: Built,
    ask: Callable[[Tensor], Tensor],
    *,
    tolerance: float,
    name: str,
    dtype: torch.dtype,
    spreads: Sequence[tuple[float, float]] = SPREADS,
) -> None:
    """Raise LoadError where network and model differ by more than `tolerance`; see `agree`."""
    agree(lambda x: _answers(built, x), ask, built.network.input_shape, tolerance=tolerance, name=name, dtype=dtype, spreads=spreads)


def agree(
    answer: Callable[[Tensor], Tensor],
    ask: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    *,
    tolerance: float,
    name: str,
    dtype: torch.dtype,
    spreads: Sequence[tuple[float, float]] = SPREADS,
) -> None:
    """Raise LoadError where an imported function and the model differ by more than `tolerance`.

    It is a share of the largest answer (at least 1e-6).

    answer: the function, from [n, *shape] to [n, k]. ask: the model, from [n, *shape] of `dtype` to anything of n rows. The same inputs are asked
    together and one by one: a model whose answers differ between the two has no answer for one input alone, and Unsupported is raised.
    """
    for x in samples(shape, dtype, spreads):
        with torch.no_grad():
            given = answer(x).cpu().double()
            asked = _rows(ask(x), len(x), given.shape[1], name)
            alone = torch.cat([_rows(ask(one[None]), 1, given.shape[1], name) for one in x])
        scale = max(float(asked.nan_to_num(0.0, 0.0, 0.0).abs().max()), 1e-6)
        if not _near(asked, alone, 10 * tolerance * scale):
            raise Unsupported(
                f"{name} answers an input differently alone than in a batch (by {_gap(asked, alone):.3g}), "
                "or its answers are random: make them depend on the input only"
            )
        if not _near(given, asked, tolerance * scale):
            raise LoadError(
                f"{name} was imported wrongly: for inputs up to {float(x.abs().max()):.3g} the network and the original differ by {_gap(given, asked):.3g} "
                f"where {tolerance * scale:.3g} is allowed ({tolerance:g} of the largest answer, {scale:.3g})"
            )


def samples(shape: tuple[int, ...], dtype: torch.dtype, spreads: Sequence[tuple[float, float]] = SPREADS) -> Iterator[Tensor]:
    """Yield random inputs [PER_SPREAD, *shape], always the same, by a generator of their own.

    The global random state is not touched.
    """
    rng = torch.Generator().manual_seed(0)
    for middle, width in spreads:
        draw = torch.rand(PER_SPREAD, *shape, generator=rng, dtype=torch.float64) * 2 - 1
        yield (middle + width * draw).to(dtype)


def _answers(built: Built, x: Tensor) -> Tensor:
    kinds = {value.dtype for node in built.network.nodes for value in vars(node.operator).values() if isinstance(value, Tensor) and value.is_floating_point()}
    devices = {value.device for node in built.network.nodes for value in vars(node.operator).values() if isinstance(value, Tensor)}
    return built.answer(x.to(next(iter(devices), x.device), next(iter(kinds), torch.float64)))


def _rows(answer: Tensor, rows: int, width: int, name: str) -> Tensor:
    if not isinstance(answer, Tensor) or answer.numel() != rows * width or (answer.ndim and len(answer) not in (rows, 1) and rows > 1):
        seen = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise Unsupported(f"{name} returned {seen} for {rows} inputs and {width} numbers for one: a tensor [n, {width}] is supported")
    return answer.detach().cpu().double().reshape(rows, width)


def _near(first: Tensor, second: Tensor, allowed: float) -> bool:
    same = (first - second).abs() <= allowed
    return bool((same | (first == second) | ~torch.isfinite(second)).all()) and bool(torch.isfinite(second).any())


def _gap(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().nan_to_num(math.inf, math.inf).max())
