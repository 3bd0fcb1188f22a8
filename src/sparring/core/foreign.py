"""Parameter names of papers and other libraries, with the names used here."""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple, ParamSpec, TypeVar

from sparring.core.arguments import Signature
from sparring.core.errors import UnknownName

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Word(NamedTuple):
    """Hold the meaning of a foreign name.

    ours: settings that it may be called here; the first that is known is named. otherwise: the sentence where none of them is known. unit: what must
    be said of the value beside the name.
    """

    ours: tuple[str, ...]
    otherwise: str
    unit: str = ""


RADIUS = Word(("radius",), "the radius belongs to the threat, sp.linf(0.1) in Python or threat='linf 0.1' in a plan")
NORM = Word((), "the norm belongs to the threat: sp.linf(0.1), sp.l2(0.5), sp.l1(10) or sp.l0(5)")
GOAL = Word(("goal",), "the goal belongs to the threat: sp.linf(0.1).targeted(3) in Python, goal='targeted 3' in a plan")
STEP_SIZE = Word(("step_size", "learning_rate"), "the step size is chosen by the method itself", "; step_size is a share of the radius")
STEPS = Word(("steps", "epochs"), "a limit of steps belongs to the threat: threat.within(steps=50)")
RESTARTS = Word(("restarts",), "this method does not restart")
QUERIES = Word(("queries",), "a limit of queries belongs to the threat: threat.within(queries=1000)")
TARGETS = Word(("targets", "candidates"), "the number of classes follows from the victim")
BOUNDS = Word(("low",), "the bounds belong to the domain: sp.image(28, 28, low=0, high=1)")
SEED = Word(("seed",), "random draws are keyed by sample: rng=Rng.of(seed, range(len(x))) of sparring.core.rng, or seed= of evaluate")
BATCH = Word(("batch",), "the samples are searched batch=250 together: batch is an argument of the call, not a setting")
DEVICE = Word((), "the device is that of the model: move the model")

WORDS: dict[str, Word] = {
    **dict.fromkeys(("eps", "epsilon", "epsilons", "max_eps", "radius", "max_norm", "perturbation_size"), RADIUS),
    **dict.fromkeys(("norm", "p", "ord", "p_norm", "distance"), NORM),
    **dict.fromkeys(("targeted", "target", "y_target", "target_class", "target_labels", "goal"), GOAL),
    **dict.fromkeys(("alpha", "eps_step", "eps_iter", "stepsize", "abs_stepsize", "rel_stepsize", "step", "lr", "learning_rate"), STEP_SIZE),
    **dict.fromkeys(
        ("n_iter", "max_iter", "nb_iter", "num_iter", "niter", "n_iters", "max_iters", "iters", "iterations", "max_iterations", "num_iterations",
         "num_steps", "n_steps", "nb_steps", "max_steps", "steps"), STEPS,
    ),
    **dict.fromkeys(("n_restarts", "num_restarts", "nb_restarts", "num_random_init", "restart"), RESTARTS),
    **dict.fromkeys(("n_queries", "num_queries", "max_queries", "query_limit", "max_evals", "queries"), QUERIES),
    **dict.fromkeys(("random_init", "rand_init", "rand_start", "random_initialization"), Word(("random_start",), "this method has a single initialisation")),
    **dict.fromkeys(("mu", "decay_factor", "decay"), Word(("momentum",), "the momentum of transfer is written changes='mi(decay=0.9)'")),
    **dict.fromkeys(("loss_fn", "loss_type", "criterion", "objective"), Word(("loss",), "this method has one loss")),
    **dict.fromkeys(("n_classes", "num_classes", "nb_classes", "n_target_classes", "n_targets", "num_targets"), TARGETS),
    **dict.fromkeys(("clip_min", "clip_max", "bounds", "clip_values", "min_val", "max_val"), BOUNDS),
    **dict.fromkeys(("seed", "random_state", "random_seed"), SEED),
    **dict.fromkeys(("batch_size", "bs"), BATCH),
    "device": DEVICE,
    "binary_search_steps": Word(("turns",), "this method does not search for a constant"),
    "initial_const": Word(("start",), "this method has no constant"),
    "n_epochs": Word(("epochs",), "this method is not trained"),
    "num_epochs": Word(("epochs",), "this method is not trained"),
    "optimizer": Word(("optimiser",), "this method has no optimiser of its own"),
    "regularizer": Word(("regulariser",), "this method has no regulariser of its own"),
}  # fmt: skip
"""From the foreign name to its meaning."""


def ours(name: str, known: Iterable[str]) -> str | None:
    """Return what to write instead of a foreign name; None for an unknown name.

    >>> ours("n_iter", ["steps", "step_size"])
    'write steps=...'
    >>> ours("norm", ["steps"])
    'the norm belongs to the threat: sp.linf(0.1), sp.l2(0.5), sp.l1(10) or sp.l0(5)'
    """
    word = WORDS.get(name.lower())
    if word is None:
        return None
    known = set(known)
    for setting in word.ours:
        if setting in known and setting != name:
            return f"write {setting}=...{word.unit if setting == 'step_size' else ''}"
    return word.otherwise


def in_our_words(function: Callable[Given, Made]) -> Callable[Given, Made]:
    """Check the arguments of a public function before it is called.

    Raises:
        UnknownName: For an unknown keyword; the message names our argument.
        PlanError: For a value whose type the annotation excludes; the message names the types that fit.
    """
    signature = Signature(function)
    parameters = signature.plain.parameters.values()
    known = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    takes_more = any(one.kind is one.VAR_KEYWORD for one in parameters)

    @functools.wraps(function)
    def checked(*nouns: Given.args, **settings: Given.kwargs) -> Made:
        for name in () if takes_more else settings:
            if name not in known:
                raise UnknownName(f"argument of {function.__name__}", name, known, hint=ours(name, known))
        nouns, settings = signature.read(nouns, settings)  # type: ignore[assignment]
        return function(*nouns, **settings)

    return checked
