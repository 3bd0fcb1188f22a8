"""Hugging Face: pairs of a model and its tokenizer for text, and folders that `save_pretrained` wrote."""

import json
import re

import numpy as np
import pytest
import torch

import sparring as sp
from sparring.core.errors import LoadError, SparringError
from sparring.models.load import load_model

transformers = pytest.importorskip("transformers")

WORDS = ["good", "bad", "film", "great", "poor", "plot", "fine", "dull", "the", "a", "is", "was", "very"]
TEXTS = ["the film is good", "a very dull plot", "bad", "great film the plot was fine"]


def tokenizer(words=WORDS):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16)


def bert(**more):
    torch.manual_seed(0)
    settings = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16}
    config = transformers.BertConfig(**{**settings, "id2label": {0: "negative", 1: "positive", 2: "neutral"}, **more})
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def pair():
    return bert(), tokenizer()


def test_scores_are_those_of_the_pair_whatever_the_batch(pair):
    model, encode = pair
    victim = sp.victim(pair, sp.text())
    scores = victim.scores(TEXTS)
    for text, own in zip(TEXTS, scores, strict=True):
        with torch.no_grad():
            assert torch.allclose(own, model(**encode([text], return_tensors="pt")).logits[0], atol=1e-6)
        assert torch.allclose(victim.scores([text])[0], own, atol=1e-6)
    assert victim.classes == 3
    assert victim.class_names == ["negative", "positive", "neutral"]


def test_gradients_of_tokens_are_those_of_finite_differences(pair):
    model, encode = pair
    victim, (found,) = sp.victim(pair, sp.text()), sp.victim(pair, sp.text()).token_gradients(TEXTS[:1], lambda scores: scores[:, 1])
    assert found.tokens == ["[CLS]", "the", "film", "is", "good", "[SEP]"]
    double = bert().double()
    direction = torch.randn(found.embedding.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = encode(TEXTS[:1], return_tensors="pt")

    def moved(length):
        vectors = found.embedding.double() + length * direction
        with torch.no_grad():
            return float(double(inputs_embeds=vectors[None], attention_mask=inputs["attention_mask"]).logits[0, 1])

    slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
    assert slope == pytest.approx(float((found.grad.double() * direction).sum()), rel=1e-3)
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert [len(one.tokens) for one in victim.token_gradients(TEXTS, lambda scores: scores[:, 0])] == [6, 6, 3, 8]


def test_sentences_that_a_model_cannot_take_are_refused_with_their_length(pair):
    """The tokenizer knows no limit, the model has one."""
    unlimited = tokenizer()
    unlimited.model_max_length = int(1e30)
    long = ["the film " * 20]
    with pytest.raises(LoadError, match=r"cannot take a sentence of 42 tokens \(.*give length="):
        sp.victim((pair[0], unlimited), sp.text()).scores(long)
    assert torch.allclose(sp.victim((pair[0], unlimited), sp.text(), length=16).scores(long), sp.victim(pair, sp.text()).scores(long))


def test_models_without_vectors_of_tokens_are_told(pair):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    special = {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 3}
    config = transformers.BartConfig(vocab_size=20, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16, **sizes, **special)
    victim = sp.victim((transformers.BartForSequenceClassification(config).eval(), pair[1]), sp.text())
    assert victim.scores(TEXTS).shape == (4, 3)
    with pytest.raises(LoadError, match="it has no gradients of tokens"):
        victim.token_gradients(TEXTS, lambda scores: scores[:, 1])


def test_the_fingerprint_covers_model_tokenizer_and_length(pair):
    victim = sp.victim(pair, sp.text())
    before = victim.fingerprint
    victim.scores(TEXTS)
    assert victim.fingerprint == before
    assert victim.complete
    pairs = [((bert(hidden_act="relu"), pair[1]), {}), (pair, {"length": 4}), ((pair[0], tokenizer(WORDS[::-1])), {})]
    others = [sp.victim(one, sp.text(), **settings) for one, settings in pairs]
    assert len({before, *(one.fingerprint for one in others)}) == 4


@pytest.mark.parametrize("written", ["pair", "folder"])
def test_an_evaluation(pair, tmp_path, written):
    """The pair as it is, and the folder that both were saved in."""
    words = tmp_path / "synonyms.txt"
    words.write_text("good fine great\nbad poor dull\n")
    truth = sp.victim(pair, sp.text()).label(TEXTS)
    data = sp.Data.of(TEXTS, truth, sp.text(), classes=["negative", "positive", "neutral"])
    if written == "folder":
        for part in pair:
            part.save_pretrained(tmp_path / "model")
        model = load_model(str(tmp_path / "model"), data)
        assert torch.allclose(model.scores(TEXTS), sp.victim(pair, sp.text()).scores(TEXTS), atol=1e-6)
    run = sp.evaluate(pair if written == "pair" else model, data, sp.words(0.5, {"good": ["fine"], "bad": ["poor"]}), certify="none", out=tmp_path)
    assert run.record.header["status"] == "done"
    assert set(run.table()["status"]) <= {"held", "broken", "skipped"}


def test_classes_are_matched_by_name(pair):
    data = sp.Data.of(TEXTS, [0, 1, 2, 0], sp.text(), classes=["neutral", "negative", "positive"])
    with pytest.raises(SparringError, match="the model has the classes negative, positive, neutral, the data neutral, negative, positive"):
        sp.evaluate(pair, data, sp.words(0.5, {"good": ["fine"]}), certify="none")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: (bert(vocab_size=10), tokenizer()), "the tokenizer has 17 tokens, BertForSequenceClassification knows 10"),
        (lambda: (bert(id2label={0: "x"}), tokenizer()), "predicts numbers: give task=sp.tasks.Values()"),
        (lambda: (bert(problem_type="multi_label_classification"), tokenizer()), "predicts 3 labels at once: give task=sp.tasks.labels(3)"),
    ],
)
def test_what_does_not_fit_is_refused(model, said):
    with pytest.raises(LoadError, match=re.escape(said)):
        sp.victim(model(), sp.text())


