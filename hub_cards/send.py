"""A folder to a repository of the Hub, as one commit. Needs huggingface_hub only, so that refusals come at once."""

import fnmatch
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
    hf_hub_download,
)
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

KINDS = {"model": "model", "dataset": "dataset", "space": "Space"}
# Of a model's weights; larger ones are cut into several files.
SHARD_SIZE = "5GB"
# What a repository may hold that nobody has put anything into yet.
EMPTY = {".gitattributes", "LICENSE", "README.md"}


class PushError(Exception):
    """Why nothing was published and what to do, in one line."""


@dataclass(frozen=True)
class Destination:
    """Where to: `repo_id` as "org/name" of a `kind` ("model", "dataset", "space").

    private: create it private; a repository that exists must be so already. gated: ask whoever downloads for their
    contact: "auto" lets them in at once, "manual" after somebody agrees. branch: commit there, from main where it is
    new. create_pr: open a pull request instead. sdk: of a Space.
    """

    repo_id: str
    kind: str = "model"
    private: bool = False
    gated: str | None = None
    branch: str | None = None
    create_pr: bool = False
    sdk: str | None = None

    def __str__(self) -> str:
        return f"the {KINDS[self.kind]} {self.repo_id}"


@dataclass(frozen=True)
class Existing:
    """A repository as it is: `head` is the commit that ours will follow, `files` are the paths there."""

    head: str
    files: tuple[str, ...]
    gated: str | bool
    has_branch: bool = True

    @property
    def content(self) -> tuple[str, ...]:
        """Files beyond those that a new repository has."""
        return tuple(name for name in self.files if name not in EMPTY)


@dataclass(frozen=True)
class Sent:
    """commit: its hash. previous: the one before. url: to look at. revision: what loads it. changed: False where all
    files were there already, and no commit was made."""

    commit: str
    previous: str
    url: str
    revision: str
    changed: bool


def look_at(destination: Destination, api: HfApi | None = None) -> Existing | None:
    """What is there; None: nothing yet.

    Raises:
        PushError: offline, no token, a repository of another kind or visibility, no access.
    """
    api = api or HfApi()
    if constants.is_offline_mode():
        raise PushError("HF_HUB_OFFLINE is set, so nothing can be sent: unset it and push again.")
    if destination.create_pr and destination.branch:
        raise PushError("a pull request goes to main: leave --branch or --create-pr out.")
    if destination.repo_id.count("/") != 1:
        raise PushError(f"{destination.repo_id!r} is no repository: expected OWNER/NAME, such as org/clef.")
    if not (api.token or get_token()):
        raise PushError(
            f"no token for {api.endpoint}: run `hf auth login`, or set HF_TOKEN, with one that may write to "
            f"{destination.repo_id.split('/')[0]}."
        )
    try:
        return _look_at(destination, api)
    except PushError:
        raise
    except Exception as error:
        raise PushError(f"nothing was sent: {advice(error, destination, api)}") from error


def _look_at(destination: Destination, api: HfApi) -> Existing | None:
    repo_id, kind = destination.repo_id, destination.kind
    try:
        info = api.repo_info(repo_id, repo_type=kind)
    except RepositoryNotFoundError:
        for other in KINDS:
            if other != kind and api.repo_exists(repo_id, repo_type=other):
                flags = f"--type {kind}" + (f" --sdk {destination.sdk}" if destination.sdk else "")
                raise PushError(
                    f"{repo_id} is a {KINDS[other]} already: give another --repo, or if the {KINDS[kind]} shall have "
                    f"the same name, create it first: hf repos create {repo_id} {flags}."
                ) from None
        return None
    if destination.private and not info.private:
        raise PushError(
            f"{destination} is public: leave --private out, or first run "
            f"hf repos settings {repo_id} --type {kind} --private."
        )
    if kind == "space" and info.sdk not in (None, destination.sdk):
        raise PushError(f"{destination} is made with {info.sdk}, this one with {destination.sdk}: give another --repo.")
    if destination.branch:
        with suppress(RevisionNotFoundError):
            branch = api.repo_info(repo_id, repo_type=kind, revision=destination.branch)
            return Existing(branch.sha, _files(branch), info.gated or False)
    return Existing(info.sha, _files(info), info.gated or False, has_branch=not destination.branch)


def _files(info) -> tuple[str, ...]:
    return tuple(sibling.rfilename for sibling in info.siblings or ())


def read_file(name: str, destination: Destination, existing: Existing, api: HfApi | None = None) -> str:
    """A text file of the repository, as of the commit that `look_at` has found.

    Raises:
        PushError: it cannot be fetched.
    """
    api = api or HfApi()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = hf_hub_download(
                destination.repo_id,
                name,
                repo_type=destination.kind,
                revision=existing.head,
                local_dir=scratch,
                endpoint=api.endpoint,
                token=api.token,
            )
        except Exception as error:
            raise PushError(f"nothing was sent: {advice(error, destination, api)}") from error
        return Path(path).read_text(encoding="utf-8", errors="replace")


