"""Slips in the bounds of certificates: lines, intervals, windows, input sets, rounding."""

from slips.plant import Slip

ORDER, PLANTED, CROWN = "certification/networks/test_order.py", "certification/test_planted.py", "certification/networks/bounds/test_crown.py"
INTERVAL = "certification/networks/bounds/test_interval.py"
ORDERED = f"{ORDER}::test_each_method_lies_between_the_one_before_and_the_truth"
LINES, SETS = f"{PLANTED}::test_lines_of_activations_hold", f"{PLANTED}::test_input_sets_hold_whatever_counts_as_inside"

SLIPS = (
    # Backward
    Slip(
        "lower and upper slopes are swapped",
        "sparring.certification.networks.bounds.backward:through_nonlinear",
        "torch.addcmul(A * B, C, D)",
        "torch.addcmul(A * D, C, B)",
        ORDERED,
    ),
    Slip("the upper line lacks its shift", "sparring.certification.networks.bounds.backward:through_nonlinear", "(_, (A, B))", "((A, B),)", ORDERED),
    Slip("backward bounds drop the bias", "sparring.certification.networks.bounds.backward:through_linear", "A + B @ C", "A + 0 * (B @ C)", ORDERED),
    Slip("slopes that meet at a node replace each other", "sparring.certification.networks.bounds.backward:add_slope", "_ if _ in _ else A", "A", ORDERED),
    Slip(
        "rounding errors raise a bound",
        "sparring.certification.networks.bounds.backward:resume",
        "A - B.flatten(2).sum(2)",
        "A + B.flatten(2).sum(2)",
        f"{ORDER}::test_float32_stays_within_its_rounding {CROWN}::test_bounds_are_widened_by_the_rounding_of_every_node",
    ),
    Slip(
        "multipliers of splits have the wrong sign",
        "sparring.certification.networks.bounds.backward:resume",
        "A[0] + B",
        "A[0] - B",
        "certification/networks/bounds/test_alpha.py::test_splits_with_any_multipliers_are_sound_on_their_halves",
    ),
    Slip(
        "windows drop the bias of a convolution",
        "sparring.certification.networks.bounds.windows:_through_linear",
        "A + B @ C",
        "A + 0 * (B @ C)",
        f"{CROWN}::test_as_in_the_textbook",
    ),
    Slip(
        "windows count what lies outside the map",
        "sparring.certification.networks.bounds.windows:_through_linear",
        "not _ and _ is not None",
        "False",
        f"{ORDER}::test_rows_alone_and_rows_of_all_neurons_give_the_same_bounds",
    ),
    # Relaxations
    Slip(
        "the shift of the upper line has the wrong sign",
        "sparring.certification.networks.bounds.relax:relu_lines",
        "torch.where(A, -B * C, 0.0)",
        "torch.where(A, B * C, 0.0)",
        ORDERED,
    ),
    Slip("the lower slope may exceed 1", "sparring.certification.networks.bounds.relax:relu_lines", "(A >= B).to(C)", "2.0 * (A >= B).to(C)", ORDERED),
    Slip(
        "the tangent begins on the wrong side",
        "sparring.certification.networks.bounds.relax:_s_upper",
        "torch.where(A, B, C), torch.where(A, D, B)",
        "torch.where(A, C, B), torch.where(A, B, D)",
        LINES,
    ),
    Slip("a secant where the function is concave", "sparring.certification.networks.bounds.relax:_s_upper", "(A <= 0) | _", "A == A", LINES),
    Slip(
        "one of McCormick's planes is of the other side",
        "sparring.certification.networks.bounds.relax:product_planes",
        "-(A * B + C * D) / 2",
        "-(A * D + C * B) / 2",
        f"{ORDER}::test_planes_of_a_product_hold_and_depend_on_no_rounding",
        nth=1,
    ),
    # Intervals
    Slip(
        "the sign of a weight is kept in the radius of an interval",
        "sparring.certification.networks.bounds.interval:through",
        "A.absolute(B)",
        "A.linear(B)",
        ORDERED,
    ),
    Slip(
        "a product of intervals looks at two corners",
        "sparring.certification.networks.bounds.interval:through",
        "[A for B in C for D in E]",
        "[A for B, D in zip(C, E)]",
        f"{INTERVAL}::test_a_product_reaches_its_corners",
    ),
    Slip(
        "the last bias is left out of the margin of intervals",
        "sparring.certification.networks.bounds.interval:margins",
        "A + B @ C - D",
        "A + 0 * B @ C - D",
        ORDERED,
    ),
    Slip(
        "intervals are not lowered for rounding",
        "sparring.certification.networks.bounds.interval:_least",
        "A + _ * torch.maximum(_, _)",
        "A",
        f"{INTERVAL}::test_a_margin_is_at_most_the_exact_sum {PLANTED}::test_ties_of_one_layer_are_never_proved_by_intervals",
    ),
    # Input sets
    Slip("rounding raises a bound", "sparring.certification.networks.bounds.inputs:ROUNDING", "1e-11", "-1e-11", f"{PLANTED}::test_ties_are_never_proved"),
    Slip(
        "boxes are rounded inward",
        "sparring.certification.networks.bounds.threat:_outward",
        "torch.nextafter(A, torch.full_like(A, B))",
        "torch.nextafter(torch.nextafter(A, torch.full_like(A, -B)), torch.full_like(A, -B))",
        SETS,
    ),
    Slip("the slack of a threat is not part of the set", "sparring.certification.networks.bounds.threat:input_set", "A.reach()", "A.radius.double()", SETS),
    Slip(
        "the room of a ball is measured on the wrong side",
        "sparring.certification.networks.bounds.inputs:InputSet.minimum",
        "torch.where(A > 0, B, C)",
        "torch.where(A < 0, B, C)",
        f"{CROWN}::test_sound",
    ),
    Slip(
        "an L1 ball is as wide as its steepest input twice over",
        "sparring.certification.networks.bounds.inputs:_gain",
        "A.cumsum(2) - A",
        "A.cumsum(2)",
        f"{PLANTED}::test_the_distance_to_the_nearest_of_some_planes -k L1",
    ),
    Slip(
        "a box is cut into the same half twice",
        "sparring.certification.networks.bounds.inputs:InputSet.split",
        "torch.cat([A.scatter(*B), A])",
        "torch.cat([A.scatter(*B), A.scatter(*B)])",
        f"{ORDER}::test_halves_cover_the_whole_and_are_bounded_no_worse",
    ),
    # Rounding of float32
    Slip(
        "rounding errors are a thousandth of what rounding does",
        "sparring.certification.networks.bounds.execution:UNIT",
        "2.0**-24",
        "2.0**-34",
        f"{ORDER}::test_float32_stays_within_its_rounding",
    ),
    Slip(
        "rounding errors forget the constant",
        "sparring.certification.networks.bounds.execution:rounding_errors",
        "A + (0.0 if _ else _)",
        "A",
        f"{PLANTED}::test_rounding_covers_a_large_bias",
    ),
)