def test_a_folder_of_an_image_model_brings_its_normalisation(tmp_path):
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, num_channels=3, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
    )
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    held = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_rescale": True, "rescale_factor": 1 / 255, "size": 8}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(held))
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(held[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    with torch.no_grad():
        expected = model(pixel_values=(x - mean) / std).logits
    for high in (1, 255):
        data = sp.Data.of(x * high, [0, 1, 2, 0], sp.image(3, 8, 8, high=high))
        victim = load_model(str(tmp_path), data)
        assert torch.allclose(victim.scores(data.x), expected, atol=1e-5)
        assert victim.gradient(data.x, lambda scores: scores[:, 0]).grad.abs().sum() > 0
    plain = load_model(str(tmp_path), data, settings={"mean": [0, 0, 0]})
    assert not np.allclose(plain.scores(data.x), expected, atol=1e-3)


def test_folders_without_safe_weights_are_refused(pair, tmp_path):
    for part in pair:
        part.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(LoadError, match="holds no weights in safetensors, and pickles are not opened"):
        load_model(str(tmp_path), sp.Data.of(TEXTS, [0, 1, 2, 0], sp.text()))
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "unheard of"}')
    with pytest.raises(LoadError, match="cannot be read as a classifier of text inputs by transformers"):
        load_model(str(tmp_path), sp.Data.of(TEXTS, [0, 1, 2, 0], sp.text()))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("num_hidden_layers", 10**9, "num_hidden_layers=1,000,000,000, the limit is 256"),
        ("vocab_size", 10**12, "vocab_size=1,000,000,000,000, the limit is"),
        ("hidden_size", 2**22, "describes .* weights, the files hold"),
        ("num_hidden_layers", 2, "lacks the weights of 16 tensors, such as bert.encoder.layer.1"),
        ("id2label", {"0": "a", "1": "b"}, "lacks the weights of 2 tensors, such as|ignore_mismatched_sizes|size mismatch"),
        ("auto_map", {"AutoModelForSequenceClassification": "code.Model"}, None),
    ],
)
def test_configurations_that_do_not_belong_to_the_weights(pair, tmp_path, key, value, said):
    """And no code beside them is run."""
    for part in pair:
        part.save_pretrained(tmp_path)
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'CANARY')!r}, 'w')\nclass Model: pass\n")
    held = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**held, key: value}))
    data = sp.Data.of(TEXTS, [0, 1, 2, 0], sp.text())
    if said is None:
        assert load_model(str(tmp_path), data).classes == 3
    else:
        with pytest.raises(LoadError, match=said):
            load_model(str(tmp_path), data)
    assert not (tmp_path / "CANARY").exists()
