"""Folders sent to a Hub that speaks HTTP, through the real client; refusals and failures leave it as it was."""

import pytest
from huggingface_hub import HfApi, constants

from hub_cards.send import Destination, PushError, look_at, send_folder

SHARDS = ("*.safetensors", "*.safetensors.index.json", "*_clef.py")


@pytest.fixture
def api(hub, monkeypatch, tmp_path):
    """`api(token)`: the client of somebody. Tests are offline, but for this server."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return lambda token="hf_ada": HfApi(endpoint=hub.url, token=token)


@pytest.fixture
def folder(tmp_path):
    content = {
        "README.md": b"---\nlicense: mit\n---\n# Tiny",
        "model.safetensors": bytes(range(256)) * 300,  # 76.8 kB, in three parts
        "modeling_clef.py": b"VERSION = 1\n",
        "data/labels.json": b"{}",
    }
    for name, value in content.items():
        (tmp_path / "sent" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sent" / name).write_bytes(value)
    return tmp_path / "sent"


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def send(folder, destination, api, replaces=SHARDS):
    return send_folder(folder, destination, "a model", replaces, look_at(destination, api), api)


def state(hub):
    return {
        key: (dict(repo.refs), len(repo.commits), repo.private, repo.gated, repo.files())
        for key, repo in hub.repos.items()
    }


def test_a_new_repository_gets_all_files_in_one_commit(hub, api, folder):
    sent = send(folder, Destination("org/tiny"), api())
    repo = hub.repos["model", "org/tiny"]
    assert repo.log() == ["a model", "initial commit"]
    assert repo.files() == content_of(folder) | {".gitattributes": repo.files()[".gitattributes"]}
    assert sent.changed and sent.commit == sent.revision == repo.refs["main"]
    assert sent.previous == repo.commits[sent.commit][0] and sent.url == f"{hub.url}/org/tiny/commit/{sent.commit}"
    puts = [request for request in hub.requests if request.startswith("PUT /lfs/")]
    assert sorted(request.rsplit("/", 1)[1] for request in puts) == ["1", "2", "3"]
    assert not repo.private and repo.gated is False


def test_nothing_new_makes_no_commit(hub, api, folder):
    first = send(folder, Destination("org/tiny"), api())
    again = send(folder, Destination("org/tiny"), api())
    assert not again.changed and again.commit == first.commit
    assert len(hub.repos["model", "org/tiny"].log()) == 2


def test_what_an_earlier_push_left_goes_and_all_else_stays(hub, api, folder):
    before = {"model-00001-of-00002.safetensors": b"1", "model.safetensors.index.json": b"{}", "old_clef.py": b""}
    hub.create("model", "org/tiny", before | {"LICENSE": b"mine", "README.md": b"old", "docs/x.safetensors.md": b"x"})
    send(folder, Destination("org/tiny"), api())
    repo = hub.repos["model", "org/tiny"]
    assert repo.log() == ["a model", "initial commit"]
    kept = {name: repo.files()[name] for name in (".gitattributes", "LICENSE", "docs/x.safetensors.md")}
    assert kept["LICENSE"] == b"mine" and repo.files() == content_of(folder) | kept


def test_a_branch_is_made_from_main(hub, api, folder):
    hub.create("model", "org/tiny", {"LICENSE": b"mine"})
    repo = hub.repos["model", "org/tiny"]
    main = repo.refs["main"]
    destination = Destination("org/tiny", branch="next/try")
    sent = send(folder, destination, api())
    assert repo.refs == {"main": main, "next/try": sent.commit} and repo.log("next/try")[1:] == repo.log("main")
    (folder / "README.md").write_bytes(b"# Again")
    send(folder, destination, api())
    assert repo.log("next/try") == ["a model", "a model", "initial commit"]
    assert repo.files("next/try")["LICENSE"] == b"mine"


def test_a_pull_request_needs_no_right_to_write(hub, api, folder):
    hub.create("model", "org/tiny")
    repo = hub.repos["model", "org/tiny"]
    main = repo.refs["main"]
    sent = send(folder, Destination("org/tiny", create_pr=True), api("hf_eve"))
    assert repo.refs == {"main": main, "refs/pr/1": sent.commit}
    assert sent.revision == "refs/pr/1" and sent.url.endswith("/org/tiny/discussions/1")


def test_private_and_gated_before_files_are_there(hub, api, folder):
    states = []
    hub.fail = lambda request: states.append((request, [(r.private, r.gated) for r in hub.repos.values()]))
    send(folder, Destination("org/tiny", private=True, gated="manual"), api())
    (found,) = [state for request, state in states if "/commit/" in request]
    assert found == [(True, "manual")]
    assert look_at(Destination("org/tiny", private=True), api("hf_ben")) is not None
    for token, status in (("hf_eve", 404), (False, 401)):
        with pytest.raises(Exception, match=f"{status} Client Error"):
            api(token).repo_info("org/tiny")


FAILURES = {
    "POST /api/models/org/tiny/preupload/next": (403, "may not write to the model org/tiny .403.*write access to org"),
    "PUT /lfs": (403, "may not write"),
    "/verify": (404, "may not write"),
    "POST /api/models/org/tiny/commit/next": ("cut", "broke off or cannot be reached.*push again"),
    "POST /api/validate-yaml": (401, "does not accept this token"),
    "POST /org/tiny.git/info/lfs": (413, "no room"),
    "PUT /api/models/org/tiny/settings": (403, "may not write"),
    "POST /api/models/org/tiny/branch": (409, "made or changed by somebody else"),
}


@pytest.mark.parametrize("request_", FAILURES)
def test_a_failure_leaves_it_as_it_was_and_can_be_repeated(hub, api, folder, request_):
    hub.create("model", "org/tiny", {"LICENSE": b"mine", "old_clef.py": b""})
    before = state(hub)
    failure, message = FAILURES[request_]
    failed = []
    hub.fail = lambda request: (failed.append(request) or failure) if request_ in request and not failed else None
    destination = Destination("org/tiny", gated="auto", branch="next")
    with pytest.raises(PushError, match=f"^nothing was sent: .*{message}") as told:
        send(folder, destination, api())
    assert failed and "\n" not in str(told.value)
    assert state(hub) == before
    send(folder, destination, api())
    assert hub.repos["model", "org/tiny"].log("next") == ["a model", "initial commit"]
    assert hub.repos["model", "org/tiny"].gated == "auto"


def test_an_interruption_undoes_what_was_begun(hub, api, folder):
    hub.create("model", "org/tiny")
    before = state(hub)
    client = api()
    client.create_commit = lambda *arguments, **options: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        send(folder, Destination("org/tiny", gated="auto", branch="next"), client)
    assert state(hub) == before


def test_somebody_elses_commit_is_not_overwritten(hub, api, folder):
    hub.create("model", "org/tiny")
    existing = look_at(Destination("org/tiny"), api())
    hub.repos["model", "org/tiny"].commit("main", "theirs", {}, existing.head)
    with pytest.raises(PushError, match="made or changed by somebody else .412.*push again"):
        send_folder(folder, Destination("org/tiny"), "ours", SHARDS, existing, api())
    assert hub.repos["model", "org/tiny"].log()[0] == "theirs"


def test_a_server_without_xet_says_what_to_set(hub, api, folder, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(PushError, match="does not take Xet uploads: set HF_HUB_DISABLE_XET=1"):
        send(folder, Destination("org/tiny"), api())


def test_refusals_before_anything_is_done(hub, api):
    hub.create("model", "org/open")
    hub.create("model", "org/hidden", private=True)
    hub.create("dataset", "org/faces")
    hub.create("space", "org/demo", sdk="docker")
    before = state(hub)
    refused = [
        (Destination("org/new"), None, r"^no token for http.*run `hf auth login`, or set HF_TOKEN.* org\."),
        (Destination("org/new"), "hf_wrong", r"does not accept this token \(401\): run `hf auth login`"),
        (Destination("org/faces"), "hf_ada", r"org/faces is a dataset already: give another --repo.*--type model"),
        (Destination("org/demo"), "hf_ada", "org/demo is a Space already"),
        (Destination("org/open", "space", sdk="gradio"), "hf_ada", "org/open is a model already.*--type space"),
        (Destination("org/demo", "space", sdk="gradio"), "hf_ada", "made with docker, this one with gradio"),
        (Destination("org/open", private=True), "hf_ada", "is public: leave --private out, or first run hf repos"),
        (Destination("org/open", branch="b", create_pr=True), "hf_ada", "leave --branch or --create-pr out"),
        (Destination("tiny"), "hf_ada", "expected OWNER/NAME"),
    ]
    for destination, token, message in refused:
        with pytest.raises(PushError, match=message) as told:
            look_at(destination, api(token))
        assert "\n" not in str(told.value)
    assert state(hub) == before
    assert look_at(Destination("org/hidden", private=True), api()).files == (".gitattributes",)
    assert look_at(Destination("org/hidden"), api("hf_eve")) is None  # as if it were not there


@pytest.mark.parametrize("name", ["hidden", "new", "open"])
def test_without_rights_nothing_is_made(hub, api, folder, name):
    hub.create("model", "org/open")
    hub.create("model", "org/hidden", private=True)
    before = state(hub)
    with pytest.raises(PushError, match="this token may not write to the model org/.*write access to org.*--create-pr"):
        send(folder, Destination(f"org/{name}"), api("hf_eve"))
    assert state(hub) == before


def test_offline_says_so(hub, api, monkeypatch):
    client = api()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PushError, match="HF_HUB_OFFLINE is set"):
        look_at(Destination("org/new"), client)


def test_a_server_that_is_not_there_says_so(api):
    client = HfApi(endpoint="http://127.0.0.1:9", token="hf_ada")
    with pytest.raises(PushError, match="http://127.0.0.1:9 broke off or cannot be reached"):
        look_at(Destination("org/new"), client)
