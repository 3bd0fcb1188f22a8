"""Slips in attacks: by gradients, by queries, on tables and on sentences."""

from slips.plant import Slip

SCHEDULE, LINEAR, FEASIBLE = "known/test_schedules.py", "known/test_linear.py", "laws/test_feasible.py"
RIGHT_WAY, SAME, STAGES = "laws/test_goals.py::test_a_step_goes_the_right_way", "laws/test_same_result.py", "known/test_stages.py"
MOMENTUM, STALLS = f"{SCHEDULE}::test_momentum_of_pgd_by_hand", f"{SCHEDULE}::test_apgd_halves_its_step_when_it_stalls"
LABELS, TREES, SENTENCES = "known/test_label_attacks.py", "known/test_trees.py", "known/test_words.py"

SLIPS = (
    # By gradients
    Slip(
        "the loss is a mean over the batch",
        "sparring.models.differentiate:DifferentiableVictim.gradient",
        "A.sum()",
        "A.mean()",
        f"{SAME}::test_batches_and_order_change_nothing laws/test_victim.py -k gradient",
    ),
    Slip(
        "the nearest class is that of the smallest lead",
        "sparring.attacks.evasion.gradient.ascent:nearest_classes",
        "A / _.clamp_min(_)",
        "A",
        f"{STAGES} -k nearest",
    ),
    Slip("averaged gradients are sums", "sparring.attacks.evasion.gradient.ascent:averaged", "A if _ else _", "A", STAGES),
    Slip(
        "the last iterate is never looked at",
        "sparring.attacks.evasion.gradient.pgd:descend",
        "F(*A, last_look=True, **B)",
        "F(*A, **B)",
        "laws/test_radius_and_budget.py::test_steps_end_an_attack",
    ),
    Slip(
        "a restart of PGD begins where the last did",
        "sparring.attacks.evasion.gradient.pgd:pgd.start",
        "A.draw(_)",
        "A.draw(0)",
        f"{LINEAR}::test_restarts_start_elsewhere",
    ),
    Slip(
        "PGD does not project",
        "sparring.attacks.evasion.gradient.ascent:along",
        "_.project(A)",
        "A",
        f"{FEASIBLE}::test_every_returned_point_is_allowed -k 'pgd-linf or fgsm-linf'",
    ),
    Slip("PGD descends", "sparring.attacks.evasion.gradient.ascent:along", "A.ascend(B, C, D * E)", "A.ascend(B, C, -D * E)", f"{RIGHT_WAY} -k 'pgd and linf'"),
    Slip("velocity is not normalised", "sparring.attacks.evasion.gradient.pgd:descend.step", "A + B / _", "A + B", MOMENTUM),
    Slip(
        "velocity is dropped",
        "sparring.attacks.evasion.gradient.pgd:descend.step",
        "if A is not None: B\nreturn F(C, D, _)",
        "if A is not None: B\nreturn F(C, D, A)",
        MOMENTUM,
    ),
    Slip(
        "APGD's windows do not shrink",
        "sparring.attacks.evasion.gradient.apgd:checkpoints",
        "max(A - _, B)",
        "max(A, B)",
        f"{SCHEDULE}::test_apgd_checkpoints_are_the_papers",
    ),
    Slip(
        "APGD begins as if it had not halved",
        "sparring.attacks.evasion.gradient.apgd:ascend.start",
        "~A",
        "A",
        f"{SCHEDULE}::test_the_first_checkpoint_does_not_ask_for_improvement",
    ),
    Slip("APGD's best loss at the last checkpoint is an alias", "sparring.attacks.evasion.gradient.apgd:_look", "A & (_ >= _)", "A", STALLS),
    Slip("APGD halves below 75 %, not at it", "sparring.attacks.evasion.gradient.apgd:_look", "A <= B", "A < B", STALLS),
    Slip("APGD stays where it stalled", "sparring.attacks.evasion.gradient.apgd:_look", "_(_, _, A.x)", "A.x", STALLS),
    Slip(
        "APGD without momentum", "sparring.attacks.evasion.gradient.apgd:ascend.step", "0.75 if _ else 1.0", "1.0", f"{SCHEDULE}::test_apgd_keeps_its_momentum"
    ),
    Slip(
        "APGD begins with one radius",
        "sparring.attacks.evasion.gradient.apgd:ascend.start",
        "torch.full_like(A, 2.0)",
        "torch.full_like(A, 1.0)",
        f"{SCHEDULE}::test_apgd_keeps_its_momentum",
    ),
    Slip(
        "APGD-T aims at the same class again",
        "sparring.attacks.evasion.gradient.apgd:aim_at.aim",
        "_ % _",
        "0",
        f"{LINEAR}::test_breaks_what_can_be_broken laws/test_aims.py -k 'aims or apgd_t-linf-3'",
    ),
    # By queries
    Slip(
        "square windows never reach the last row",
        "sparring.attacks.evasion.query.square:window_at",
        "A - B + 1",
        "max(A - B, 1)",
        f"{SCHEDULE}::test_square_windows_reach_every_edge",
    ),
    Slip(
        "square windows are shared by the batch",
        "sparring.attacks.evasion.query.square:square.step",
        "A[:, B % C]",
        "A[:1, B % C].expand(len(A), -1)",
        f"{SCHEDULE}::test_square_windows_reach_every_edge",
    ),
    Slip("square's share never halves", "sparring.attacks.evasion.query.square:window_side", "sum(_)", "0", f"{SCHEDULE}::test_square_sides_are_the_papers"),
    Slip(
        "square forgets a halving",
        "sparring.attacks.evasion.query.square:HALVINGS",
        "(10, 50, 200, 500, *A)",
        "(10, 50, 200, *A)",
        f"{SCHEDULE}::test_square_sides_are_the_papers",
    ),
    Slip("square keeps what is worse", "sparring.attacks.evasion.query.square:square.step", "A > B", "A < B", f"{LINEAR}::test_share_of_the_optimum -k square"),
    Slip("noise without corners", "sparring.attacks.evasion.control.noise:noise.step", "A if _ else _", "A", f"{SCHEDULE}::test_noise_tries_corners_too"),
    Slip("noise draws the same numbers every time", "sparring.attacks.evasion.control.noise:noise.step", "A.draw(_)", "A.draw(0)", "laws/test_aims.py"),
    Slip(
        "HopSkipJump's slices show in its draws",
        "sparring.attacks.evasion.query.walk:normal_at",
        "[F(A.draw(B), *C) for B in range(D, E)]",
        "[F(A.draw(B - D), *C) for B in range(D, E)]",
        f"{SAME}::test_slices_of_memory_change_nothing",
    ),
    Slip(
        "HopSkipJump walks away from the boundary",
        "sparring.attacks.evasion.query.walk:_votes",
        "A * 2 - 1",
        "1 - A * 2",
        f"{LINEAR}::test_hopskipjump_comes_near_the_boundary -k l2",
    ),
    Slip(
        "a start never leaves the neighbourhood of an unbounded value",
        "sparring.attacks.evasion.query.walk:candidate",
        "(1 + A) * _",
        "1 + A",
        f"{LABELS}::test_a_start_is_found_without_bounds",
    ),
    Slip(
        "a start is uniform noise only",
        "sparring.attacks.evasion.query.walk:candidate",
        "_ % 4",
        "0",
        f"{LABELS}::test_a_targeted_start_needs_more_than_uniform_noise",
    ),
    Slip(
        "probes inside are taken for probes outside",
        "sparring.attacks.evasion.query.walk:normal_at",
        "A - _ <= _",
        "A < 0",
        f"{LABELS}::test_probes_known_to_lie_outside_hide_nothing",
    ),
    Slip("RayS's blocks shrink by one", "sparring.attacks.evasion.query.rays:block_of", "A *= 2", "A += 1", f"{LABELS}::test_blocks_of_rays_by_hand"),
    # On tables and sentences
    Slip(
        "only the left side of a threshold is tried",
        "sparring.attacks.evasion.discrete.coordinate:knots_of",
        "np.concatenate([A, _])",
        "np.concatenate([A, A])",
        f"{TREES}::test_one_column_is_exhaustive",
    ),
    Slip(
        "coordinate search refuses plateaus",
        "sparring.attacks.evasion.discrete.coordinate:coordinate.step",
        "A & (B >= C)",
        "A & (B > C)",
        f"{TREES}::test_several_columns_within_a_factor",
    ),
    Slip(
        "greedy remembers a sentence with a word left out",
        "sparring.attacks.evasion.discrete.greedy:_ranked",
        "F(*A, probe=True)",
        "F(*A)",
        f"{FEASIBLE}::test_every_returned_point_is_allowed {SENTENCES} -k 'greedy or ranking or success'",
    ),
    Slip(
        "greedy takes whatever it asked last",
        "sparring.attacks.evasion.discrete.greedy:greedy.step",
        "_ > _",
        "True",
        f"{SENTENCES}::test_best_ranking_is_exact",
    ),
    Slip(
        "greedy ranks the least important first",
        "sparring.attacks.evasion.discrete.greedy:_ranked",
        "(-A, B)",
        "(A, B)",
        f"{SENTENCES}::test_best_ranking_is_exact",
    ),
)
