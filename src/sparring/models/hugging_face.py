"""Hugging Face classifiers: (model, tokenizer) pairs for text, and folders that `save_pretrained` wrote."""

import contextlib
import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparring.core.documents import parse_json
from sparring.core.domain import Domain
from sparring.core.errors import LoadError
from sparring.core.evaluating import evaluating, frozen
from sparring.core.files import read_file
from sparring.core.fingerprint import digest
from sparring.core.task import Task
from sparring.core.victim import Objective, Victim
from sparring.domains.image import Image
from sparring.domains.text import Strings
from sparring.models.adapter import adapter
from sparring.models.class_names import names_in_config, task_in_config
from sparring.models.hugging_face_images import normalisation_in
from sparring.models.outputs import scores_in
from sparring.models.state import State
from sparring.tasks.classes import Classes

ROWS = 64
"""Sentences per pass."""

LAYERS, LARGEST, SMALL = 256, 1 << 24, 1 << 20
"""Layers and other numbers that a configuration may have, twice those of the largest models and more; weights that need not be in the files."""


class TokenGradient(NamedTuple):
    """Hold the gradient of one sentence with respect to the vectors of its tokens.

    tokens: the tokens as the tokenizer writes them. embedding, grad: float [tokens, dim].
    """

    tokens: list[str]
    embedding: Tensor
    grad: Tensor


def _is_pair(model: Any) -> bool:
    return isinstance(model, tuple | list) and len(model) == 2 and hasattr(model[0], "get_input_embeddings") and hasattr(model[1], "convert_ids_to_tokens")


@adapter("hugging-face", _is_pair, order=4)
class HuggingFaceText(Victim):
    """Represent a pair (model, tokenizer) for sentences, queried in evaluation mode.

    Sentences of as many tokens are asked together, so that none is padded and the answer to one does not depend on the others. Attacks on strings see
    scores; gradients with respect to the vectors of tokens are those of `token_gradients`.

    length: at most how many tokens of a sentence are read; the tokenizer's own limit if left out. task: what it answers, classes if left out.
    """

    def __init__(self, model: tuple[Any, Any], domain: Domain, *, name: str | None = None, task: Task | None = None, length: int | None = None):
        self.model, self.tokenizer = model
        self.name = name or type(self.model).__name__
        if domain.kind != "text":
            raise LoadError(f"{self.name} with its tokenizer takes sentences, but the inputs are {domain}: use sp.text(), or give the model alone")
        self.domain, self.length = domain, length
        self.exposes = frozenset({"labels", "scores"})
        rows, known = self.model.get_input_embeddings().num_embeddings, len(self.tokenizer)
        if known > rows:
            raise LoadError(f"the tokenizer has {known} tokens, {self.name} knows {rows}: give the tokenizer that the model was trained with")
        self.task: Task = task or task_in_config(self.model, self.name)
        self.class_names = names_in_config(self.model) if isinstance(self.task, Classes) else []
        with self.session():
            self.task = self.task.fitted(self.scores(Strings.of(["a"])), self.name)

    def scores(self, x: Strings) -> Tensor:
        found: list[Tensor | None] = [None] * len(x)
        with torch.no_grad(), evaluating(self.model):
            for rows, inputs in self._inputs(list(x)):
                scores = self._scored(inputs).float().cpu()
                for row, one in zip(rows, scores, strict=True):
                    found[row] = one
        if not found:
            return torch.zeros(0, *self.task.score_shape)
        return torch.stack([one for one in found if one is not None])

    def _inputs(self, sentences: list[str]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """The places of sentences with as many tokens, and what the model takes for them."""
        limited = {} if self.length is None else {"max_length": self.length}
        encoded = self.tokenizer(sentences, truncation=True, padding=False, **limited)
        lengths: dict[int, list[int]] = {}
        for place, tokens in enumerate(encoded["input_ids"]):
            lengths.setdefault(len(tokens), []).append(place)
        at_once = ROWS if getattr(self.model.config, "pad_token_id", None) is not None else 1  # without one, decoders find the end of one sentence only
        for places in lengths.values():
            for start in range(0, len(places), at_once):
                rows = places[start : start + at_once]
                yield rows, {key: torch.tensor([encoded[key][row] for row in rows], device=self.model.device) for key in encoded}

    def _scored(self, inputs: dict[str, Tensor]) -> Tensor:
        """The scores of the model about tokens, or about the vectors of tokens."""
        try:
            given = self.model(**inputs)
        except Exception as error:  # a foreign model may raise anything
            said = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0].rstrip('.')}"
            if "inputs_embeds" in inputs:
                raise LoadError(f"{self.name} answers tokens, but not the vectors of tokens ({said}): it has no gradients of tokens") from error
            count = next(iter(inputs.values())).shape[1]
            raise LoadError(
                f"{self.name} cannot take a sentence of {count} tokens ({said}): where this is more than it was made for, give length=, "
                "or a tokenizer with a model_max_length"
            ) from error
        return self.task.scores(scores_in(given, None, self.name), self.name)

    def token_gradients(self, x: Strings | list[str], objective: Objective) -> list[TokenGradient]:
        """Return the gradient of a function of the scores with respect to the vectors of tokens.

        Args:
            x: Sentences.
            objective: From scores [n, classes] to values [n].

        Returns:
            One `TokenGradient` per sentence.

        Raises:
            LoadError: For a model that takes no vectors of tokens, as those with a decoder.
        """
        found: dict[int, TokenGradient] = {}
        embed = self.model.get_input_embeddings()
        with self.session(), torch.enable_grad():
            for rows, inputs in self._inputs(list(x)):
                tokens = inputs.pop("input_ids")
                vectors = embed(tokens).detach().requires_grad_(True)
                scores = self._scored({"inputs_embeds": vectors, **inputs})
                (grad,) = torch.autograd.grad(objective(scores).sum(), vectors)
                for place, row in enumerate(rows):
                    words = self.tokenizer.convert_ids_to_tokens(tokens[place].tolist())
                    found[row] = TokenGradient(words, vectors[place].detach(), grad[place])
        return [found[row] for row in range(len(found))]

    @contextlib.contextmanager
    def session(self, seed: int = 0) -> Iterator[None]:
        with frozen(self.model), evaluating(self.model), super().session(seed):
            yield

    @property
    def fingerprint(self) -> str:
        return digest(*State(self.model).parts, _written(self.tokenizer), str(self.length))

    @property
    def complete(self) -> bool:
        return hasattr(self.tokenizer, "backend_tokenizer") and not State(self.model).missing

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "parameters": sum(parameter.numel() for parameter in self.model.parameters()), "vocabulary": len(self.tokenizer)}


