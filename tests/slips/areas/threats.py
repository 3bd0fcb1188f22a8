"""Slips in balls, rules and sentences, and in the domains below them."""

from slips.plant import Slip

FEASIBLE, PROJECTION = "laws/test_feasible.py", "known/test_projection.py"
ALLOWED = f"{FEASIBLE}::test_random_points_of_a_space_are_allowed"
VERDICT, METER, RULES = "laws/test_judge.py", "laws/test_radius_and_budget.py", "laws/test_rules.py"
SENTENCES, TREES, WRONG = "known/test_words.py", "known/test_trees.py", "laws/test_wrong_input.py"

SLIPS = (
    # Balls
    Slip("L2 does not project", "sparring.threats.balls:L2Region.project", "torch.minimum(_ * A, B)", "torch.minimum(A, B)", f"{PROJECTION} -k l2"),
    Slip(
        "L2 always rescales to the radius",
        "sparring.threats.balls:L2Region.project",
        "torch.linalg.vector_norm(A, dim=1) > _",
        "torch.linalg.vector_norm(A, dim=1) > 0",
        f"{PROJECTION} -k l2",
    ),
    Slip(
        "L2 clips to the ball, then to the box",
        "sparring.threats.balls:L2Region.project",
        "A = (B.square()[:, None] - _).clamp_min(0)\nC = _\nD[E] = torch.minimum(C * F, G)",
        "D[E] = torch.minimum((B / torch.linalg.vector_norm(F, dim=1))[:, None] * F, G)",
        f"{PROJECTION} -k l2",
    ),
    Slip(
        "L1 thresholds as if there were no box",
        "sparring.threats.balls:L1Region.project",
        "torch.cat([A, A - B], 1)",
        "torch.cat([A, 0 * B], 1)",
        f"{PROJECTION} -k l1",
    ),
    Slip(
        "a rounding at the last knot moves everything to the first",
        "sparring.threats.balls:_first",
        "torch.where(_, A.argmax(1), _)[:, None]",
        "A.argmax(1, keepdim=True)",
        f"{PROJECTION}::test_projection_where_ball_and_box_touch",
    ),
    Slip("Linf forgets the box", "sparring.threats.balls:Linf.around", "F(*A, torch.maximum(B, _), torch.minimum(C, _))", "F(*A, B, C)", ALLOWED),
    Slip("Linf edges are rounded to nearest, then twice", "sparring.threats.balls:Linf.around", "A - B, A + B", "A - 1.001 * B, A + 1.001 * B", ALLOWED),
    Slip(
        "a ball of columns picks rows of its bounds",
        "sparring.threats.balls:Ball.around",
        "(_ if _ else _ for _ in A)",
        "A",
        f"{FEASIBLE}::test_a_success_is_allowed_and_real -k columns-l2",
    ),
    Slip(
        "rounding is forgiven by the size of the box",
        "sparring.threats.balls:BallRegion.inside",
        "A = ((B >= C) & (B <= D)).all(1)\nE = torch.maximum(_, _).amax(1).double()",
        "A = ((B >= C) & (B <= D)).all(1)\nE = torch.maximum(C.abs().amax(1), D.abs().amax(1)).double()",
        f"{FEASIBLE}::test_a_point_outside_is_seen",
    ),
    Slip(
        "radius 0 forgives a rounding",
        "sparring.threats.balls:BallRegion._passing",
        "torch.where(_ > 0, A, 0.0)",
        "A",
        f"{METER}::test_radius_zero_changes_nothing -k hopskipjump",
    ),
    Slip(
        "the box is not checked",
        "sparring.threats.balls:BallRegion.inside",
        "_ & (A.size(B) <= C)",
        "A.size(B) <= C",
        f"{ALLOWED} {VERDICT}::test_each_status {METER}::test_radius_zero_changes_nothing {PROJECTION} laws/test_box.py",
    ),
    Slip(
        "an L1 step forgets the edge of the box",
        "sparring.threats.balls:L1Region.ascend",
        "torch.minimum(A.gather(1, _), B)",
        "B.expand_as(A)",
        f"{PROJECTION}::test_an_l1_step",
    ),
    Slip("an L1 step has no end", "sparring.threats.balls:L1Region.ascend", "_.minimum(A)", "A", f"{PROJECTION}::test_an_l1_step"),
    Slip(
        "a random L1 corner without room runs to infinity",
        "sparring.threats.balls:L1Region.corner",
        "A = B.minimum(_[:, None])",
        "A = B",
        f"{ALLOWED} -k columns-l1",
    ),
    # Rules
    Slip("relations are ignored", "sparring.threats.rules:RulesRegion._tests", "(A <= _ + _).all(1)", "(A == A).all(1)", f"{FEASIBLE} -k forest"),
    Slip("one-hot groups are ignored", "sparring.threats.rules:RulesRegion._tests", "_.all(1) & (_ == 1)", "True", RULES),
    Slip("immutable columns move", "sparring.threats.rules:RulesRegion._tests", "(_ | ~_).all(1)", "True", RULES),
    Slip("directions are ignored", "sparring.threats.rules:RulesRegion._tests", "A >= -_ - _", "A >= -torch.inf", RULES),
    Slip(
        "the cost is ignored", "sparring.threats.rules:RulesRegion._tests", "(A <= _) & (_ | _)", "A == A", f"{RULES} {FEASIBLE} -k 'shop or forest or rules'"
    ),
    Slip("a category pays by its place in the list", "sparring.threats.rules:RulesRegion.size", "torch.where(_, _, A)", "A.clone()", RULES),
    Slip(
        "whole numbers never cross a threshold",
        "sparring.threats.rules:RulesRegion._values",
        "if A: B = torch.cat([B.floor(), B.ceil()]).unique()\nreturn torch.cat([C, D[:, None]], dim=1)",
        "if A: B = torch.where(B > D[0], B.floor(), B.ceil())\nreturn torch.cat([C, D[:, None]], dim=1)",
        f"{TREES}::test_one_column_is_exhaustive",
    ),
    # Sentences
    Slip("a share of words is rounded up", "sparring.threats.words:WordsRegion.most", "A.floor()", "A.ceil()", f"{SENTENCES}::test_how_many_words_may_change"),
    Slip(
        "one word too many",
        "sparring.threats.words:WordsRegion._fits",
        "A == B and C <= D and E",
        "A == B and C <= D + 1 and E",
        f"{SENTENCES}::test_how_many_words_may_change",
    ),
    Slip("capitals are dropped", "sparring.threats.words:WordsRegion.listed", "_ if _ else A", "A", f"{SENTENCES}::test_capitals_are_kept"),
    Slip("any word is a substitute", "sparring.threats.words:WordsRegion._fits", "all(_ in _ for _ in _)", "True", f"{SENTENCES}::test_capitals_are_kept"),
    Slip(
        "luck depends on the longest sentence",
        "sparring.threats.words:WordsRegion._random",
        "(A.draw(B).uniform(C, dtype=D) for B in _)",
        "A.draw('words').uniform(2, C, dtype=D).unbind(1)",
        "laws/test_same_result.py::test_batches_and_order_change_nothing -k noise-text",
    ),
    # Domains
    Slip("whole numbers are rounded to nearest", "sparring.domains.table:Table.deploy", "A + torch.trunc(B - A + _)", "B.round()", RULES),
    Slip(
        "8-bit images are rounded to nearest",
        "sparring.domains.image:Image.deploy",
        "torch.where(_, torch.floor(A + _), _)",
        "A.round()",
        f"{VERDICT}::test_rounding_stays_in_the_ball",
    ),
    Slip("the range of inputs is not checked", "sparring.domains.image:Image.check", "in_range(A, *_)", "A", f"{WRONG}::test_wrong_inputs"),
)
