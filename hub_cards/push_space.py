"""A demo folder to a Space of the Hub."""

import ast
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, RepoCard

from hub_cards.push import NotAsSent
from hub_cards.send import Destination, Existing, PushError, Sent, look_at, read_file, send_folder, size_of

# What `push_space` marks a Space with as one that it may write to again.
TAG = "clef-demo"
NEEDED = ("sdk", "sdk_version", "app_file", "title")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def push_space(
    folder: Path,
    destination: Destination,
    model: str,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
    api: HfApi | None = None,
) -> Sent | None:
    """Publishes a folder with README.md (front matter), requirements.txt and the app as a Space.

    Args:
        folder: hidden files and Python's caches stay here. The app finds its model's id in the front matter.
        model: Hub id of the model it shows, which becomes the only one of `models` in the front matter, and takes
            their place in `preload_from_hub` where that is used.
        dry_run: nothing is asked of the Hub and nothing sent; returns None.

    Raises:
        PushError: refused, or it could not be sent; nothing has changed on the Hub. NotAsSent: the Hub gives other
            files back.
    """
    api = api or HfApi()
    try:
        sdk = check_space(Path(folder))
    except (FileNotFoundError, ValueError) as error:
        raise PushError(f"not published: {error}") from error
    destination = Destination(**vars(destination) | {"kind": "space", "sdk": sdk})
    existing = None
    if not dry_run:
        existing = look_at(destination, api)
        if existing is not None:
            _check_content(destination, existing, api)
        _check_model(model, destination, api)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch, "space"), ignore=IGNORED))
        point_to(copy, model)
        names = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file())
        say(f"{len(names)} files, {size_of(copy) / 1e3:.0f} kB, showing {model}: {', '.join(names)}")
        if dry_run:
            say("dry run: nothing was sent")
            return None
        say(f"sending to {destination} …")
        # Modules that a folder of the demo no longer has must go: Python would still import them.
        stale = tuple(sorted({f"{name.split('/')[0]}/*.py" for name in names if "/" in name}))
        sent = send_folder(copy, destination, f"CLEF demo of {model}", stale, existing, api)
        _check_copy(copy, names, destination, sent, api)
    return sent


def check_space(folder: Path) -> str:
    """The SDK of a folder that can be a Space.

    Raises:
        FileNotFoundError, ValueError: README.md, its front matter, the app or requirements.txt is missing or broken.
    """
    for name in ("README.md", "requirements.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}; expected the folder of a demo.")
    front = RepoCard((folder / "README.md").read_text(encoding="utf-8")).data.to_dict()
    if missing := [name for name in NEEDED if name not in front]:
        raise ValueError(f"the front matter of {folder / 'README.md'} lacks {missing}.")
    if front["sdk"] != "gradio":
        raise ValueError(f"the front matter of {folder / 'README.md'} has sdk {front['sdk']!r}, expected 'gradio'.")
    if not (folder / front["app_file"]).is_file():
        raise FileNotFoundError(f"{folder} holds no {front['app_file']}, which README.md names as app_file.")
    for path in folder.rglob("*.py"):
        try:
            ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise ValueError(f"{path} is no Python: line {error.lineno}: {error.msg}.") from error
    return front["sdk"]


def point_to(folder: Path, model: str) -> None:
    """Makes `model` the one that the front matter of README.md names, and marks it as a demo of CLEF; other entries of
    `preload_from_hub` and other tags stay."""
    card = RepoCard.load(folder / "README.md")
    fields = card.data.to_dict()
    if "preload_from_hub" in fields:
        before = fields.get("models") or []
        others = [entry for entry in fields["preload_from_hub"] if entry.split()[0] not in (*before, model)]
        card.data["preload_from_hub"] = [model, *others]
    card.data["models"] = [model]
    card.data["tags"] = [*(tag for tag in fields.get("tags") or [] if tag != TAG), TAG]
    card.save(folder / "README.md")


def _check_content(destination: Destination, existing: Existing, api: HfApi) -> None:
    """Raises PushError where the Space shows anything but a demo of CLEF."""
    if not existing.content or any(name.startswith("clef_space/") for name in existing.files):
        return
    card = RepoCard(read_file("README.md", destination, existing, api)) if "README.md" in existing.files else None
    if card is None or TAG not in (card.data.to_dict().get("tags") or []):
        raise PushError(
            f"{destination} holds {existing.content[0]}, and is no demo of CLEF: give another --repo, or if it is one, "
            f"add `{TAG}` to `tags` in its README.md."
        )


def _check_model(model: str, destination: Destination, api: HfApi) -> None:
    if not api.repo_exists(model):
        raise PushError(f"there is no model {model} for {destination} to show: push it first, or give --model.")


def _check_copy(folder: Path, names: list[str], destination: Destination, sent: Sent, api: HfApi) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        there = api.snapshot_download(
            destination.repo_id, repo_type="space", revision=sent.revision, local_dir=scratch, cache_dir=scratch
        )
        for name in names:
            path = Path(there, name)
            if not path.is_file() or path.read_bytes() != (folder / name).read_bytes():
                raise NotAsSent(f"sent as commit {sent.commit[:12]}, but the Hub's copy of {name} is another.", sent)
