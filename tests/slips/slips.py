"""Slips that were planted or found once: what a tired programmer might write, and the tests that must notice.

Each slip replaces `old` by `new` in one file of the library. `killers` are the tests that must fail, as arguments to pytest below
tests/. Every fixed bug adds one.
"""

from typing import NamedTuple


class Slip(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    killers: tuple[str, ...]


BOUT, DICE, THREAT = "core/bout.py", "core/dice.py", "core/threat.py"
BALLS, RULES, WORDS, GOALS = "threats/balls.py", "threats/rules.py", "threats/words.py", "threats/goals.py"
LOSSES, LOOP, ATTACK = "attacks/losses.py", "attacks/loop.py", "attacks/attack.py"
APGD, PGD, ASCENT = "attacks/evasion/gradient/apgd.py", "attacks/evasion/gradient/pgd.py", "attacks/evasion/gradient/ascent.py"
SQUARE, WALK = "attacks/evasion/query/square.py", "attacks/evasion/query/walk.py"
RAYS = "attacks/evasion/query/rays.py"
NOISE, GREEDY, COORDINATE = "attacks/evasion/control/noise.py", "attacks/evasion/discrete/greedy.py", "attacks/evasion/discrete/coordinate.py"
JUDGE, EVALUATE, CASE, RATE, OUTCOME = "judge/judge.py", "bench/evaluate.py", "bench/case.py", "metrics/rate.py", "metrics/outcome.py"
TORCH, IMAGE, TABLE, VICTIM = "models/torch.py", "domains/image.py", "domains/table.py", "core/victim.py"

GOAL = "laws/test_goals.py"
FEASIBLE = "laws/test_feasible.py"
SAME = "laws/test_same_result.py"
METER = "laws/test_radius_and_budget.py"
VERDICT = "laws/test_judge.py"
RECORD = "laws/test_record.py"
UNTOUCHED = "laws/test_untouched.py"
LUCK = "laws/test_dice.py"
WRONG = "laws/test_wrong_input.py"
PROJECTION, LINEAR, SCHEDULE = "known/test_projection.py", "known/test_linear.py", "known/test_schedules.py"
TREES, SENTENCES = "known/test_trees.py", "known/test_words.py"

SLIPS = (
    # Goals and losses
    Slip(
        "targeted margin keeps the untargeted sign",
        THREAT,
        "return reference.sign * lead(scores, reference.anchor)",
        "return lead(scores, reference.anchor)",
        (f"{GOAL}::test_a_step_goes_the_right_way", "-k", "targeted and linf"),
    ),
    Slip("cross-entropy without the sign", LOSSES, "return -reference.sign * logs", "return -logs", (f"{GOAL}::test_every_loss_grows_toward_the_goal",)),
    Slip(
        "targeted success is any wrong class",
        THREAT,
        "((labels == reference.anchor) == (reference.sign < 0))",
        "(labels != reference.label)",
        (f"{VERDICT}::test_a_targeted_success_is_the_target_only",),
    ),
    Slip("DLR divides by the second logit", LOSSES, "third = top[:, 2]", "third = top[:, 1]", (f"{SCHEDULE}::test_dlr_by_hand",)),
    Slip(
        "targeted DLR forgets the fourth logit",
        LOSSES,
        "base = third if top.shape[1] < 4 else (third + top[:, 3]) / 2",
        "base = third",
        (f"{SCHEDULE}::test_dlr_by_hand",),
    ),
    Slip(
        "DLR of two classes takes the second for the third",
        LOSSES,
        "    if top.shape[1] < 3:\n        return margin(scores, reference)\n    third = top[:, 2]",
        "    third = top[:, -1]",
        (f"{SCHEDULE}::test_dlr_with_three_and_two_classes",),
    ),
    Slip("a random target may be the label", GOALS, "(y + 1 + dice", "(y + dice", (f"{SAME}::test_a_random_target_belongs_to_the_sample",)),
    Slip(
        "the margin keeps the anchor among the others",
        THREAT,
        "rest = scores.scatter(1, anchor[:, None], -math.inf)",
        "rest = scores",
        (f"{SCHEDULE}::test_losses_by_hand",),
    ),
    # Balls
    Slip(
        "L2 does not project",
        BALLS,
        "            boxed[far] = torch.minimum(t * a, u)",
        "            boxed[far] = torch.minimum(a, u)",
        (PROJECTION, "-k", "l2"),
    ),
    Slip(
        "L2 always rescales to the radius",
        BALLS,
        "far = torch.linalg.vector_norm(boxed, dim=1) > self.radius",
        "far = torch.linalg.vector_norm(boxed, dim=1) > 0",
        (PROJECTION, "-k", "l2"),
    ),
    Slip(
        "L2 clips to the ball, then to the box",
        BALLS,
        "            t = (rest / free.gather(1, first).clamp_min(1e-300)).sqrt()",
        "            t = (radius / torch.linalg.vector_norm(a, dim=1))[:, None]",
        (PROJECTION, "-k", "l2"),
    ),
    Slip(
        "L1 thresholds as if there were no box",
        BALLS,
        "knots, order = torch.cat([a, a - u], 1)",
        "knots, order = torch.cat([a, 0 * u], 1)",
        (PROJECTION, "-k", "l1"),
    ),
    Slip(
        "a rounding at the last knot moves everything to the first",
        BALLS,
        "return torch.where(reached.any(1), reached.to(torch.int8).argmax(1), reached.shape[1] - 1)[:, None]",
        "return reached.to(torch.int8).argmax(1, keepdim=True)",
        (f"{PROJECTION}::test_projection_where_ball_and_box_touch",),
    ),
    Slip(
        "Linf forgets the box",
        BALLS,
        "torch.maximum(lower, low), torch.minimum(upper, high))",
        "lower, upper)",
        (f"{FEASIBLE}::test_random_points_of_a_space_are_allowed",),
    ),
    Slip(
        "Linf edges are rounded to nearest, then twice",
        BALLS,
        "bottom, top = origin.double() - reach, origin.double() + reach",
        "bottom, top = origin.double() - 1.001 * reach, origin.double() + 1.001 * reach",
        (f"{FEASIBLE}::test_random_points_of_a_space_are_allowed",),
    ),
    Slip(
        "a ball of columns picks rows of its bounds",
        BALLS,
        "(edge.expand_as(origin) if edge.ndim else edge for edge in box(domain, origin))",
        "box(domain, origin)",
        (f"{FEASIBLE}::test_a_success_is_allowed_and_real", "-k", "columns-l2"),
    ),
    Slip(
        "rounding is forgiven by the size of the box",
        BALLS,
        "largest = torch.maximum(flat.abs(), _flat(self.origin).abs()).amax(1).double()",
        "largest = torch.maximum(box_low.abs().amax(1), box_high.abs().amax(1)).double()",
        (f"{FEASIBLE}::test_a_point_outside_is_seen",),
    ),
    Slip(
        "radius 0 forgives a rounding",
        BALLS,
        "torch.where(self.radius > 0, self.radius * (1 + 1e-9) + slack, 0.0)",
        "self.radius * (1 + 1e-9) + slack",
        (f"{METER}::test_radius_zero_changes_nothing", "-k", "hopskipjump"),
    ),
    Slip(
        "the box is not checked",
        BALLS,
        "        return in_box & (",
        "        return (",
        (
            f"{FEASIBLE}::test_random_points_of_a_space_are_allowed",
            f"{VERDICT}::test_each_status",
            f"{METER}::test_radius_zero_changes_nothing",
            "known/test_projection.py",
            "laws/test_box.py",
        ),
    ),
    Slip(
        "an L1 step forgets the edge of the box",
        BALLS,
        "steps = torch.minimum(room.gather(1, order), length[:, None] / count)",
        "steps = (length[:, None] / count).expand_as(room)",
        (f"{PROJECTION}::test_an_l1_step",),
    ),
    Slip(
        "an L1 step has no end",
        BALLS,
        "steps = (length[:, None] - before).clamp_min(0).minimum(steps)",
        "steps = steps",
        (f"{PROJECTION}::test_an_l1_step",),
    ),
    Slip(
        "a random L1 corner without room runs to infinity",
        BALLS,
        "room = self._room(signs).minimum(self.radius[:, None])",
        "room = self._room(signs)",
        (f"{FEASIBLE}::test_random_points_of_a_space_are_allowed", "-k", "columns-l1"),
    ),
    # The loop, the ledger, the meter
    Slip(
        "a batch is counted, not its rows",
        BOUT,
        "meter.index_add_(0, paid, torch.full_like(paid, due * price))",
        "meter[paid[:1]] += 1",
        (f"{METER}::test_without_a_limit_the_meter_is_right_too", "-k", "linf"),
    ),
    Slip(
        "a budget is one question too large",
        BOUT,
        "allowed &= ledger.cost.queries[rows] + price * (turn_of(rows) + 1) <= limit",
        "allowed &= ledger.cost.queries[rows] + price * turn_of(rows) <= limit",
        (f"{METER}::test_metered_equals_asked_and_budgets_hold", "-k", "noise-linf"),
    ),
    Slip(
        "points of one row are counted as one",
        BOUT,
        "allowed &= ledger.cost.queries[rows] + price * (turn_of(rows) + 1) <= limit",
        "allowed &= ledger.cost.queries[rows] + price <= limit",
        (f"{METER}::test_several_points_of_one_sample_are_each_paid",),
    ),
    Slip(
        "spent rows are still answered",
        BOUT,
        "part = question(x[allowed])\n            answer = answer.to(part.dtype)\n            answer[allowed] = part",
        "answer = question(x)",
        (f"{METER}::test_spent_rows_get_no_answers", f"{METER}::test_metered_equals_asked_and_budgets_hold", "-k", "answers or noise"),
    ),
    Slip(
        "confirming a success is free",
        BOUT,
        "        self.ledger.cost.queries.index_add_(0, rows[hits], one)\n        self.ledger.cost.forwards.index_add_(0, rows[hits], one)\n",
        "",
        (f"{METER}::test_metered_equals_asked_and_budgets_hold", "-k", "pgd-linf"),
    ),
    Slip("the search copy is believed", BOUT, "if not self.victim.exact and len(hits):", "if False:", (f"{VERDICT}::test_a_copy_that_errs_is_not_believed",)),
    Slip(
        "a point outside counts as broken",
        BOUT,
        "hits = hits[region.inside(points)] if len(hits) else hits",
        "hits = hits",
        (f"{SENTENCES}::test_leaving_a_word_out_is_no_success", f"{FEASIBLE}::test_every_returned_point_is_allowed", "-k", "leaving or hopskipjump"),
    ),
    Slip(
        "the last point is returned, not the best",
        BOUT,
        "better = (margin > ledger.margin[rows]) & ~done & ~ledger.broken[rows]",
        "better = ~done & ~ledger.broken[rows]",
        (f"{LINEAR}::test_best_is_returned_not_last",),
    ),
    Slip(
        "of several points of a row the last asked is kept",
        BOUT,
        "chosen = chosen[rank[chosen].argsort(stable=True)]",
        "chosen = chosen[:]",
        (f"{METER}::test_the_best_of_several_points_of_one_sample_is_kept", "laws/test_ledger.py"),
    ),
    Slip(
        "the smallest change is not kept",
        BOUT,
        "-size if self.threat.minimal else margin)",
        "margin)",
        ("laws/test_ledger.py",),
    ),
    Slip(
        "several gradients are paid as one",
        BOUT,
        "allowed = self._charge_gradients(x, count)",
        "allowed = self._charge_gradients(x, 1)",
        ("laws/test_ledger.py",),
    ),
    Slip(
        "the best point aliases the iterate",
        BOUT,
        "best=points.clone() if isinstance(points, Tensor) else points.copy(),",
        "best=points,",
        ("laws/test_ledger.py",),
    ),
    Slip(
        "finished samples stay in the loop",
        LOOP,
        "    keep = bout.unfinished()\n    if bool(keep.all()):\n        return bout, state\n",
        "    keep = bout.unfinished()\n    if True:\n        return bout, state\n",
        (f"{METER}::test_finished_samples_cost_nothing_more", "-k", "pgd-linf"),
    ),
    Slip(
        "restarts touch everybody again",
        LOOP,
        "live = bout.take(bout.unfinished())",
        "live = bout",
        (f"{METER}::test_finished_samples_cost_nothing_more", "-k", "pgd-linf"),
    ),
    Slip("the last iterate is never looked at", PGD, "restarts=restarts, last_look=True)", "restarts=restarts)", (f"{METER}::test_steps_end_an_attack",)),
    Slip("a step budget is ignored", BOUT, "return wanted if limit is None else min(wanted, limit)", "return wanted", (f"{METER}::test_steps_end_an_attack",)),
    Slip("access is not checked", BOUT, "if what not in self.threat.grants:", "if False:", ("laws/test_access.py",)),
    Slip(
        "weaker access grants what is stronger",
        THREAT,
        "return frozenset(ACCESS[: ACCESS.index(self.access) + 1])",
        "return frozenset(ACCESS)",
        ("laws/test_access.py",),
    ),
    # Dice
    Slip(
        "dice are keyed by position",
        DICE,
        "[number_of(name) for name in ids]",
        "[number_of(place) for place, name in enumerate(ids)]",
        (f"{LUCK}::test_a_number_belongs_to_its_sample",),
    ),
    Slip(
        "dice ignore the draw",
        DICE,
        "return Dice(_mix(self.keys ^ number_of(name)))",
        "return Dice(_mix(self.keys))",
        (f"{LUCK}::test_samples_and_draws_are_independent",),
    ),
    Slip(
        "dice ignore the seed",
        DICE,
        'number_of(f"seed {seed}")',
        'number_of("seed")',
        (f"{LUCK}::test_samples_and_draws_are_independent", f"{SAME}::test_another_seed_is_another_draw", "-k", "another or independent"),
    ),
    Slip(
        "an arithmetic shift makes half the numbers negative",
        DICE,
        "return (value >> bits) & ((1 << (64 - bits)) - 1)",
        "return value >> bits",
        (f"{LUCK}::test_uniform_is_uniform",),
    ),
    Slip(
        "half precision draws 24 digits",
        DICE,
        "digits = 1 - round(math.log2(torch.finfo(dtype).eps))",
        "digits = 53 if dtype == torch.float64 else 24",
        (f"{LUCK}::test_uniform_is_below_one_in_low_precision",),
    ),
    Slip("the pairs of Box and Muller share an angle", DICE, "length * torch.sin(angle)", "length * torch.cos(angle)", (LUCK,)),
    # Gradient attacks
    Slip(
        "the loss is a mean over the batch",
        TORCH,
        "torch.autograd.grad(value.sum(), point",
        "torch.autograd.grad(value.mean(), point",
        (f"{SAME}::test_batches_and_order_change_nothing", "laws/test_victim.py", "-k", "gradient"),
    ),
    Slip(
        "a restart of PGD begins where the last did",
        PGD,
        ".sample(live.dice.draw(restart))",
        ".sample(live.dice.draw(0))",
        (f"{LINEAR}::test_restarts_start_elsewhere",),
    ),
    Slip(
        "PGD does not project",
        ASCENT,
        "return region.project(region.ascend(x, g, region.radius * share))",
        "return region.ascend(x, g, region.radius * share)",
        (f"{FEASIBLE}::test_every_returned_point_is_allowed", "-k", "pgd-linf or fgsm-linf"),
    ),
    Slip(
        "PGD descends",
        ASCENT,
        "region.ascend(x, g, region.radius * share)",
        "region.ascend(x, g, -region.radius * share)",
        (f"{GOAL}::test_a_step_goes_the_right_way", "-k", "pgd and linf"),
    ),
    Slip(
        "velocity is not normalised",
        PGD,
        "momentum * state.velocity + g / scale",
        "momentum * state.velocity + g",
        (f"{SCHEDULE}::test_momentum_of_pgd_by_hand",),
    ),
    Slip(
        "velocity is dropped",
        PGD,
        "return State(along(live, state.x, g, share(k)), state.aim, velocity)",
        "return State(along(live, state.x, g, share(k)), state.aim, state.velocity)",
        (f"{SCHEDULE}::test_momentum_of_pgd_by_hand",),
    ),
    Slip(
        "APGD's windows do not shrink",
        APGD,
        "window = max(window - less, least)",
        "window = max(window, least)",
        (f"{SCHEDULE}::test_apgd_checkpoints_are_the_papers",),
    ),
    Slip(
        "APGD begins as if it had not halved",
        APGD,
        "graded.value, ~no, target)",
        "graded.value, no, target)",
        (f"{SCHEDULE}::test_the_first_checkpoint_does_not_ask_for_improvement",),
    ),
    Slip(
        "APGD's best loss at the last checkpoint is an alias",
        APGD,
        "stalled = ~state.halved & (state.best_then >= state.best_value)",
        "stalled = ~state.halved",
        (f"{SCHEDULE}::test_apgd_halves_its_step_when_it_stalls",),
    ),
    Slip(
        "APGD halves below 75 %, not at it",
        APGD,
        "(state.rises <= 0.75 * window)",
        "(state.rises < 0.75 * window)",
        (f"{SCHEDULE}::test_apgd_halves_its_step_when_it_stalls",),
    ),
    Slip(
        "APGD stays where it stalled", APGD, "x=_where(halve, state.best_x, state.x),", "x=state.x,", (f"{SCHEDULE}::test_apgd_halves_its_step_when_it_stalls",)
    ),
    Slip("APGD without momentum", APGD, "weight = 0.75 if k else 1.0", "weight = 1.0", (f"{SCHEDULE}::test_apgd_keeps_its_momentum",)),
    Slip("APGD begins with one radius", APGD, "torch.full_like(zeros, 2.0)", "torch.full_like(zeros, 1.0)", (f"{SCHEDULE}::test_apgd_keeps_its_momentum",)),
    Slip(
        "APGD-T aims at the same class again",
        APGD,
        "turn % classes.shape[1]]",
        "0]",
        (f"{LINEAR}::test_breaks_what_can_be_broken", "laws/test_aims.py", "-k", "aims or apgd_t-linf-3"),
    ),
    # Query attacks
    Slip(
        "square windows never reach the last row",
        SQUARE,
        "first = (share * (size - min(side, size) + 1)).to(torch.int64)[:, None]",
        "first = (share * max(size - min(side, size), 1)).to(torch.int64)[:, None]",
        (f"{SCHEDULE}::test_square_windows_reach_every_edge",),
    ),
    Slip(
        "square windows are shared by the batch",
        SQUARE,
        "drawn = state.drawn[:, k % AHEAD]",
        "drawn = state.drawn[:1, k % AHEAD].expand(len(state.x), -1)",
        (f"{SCHEDULE}::test_square_windows_reach_every_edge",),
    ),
    Slip("square's share never halves", SQUARE, "sum(scaled > at for at in HALVINGS)", "0", (f"{SCHEDULE}::test_square_sides_are_the_papers",)),
    Slip(
        "square forgets a halving",
        SQUARE,
        "HALVINGS = (10, 50, 200, 500, 1000,",
        "HALVINGS = (10, 50, 200, 1000,",
        (f"{SCHEDULE}::test_square_sides_are_the_papers",),
    ),
    Slip(
        "square keeps what is worse",
        SQUARE,
        "better = margin > state.margin",
        "better = margin < state.margin",
        (f"{LINEAR}::test_share_of_the_optimum", "-k", "square"),
    ),
    Slip(
        "noise without corners",
        NOISE,
        "live.region.sample(dice) if turn % 2 == 0 else live.region.corner(dice)",
        "live.region.sample(dice)",
        (f"{SCHEDULE}::test_noise_tries_corners_too",),
    ),
    Slip("noise throws the same dice every time", NOISE, "live.dice.draw(turn)", "live.dice.draw(0)", ("laws/test_aims.py",)),
    Slip(
        "HopSkipJump's slices show in its draws",
        WALK,
        "directions(mine.draw(block), dimensions, x.dtype)",
        "directions(mine.draw(block - first), dimensions, x.dtype)",
        (f"{SAME}::test_slices_of_memory_change_nothing",),
    ),
    Slip(
        "HopSkipJump walks away from the boundary",
        WALK,
        "weights[:, 0][asks] = hit.to(noise.dtype) * 2 - 1",
        "weights[:, 0][asks] = 1 - hit.to(noise.dtype) * 2",
        (f"{LINEAR}::test_hopskipjump_comes_near_the_boundary", "-k", "l2"),
    ),
    Slip(
        "a start never leaves the neighbourhood of an unbounded value",
        WALK,
        "width = (1 + x.abs()) * min(1.25**turn, 2.0**20)",
        "width = 1 + x.abs()",
        ("known/test_label_attacks.py::test_a_start_is_found_without_bounds",),
    ),
    Slip(
        "a start is uniform noise only",
        WALK,
        "kind = turn % 4",
        "kind = 0",
        ("known/test_label_attacks.py::test_a_targeted_start_needs_more_than_uniform_noise",),
    ),
    Slip(
        "probes inside are taken for probes outside",
        WALK,
        "near = walk.size - reach * math.sqrt(dimensions) <= cast(Any, bout.allowed).radius * 1.01",
        "near = walk.size < 0",
        ("known/test_label_attacks.py::test_probes_known_to_lie_outside_hide_nothing",),
    ),
    Slip("RayS's blocks shrink by one", RAYS, "blocks *= 2", "blocks += 1", ("known/test_label_attacks.py::test_blocks_of_rays_by_hand",)),
    # Rules and trees
    Slip(
        "relations are ignored",
        RULES,
        "related = (self.matrix.violation(x) <= self.matrix.violation(self.origin) + scale).all(1)",
        "related = torch.ones_like(reach)",
        (FEASIBLE, "-k", "forest"),
    ),
    Slip("one-hot groups are ignored", RULES, "grouped &= ((part == 0) | (part == 1)).all(1) & (part.sum(1) == 1)", "grouped &= True", ("laws/test_rules.py",)),
    Slip("immutable columns move", RULES, "reach &= ((change == 0) | ~frozen).all(1)", "reach &= True", ("laws/test_rules.py",)),
    Slip("directions are ignored", RULES, "(change >= -self.matrix.down - slack)", "(change >= -torch.inf)", ("laws/test_rules.py",)),
    Slip(
        "the cost is ignored",
        RULES,
        "paid = (self.size(x) <= self.radius * (1 + TOLERANCE)) & ((self.radius > 0) | (change == 0).all(1))",
        "paid = torch.ones_like(reach)",
        ("laws/test_rules.py", FEASIBLE, "-k", "shop or forest or rules"),
    ),
    Slip(
        "a category pays by its place in the list",
        RULES,
        "change = torch.where(self.matrix.category, (change > 0).double(), change)",
        "change = change.clone()",
        ("laws/test_rules.py",),
    ),
    Slip(
        "whole numbers never cross a threshold",
        RULES,
        "tried = torch.cat([tried.floor(), tried.ceil()]).unique()",
        "tried = torch.where(tried > origin[0], tried.floor(), tried.ceil())",
        (f"{TREES}::test_one_column_is_exhaustive",),
    ),
    Slip(
        "whole numbers are rounded to nearest",
        TABLE,
        "nearest = origin + torch.trunc(x - origin + 1e-9 * torch.sign(x - origin))",
        "nearest = x.round()",
        ("laws/test_rules.py",),
    ),
    Slip(
        "only the left side of a threshold is tried",
        COORDINATE,
        "np.concatenate([left, right])",
        "np.concatenate([left, left])",
        (f"{TREES}::test_one_column_is_exhaustive",),
    ),
    Slip(
        "coordinate search refuses plateaus",
        COORDINATE,
        "go = has & (found >= state.margin)",
        "go = has & (found > state.margin)",
        (f"{TREES}::test_several_columns_within_a_factor",),
    ),
    # Words
    Slip("a share of words is rounded up", WORDS, "+ 1e-9).floor().long()", "+ 1e-9).ceil().long()", (f"{SENTENCES}::test_how_many_words_may_change",)),
    Slip(
        "one word too many", WORDS, "len(changed) <= most and listed", "len(changed) <= most + 1 and listed", (f"{SENTENCES}::test_how_many_words_may_change",)
    ),
    Slip(
        "capitals are dropped",
        WORDS,
        "return tuple(one.capitalize() for one in found) if word[:1].isupper() else tuple(found)",
        "return tuple(found)",
        (f"{SENTENCES}::test_capitals_are_kept",),
    ),
    Slip(
        "any word is a substitute",
        WORDS,
        "listed = all(new[place] in self.listed(old[place]) for place in changed)",
        "listed = True",
        (f"{SENTENCES}::test_capitals_are_kept",),
    ),
    Slip(
        "luck depends on the longest sentence",
        WORDS,
        'rank, pick = (dice.draw(name).uniform(longest, dtype=torch.float64) for name in ("rank", "pick"))',
        'rank, pick = dice.draw("words").uniform(2, longest, dtype=torch.float64).unbind(1)',
        (f"{SAME}::test_batches_and_order_change_nothing", "-k", "noise-text"),
    ),
    Slip(
        "greedy remembers a sentence with a word left out",
        GREEDY,
        "moved = bout.margins(texts, owner, probe=True)",
        "moved = bout.margins(texts, owner)",
        (f"{FEASIBLE}::test_every_returned_point_is_allowed", f"{SENTENCES}", "-k", "greedy or ranking or success"),
    ),
    Slip("greedy takes whatever it asked last", GREEDY, "if value > margin[row]:", "if True:", (f"{SENTENCES}::test_best_ranking_is_exact",)),
    Slip(
        "greedy ranks the least important first",
        GREEDY,
        "key=lambda place: (-gain[row, place], place)",
        "key=lambda place: (gain[row, place], place)",
        (f"{SENTENCES}::test_best_ranking_is_exact",),
    ),
    # Judge, record, metrics
    Slip(
        "success is judged before rounding",
        JUDGE,
        "deployed = domain.deploy(points, x)",
        "deployed = points",
        (f"{VERDICT}::test_the_deployed_form_is_judged",),
    ),
    Slip(
        "the judge asks the search copy",
        JUDGE,
        "scores = victim.scores(points)",
        "scores = victim.search_scores(points)",
        (f"{VERDICT}::test_search_and_judge_ask_different_things",),
    ),
    Slip(
        "infeasible counts as broken",
        JUDGE,
        "return Status.BROKEN if allowed else Status.INFEASIBLE",
        "return Status.BROKEN",
        (f"{VERDICT}::test_each_status",),
    ),
    Slip(
        "the domain is not asked",
        JUDGE,
        "allowed = region.inside(deployed).to(device) & valid",
        "allowed = region.inside(deployed).to(device)",
        ("laws/test_box.py",),
    ),
    Slip(
        "no answer is a success",
        JUDGE,
        "    if not answered:\n        return Status.ERROR\n",
        "    if not answered:\n        return Status.BROKEN\n",
        (f"{VERDICT}::test_each_status",),
    ),
    Slip(
        "8-bit images are rounded to nearest",
        IMAGE,
        "toward = torch.where(x >= origin, torch.floor(level + 1e-4), torch.ceil(level - 1e-4))",
        "toward = level.round()",
        (f"{VERDICT}::test_rounding_stays_in_the_ball",),
    ),
    Slip(
        "NaN has a class",
        VICTIM,
        "return labels.where((scores < torch.inf).all(1), -1)",
        "return labels",
        (f"{VERDICT}::test_scores_that_are_not_finite_are_no_answer",),
    ),
    Slip(
        "a cascade attacks the fallen again",
        EVALUATE,
        "left if chained else asked",
        "asked",
        ("laws/test_cascade.py::test_a_fallen_sample_is_not_attacked_again",),
    ),
    Slip("what stages leave is not searched again", EVALUATE, "if cells[said] in missing or again:", "if cells[said] in missing:", ("bench/test_warm.py",)),
    Slip(
        "what stages find is not handed on",
        EVALUATE,
        "better = bout.ledger.margin > found.margin[todo]",
        "better = bout.ledger.broken",
        ("bench/test_warm.py",),
    ),
    Slip("a sample is within reach by its margin alone", "attacks/reach.py", "within * (best - clean)", "within", ("known/test_stages.py",)),
    Slip("everything is within reach", "attacks/attack.py", "own = own.take(reachable(own, within))", "reachable(own, within)", ("known/test_stages.py",)),
    Slip("reach is measured at the clean input", "attacks/reach.py", "fresh | (-best <=", "fresh | (-clean <=", ("known/test_stages.py",)),
    Slip(
        "the nearest class is that of the smallest lead",
        ASCENT,
        "lead / slope.clamp_min(torch.finfo(lead.dtype).tiny))",
        "lead)",
        ("known/test_stages.py", "-k", "nearest"),
    ),
    Slip("averaged gradients are sums", ASCENT, "total if draws <= 1 else Graded(*(part / draws for part in total))", "total", ("known/test_stages.py",)),
    Slip("a second look is never taken", CASE, 'trust(findings) != "unreliable" or not steep', "True or not steep", ("bench/test_doubt.py",)),
    Slip(
        "a wide view counts its successes",
        BOUT,
        "points, region = x[hits], self.allowed.take(",
        "points, region = x[hits], self.region.take(",
        ("laws/test_ledger.py",),
    ),
    Slip(
        "without a cascade attacks see what others left",
        EVALUATE,
        "left if chained else asked",
        "left",
        ("laws/test_cascade.py::test_a_fallen_sample_is_not_attacked_again",),
    ),
    Slip(
        "a control spares the others a sample",
        EVALUATE,
        "        elif not attack.control:\n",
        "        else:\n",
        ("laws/test_cascade.py::test_a_control_stands_outside_the_cascade",),
    ),
    Slip(
        "a cascade's reasons are lost from attack to attack",
        EVALUATE,
        "for place, reason in enumerate(left)]",
        "for place, reason in enumerate(asked)]",
        ("laws/test_cascade.py::test_a_fallen_sample_is_not_attacked_again",),
    ),
    Slip(
        "an error counts as standing", OUTCOME, '"out_of_budget", "skipped"})', '"out_of_budget", "skipped", "error"})', (f"{RECORD}::test_outcomes_by_hand",)
    ),
    Slip(
        "robust includes what was never right",
        OUTCOME,
        'result["robust"] = result.clean & ~result.index',
        'result["robust"] = ~result.index',
        (f"{RECORD}::test_outcomes_by_hand",),
    ),
    Slip(
        "skipped samples are counted",
        OUTCOME,
        '(case.attack == CLEAN) & (case.status != "skipped")',
        "(case.attack == CLEAN)",
        (f"{RECORD}::test_outcomes_by_hand",),
    ),
    Slip(
        "Wald instead of Wilson",
        RATE,
        "return cls(hits / n, float(interval.low), float(interval.high), int(n))",
        "half = 1.959963984540054 * (hits / n * (1 - hits / n) / n) ** 0.5\n        return cls(hits / n, hits / n - half, hits / n + half, int(n))",
        (f"{RECORD}::test_intervals_are_wilsons",),
    ),
    Slip(
        "the clean row is measured against the target",
        CASE,
        "return replace(self.threat.at(0.0), goal=Untargeted())",
        "return self.threat.at(0.0)",
        (f"{RECORD}::test_radius_zero_is_clean_accuracy", "-k", "linf-targeted"),
    ),
    Slip("the key lacks the seed", CASE, '"seed": seed}', "}", (f"{RECORD}::test_a_cache_never_answers_for_something_else",)),
    Slip("the key lacks the model", CASE, '{"model": model, ', "{", (f"{RECORD}::test_a_cache_never_answers_for_something_else",)),
    Slip(
        "the key lacks the settings",
        ATTACK,
        '"settings": {**self.defaults, **self.settings}',
        '"settings": self.defaults',
        (f"{RECORD}::test_a_cache_never_answers_for_something_else",),
    ),
    Slip(
        "the key lacks the budget", THREAT, '            "budget": self.budget.describe(),\n', "", (f"{RECORD}::test_a_cache_never_answers_for_something_else",)
    ),
    Slip("the key lacks what came before", CASE, '"earlier": earlier}', "}", (f"{RECORD}::test_a_cache_never_answers_for_something_else",)),
    # The user's model
    Slip("the model is left in evaluation mode", TORCH, "module.training = training", "pass", (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm")),
    Slip(
        "the model is asked as it was left",
        TORCH,
        "            self.module.eval()\n",
        "            pass\n",
        (f"{UNTOUCHED}::test_the_victim_is_asked_in_evaluation_mode",),
    ),
    Slip("parameters stay frozen", TORCH, "parameter.requires_grad_(needed)", "pass", (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm")),
    Slip(
        "every parameter is thawed",
        TORCH,
        "parameter.requires_grad_(needed)",
        "parameter.requires_grad_(True)",
        (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm"),
    ),
    Slip("counters keep counting", TORCH, "buffer.copy_(was)", "pass", (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm")),
    Slip("replaced buffers stay replaced", TORCH, "module._buffers[name] = buffer", "pass", (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm")),
    Slip(
        "torch's generator is not put back",
        VICTIM,
        "with torch.random.fork_rng(devices=devices):",
        "with contextlib.nullcontext():",
        (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm"),
    ),
    Slip("NumPy's generator is not put back", VICTIM, "np.random.set_state(numpy)", "pass", (f"{UNTOUCHED}::test_the_module_is_as_before", "-k", "fgsm")),
    # Wrong input
    Slip("radii of other samples are taken", ATTACK, "        threat.space.around(x, victim.domain)\n", "", (f"{WRONG}::test_wrong_threats",)),
    Slip(
        "targets are checked on no samples",
        CASE,
        "self.threat.goal.reference(self.data.y, Dice.of(0, self.data.ids), self.victim.classes)",
        "self.threat.goal.reference(self.data.y[:0], Dice.of(0, []), self.victim.classes)",
        (f"{WRONG}::test_wrong_threats_in_an_evaluation", f"{WRONG}::test_radii_and_targets_per_sample_are_taken"),
    ),
    Slip("the range of inputs is not checked", IMAGE, '        check_range(batch, self.low, self.high, "image")\n', "", (f"{WRONG}::test_wrong_inputs",)),
)
