"""Resize and Upsample against onnxruntime: every way to find a place, every way to round it, whole and fractional factors."""

import itertools

import numpy as np
import pytest
import torch
from graph.nodes import both

FACTORS = [0.25, 0.3, 1 / 3, 0.4, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 1.0, 1.1, 1.2, 1.25, 1.3, 4 / 3, 1.5, 1.6, 1.7, 2.0, 2.3, 2.5, 3.0]
SIZES = [1, 2, 3, 5, 6, 8, 9, 12, 14, 17]
SIDES = [(4, 7), (7, 12), (10, 11)]
REGION = np.array([0, 0, 0.1, 0.2, 1, 1, 0.8, 0.7], "f4")
WAYS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def image(*sides):
    return np.random.default_rng(0).normal(size=(1, 2, *sides)).astype("f4")


def compare(x, factors=None, sizes=None, opset=19, region=None, **settings):
    """Resizes in both, and holds them to the same shape and numbers."""
    empty = np.zeros(0, "f4") if opset < 13 else None
    given = {
        "x": x,
        "roi": empty if region is None else region,
        "scales": empty if factors is None else np.array(factors, "f4"),
        "sizes": None if sizes is None else np.array(sizes),
    }
    (truth,), (found,) = both("Resize", given, ["y"], opset, **settings)
    assert found.shape == truth.shape
    assert np.allclose(found, truth, rtol=1e-5, atol=1e-5), (x.shape, factors, sizes, settings)


@pytest.mark.parametrize(("mode", "rounding"), [*(("nearest", one) for one in ROUNDINGS), ("linear", None), ("cubic", None)])
@pytest.mark.parametrize("how", WAYS)
def test_every_way_and_rounding(how, mode, rounding):
    """By factors and by sizes; the old way of TensorFlow exists up to opset 12 only."""
    settings = {"mode": mode, "coordinate_transformation_mode": how, **({"nearest_mode": rounding} if rounding else {})}
    opset, region = 11 if how == "tf_half_pixel_for_nn" else 19, REGION if how == "tf_crop_and_resize" else None
    for sides, factor in itertools.product(SIDES, FACTORS):
        compare(image(*sides), factors=[1, 1, factor, factor], opset=opset, region=region, **settings)
    for sides, size in itertools.product(SIDES, SIZES):
        compare(image(*sides), sizes=[1, 2, size, size + 1], opset=opset, region=region, **settings)


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_a_region_beyond_the_input_is_filled(value):
    region = np.array([0, 0, -0.3, 0.4, 1, 1, 0.7, 1.5], "f4")
    settings = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": value}
    for mode in ("nearest", "linear", "cubic"):
        compare(image(6, 8), factors=[1, 1, 1.5, 0.7], region=region, mode=mode, **settings)


def test_some_axes_only():
    for settings in ({"axes": [3]}, {"axes": [2, 3]}):
        compare(image(6, 8), factors=[1.3] * len(settings["axes"]), mode="nearest", **settings)
        compare(image(6, 8), sizes=[11] * len(settings["axes"]), mode="linear", **settings)


@pytest.mark.parametrize("exclude", [0, 1])
@pytest.mark.parametrize("coefficient", [-0.75, -0.5])
def test_cubic_settings(coefficient, exclude):
    for factor in (0.6, 1.7):
        compare(image(7, 9), factors=[1, 1, factor, factor], mode="cubic", cubic_coeff_a=coefficient, exclude_outside=exclude)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_older_forms(mode):
    """Resize of opset 10 rounds up where it shrinks, and Upsample only grows."""
    for sides, factor in itertools.product(SIDES, FACTORS):
        for operator, opset in (("Resize", 10), ("Upsample", 9)):
            if operator == "Resize" or factor >= 1:
                (truth,), (found,) = both(operator, {"x": image(*sides), "scales": np.array([1, 1, factor, factor], "f4")}, ["y"], opset, mode=mode)
                assert found.shape == truth.shape
                assert np.allclose(found, truth, atol=1e-5), (operator, sides, factor)


def test_gradients_are_those_of_torch():
    """An enlargement by pixels sends each gradient to the pixel it came from."""
    from sparring.graph.onnx_module import Step

    x = torch.rand(1, 2, 5, 6, requires_grad=True)
    weights = torch.rand(1, 2, 12, 15, generator=torch.Generator().manual_seed(0))
    for mode, settings in (
        ("bilinear", {"mode": b"linear"}),
        ("bicubic", {"mode": b"cubic"}),
        ("nearest-exact", {"mode": b"nearest", "nearest_mode": b"round_prefer_ceil"}),
    ):
        values = {"x": x, "": None, "z": torch.tensor([1, 2, 12, 15])}
        Step("Resize", ["x", "", "", "z"], ["y"], {**settings, "coordinate_transformation_mode": b"half_pixel"}, 19, "here").run(values)
        truth = torch.nn.functional.interpolate(x, (12, 15), mode=mode)
        own, asked = (torch.autograd.grad((one * weights).sum(), x)[0] for one in (truth, values["y"]))
        assert torch.allclose(own, asked, atol=1e-5), mode
