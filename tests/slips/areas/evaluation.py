"""Slips in the judge, the cascade of attacks, the record and its rates."""

from slips.plant import Slip

VERDICT, RECORD, WRONG = "laws/test_judge.py", "laws/test_record.py", "laws/test_wrong_input.py"
CASCADE, CERTIFIED = "laws/test_cascade.py", "bench/test_certificates.py"
FALLEN, KEYS = f"{CASCADE}::test_a_fallen_sample_is_not_attacked_again", f"{RECORD}::test_a_cache_never_answers_for_something_else"

SLIPS = (
    # The judge
    Slip("success is judged before rounding", "sparring.judge.judge:judge", "_.deploy(A, _)", "A", f"{VERDICT}::test_the_deployed_form_is_judged"),
    Slip(
        "the judge asks the search copy",
        "sparring.judge.judge:ask",
        "A.scores(B)",
        "A.search_scores(B)",
        f"{VERDICT}::test_search_and_judge_ask_different_things",
    ),
    Slip("infeasible counts as broken", "sparring.judge.judge:_status", "A.BROKEN if _ else _", "A.BROKEN", f"{VERDICT}::test_each_status"),
    Slip("the domain is not asked", "sparring.judge.judge:judge", "A & _", "A", "laws/test_box.py"),
    Slip("no answer is a success", "sparring.judge.judge:_status", "if not A: return B.ERROR", "if not A: return B.BROKEN", f"{VERDICT}::test_each_status"),
    Slip("NaN has a class", "sparring.tasks.classes:label_of", "A.where(_, -1)", "A", f"{VERDICT}::test_scores_that_are_not_finite_are_no_answer"),
    # The cascade
    Slip("a cascade attacks the fallen again", "sparring.aims.evasion.batch:Batch.left", "_ or (_ if A else '')", "''", FALLEN),
    Slip("without a cascade attacks see what others left", "sparring.aims.evasion.batch:carry_out_attack", "A.cascade and not B", "not B", FALLEN),
    Slip(
        "a control is spared what others broke",
        "sparring.aims.evasion.batch:carry_out_attack",
        "A.cascade and not B",
        "A.cascade",
        f"{CASCADE}::test_a_control_stands_outside_the_cascade",
    ),
    Slip(
        "a cascade's reasons are lost from attack to attack",
        "sparring.aims.evasion.batch:carry_out_attack",
        "[A or (B if C else '') for A, C in D]",
        "[B if C else '' for A, C in D]",
        FALLEN,
    ),
    Slip("what stages leave is not searched again", "sparring.aims.evasion.batch:carry_out_attack", "A or (_ and _)", "A", "bench/test_warm.py"),
    Slip("what stages find is not handed on", "sparring.aims.evasion.batch:_write", "A._ > _[_]", "A.broken", "bench/test_warm.py"),
    Slip("a re-evaluation is never made", "sparring.aims.evasion.case:EvasionCase.reevaluate", "_ != 'unreliable'", "True", "bench/test_self_check.py"),
    Slip(
        "the first attack spares what is proved",
        "sparring.aims.evasion.case:EvasionCase.carry_out",
        "_ == 0",
        "False",
        f"{CERTIFIED}::test_the_first_attack_audits_and_the_rest_is_spared",
    ),
    Slip(
        "proved samples that were broken are ignored",
        "sparring.aims.evasion.certificates:check_against",
        "[_ for _ in _ if _ == _.BROKEN]",
        "[]",
        f"{CERTIFIED}::test_a_contradicted_certificate_stops_the_case_and_is_kept",
    ),
    Slip(
        "a counterexample is believed unseen",
        "sparring.aims.evasion.batch:verdict_columns",
        "list(map(str, A))",
        "['broken' for _ in A]",
        f"{CERTIFIED}::test_a_false_counterexample_is_no_success",
    ),
    # Rates
    Slip("an error counts as standing", "sparring.metrics.outcome:STANDS", "{'held', *A}", "{'held', 'error', *A}", f"{RECORD}::test_outcomes_by_hand"),
    Slip("robust includes what was never right", "sparring.metrics.outcome:outcomes", "_ & ~A", "~A", f"{RECORD}::test_outcomes_by_hand"),
    Slip("skipped samples are counted", "sparring.metrics.outcome:outcomes", "A & (_ != 'skipped')", "A", f"{RECORD}::test_outcomes_by_hand"),
    Slip(
        "Wald instead of Wilson",
        "sparring.core.rate:Rate.of",
        "return A(B, _, _, int(C))",
        "half = 1.959963984540054 * (B * (1 - B) / C) ** 0.5\nreturn A(B, B - half, B + half, int(C))",
        f"{RECORD}::test_intervals_are_wilsons",
    ),
    Slip(
        "the clean row is measured against the target",
        "sparring.aims.evasion.case:EvasionCase.clean_threat",
        "_(A, goal=_)",
        "A",
        f"{RECORD}::test_radius_zero_is_clean_accuracy -k linf-targeted",
    ),
    # Keys of what is kept
    Slip(
        "the key lacks the seed",
        "sparring.aims.evasion.case:EvasionCase.cells",
        "{'model': A, 'domain': B, 'data': C, 'seed': _}",
        "{'model': A, 'domain': B, 'data': C}",
        KEYS,
    ),
    Slip(
        "the key lacks the model",
        "sparring.aims.evasion.case:EvasionCase.cells",
        "{'model': _, 'domain': A, 'data': B, 'seed': C}",
        "{'domain': A, 'data': B, 'seed': C}",
        KEYS,
    ),
    Slip("the key lacks the settings", "sparring.core.configured:Configured.filled", "{**A, **_}", "A", KEYS),
    Slip(
        "the key lacks the budget",
        "sparring.core.threat:Threat.describe",
        "{'space': A, 'goal': B, 'access': C, 'budget': _, 'channel': D, **E}",
        "{'space': A, 'goal': B, 'access': C, 'channel': D, **E}",
        KEYS,
    ),
    Slip(
        "the key lacks what came before",
        "sparring.aims.evasion.case:EvasionCase._cell",
        "{A: B, 'code': C, 'threat': D, 'earlier': _}",
        "{A: B, 'code': C, 'threat': D}",
        KEYS,
    ),
    # Wrong input
    Slip(
        "targets are checked on no samples",
        "sparring.aims.evasion.case:EvasionCase.check",
        "A.freeze(B, C, F.of(0, _))",
        "A.freeze(B[:0], C, F.of(0, []))",
        f"{WRONG} -k 'test_radii_and_targets_per_sample_are_taken or (test_wrong_threats_in_an_evaluation and high)'",
    ),
)
