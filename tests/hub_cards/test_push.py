"""`clef push` and `clef push-space` against a Hub that speaks HTTP, through the real client.

They also run against an outside server when CLEF_TEST_HUB_ENDPOINT (its address), CLEF_TEST_HUB_TOKEN (a token that may
create and delete repositories) and CLEF_TEST_HUB_OWNER (where) are set.
"""

import json
import math
import os
import shutil
import urllib.error
import urllib.request

import pytest
import torch
from huggingface_hub import HfApi, RepoCard, constants
from safetensors.torch import load_file, save_file

from hub_cards import verify
from hub_cards.assemble import assemble
from hub_cards.push import NotAsSent, push_model
from hub_cards.push_space import push_space
from hub_cards.send import Destination, PushError
from hub_cards.verify import Original, VerificationError, largest_difference
from modeling_clef import CLEFConfig, CLEFForImageClassification, CLEFForPreTraining

OUTSIDE = ("CLEF_TEST_HUB_ENDPOINT", "CLEF_TEST_HUB_TOKEN", "CLEF_TEST_HUB_OWNER")


@pytest.fixture(scope="module")
def original(published_run):
    return Original(published_run)


@pytest.fixture
def assembled(published_run, tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    assemble(published_run, folder, "org/tiny")
    return folder


@pytest.fixture
def api(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return HfApi(endpoint=hub.url, token="hf_ada")


@pytest.fixture
def space(tmp_path):
    folder = tmp_path / "demo"
    (folder / "parts" / "__pycache__").mkdir(parents=True)
    front = {"title": "Demo", "sdk": "gradio", "sdk_version": "6.31.0", "app_file": "app.py"}
    front |= {"models": ["org/other"], "preload_from_hub": ["org/other a.json", "org/encoder b.json"]}
    lines = "\n".join(f"{key}: {json.dumps(value)}" for key, value in front.items())
    (folder / "README.md").write_text(f"---\n{lines}\n---\n# Demo\n")
    (folder / "requirements.txt").write_text("transformers\n")
    (folder / "app.py").write_text("from parts import page\n")
    (folder / "parts" / "page.py").write_text("PAGE = 1\n")
    (folder / "parts" / "__pycache__" / "page.pyc").write_bytes(b"x")
    (folder / ".hidden").write_text("x")
    return folder


def status_of(url, token=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_push_checks_sends_and_checks_again(hub, client, published_run, tmp_path):
    flags = ("--private", "--gated", "manual", "--max-shard-size", "20KB")
    done = client("-m", "clef", "push", published_run, "--repo", "org/tiny", *flags)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    repo = hub.repos["model", "org/tiny"]
    assert repo.log() == ["CLEF model: tiny", "initial commit"] and (repo.private, repo.gated) == (True, "manual")
    head, files = repo.refs["main"], repo.files()
    assert f"{hub.url}/org/tiny/commit/{head}" in done.stdout.splitlines()[-1]
    assert "the same through every Auto class and pipeline" in done.stdout
    assert "left out: checkpoints/, done.json, epochs/, epochs.jsonl, " in done.stdout

    # What is there is the run's, in shards.
    index = json.loads(files["model.safetensors.index.json"])
    shards = set(index["weight_map"].values())
    assert len(shards) > 1 and shards == {name for name in files if name.endswith(".safetensors")}
    there = {}
    for name in shards:
        (tmp_path / name).write_bytes(files[name])
        there |= load_file(tmp_path / name)
    weights = load_file(published_run / "model.safetensors")
    assert there.keys() == weights.keys() and all(torch.equal(there[name], weights[name]) for name in weights)
    assert b'"org/tiny"' in files["README.md"] and not any("predictions" in name for name in files)

    # The Hub's copy was read after the commit, all of it by that commit.
    sent = next(i for i, request in enumerate(hub.requests) if "/commit/" in request)
    read = [request for request in hub.requests[sent:] if request.startswith("GET /org/tiny/resolve/")]
    assert read and all(request.split("/")[4] == head for request in read)
    names = {request.split(f"{head}/")[1] for request in read} | {
        request.rsplit("/", 1)[1] for request in hub.requests[sent:] if request.startswith("GET /lfs/")
    }
    assert shards | {"config.json", "modeling_clef.py", "pipeline_clef.py", "processing_clef.py"} <= names

    config = f"{hub.url}/org/tiny/resolve/main/config.json"
    assert [status_of(config, token) for token in (None, "hf_eve", "hf_ben", "hf_ada")] == [401, 404, 200, 200]


def test_refusals_come_at_once_in_one_line(hub, client, published_run):
    done = client("-m", "clef", "push", published_run, "--repo", "org/tiny", token=None)
    assert done.returncode == 5 and not hub.requests
    assert done.stderr.startswith("clef push: no token for http") and done.stderr.count("\n") == 1
    usage = client("-m", "clef", "push", published_run, "--repo", "tiny")
    assert usage.returncode == 2 and "expected OWNER/NAME" in usage.stderr


@pytest.mark.parametrize("files, message", [
    ({"config.json": b'{"model_type": "bert"}'}, "holds a model of type 'bert', not CLEF's"),
    ({"config.json": b"not json"}, "holds a model of type None, not CLEF's"),
    *(({name: b"x"}, f"holds {name}, and no config.json of a CLEF model: give another --repo")
      for name in ("unet.safetensors", "model.pt", "best.ckpt", "weights.h5", "flax_model.msgpack", "train.py")),
])  # fmt: skip
def test_a_repository_of_another_model_is_kept(files, message, hub, api, published_run):
    hub.create("model", "org/tiny", files)
    with pytest.raises(PushError, match=message):
        push_model(published_run, Destination("org/tiny"), api=api)
    assert hub.repos["model", "org/tiny"].log() == ["initial commit"]


def test_a_repository_that_is_still_empty_is_written_to(hub, api, published_run, monkeypatch):
    hub.create("model", "org/tiny", {"README.md": b"# soon", "LICENSE": b"mine"})
    monkeypatch.setattr(verify, "Original", Claims())
    push_model(published_run, Destination("org/tiny"), api=api)
    assert hub.repos["model", "org/tiny"].log() == ["CLEF model: tiny", "initial commit"]


def test_what_cannot_be_assembled_is_not_published(hub, api, published_run, tmp_path):
    run = shutil.copytree(published_run, tmp_path / "run")
    (run / "metrics.json").unlink()
    with pytest.raises(PushError, match="^not published: .*metrics.json"):
        push_model(run, Destination("org/tiny"), api=api)
    assert not hub.repos


class Claims:
    """Takes the place of `Original`, where it is only asked what push makes of its answer."""

    def __init__(self, difference_of_folder=None, difference_of_hub=None):
        self.without_texts = False
        self.answers = [difference_of_folder, difference_of_hub]
        self.asked = []

    def __call__(self, folder):
        return self

    def compare(self, source, *more):
        self.asked.append((source, *more))
        answer = self.answers.pop(0)
        if answer:
            raise VerificationError(answer)
        return 0.0


def test_dry_run_needs_neither_token_nor_server(hub, published_run, monkeypatch):
    monkeypatch.setattr(verify, "Original", Claims())
    lines = []
    offline = HfApi(endpoint=hub.url, token=False)
    assert push_model(published_run, Destination("org/tiny"), dry_run=True, say=lines.append, api=offline) is None
    assert lines[-1] == "dry run: nothing was sent" and not hub.requests


def test_no_push_of_what_differs(hub, api, published_run, monkeypatch):
    monkeypatch.setattr(verify, "Original", Claims("logits differ by .1."))
    with pytest.raises(PushError, match="^not published: logits differ by .1.$"):
        push_model(published_run, Destination("org/tiny"), api=api)
    assert not hub.repos and not [request for request in hub.requests if not request.startswith("GET")]


def test_a_copy_that_differs_is_told_with_the_way_back(hub, api, published_run, monkeypatch):
    hub.create("model", "org/tiny", {"config.json": b'{"model_type": "clef"}'})
    before = hub.repos["model", "org/tiny"].refs["main"]
    claims = Claims(None, "logits differ by .1.")
    monkeypatch.setattr(verify, "Original", claims)
    with pytest.raises(NotAsSent, match=f"but logits differ by .1.*the state before is revision {before}") as told:
        push_model(published_run, Destination("org/tiny"), api=api)
    head = hub.repos["model", "org/tiny"].refs["main"]
    assert told.value.sent.commit == head
    assert claims.asked[1] == ("org/tiny", head, {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_ada"})


def test_other_weights_are_found(original, assembled):
    weights = load_file(assembled / "model.safetensors")
    name = "clef.visual_projection.weight"
    weights[name][0] += 1e-3
    save_file(weights, assembled / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(VerificationError, match=r"differs from the original by .*, more than 1e-05"):
        original.compare(assembled)


@pytest.mark.parametrize("change", ["import modeling_clef", "from .gone_clef import x"])
def test_code_that_leans_on_the_package_or_is_not_whole_is_found(change, original, assembled):
    path = assembled / "configuration_clef.py"
    path.write_text(f"{change}\n{path.read_text()}")
    with pytest.raises(VerificationError, match="a process without the package cannot load .*(modeling|gone)_clef"):
        original.compare(assembled)


def test_the_hubs_own_copy_is_what_is_compared(original, assembled, hub, monkeypatch):
    files = {path.name: path.read_bytes() for path in assembled.iterdir()}
    hub.create("model", "org/tiny", files, private=True)
    head = hub.repos["model", "org/tiny"].refs["main"]
    server = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_ben", "HF_HUB_DISABLE_XET": "1"}
    # One bit of the thresholds, as the same number of bytes.
    hub.spoil = lambda path, content: content.replace(b"0.4", b"0.5") if path == "config.json" else content
    with pytest.raises(VerificationError, match="thresholds differs from the original by 0.1"):
        original.compare("org/tiny", head, server)
    with pytest.raises(VerificationError, match="cannot load org/tiny"):
        original.compare("org/tiny", head, server | {"HF_TOKEN": "hf_eve"})


def test_what_is_compared_follows_what_the_model_has(published_run, original, tmp_path):
    pipelines = {"zero-shot-image-classification", "image-classification", "facial-behavior"}
    assert pipelines <= original.outputs.keys() and not original.without_texts
    assert {"image_embeds", "text_embeds", "logits", "probabilities"} <= original.outputs[
        "AutoModelForImageClassification"
    ].keys()

    text_free = shutil.copytree(published_run, tmp_path / "text_free")
    model = CLEFForImageClassification.from_pretrained(published_run).eval()
    model.freeze_labels()  # of a tower that nobody has published
    model.save_pretrained(text_free)
    found = Original(text_free)
    assert found.without_texts and pipelines - found.outputs.keys() == {"zero-shot-image-classification"}
    logits = found.outputs["AutoModelForImageClassification"]["logits"]
    assert logits == original.outputs["AutoModelForImageClassification"]["logits"]

    pretrained = shutil.copytree(published_run, tmp_path / "pretrained")
    config = CLEFConfig.from_pretrained(published_run, label_sets=[])
    CLEFForPreTraining(config).save_pretrained(pretrained)
    found = Original(pretrained)
    assert pipelines & found.outputs.keys() == {"zero-shot-image-classification"}
    assert found.outputs["AutoModelForPreTraining"]["image_image_logit_scale"] == pytest.approx(-math.log(0.1))
    assert found.compare(pretrained) <= verify.LARGEST_DIFFERENCE


def test_differences_are_found_wherever_they_are():
    values = {"a": [1.0, {"b": [2.0, 3.0]}], "c": "text", "d": [math.nan], "e": [1, True, None]}
    copy = json.loads(json.dumps(values))
    assert largest_difference(copy, values)[0] == 0
    copy["a"][1]["b"][1] = 3.5
    copy["a"][0] = 1.25
    assert largest_difference(copy, values) == (0.5, "a.b")
    for key, other in (("c", "texts"), ("d", [1.0]), ("d", []), ("e", [1, True, 0]), ("e", [1.0, True, None])):
        assert largest_difference(values | {key: other}, values)[0] == math.inf
    assert largest_difference({"a": 1.0}, {"a": 1.0, "b": 1.0})[0] == math.inf


def test_a_space_shows_the_model(hub, api, space):
    hub.create("model", "org/tiny")
    lines = []
    push = dict(model="org/tiny", say=lines.append, api=api)
    assert push_space(space, Destination("org/demo"), dry_run=True, **push) is None
    assert not [repo for repo in hub.repos if repo[0] == "space"] and "parts/page.py" in lines[0]
    sent = push_space(space, Destination("org/demo", private=True), **push)
    repo = hub.repos["space", "org/demo"]
    assert (repo.sdk, repo.private) == ("gradio", True) and sent.url.startswith(f"{hub.url}/spaces/org/demo/commit/")
    assert set(repo.files()) - {".gitattributes"} == {"README.md", "requirements.txt", "app.py", "parts/page.py"}
    readme = repo.files()["README.md"].decode()
    front = RepoCard(readme).data.to_dict()
    assert front["models"] == ["org/tiny"] and front["preload_from_hub"] == ["org/tiny", "org/encoder b.json"]
    assert front["sdk_version"] == "6.31.0" and readme.endswith("# Demo\n")
    assert "org/other" in (space / "README.md").read_text()  # one's own folder stays as it is
    # A module that the demo no longer has goes, or Python would go on importing it.
    (space / "parts" / "page.py").rename(space / "parts" / "pages.py")
    push_space(space, Destination("org/demo"), **push)
    assert "parts/page.py" not in repo.files() and len(repo.log()) == 3


def test_what_was_added_to_a_space_stays(hub, api, space):
    hub.create("model", "org/tiny")
    added = {"clef_space/page.py": b"", "ours/stats.py": b"", "parts/notes.txt": b"", "style.css": b"", "tool.js": b""}
    repo = hub.create("space", "org/demo", added, sdk="gradio")
    push_space(space, Destination("org/demo"), "org/tiny", api=api)
    assert {name: repo.files().get(name) for name in added} == added
    assert b"clef-demo" in repo.files()["README.md"]


@pytest.mark.parametrize("files, message", [
    ({"app.py": b"theirs", "README.md": b"---\nsdk: gradio\ntags: [chat]\n---\n"}, "app.py, and is no demo of CLEF"),
    ({"app.py": b"theirs"}, "add `clef-demo` to `tags` in its README.md"),
])  # fmt: skip
def test_a_space_of_something_else_is_kept(files, message, hub, api, space):
    hub.create("model", "org/tiny")
    hub.create("space", "org/demo", files, sdk="gradio")
    with pytest.raises(PushError, match=message):
        push_space(space, Destination("org/demo"), "org/tiny", api=api)
    assert hub.repos["space", "org/demo"].log() == ["initial commit"]


def test_a_space_that_is_still_empty_is_written_to(hub, api, space):
    hub.create("model", "org/tiny")
    repo = hub.create("space", "org/demo", {"README.md": b"---\nsdk: gradio\n---\n"}, sdk="gradio")
    push_space(space, Destination("org/demo"), "org/tiny", api=api)
    assert "app.py" in repo.files()


def test_a_space_that_is_not_whole_is_refused(hub, api, space):
    hub.create("model", "org/tiny")

    def refused(message, model="org/tiny"):
        with pytest.raises(PushError, match=message):
            push_space(space, Destination("org/demo"), model, api=api)
        assert ("space", "org/demo") not in hub.repos

    refused("there is no model org/gone", "org/gone")
    (space / "parts" / "page.py").write_text("def page(:\n")
    refused("page.py is no Python: line 1")
    (space / "app.py").rename(space / "main.py")
    refused("holds no app.py, which README.md names")
    (space / "README.md").write_text("---\nsdk: gradio\n---\n")
    refused(r"lacks \['sdk_version', 'app_file', 'title'\]")
    (space / "requirements.txt").unlink()
    refused("holds no requirements.txt")


def test_push_space_command(hub, client, space):
    hub.create("model", "org/tiny")
    flags = ("--repo", "org/demo", "--model", "org/tiny", "--folder", space)
    done = client("-m", "clef", "push-space", *flags)
    assert done.returncode == 0, done.stderr
    assert hub.repos["space", "org/demo"].log() == ["CLEF demo of org/tiny", "initial commit"]
    again = client("-m", "clef", "push-space", *flags, token="hf_eve")
    assert again.returncode == 5 and "may not write to the Space org/demo (403)" in again.stderr


@pytest.mark.skipif(
    any(name not in os.environ for name in OUTSIDE), reason=f"needs an outside Hub server: {', '.join(OUTSIDE)}"
)
def test_push_to_an_outside_server(published_run, client):
    endpoint, token, owner = (os.environ[name] for name in OUTSIDE)
    repo_id = f"{owner}/clef-push-test-{os.getpid()}"
    delete = f"from huggingface_hub import HfApi; HfApi().delete_repo({repo_id!r}, missing_ok=True)"
    try:
        for _ in range(2):  # the second time nothing is new
            push = ("-m", "clef", "push", published_run, "--repo", repo_id, "--private")
            done = client(*push, endpoint=endpoint, token=token)
            assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    finally:
        deleted = client("-c", delete, endpoint=endpoint, token=token)
    assert deleted.returncode == 0, deleted.stderr