def read_json(name: str, destination: Destination, existing: Existing, api: HfApi | None = None) -> dict:
    """The JSON object in a file of the repository; {} where it is none.

    Raises:
        PushError: it cannot be fetched.
    """
    try:
        content = json.loads(read_file(name, destination, existing, api))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def send_folder(
    folder: Path,
    destination: Destination,
    message: str,
    replaces: tuple[str, ...] = (),
    existing: Existing | None = None,
    api: HfApi | None = None,
) -> Sent:
    """Sends all files of the folder as one commit.

    A failure leaves a repository as it was, and one that this call has created empty; the same call repeats it.

    Args:
        replaces: patterns of files that such a folder may hold: those in the repository that this one lacks are
            deleted in the same commit, all others are kept.
        existing: what `look_at` has found. Somebody else's commit since then makes this one fail.

    Raises:
        PushError: it did not arrive; nothing has changed.
    """
    api = api or HfApi()
    repo_id, kind = destination.repo_id, destination.kind
    undo = []
    try:
        if existing is None:
            api.create_repo(repo_id, repo_type=kind, private=destination.private or None, space_sdk=destination.sdk)
            info = api.repo_info(repo_id, repo_type=kind)
            existing = Existing(info.sha, _files(info), False, has_branch=not destination.branch)
        # Before the files are there, so that at no time they are open to all.
        if destination.gated and destination.gated != existing.gated:
            api.update_repo_settings(repo_id, repo_type=kind, gated=destination.gated)
            undo.append(lambda: api.update_repo_settings(repo_id, repo_type=kind, gated=existing.gated))
        if not existing.has_branch:
            api.create_branch(repo_id, repo_type=kind, branch=destination.branch)
            undo.append(lambda: api.delete_branch(repo_id, repo_type=kind, branch=destination.branch))
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in paths]
        stale = [
            name
            for name in existing.files
            if name not in names and any(fnmatch.fnmatchcase(name, pattern) for pattern in replaces)
        ]
        operations = [CommitOperationDelete(path_in_repo=name) for name in stale]
        operations += [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in zip(names, paths, strict=True)
        ]
        # One commit: `upload_folder` may make several.
        info = api.create_commit(
            repo_id,
            operations,
            commit_message=message,
            repo_type=kind,
            revision=destination.branch,
            create_pr=destination.create_pr,
            parent_commit=existing.head,
        )
    except BaseException as error:
        for step in reversed(undo):
            with suppress(Exception):  # what failed before may fail again; the first reason is the one to tell
                step()
        if not isinstance(error, Exception):
            raise
        raise PushError(f"nothing was sent: {advice(error, destination, api)}") from error
    return Sent(
        commit=info.oid,
        previous=existing.head,
        url=info.pr_url or info.commit_url,
        revision=info.pr_revision or info.oid,
        changed=info.oid != existing.head,
    )


def advice(error: Exception, destination: Destination, api: HfApi) -> str:
    """What an error of the client means to whoever pushes, and what to do, in one line."""
    if "xet-write-token" in str(error):  # the address that Xet asks first
        return f"{api.endpoint} does not take Xet uploads: set HF_HUB_DISABLE_XET=1 and push again."
    cause = error
    while cause is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__
    owner = destination.repo_id.split("/")[0]
    if isinstance(cause, HfHubHTTPError):
        status = cause.response.status_code
        if status == 401 and not isinstance(cause, RepositoryNotFoundError):
            return f"{api.endpoint} does not accept this token (401): run `hf auth login`, or set HF_TOKEN anew."
        if status in (401, 403, 404):
            return (
                f"this token may not write to {destination} ({status}): use one with write access to {owner}, "
                "give a --repo of your own, or offer it with --create-pr."
            )
        if status in (409, 412):
            return f"{destination} has been made or changed by somebody else ({status}): look at it and push again."
        if status in (402, 413, 507):
            return f"{owner} has no room for it ({status}): {cause.server_message or 'free some storage'}."
        if status == 429:
            return "the Hub has had too many requests (429): push again in a few minutes."
        return f"{api.endpoint} answered {status}: {_one_line(cause.server_message or cause)}; push again later."
    if isinstance(error, (ConnectionError, TimeoutError, OSError)) or type(error).__module__.startswith("http"):
        return f"{api.endpoint} broke off or cannot be reached ({_one_line(error)}): push again."
    return _one_line(error)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def size_of(folder: Path) -> int:
    """Bytes of all files in the folder."""
    return sum(os.path.getsize(path) for path in folder.rglob("*") if path.is_file())
