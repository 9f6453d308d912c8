"""The model card of a run folder or checkpoint: its own template, filled with what was measured."""

import re
from pathlib import Path
from string import Template

from huggingface_hub import ModelCard

from hub_cards.data_sets import data_set
from hub_cards.licences import weights_licence
from hub_cards.lineage import lineage_of
from hub_cards.measured import Measured, read_measured
from hub_cards.model_index import model_metadata
from hub_cards.reliability import PICTURE, draw_picture
from hub_cards.sections_limits import known_failures, licences
from hub_cards.sections_photographs import photographs
from hub_cards.sections_results import calibration, groups, identity, label_tables, results, speed
from hub_cards.sections_training import comparison, training
from hub_cards.sections_use import introduction, labels_and_prompts, usage

TEMPLATE = Path(__file__).with_name("templates") / "model_card.md"


def check_model_card(folder: Path, repo_id: str | None = None) -> None:
    """Raises what `write_model_card` would raise, and writes nothing."""
    _render(read_measured(Path(folder)), repo_id)


def write_model_card(folder: Path, repo_id: str | None = None) -> Path:
    """Writes `README.md` into the folder, and `calibration.png` where its data are there.

    Facts come from the folder's config.json, metrics.json and recipe.yaml, and from results.json, predictions.parquet,
    preprocessor_config.json and card.yaml (`measured.FACTS`) if there are any. A section without a fact is left out.

    Args:
        repo_id: the Hub id it is published under, which the snippets then name. None: a draft called as the folder,
            which may lack what only publishing asks for.

    Raises:
        FileNotFoundError, ValueError: a required fact is missing or files contradict each other (see `read_measured`);
            with `repo_id` also when nobody has named the licence of the weights or the terms of the data.
    """
    folder = Path(folder)
    measured = read_measured(folder)
    picture = draw_picture(measured)
    # Rendered whole before anything is written, so that a card that lacks something leaves the old one alone.
    text = _render(measured, repo_id, PICTURE if picture else None)
    if picture:
        (folder / PICTURE).write_bytes(picture)
    else:
        (folder / PICTURE).unlink(missing_ok=True)  # of something else, if it is there
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


def _render(measured: Measured, repo_id: str | None, picture: str | None = None) -> str:
    if repo_id is not None:
        _check_terms(measured)
    return render_model_card(measured, repo_id, picture)


def render_model_card(measured: Measured, repo_id: str | None = None, picture: str | None = None) -> str:
    """The card as text.

    Args:
        picture: file name of the calibration plot, None without one.

    Raises:
        ValueError: a required fact is missing, or the metadata are not what the Hub takes.
    """
    repo_id = repo_id or measured.folder.resolve().name
    name = repo_id.split("/")[-1]
    sections = {
        "metadata": model_metadata(measured, name).to_yaml(),
        "name": name,
        "introduction": introduction(measured),
        "usage": usage(measured, repo_id),
        "labels_and_prompts": labels_and_prompts(measured),
        "training": training(measured),
        "results": results(measured),
        "label_tables": label_tables(measured),
        "calibration": calibration(measured, picture),
        "groups": groups(measured),
        "photographs": photographs(measured),
        "comparison": comparison(measured),
        "identity": identity(measured),
        "speed": speed(measured),
        "known_failures": known_failures(measured),
        "licences": licences(measured),
    }
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute({k: v or "" for k, v in sections.items()})
    text = re.sub(r"\n{3,}", "\n\n", text)
    ModelCard(text)  # parses the model index as the Hub's client does
    return text


def _check_terms(measured: Measured) -> None:
    own = [name for name in lineage_of(measured).corpora if data_set(name).terms is None]
    if weights_licence(measured).license is None:
        raise ValueError(
            f"the terms of these weights are not known (trained on {', '.join(own) or 'unknown data'}): "
            f"write `license: …` into {measured.folder / 'card.yaml'}."
        )
    if own and "data_terms" not in measured.facts:
        raise ValueError(
            f"the terms of the training data ({', '.join(own)}) are not known: write `data: …` and `data_terms: …` "
            f"into {measured.folder / 'card.yaml'}."
        )