def _written(tokenizer: Any) -> str:
    """A tokenizer as text, without the settings that each call changes."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        return repr((type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), sorted(map(str, tokenizer.init_kwargs.items()))))
    held = json.loads(inner.to_str())
    return json.dumps({key: value for key, value in held.items() if key not in ("truncation", "padding")} | {"limit": tokenizer.model_max_length})


def is_folder(path: Path) -> bool:
    """Return whether a folder holds a model that `save_pretrained` wrote."""
    return path.is_dir() and (path / "config.json").is_file()


def read_folder(path: Path, domain: Domain, settings: Collection[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Return a model from a folder, and how to wrap it.

    Weights come from safetensors only; no code in the folder is run and nothing is looked up elsewhere.

    Args:
        path: The folder.
        domain: Sentences, for a pair with the tokenizer in the folder, or images.
        settings: Names of settings of the user. With mean, std or scale among them, `preprocessor_config.json` is left aside.

    Returns:
        The model or pair, and settings of the adapter: for images the normalisation of `preprocessor_config.json`.

    Raises:
        LoadError: Where the folder holds no classifier of such inputs.
    """
    try:
        import transformers
    except ImportError as error:
        raise LoadError(f"{path} is a model of Hugging Face, which needs transformers: pip install 'sparring[huggingface]'") from error
    if not list(path.glob("*.safetensors")):
        raise LoadError(f"{path} holds no weights in safetensors, and pickles are not opened: write it with model.save_pretrained(folder)")
    kinds = {"text": "AutoModelForSequenceClassification", "image": "AutoModelForImageClassification"}
    if domain.kind not in kinds:
        raise LoadError(f"{path} is a model of Hugging Face, the inputs are {domain}: sentences and images are supported")
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    kind = getattr(transformers, kinds[domain.kind])
    _refuse_huge_numbers(path)
    try:
        _refuse_other_sizes(path, kind, transformers.AutoConfig.from_pretrained(str(path), **local))
        model, found = kind.from_pretrained(str(path), use_safetensors=True, output_loading_info=True, **local)
        if lacking := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
            raise LoadError(f"{path} lacks the weights of {len(lacking)} tensors, such as {lacking[0]}, which would be random: save the trained classifier")
        if domain.kind == "text":
            return (model.eval(), transformers.AutoTokenizer.from_pretrained(str(path), **local)), {}
    except LoadError:
        raise
    except Exception as error:  # transformers raises anything
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LoadError(f"{path} cannot be read as a classifier of {domain.kind} inputs by transformers {transformers.__version__}: {said}") from error
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()
    replaced = {"mean", "std", "scale"} & set(settings)
    return model.eval(), normalisation_in(path, domain) if isinstance(domain, Image) and not replaced else {}


def _refuse_huge_numbers(path: Path) -> None:
    """Refuse a configuration whose numbers no model has, before a model of that size is begun."""
    held = parse_json(read_file(path / "config.json"), str(path / "config.json"))
    for name, value in held.items() if isinstance(held, dict) else ():
        most = LAYERS if "layers" in name else LARGEST
        if isinstance(value, int) and value > most:
            raise LoadError(f"{path}/config.json has {name}={value:,}, the limit is {most:,}: save the model again, or build it in a factory")


def _refuse_other_sizes(path: Path, kind: Any, config: Any) -> None:
    """Refuse a configuration of a larger model than the one whose weights are there."""
    from safetensors import safe_open

    held = 0
    for file in path.glob("*.safetensors"):
        with safe_open(str(file), framework="pt") as tensors:
            held += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118  (no mapping)
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in kind.from_config(config).parameters())
    if wanted > 2 * held + SMALL:
        raise LoadError(f"{path}/config.json describes {wanted:,} weights, the files hold {held:,}: they belong to another model")
