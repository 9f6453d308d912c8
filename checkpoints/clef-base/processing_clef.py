"""CLEFProcessor: packs face images, activity texts and label prompts into a model's inputs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BatchFeature
from transformers.processing_utils import ProcessorMixin, TextKwargs

from .image_processing_clef import CLEFImageProcessor, list_of_images
from .prompts_clef import (
    DESCRIPTION_TEMPLATES,
    NAME_TEMPLATE,
    PHRASING_TEMPLATES,
    PHRASINGS,
    action_unit_label,
    activity_text,
    closest,
    label_text,
)

# Tokenizers without a stated limit report an astronomic one.
LONGEST_TEXT = 512


class CLEFProcessor(ProcessorMixin):
    """A `CLEFImageProcessor` and a tokenizer behind one call.

    ```python
    processor(images=faces, text=["a photo of a person with happiness"])   # one row of input_ids a text
    processor(images=faces, activities=["joke", "joke", "ice_water"])      # unique texts, activity_ids (3,) = 0, 0, 1
    processor(images=faces, labels=["AU12", "AU4"])                        # label names put into the label template
    processor(labels={"smile": "a big smile"})                             # one's own words for a label
    ```

    Args:
        image_processor: a `CLEFImageProcessor`.
        tokenizer: the text tower's tokenizer. It is set to return `input_ids` and `attention_mask` only: every text is
            a single segment, and what is saved must also serve the stock zero-shot pipeline.
        label_template: label names are put in place of its one `{}`.
    """

    _auto_class = "AutoProcessor"  # saving copies this file and writes `auto_map`

    def __init__(self, image_processor=None, tokenizer=None, label_template: str = NAME_TEMPLATE):
        self.label_template = _checked_template(label_template)
        super().__init__(image_processor, tokenizer)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        activities: str | Sequence[str] | None = None,
        labels: str | Sequence[str] | Mapping[str, str] | None = None,
        label_template: str | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Packs `images`, and at most one of `text`, `activities` and `labels`.

        Args:
            images: whatever the image processor takes.
            text: one text or several.
            activities: keys of `prompts_clef.ACTIVITIES`, or free sentences (told by the blank in them); one an
                image when images are given. Equal activities are encoded once, in order of first appearance.
            labels: known action units (`"AU12"`) and expressions (`"happiness"`), or a dict from label to phrase.
            label_template: used instead of the processor's own in this call.
            return_tensors: "pt", "np", or None for lists.
            kwargs: options of the tokenizer (default: `padding=True, truncation=True`, `max_length` the tokenizer's
                own up to 512) and of the image processor.

        Returns:
            `BatchFeature` with `pixel_values` (N, 3, H, W) when there are images; `input_ids` and `attention_mask`
            (T, L) when there are texts; `activity_ids` (N,) int64 with `activities`: the text row of each image.

        Raises:
            ValueError: nothing or too much was given, an empty list, lengths that differ, an unknown activity or label
                (with the closest known ones), a template without `{}`.
            TypeError: something is not an image or not a text, or an option is unknown.
        """
        sources = {"text": text, "activities": activities, "labels": labels}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"got {' and '.join(given)}; give only one of text, activities and labels in a call.")
        if images is None and not given:
            raise ValueError("got nothing to process; give images, or one of text, activities and labels, or both.")
        if label_template is not None and labels is None:
            raise ValueError("`label_template` was given without `labels`, which it is for.")
        text_options, image_options = self._split_options(kwargs)

        data: dict[str, Any] = {}
        if images is not None:
            images = list_of_images(images)
        if activities is not None:
            activities = _list_of_strings(activities, "activities")
            if images is not None and len(images) != len(activities):
                raise ValueError(
                    f"got {len(images)} images and {len(activities)} activities; expected one activity an image."
                )
            text, ids = _unique(activities)
            data["activity_ids"] = ids
        elif labels is not None:
            text = self.label_prompts(labels, label_template)
        elif text is not None:
            text = _list_of_strings(text, "text")

        if images is not None:
            data.update(self.image_processor(images, return_tensors=return_tensors, **image_options))
        if text is not None:
            data.update(self._encode(text, return_tensors, text_options))
        return BatchFeature(data, tensor_type=return_tensors)

    def label_prompts(
        self, labels: str | Sequence[str] | Mapping[str, str], label_template: str | None = None
    ) -> list[str]:
        """One text a label: its name, or the phrase given for it, in the label template."""
        template = self.label_template if label_template is None else _checked_template(label_template)
        if isinstance(labels, Mapping):
            phrases = _list_of_strings(list(labels.values()), "labels")
        else:
            phrases = [label_text(label).name for label in _list_of_strings(labels, "labels")]
        return [template.replace("{}", phrase) for phrase in phrases]

    @staticmethod
    def action_unit_label(text: str) -> str | None:
        """See `prompts_clef.action_unit_label`: for code that has a processor and not that module."""
        return action_unit_label(text)

    def description_prompts(self, labels: str | Sequence[str] | Mapping[str, str]) -> list[list[str]]:
        """For each known label, or description of a dict from label to description, one text a description template, in
        the order of `DESCRIPTION_TEMPLATES`."""
        if isinstance(labels, Mapping):
            descriptions = _list_of_strings(list(labels.values()), "descriptions")
        else:
            descriptions = [label_text(label).description for label in _list_of_strings(labels, "labels")]
        return [[template.replace("{}", text) for template in DESCRIPTION_TEMPLATES] for text in descriptions]

    def phrasing_prompts(self, labels: str | Sequence[str] | Mapping[str, str]) -> list[list[str]]:
        """For each known label, or label of a dict from label to name, its other wordings: the name in the other
        templates of `PHRASING_TEMPLATES`, and each phrasing in the label template and in one of the others by turns. A
        label without phrasings has its name only.
        """
        if not isinstance(labels, Mapping):
            labels = {label: label_text(label).name for label in _list_of_strings(labels, "labels")}
        others = [template for template in PHRASING_TEMPLATES if template != self.label_template]
        prompts = []
        for label, name in labels.items():
            texts = [template.replace("{}", name) for template in others]
            for position, phrase in enumerate(PHRASINGS.get(label, ())):
                for template in (self.label_template, others[position % len(others)]):
                    texts.append(template.replace("{}", phrase))
            prompts.append(texts)
        return prompts

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Saves tokenizer, configurations and code. Besides `processor_config.json`, which holds everything, the image
        processor gets its own `preprocessor_config.json`, which tools outside transformers read."""
        files = super().save_pretrained(save_directory)
        files += self.image_processor.save_pretrained(save_directory)
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        # The Auto class of image processors would ask whether to trust the code that is running already.
        kwargs.pop("label_template", None)
        image_processor = CLEFImageProcessor.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return [image_processor, AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs)]

    def _split_options(self, kwargs: dict) -> tuple[dict, dict]:
        text_options = dict(kwargs.pop("text_kwargs", {}))
        image_options = dict(kwargs.pop("images_kwargs", {}))
        image_names = {*self.image_processor.valid_kwargs.__annotations__, "landmarks"}
        for name, value in kwargs.items():
            if name in TextKwargs.__annotations__:
                text_options[name] = value
            elif name in image_names:
                image_options[name] = value
            else:
                near = closest(name, [*TextKwargs.__annotations__, *image_names, "activities", "labels", "images"])
                hint = f"; did you mean {' or '.join(near)}?" if near else "."
                raise TypeError(f"neither the tokenizer nor the image processor has an option {name!r}{hint}")
        return text_options, image_options

    def _encode(self, texts: list[str], return_tensors: str | None, options: dict) -> dict:
        longest = min(self.tokenizer.model_max_length, LONGEST_TEXT)
        options = {"padding": True, "truncation": True, "max_length": longest, **options}
        return self.tokenizer(texts, return_tensors=return_tensors, **options)


def _checked_template(template: str) -> str:
    if not isinstance(template, str) or template.count("{}") != 1:
        raise ValueError(
            f"got the label template {template!r}; expected a text with one '{{}}' where the label's name goes, "
            f"such as {NAME_TEMPLATE!r}."
        )
    return template


def _list_of_strings(values: Any, what: str) -> list[str]:
    if isinstance(values, str):
        values = [values]
    if isinstance(values, Mapping) or not isinstance(values, Sequence):
        raise TypeError(f"got {type(values).__name__} for {what}, expected a string or a list of strings.")
    if len(values) == 0:
        raise ValueError(f"got an empty list of {what}, expected at least one.")
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(f"{what}: entry {position} is {value!r} ({type(value).__name__}), expected a string.")
        if not value.strip():
            raise ValueError(f"{what}: entry {position} is blank, expected some text.")
    return list(values)


def _unique(activities: list[str]) -> tuple[list[str], list[int]]:
    """The distinct texts of `activities` in order of first appearance, and each activity's row among them."""
    rows: dict[str, int] = {}
    ids = []
    for activity in activities:
        is_sentence = " " in activity.strip()
        text = activity.strip() if is_sentence else activity_text(activity)
        ids.append(rows.setdefault(text, len(rows)))
    return list(rows), ids


__all__ = ["CLEFProcessor"]
