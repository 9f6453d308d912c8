"""Terms of the weights, which follow from what they were trained on, apart from those of the code."""

from dataclasses import dataclass

from hub_cards.data_sets import data_set
from hub_cards.lineage import lineage_of
from hub_cards.measured import Measured
from modeling_clef.sentence_encoder_clef import MINILM
from processing.face_detection_clef import YUNET_REPOSITORY

CODE = "Apache-2.0"
FREE = "apache-2.0"
FOLLOWS_DATA = "terms-of-the-training-data"
# As its folder in OpenCV's model zoo has it.
YUNET_LICENCE = "MIT"
KNOWN_MODELS = {MINILM["repo_id"]: "Apache-2.0"}


@dataclass(frozen=True)
class WeightsLicence:
    """SPDX name as the Hub has it ("other" with a name and perhaps a link), or None: nobody has said."""

    license: str | None
    name: str | None = None
    link: str | None = None

    def metadata(self) -> dict[str, str]:
        fields = {"license": self.license, "license_name": self.name, "license_link": self.link}
        return {key: value for key, value in fields.items() if value is not None}


def weights_licence(measured: Measured) -> WeightsLicence:
    """What card.yaml says, else Apache-2.0 for weights that drawn faces alone have made, else "other" where data sets
    have terms of their own.

    Raises:
        ValueError: card.yaml says "other" without a name.
    """
    facts = measured.facts
    if "license" in facts:
        if facts["license"] == "other" and "license_name" not in facts:
            raise ValueError("card.yaml: got license 'other' without license_name; say what it is called.")
        return WeightsLicence(facts["license"], facts.get("license_name"), facts.get("license_link"))
    lineage = lineage_of(measured)
    terms = [data_set(name).terms for name in lineage.corpora]
    if lineage.unknown_start or None in terms:
        return WeightsLicence(None)
    drawn = all(data_set(name).drawn for name in lineage.corpora)
    # Weights that go on from somebody else's carry those terms, which stand in its own card.
    if drawn and not lineage.foreign_vision:
        return WeightsLicence(FREE)
    return WeightsLicence("other", FOLLOWS_DATA)


def licence_lines(measured: Measured) -> list[str]:
    """Code, weights, each data set, each model that it started from and the one that finds faces, a line each."""
    lineage, licence = lineage_of(measured), weights_licence(measured)
    if licence.license is None:
        weights = "nobody has named a licence yet (`license` in card.yaml): not to be passed on"
    elif licence.name == FOLLOWS_DATA:
        weights = "they follow the terms of the data and models below"
    else:
        weights = CODE if licence.license == FREE else licence.name or licence.license
        weights += f" ({licence.link})" if licence.link else ""
    lines = [f"* Code: {CODE}.", f"* Weights: {weights}."]
    for name in lineage.corpora:
        known = data_set(name)
        own = known.terms is None
        title = measured.facts.get("data", known.title) if own else known.title
        terms = measured.facts.get("data_terms", "terms not stated") if own else known.terms
        lines.append(f"* Data, {title}: {terms}.")
    left_out = (
        (measured.config.get("sentence_encoder") or {}).get("repo_id") if measured.config.get("text_free") else None
    )
    for name in lineage.base_models:
        place = "included or changed in these weights"
        if name == left_out:
            place = "its tokenizer is included, its weights are not"
        lines.append(f"* Model, {name} ({place}): {KNOWN_MODELS.get(name, 'see its own card')}.")
    if measured.has_pipeline:
        lines.append(f"* Face finder, {YUNET_REPOSITORY} (not included): {YUNET_LICENCE}.")
    if lineage.unknown_start:
        lines.append("* The checkpoint that training started from: not described here.")
    return lines
