"""A model of the Hub as others load it: with the package and without, pinned, offline, placed and cast."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from hub_cards.assemble import assemble

WORKER = Path(__file__).with_name("loading_worker.py")


@pytest.fixture
def published(hub, hub_server, published_run, tmp_path):
    """A private repository with two commits of other weights: hash of the first, projections of both."""
    (tmp_path / "tiny").mkdir()
    assemble(published_run, tmp_path / "tiny", "org/tiny")
    files = {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    repo = hub.create("model", "org/tiny", files, private=True)
    first = repo.refs["main"]
    weights = load(files["model.safetensors"])
    weights["clef.visual_projection.weight"] = -weights["clef.visual_projection.weight"]
    blobs = dict(repo.commits[first][2])
    blobs["model.safetensors"] = hub_server.Blob(save(weights, metadata={"format": "pt"}), True)
    repo.commit("main", "other weights", blobs, first)
    return first


@pytest.mark.parametrize("how", ["installed", "remote"])
def test_a_model_of_the_hub(how, hub, client, published):
    done = client(WORKER, how, "org/tiny", published, token="hf_ben")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["class"].startswith("modeling_clef." if how == "installed" else "transformers_modules.")
    assert found["processor"] == [1, 3, 32, 32]
    main, earlier = torch.tensor(found["main"]), torch.tensor(found["earlier"])
    torch.testing.assert_close(earlier, -main)  # which is how the two commits differ
    assert found["dtype"] == ["torch.bfloat16"]
    torch.testing.assert_close(torch.tensor(found["dtype embeds"]), main, atol=0.02, rtol=0.1)
    for place, expected in (("cpu", "cpu"), ("auto", "cpu"), ("split", "meta")):  # meta: fetched from disk when needed
        device, embeds = found[f"device_map {place}"]
        assert device == expected
        torch.testing.assert_close(torch.tensor(embeds), main)
    torch.testing.assert_close(*map(torch.tensor, found["texts"]))
    for attention in ("eager", "sdpa"):
        name, embeds = found[f"attention {attention}"]
        assert name == attention
        torch.testing.assert_close(torch.tensor(embeds), main)

    # The same from the cache, with nobody to ask.
    asked = len(hub.requests)
    hub.fail = lambda request: 500
    offline = client(WORKER, how, "org/tiny", published, token=None, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr[-3000:]
    assert json.loads(offline.stdout.splitlines()[-1]) == found
    assert len(hub.requests) == asked


def test_without_the_package_and_without_trust_it_says_what_to_do(client, published):
    code = "from transformers import AutoModel; AutoModel.from_pretrained('org/tiny')"
    done = client("-c", code, token="hf_ben")
    assert done.returncode and "pass the argument `trust_remote_code=True`" in done.stderr.splitlines()[-1]
