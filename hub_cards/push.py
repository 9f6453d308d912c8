"""A run folder to the Hub: assembled, loaded by a fresh process, sent as one commit, loaded again from there."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi

from hub_cards.send import SHARD_SIZE, Destination, Existing, PushError, Sent, look_at, read_json, send_folder


class NotAsSent(Exception):
    """The Hub's copy is another than what was sent. sent: the commit."""

    def __init__(self, message: str, sent: Sent):
        super().__init__(message)
        self.sent = sent


def push_model(
    run: Path,
    destination: Destination,
    max_shard_size: str = SHARD_SIZE,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
    api: HfApi | None = None,
) -> Sent | None:
    """Publishes a run folder or checkpoint, if a process without the package gets the same from it as this one.

    Args:
        dry_run: all but the Hub: nothing is asked of it and nothing sent; returns None.
        max_shard_size: larger models are cut into several files.
        say: takes the lines that tell how far it is.

    Raises:
        PushError: refused, or it could not be sent; nothing has changed on the Hub.
        NotAsSent: it was sent, and what the Hub gives back differs.
    """
    api = api or HfApi()
    run = Path(run)
    existing = None
    if not dry_run:
        existing = look_at(destination, api)
        if existing is not None:
            _check_content(destination, existing, api)
    # From here on torch is needed.
    from hub_cards.assemble import WRITTEN, assemble, describe
    from hub_cards.verify import Original, VerificationError

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, destination.repo_id.split("/")[-1])
        folder.mkdir()
        try:
            assembled = assemble(run, folder, destination.repo_id, max_shard_size)
            for line in describe(assembled):
                say(line)
            say("loading it in a process without the package …")
            original = Original(run)
            difference = original.compare(folder)
        except (FileNotFoundError, ValueError, ImportError, VerificationError) as error:
            raise PushError(f"not published: {error}") from error
        say(f"the same through every Auto class and pipeline (largest difference {difference:.1g})")
        if original.without_texts:
            say("texts were not compared: its text tower is left out and not published")
        if dry_run:
            say("dry run: nothing was sent")
            return None
        say(f"sending to {destination} …")
        sent = send_folder(folder, destination, f"CLEF model: {run.resolve().name}", WRITTEN, existing, api)
    if not sent.changed:
        say("the Hub has these very files already")
    say("loading the Hub's copy in a process without the package …")
    server = {"HF_ENDPOINT": api.endpoint} | ({"HF_TOKEN": api.token} if api.token else {})
    try:
        original.compare(destination.repo_id, sent.revision, server)
    except VerificationError as error:
        raise NotAsSent(
            f"sent as commit {sent.commit[:12]}, but {error} Until it is put right, the state before is revision "
            f"{sent.previous}.",
            sent,
        ) from error
    return sent


def _check_content(destination: Destination, existing: Existing, api: HfApi) -> None:
    """Raises PushError where the repository holds anything but a CLEF model."""
    if "config.json" in existing.files:
        found = read_json("config.json", destination, existing, api).get("model_type")
        if found != "clef":
            raise PushError(f"{destination} holds a model of type {found!r}, not CLEF's: give another --repo.")
    elif existing.content:
        raise PushError(
            f"{destination} holds {existing.content[0]}, and no config.json of a CLEF model: give another --repo."
        )
