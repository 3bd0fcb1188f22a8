"""Image classifiers of Hugging Face: what their processors make of pictures, in the units of the data."""

import json
import re

import pytest
import torch

import sparring as sp
from sparring.core.errors import LoadError
from sparring.models.class_names import names_in_config
from sparring.models.load import load_model

transformers = pytest.importorskip("transformers")

SQUARE = {"size": {"height": 8, "width": 8}}
UNITS = [(0, 1), (0, 255), (-1, 1), (-0.5, 0.5)]


def vit(**more):
    torch.manual_seed(0)
    settings = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**{**settings, "num_labels": 3, **more})).eval()


def saved(folder, processor, **changes):
    """A folder of a model with its processor, some of whose settings are changed (None: left out) as files of other versions have them."""
    model = vit()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    held = {key: value for key, value in {**json.loads(file.read_text()), **changes}.items() if value is not None}
    file.write_text(json.dumps(held))
    return model, transformers.AutoImageProcessor.from_pretrained(str(folder))


@pytest.mark.parametrize(("low", "high"), UNITS)
@pytest.mark.parametrize(
    ("kind", "settings", "changes"),
    [
        ("ViTImageProcessor", {**SQUARE, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}, {}),
        ("ViTImageProcessor", {**SQUARE, "do_rescale": False}, {}),
        ("ViTImageProcessor", {**SQUARE, "do_normalize": False}, {}),
        ("ViTImageProcessor", {**SQUARE, "rescale_factor": 1 / 127}, {}),
        ("ViTImageProcessor", SQUARE, {"do_normalize": None, "do_rescale": None, "image_mean": None, "image_std": None}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 8}, "crop_pct": 1.0}, {}),
        ("DeiTImageProcessor", {**SQUARE, "crop_size": {"height": 8, "width": 8}}, {}),
        ("EfficientNetImageProcessor", {**SQUARE, "rescale_offset": True, "rescale_factor": 1 / 127.5}, {}),
    ],
)
def test_a_network_gets_what_its_processor_makes(tmp_path, kind, settings, changes, low, high):
    model, processor = saved(tmp_path, getattr(transformers, kind)(**settings), **changes)
    levels = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = torch.as_tensor(processor(list(levels.numpy()), return_tensors="pt", input_data_format="channels_first")["pixel_values"])
    with torch.no_grad():
        expected = model(pixel_values=made).logits
    data = sp.Data.of(levels / 255 * (high - low) + low, [0, 1, 2, 0], sp.image(3, 8, 8, low=low, high=high))
    assert torch.allclose(load_model(str(tmp_path), data).scores(data.x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("ViTImageProcessor", {"size": {"height": 16, "width": 8}}, "makes images 16 x 8, the data are 8 x 8: resize the data"),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 16}}, "makes images with a shorter side of 16, the data are 8 x 8"),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}, "reversing the channels"),
        ("ViTImageProcessor", {**SQUARE, "image_std": [0.5, 0.5, -0.5]}, "does more than normalise"),
        ("ViTImageProcessor", {**SQUARE, "image_mean": [0.5, 0.5]}, "does not say how images are normalised"),
    ],
)
def test_processors_that_do_more_are_refused_unless_settings_replace_them(tmp_path, kind, settings, said):
    model, _ = saved(tmp_path, getattr(transformers, kind)(**settings))
    data = sp.Data.of(torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), [0, 1, 2, 0], sp.image(3, 8, 8))
    with pytest.raises(LoadError, match=re.escape(said)):
        load_model(str(tmp_path), data)
    victim = load_model(str(tmp_path), data, settings={"mean": 0.5})
    with torch.no_grad():
        assert torch.allclose(victim.scores(data.x), model(pixel_values=data.x - 0.5).logits, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "task", "said"),
    [
        ({"problem_type": "multi_label_classification"}, sp.tasks.labels(3), "predicts 3 labels at once: give task=sp.tasks.labels(3)"),
        ({"num_labels": 1}, sp.tasks.Values(), "predicts numbers: give task=sp.tasks.Values()"),
        ({"problem_type": "regression"}, sp.tasks.Values(3), "predicts numbers: give task=sp.tasks.Values()"),
    ],
)
def test_networks_of_other_tasks_are_not_taken_for_classifiers(tmp_path, more, task, said):
    model, domain = vit(**more), sp.image(3, 8, 8)
    model.save_pretrained(tmp_path)
    with pytest.raises(LoadError, match=re.escape(said)):
        sp.victim(model, domain)
    with pytest.raises(LoadError, match=re.escape(said)):
        load_model(str(tmp_path), sp.Data.of(torch.rand(2, 3, 8, 8), [0, 1], domain))
    assert sp.victim(model, domain, task=task).task.kind == task.kind


def test_names_of_classes_must_be_numbered_without_gaps():
    assert names_in_config(vit(id2label={2: "owl", 0: "cat", 1: "dog"})) == ["cat", "dog", "owl"]
    assert names_in_config(vit(id2label={0: "cat", 1: "dog", 3: "owl"})) == []
