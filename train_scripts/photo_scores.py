"""What a checkpoint says of aligned face crops: scores of a smile by its labels and by free prompts."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from train_scripts.predict import image_embeds, image_logits

# What a posed smile shows. AU12 makes it; AU6 and AU25 usually come with it.
SMILE_ACTION_UNITS = ("AU12", "AU6", "AU25")
HAPPINESS, NEUTRAL = "happiness", "neutral"


@dataclass
class SmileScores:
    """Scores of one label or prompt, one a crop; more means smiling.

    name: the label, or the prompt. kind: "action_unit", "expression" or "prompt".
    values: (N,) float64: the logit of an action unit, the logit of happiness less that of neutral, or the cosine
        similarity to a prompt.
    decisions: booleans (N,) of ways to decide: "fitted_threshold" (the checkpoint's own), "above_half" (p > .5),
        "most_likely" (the expression of highest probability is happiness).
    threshold: the checkpoint's threshold of the probability, if it has one.
    named: of an expression's score, what each crop's most likely expression is called.
    """

    name: str
    kind: str
    values: np.ndarray
    decisions: dict[str, np.ndarray] = field(default_factory=dict)
    threshold: float | None = None
    named: list[str] | None = None


class Outputs(NamedTuple):
    """`image_embeds` (N, D) L2-normalised; `logits` and calibrated `probabilities` (N, K), None without label sets."""

    image_embeds: torch.Tensor
    logits: torch.Tensor | None
    probabilities: torch.Tensor | None


@torch.no_grad()
def run_model(model, processor, crops: np.ndarray, mirror: bool = True, batch_size: int = 128) -> Outputs:
    """Outputs on the CPU for uint8 crops (N, S, S, 3), the model in eval mode and on its own device.

    `mirror`: average each face with its mirror image, as `predict.image_embeds` and `predict.image_logits` do.

    Raises:
        ValueError: no crops. FloatingPointError: embeddings or logits that are not finite.
    """
    if not len(crops):
        raise ValueError("got no crops to score; expected at least one photograph with a face.")
    model.eval()
    base, parameter = getattr(model, "clef", model), next(model.parameters())
    embeds, logits = [], []
    for start in range(0, len(crops), batch_size):
        pixels = processor(images=list(crops[start : start + batch_size]))["pixel_values"]
        pixels = pixels.to(parameter.device, parameter.dtype)
        embeds.append(image_embeds(base, pixels, mirror).cpu())
        if _label_sets(model):
            logits.append(image_logits(model, pixels, mirror).cpu())
    embeds, logits = torch.cat(embeds), torch.cat(logits) if logits else None
    if not all(values is None or values.isfinite().all() for values in (embeds, logits)):
        raise FloatingPointError("the model's embeddings or logits are not finite: check the checkpoint's weights.")
    return Outputs(embeds, logits, None if logits is None else model.probabilities(logits))


def label_scores(model, outputs: Outputs) -> tuple[list[SmileScores], dict[str, str]]:
    """Scores by the smile's labels among the model's label sets; and why others have none, by label."""
    sets = _label_sets(model)
    scores, reasons = [], {}
    labels = sets.get("action_units", {}).get("labels", [])
    for label in SMILE_ACTION_UNITS:
        if label not in labels:
            reasons[label] = f"the checkpoint has no label {label}"
            continue
        position = labels.index(label)
        column = model.label_slices["action_units"].start + position
        probability = outputs.probabilities[:, column].numpy()
        threshold = (sets["action_units"].get("thresholds") or [0.5] * len(labels))[position]
        decisions = {"fitted_threshold": probability >= threshold, "above_half": probability > 0.5}
        values = outputs.logits[:, column].double().numpy()
        scores.append(SmileScores(label, "action_unit", values, decisions, float(threshold)))
    labels = sets.get("expression", {}).get("labels", [])
    if HAPPINESS in labels and NEUTRAL in labels:
        columns = model.label_slices["expression"]
        happy, neutral = columns.start + labels.index(HAPPINESS), columns.start + labels.index(NEUTRAL)
        probabilities = outputs.probabilities[:, columns].numpy()
        most_likely = probabilities.argmax(axis=1)
        decisions = {
            "above_half": outputs.probabilities[:, happy].numpy() > 0.5,
            "most_likely": most_likely == labels.index(HAPPINESS),
        }
        values = (outputs.logits[:, happy] - outputs.logits[:, neutral]).double().numpy()
        named = [labels[i] for i in most_likely]
        scores.append(SmileScores(HAPPINESS, "expression", values, decisions, named=named))
    else:
        reasons[HAPPINESS] = "the checkpoint has no expressions happiness and neutral"
    return scores, reasons


@torch.no_grad()
def prompt_scores(model, processor, outputs: Outputs, prompts: list[str]) -> tuple[list[SmileScores], dict[str, str]]:
    """Cosine similarities to `prompts` in the processor's label template; and why prompts have none.

    A checkpoint without text tower gets it by `join_text_tower`.
    """
    clef, reason = getattr(model, "clef", model), None
    if hasattr(model, "label_head") and model.config.head == "linear":
        reason = "the checkpoint has a linear head: its texts were not trained"
    elif clef.text_model is None:
        try:
            model.join_text_tower()
        except (FileNotFoundError, ValueError) as error:
            reason = f"no text tower: {error}"
    if reason is not None:
        return [], dict.fromkeys(prompts, reason)
    tokens = processor(labels={prompt: prompt for prompt in prompts}).to(next(model.parameters()).device)
    similarity = outputs.image_embeds @ clef.text_embeds(tokens["input_ids"], tokens["attention_mask"]).float().cpu().T
    columns = similarity.double().numpy().T
    return [SmileScores(prompt, "prompt", values) for prompt, values in zip(prompts, columns, strict=True)], {}


def unverifiable(model) -> dict[str, list[str]]:
    """The checkpoint's labels that smiling and neutral photographs say nothing about, by label set."""
    told = {*SMILE_ACTION_UNITS, HAPPINESS, NEUTRAL}
    return {name: [x for x in label_set["labels"] if x not in told] for name, label_set in _label_sets(model).items()}


def _label_sets(model) -> dict[str, dict]:
    """Of a model that classifies; checkpoints of stage 1 may hold label sets too, but no head."""
    label_sets = model.config.label_sets if hasattr(model, "label_head") else None
    return {label_set["name"]: label_set for label_set in label_sets or []}
