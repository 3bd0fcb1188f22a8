"""Slips in goals, losses, random numbers, the ledger and the loop of attacks."""

from slips.plant import Slip

GOAL, RIGHT_WAY = "laws/test_goals.py", "laws/test_goals.py::test_a_step_goes_the_right_way"
METER, LEDGER, LUCK, SAME = "laws/test_radius_and_budget.py", "laws/test_ledger.py", "laws/test_rng.py", "laws/test_same_result.py"
SCHEDULE, VERDICT, SENTENCES = "known/test_schedules.py", "laws/test_judge.py", "known/test_words.py"
LABELS = "tasks/test_labels.py"
STAGES, WRONG = "known/test_stages.py", "laws/test_wrong_input.py"
PAID, HOLDS = f"{METER}::test_without_a_limit_the_meter_is_right_too", f"{METER}::test_metered_equals_asked_and_budgets_hold"

SLIPS = (
    # Goals and losses
    Slip("targeted margin keeps the untargeted sign", "sparring.tasks.classes:ClassCriterion.loss", "_ * A", "A", f"{RIGHT_WAY} -k 'targeted and linf'"),
    Slip("cross-entropy without the sign", "sparring.attacks.losses:cross_entropy", "-_ * A", "-A", f"{GOAL}::test_every_loss_grows_toward_the_goal"),
    Slip(
        "targeted success is any wrong class",
        "sparring.tasks.classes:ClassCriterion.met",
        "(A == B._) == _",
        "A != B.label",
        f"{VERDICT}::test_a_targeted_success_is_the_target_only",
    ),
    Slip("DLR divides by the second logit", "sparring.attacks.losses:difference_of_logits_ratio", "A[:, 2]", "A[:, 1]", f"{SCHEDULE}::test_dlr_by_hand"),
    Slip(
        "targeted DLR forgets the fourth logit", "sparring.attacks.losses:difference_of_logits_ratio", "A if _ < 4 else _", "A", f"{SCHEDULE}::test_dlr_by_hand"
    ),
    Slip(
        "DLR of two classes takes the second for the third",
        "sparring.attacks.losses:difference_of_logits_ratio",
        "if _ < 3: _\nA = B[:, 2]",
        "A = B[:, -1]",
        f"{SCHEDULE}::test_dlr_with_three_and_two_classes",
    ),
    Slip(
        "a random target may be the label",
        "sparring.threats.goals:Targeted.freeze",
        "A + 1 + B",
        "A + B",
        f"{SAME}::test_a_random_target_belongs_to_the_sample",
    ),
    Slip(
        "the margin keeps the anchor among the others",
        "sparring.tasks.classes:logit_gap",
        "A.scatter(1, _, -math.inf)",
        "A",
        f"{SCHEDULE}::test_losses_by_hand",
    ),
    # Sets of labels
    Slip(
        "a score of nought is neither present nor absent",
        "sparring.tasks.labels:LabelsCriterion.gaps",
        "A - torch.finfo(_).tiny * _",
        "A",
        f"{LABELS}::test_wrong_is_less_than_the_share_and_the_loss_agrees",
    ),
    Slip(
        "labels that are not known count as absent",
        "sparring.tasks.labels:LabelsCriterion.counted",
        "A >= 0",
        "A >= -1",
        f"{LABELS}::test_wrong_is_less_than_the_share_and_the_loss_agrees",
    ),
    Slip(
        "the part before the deciding one decides",
        "sparring.tasks.parts:deciding_loss",
        "A.clamp_max(_.shape[1] - 1)",
        "(A - 1).clamp_min(0)",
        f"{LABELS}::test_wrong_is_less_than_the_share_and_the_loss_agrees",
    ),
    Slip("thresholds of labels are forgotten", "sparring.tasks.labels:Labels.shifted", "A - _", "A", f"{LABELS}::test_a_threshold_decides"),
    Slip(
        "adding a label asks for samples that have it",
        "sparring.threats.add:Add.freeze",
        "A.changed(B, C, present=False)",
        "A.changed(B, C, present=True)",
        f"{LABELS}::test_goals_are_met_by_one_label",
    ),
    # The ledger and what it counts
    Slip("a batch is counted, not its rows", "sparring.core.problem:Problem._charge", "A.index_add_(0, B, _)", "A[B[:1]] += 1", f"{PAID} -k linf"),
    Slip("a budget is one question too large", "sparring.core.problem:Problem._charge", "A * (B + 1)", "A * B", f"{HOLDS} -k noise-linf"),
    Slip(
        "points of one row are counted as one",
        "sparring.core.problem:Problem._charge",
        "A * (_ + 1)",
        "A",
        f"{METER}::test_several_points_of_one_sample_are_each_paid",
    ),
    Slip(
        "spent rows are still answered",
        "sparring.core.problem:Problem._ask",
        "A = B(C[D])\nE = E.to(A.dtype)\nE[D] = A",
        "E = B(C)",
        f"{METER}::test_spent_rows_get_no_answers {HOLDS} -k 'answers or noise'",
    ),
    Slip("confirming a success is free", "sparring.core.problem:Problem._confirm", "_.index_add_(*_)\n_.index_add_(*_)", "pass", f"{HOLDS} -k pgd-linf"),
    Slip(
        "the search copy is believed",
        "sparring.core.problem:Problem._remember",
        "not _ and len(_)",
        "False",
        f"{VERDICT}::test_a_copy_that_errs_is_not_believed",
    ),
    Slip(
        "a point outside counts as broken",
        "sparring.core.problem:Problem._successes",
        "A[_] if _ else A",
        "A",
        f"{SENTENCES}::test_leaving_a_word_out_is_no_success laws/test_feasible.py::test_every_returned_point_is_allowed -k 'leaving or hopskipjump'",
    ),
    Slip(
        "the last point is returned, not the best",
        "sparring.core.problem:Problem._remember",
        "(_ > _) & A & B",
        "A & B",
        "known/test_linear.py::test_best_is_returned_not_last",
    ),
    Slip(
        "of several points of a row the last asked is kept",
        "sparring.core.problem:Problem._write",
        "A = A[_.argsort(stable=True)]",
        "pass",
        f"{METER}::test_the_best_of_several_points_of_one_sample_is_kept {LEDGER}",
    ),
    Slip("the smallest change is not kept", "sparring.core.problem:Problem._remember", "-_ if _ else A", "A", LEDGER),
    Slip("several gradients are paid as one", "sparring.core.problem:Problem.gradients", "A._charge(*B, backwards=C)", "A._charge(*B, backwards=1)", LEDGER),
    Slip("the best point aliases the iterate", "sparring.core.problem:Problem.open", "A.clone() if _ else _", "A", LEDGER),
    Slip("a wide view counts its successes", "sparring.core.problem:Problem._successes", "A.allowed", "A.region", LEDGER),
    Slip(
        "a success counts as fed, not as deployed", "sparring.core.problem:Problem._deployed", "not bool(_.any())", "True", "laws/test_deployed.py -k pgd-linf"
    ),
    Slip("a step budget is ignored", "sparring.core.problem:Problem.steps", "A if _ else min(A, _)", "A", f"{METER}::test_steps_end_an_attack"),
    Slip("access is not checked", "sparring.core.problem:Problem._charge", "_ not in _.grants", "False", "laws/test_access.py"),
    Slip("weaker access grants what is stronger", "sparring.core.threat:Threat.grants", "A[:_ + 1]", "A", "laws/test_access.py"),
    # The loop
    Slip(
        "finished samples stay in the loop",
        "sparring.attacks.loop:drop_finished",
        "bool(_.all())",
        "True",
        f"{METER}::test_finished_samples_cost_nothing_more -k pgd-linf",
    ),
    Slip("restarts touch everybody again", "sparring.attacks.loop:iterate", "A.take(_)", "A", f"{METER}::test_finished_samples_cost_nothing_more -k pgd-linf"),
    Slip("a sample is within reach by its margin alone", "sparring.attacks.reach:reachable", "A * (_ - _)", "A", STAGES),
    Slip("reach is measured at the clean input", "sparring.attacks.reach:reachable", "A | (-B <= C * (B - D))", "A | (-D <= C * (B - D))", STAGES),
    Slip("everything is within reach", "sparring.attacks.attack:Attack.run", "A = A.take(B)", "B", STAGES),
    Slip("radii of other samples are taken", "sparring.attacks.attack:Attack.__call__", "_.space.check(*_)", "pass", f"{WRONG}::test_wrong_threats"),
    # Random numbers
    Slip(
        "random numbers are keyed by position",
        "sparring.core.rng:Rng.of",
        "[F(A) for A in B]",
        "[F(place) for place, A in enumerate(B)]",
        f"{LUCK}::test_a_number_belongs_to_its_sample",
    ),
    Slip("random numbers ignore the draw", "sparring.core.rng:Rng.draw", "A ^ _", "A", f"{LUCK}::test_samples_and_draws_are_independent"),
    Slip(
        "random numbers ignore the seed",
        "sparring.core.rng:Rng.of",
        "f'seed {_}'",
        "'seed'",
        f"{LUCK}::test_samples_and_draws_are_independent {SAME}::test_another_seed_is_another_draw -k 'another or independent'",
    ),
    Slip("an arithmetic shift makes half the numbers negative", "sparring.core.rng:_shift", "(A >> B) & _", "A >> B", f"{LUCK}::test_uniform_is_uniform"),
    Slip(
        "half precision draws 24 digits",
        "sparring.core.rng:Rng.uniform",
        "1 - round(math.log2(torch.finfo(A).eps))",
        "53 if A == torch.float64 else 24",
        f"{LUCK}::test_uniform_is_below_one_in_low_precision",
    ),
    Slip("the pairs of Box and Muller share an angle", "sparring.core.rng:Rng.normal", "torch.sin(A)", "torch.cos(A)", LUCK),
)
