"""Sections of a model card on what the model cannot do, and on terms."""

from hub_cards.data_sets import data_set
from hub_cards.formatting import paragraphs
from hub_cards.licences import licence_lines
from hub_cards.lineage import lineage_of
from hub_cards.measured import Measured
from hub_cards.sections_photographs import photograph_failures
from hub_cards.sections_results import trusted_labels


def known_failures(measured: Measured) -> str:
    """What was found not to work, what follows from the data, and what card.yaml adds."""
    lines = []
    drawn = data_set(measured.scored_corpus).drawn
    _, weak = trusted_labels(measured)
    if weak:
        lines.append(f"Not to be relied upon{' even on renders' if drawn else ''}: {', '.join(weak)}.")
    lines += photograph_failures(measured)
    if measured.label_sets and measured.config.get("head") != "linear":
        lines.append(
            'Negations and antonyms do not work: "not smiling" scores high for smiles. Words far from the labels mean '
            "little."
        )
    lines.append(_scope(measured))
    if measured.label_sets:
        lines.append("Thresholds suit people and pictures like those they were fitted on; for others fit them anew.")
    grouped = any((measured.results_of(s["name"]) or {}).get("groups") for s in measured.label_sets)
    grouped = grouped or "photographs" in measured.metrics
    if lineage_of(measured).drawn_only:
        beyond = "beyond the groups above" if grouped else "at all"
        lines.append(f"The drawn people are a program's idea of people; who is served worse is not known {beyond}.")
    elif not grouped:
        lines.append("Who is served worse is not known: nothing was measured by gender, age or skin colour.")
    lines += measured.facts.get("known_failures", [])
    return paragraphs("## Known failures", "\n".join(f"* {line}" for line in lines))


def _scope(measured: Measured) -> str:
    # The camera of the rendered corpus stands at most this far aside (`ict_nuisance.MAXIMUM_YAW`).
    turned = "turned by more than 35°" if measured.corpus == "ict_facekit" else "strongly turned"
    return (
        f"Faces {turned}, covered, blurred or smaller than the network's input are outside of what was trained or "
        "measured."
    )


def licences(measured: Measured) -> str:
    return paragraphs("## Licences", "\n".join(licence_lines(measured)))
