"""Slips in what certificates ask and answer, and in the methods beyond bounds."""

from slips.plant import Slip

PLANTED, SPLIT = "certification/test_planted.py", "certification/networks/verifiers/test_relu_split.py"
ORDERED = "certification/networks/test_order.py::test_each_method_lies_between_the_one_before_and_the_truth"
DISJUNCTS, NO_PROOF = f"{PLANTED}::test_disjuncts_by_hand", f"{PLANTED}::test_nothing_is_proved_by_zero_or_by_numbers_that_are_none"
ASKED, HALVES = f"{PLANTED}::test_a_counterexample_is_asked_of_the_model", f"{SPLIT}::test_halves_cover_the_parent_and_pools_lose_nothing"
EVIDENCE, COUNTS = "certification/smoothing/test_smoothing.py", "certification/smoothing/test_confidence.py"
CLOSED = f"{COUNTS}::test_clopper_pearson_in_closed_form"
EXACT = "certification/trees/test_exact.py"
ENUMERATED = f"{EXACT}::test_the_search_finds_what_enumeration_finds"

SLIPS = (
    # Queries and states
    Slip(
        "any constraint of a disjunct will do",
        "sparring.certification.networks.query:Query.margin",
        "A = B.new_full(C, -torch.inf)\nA = A.scatter_reduce(D, E, F, 'amax')[G]",
        "A = B.new_full(C, torch.inf)\nA = A.scatter_reduce(D, E, F, 'amin')[G]",
        DISJUNCTS,
    ),
    Slip(
        "the safest disjunct counts",
        "sparring.certification.networks.query:Query.margin",
        "torch.where(A, B, torch.inf).amin(1)",
        "torch.where(A, B, -torch.inf).amax(1)",
        DISJUNCTS,
    ),
    Slip(
        "NaN counts as proved", "sparring.certification.networks.query:Query.margin", "A.nan_to_num(nan=_, **B)", "A.nan_to_num(nan=torch.inf, **B)", DISJUNCTS
    ),
    Slip(
        "settled constraints are those that are not",
        "sparring.certification.networks.query:Query.settled",
        "if A: return B > 0",
        "if A: return B <= 0",
        DISJUNCTS,
    ),
    Slip("a target is asked as any class", "sparring.certification.networks.query:Query.reaching", "F(A, B, -C, *D)", "F(A, B, C, *D)", DISJUNCTS),
    Slip("what touches 0 is proved", "sparring.certification.networks.state:VerificationState.improve", "A > 0", "A >= 0", NO_PROOF),
    Slip(
        "a bound that is not finite is taken",
        "sparring.certification.networks.state:VerificationState.improve",
        "torch.where(_, A, -torch.inf)",
        "A.nan_to_num(nan=1.0, posinf=1.0)",
        NO_PROOF,
    ),
    Slip("refuted without asking the model", "sparring.certification.networks.state:VerificationState.refute", "_[_] = A(*B)", "A(*B)", ASKED),
    Slip("a counterexample may lie outside the set", "sparring.certification.networks.state:VerificationState.refute", "A & _.contains(_)", "A", ASKED),
    Slip(
        "the last answer counts, whatever it says",
        "sparring.certification.certify:certify",
        "_ not in _ or _ is not _ or A >= B",
        "True",
        f"{PLANTED}::test_the_better_of_two_answers",
    ),
    Slip(
        "bisection moves the wrong end",
        "sparring.certification.certify:certified_radius",
        "A[B], C[D] = E[B], E[D]",
        "A[D], C[B] = E[D], E[B]",
        f"{PLANTED}::test_the_distance_to_the_nearest_of_some_planes -k Linf",
    ),
    Slip(
        "the network is asked about its own class",
        "sparring.certification.networks.network:network",
        "A = B if C else D\nE = A(F, G, _)",
        "A = B if C else D\nE = A(F, G, F(G.middle).argmax(1))",
        f"{PLANTED}::test_wrong_labels_are_never_proved",
    ),
    # Exact methods
    Slip(
        "halves keep each other's sign",
        "sparring.certification.networks.exact.domains:Domains.split",
        "A[B] = -1",
        "A[B] = 1",
        f"{HALVES} {SPLIT}::test_exact_against_all_patterns_of_signs",
    ),
    Slip(
        "a half is cut on the wrong side",
        "sparring.certification.networks.exact.domains:Domains.split",
        "A.high[B] = _.clamp_max(0.0)",
        "A.low[B] = A.low[B].clamp_min(0.0)",
        HALVES,
    ),
    Slip(
        "multipliers of an LP keep the wrong sign",
        "sparring.certification.networks.milp_encoding:MilpEncoding.least",
        "np.minimum(A, 0.0)",
        "np.maximum(-A, 0.0)",
        ORDERED,
    ),
    Slip(
        "big-M with the bounds swapped",
        "sparring.certification.networks.milp_encoding:_rows_of",
        "[A, F(sparse.csr_array(B - C - D.multiply(E)), *G), F(sparse.csr_array(B - D.multiply(_)), *H)]",
        "[A, F(sparse.csr_array(B - C - D.multiply(E)), *G), F(sparse.csr_array(B + D.multiply(E)), *H)]",
        f"{PLANTED}::test_a_lattice_of_steps",
    ),
    Slip(
        "out of time is taken for infeasible",
        "sparring.certification.networks.milp_encoding:MilpEncoding.empty",
        "A == 2",
        "A in (1, 2)",
        f"{PLANTED}::test_no_time_proves_nothing",
    ),
    Slip(
        "a MILP with numbers of any size",
        "sparring.certification.networks.milp_encoding:encode_milp",
        "np.maximum(A, 1e-300)",
        "np.maximum(A, 1e-300) ** 0",
        f"{PLANTED}::test_huge_and_tiny_weights",
    ),
    Slip(
        "numbers that are mostly rounding are made large",
        "sparring.certification.networks.milp_encoding:CANCELLED",
        "1e-4",
        "0.0",
        f"{PLANTED}::test_a_lattice_of_steps",
    ),
    # Constants
    Slip(
        "the Gram iteration ends with a norm from below",
        "sparring.certification.networks.lipschitz:spectral_norm",
        "max(float(A.norm()), B)",
        "max(float(A.diagonal().mean()), B)",
        "certification/networks/test_lipschitz.py::test_spectral_norm_is_above_and_near",
    ),
    Slip(
        "a sum of two paths has the larger of their constants",
        "sparring.certification.networks.lipschitz:_constant",
        "return sum(A)",
        "return max(A)",
        f"{PLANTED}::test_constants_of_sums_and_planes",
    ),
    # Smoothing
    Slip(
        "Clopper and Pearson from above",
        "sparring.certification.smoothing.confidence:lower_bound",
        "F(A, B - A + 1, C)",
        "F(A + 1, max(B - A, 1e-9), 1 - C)",
        f"{CLOSED} {COUNTS}::test_coverage_after_a_fixed_number_of_draws",
    ),
    Slip(
        "Clopper and Pearson at twice the level",
        "sparring.certification.smoothing.confidence:lower_bound",
        "F(A, B - A + 1, C)",
        "F(A, B - A + 1, min(1.0, 2 * C))",
        CLOSED,
    ),
    Slip(
        "the copies that chose the class bound it too",
        "sparring.certification.smoothing.certify:_one",
        "A.votes(B, C.draw(_), D.n0)",
        "A.votes(B, C.draw('bound').draw(0), D.n)",
        f"{EVIDENCE}::test_the_bound_rests_on_fresh_copies",
    ),
    Slip(
        "all classes share a bound at full level",
        "sparring.certification.smoothing.certify:_look",
        "F(A, B, _ / len(_))",
        "F(A, B, 0.5)",
        f"{PLANTED}::test_bounds_of_other_classes_share_what_alpha_is_left",
    ),
    Slip(
        "the radius is the probability, not its quantile",
        "sparring.certification.smoothing.noise:Gaussian.radius",
        "A / 2 * float(F(B) - F(_))",
        "A * float(ndtr(B))",
        f"{EVIDENCE}::test_never_beyond_the_plane_and_nearly_up_to_it",
    ),
    # Trees
    Slip("scores that tie do not count for the rival", "sparring.certification.trees.parts:duel", "-2 if _ else 2", "-2", ENUMERATED),
    Slip(
        "the last of some merged trees is lost",
        "sparring.certification.trees.clique:merge",
        "range(0, len(A), B)",
        "range(0, len(A) - len(A) % B, B)",
        f"{EXACT}::test_bounds_rise_with_merging_up_to_the_exact_distance",
    ),
    Slip("a leaf is as near as its farther side", "sparring.certification.trees.parts:Parts.distance", "np.maximum(A, 0.0)", "np.maximum(A, 0.1)", ENUMERATED),
    Slip(
        "trees are refuted without asking the model",
        "sparring.certification.trees.verify:_Verdicts.broken",
        "(_ & A).numpy()",
        "A.numpy()",
        "certification/trees/test_verify.py",
    ),
)
