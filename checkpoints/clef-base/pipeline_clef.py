"""FacialBehaviorPipeline: photographs in, faces with named action units and expressions out.

Faces are found, cut out and judged by the image processor, which brings the code for it along.
"""

import copy
import difflib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers.pipelines.base import ChunkPipeline

from .frozen_text_clef import fingerprint, weights_of
from .mirror_clef import mean_with_mirror_image

FACES_AT_ONCE = 16
LANDMARKS = ("right_eye", "left_eye", "nose_tip", "right_mouth_corner", "left_mouth_corner")


class FacialBehaviorPipeline(ChunkPipeline):
    """`pipeline("facial-behavior", model=...)`: the faces of an image and what they do.

    ```python
    find = pipeline("facial-behavior", model="checkpoints/clef-small")
    for face in find("photo.jpg"):
        print(face["box"], face["action_units"][0], face["expression"][0])
    find("photo.jpg", labels=["a big smile", "AU4"])   # any labels of one's own
    find("crop.png", aligned=True)                     # a crop that is aligned already
    ```

    A call takes an image (PIL image, array, path or URL), or a list, a generator or a data set of images. For an image
    it returns a list of faces, the largest first, empty where there is none; each a dict of plain values with

    * `box`: `xmin`, `ymin`, `xmax`, `ymax`, and `landmarks`: name → [x, y], in pixels of the upright picture;
    * `score`: of the detector; `quality`: see `FaceQuality` of the image processor's code, with `out_of_scope`;
    * for each label set of the model, such as `action_units` and `expression`, a list of labels, the most probable
      first: `label`, `name` (in words), `score` (calibrated probability), and `present` where labels do not exclude
      each other: whether the probability reaches the label's threshold (.5 where none was fitted). The list is empty
      for a face from whose points no crop can be made; `quality` then says so.

    Args, of `pipeline(...)` or of a call:
        detector: "auto" (YuNet if its file is found, else Haar with a warning), "yunet", "haar", or an object with
            `detect(image) -> list[Face]`, such as `GivenFaces`.
        detector_path: the detector's file.
        aligned: images are crops by the checkpoint's recipe: no face is looked for, each image is one face, and `box`,
            `landmarks`, `score` and `quality` are None. Needs no OpenCV.
        max_faces: keep this many faces of an image, the largest.
        labels: labels of one's own instead of the model's: a list of texts and known labels ("AU12"), or a dict from
            label to text. They come under `labels`, each independent of the others. The text tower of a text-free
            checkpoint is looked for at the first such call. They are unvalidated, and uncalibrated.
        top_k: keep this many labels of each label set.
        mirror: average each face's scores with those of its mirror image; somewhat better, and the model takes twice
            as long. Default: False.
        batch_size: of faces, over images; default 16. Generators are read ahead by as much.

    Raises:
        TypeError: something is not an image; a model that is not CLEF's; an unknown option. ValueError: an image that
            cannot be read, unusable options, a checkpoint whose crops cannot be cut. FileNotFoundError: no such image,
            no detector's file, no text tower. ImportError: OpenCV is missing.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    _load_video_processor = False

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("batch_size", FACES_AT_ONCE)
        self._detectors: dict[tuple, Any] = {}
        self._weights: tuple | None = None
        self._joined: Any = None
        self._labelled: tuple[tuple, Any] | None = None
        super().__init__(*args, **kwargs)
        if not hasattr(self.model, "probabilities"):
            raise TypeError(f"got a {type(self.model).__name__}, expected a CLEFForImageClassification.")
        if self.image_processor is None:
            raise ValueError("got no processor; give `processor=AutoProcessor.from_pretrained(...)` of the checkpoint.")
        # Texts go through the processor; batches of images must not be asked for padding tokens.
        self.tokenizer = None
        self.model.eval()

    def __call__(self, inputs: Any, **kwargs: Any):
        if isinstance(inputs, (list, tuple)):
            inputs = list(inputs)
            if not inputs:
                return []
        return super().__call__(inputs, **kwargs)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        super().save_pretrained(save_directory, **kwargs)
        if self.processor is not None:
            self.processor.save_pretrained(save_directory)

    def _sanitize_parameters(
        self,
        detector: Any = None,
        detector_path: str | Path | None = None,
        aligned: bool | None = None,
        max_faces: int | None = None,
        labels: Sequence[str] | Mapping[str, str] | None = None,
        top_k: int | None = None,
        mirror: bool | None = None,
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise TypeError(_unknown_options(unknown))
        for name, value in (("max_faces", max_faces), ("top_k", top_k)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is {value}; expected at least 1, or None for all.")
        finding = {
            "detector": detector,
            "detector_path": detector_path,
            "aligned": aligned,
            "max_faces": max_faces,
        }
        texts = None if labels is None else self._texts(labels)
        naming = {"labels": texts, "top_k": top_k}
        return _given(finding), _given({"labels": texts, "mirror": mirror}), _given(naming)

    def preprocess(
        self,
        image: Any,
        detector: Any = "auto",
        detector_path: str | Path | None = None,
        aligned: bool = False,
        max_faces: int | None = None,
    ):
        """Yields the faces of an image one by one; for an image without any, a blank that `postprocess` leaves out."""
        processor = self.image_processor
        picture = processor.read_image(image)
        if aligned:
            yield self._item(processor(picture, return_tensors="pt")["pixel_values"], _described(None, None), True)
            return
        faces = self._detector(detector, detector_path).detect(picture)
        faces = sorted(faces, key=lambda face: -(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))[:max_faces]
        if not faces:
            yield self._item(None, None, True)
        for position, face in enumerate(faces):
            crop, pixel_values = self._crop(picture, face)
            quality = processor.assess(picture, face, crop)
            yield self._item(pixel_values, _described(face, quality), position == len(faces) - 1)

    def _forward(self, inputs: dict, labels: dict[str, str] | None = None, mirror: bool = False) -> dict:
        model = self.model if labels is None else self._model_of(labels)
        pixel_values = inputs.pop("pixel_values").to(model.dtype)
        logits = mean_with_mirror_image(lambda pixels: model(pixels).logits, pixel_values, mirror)
        return {"probabilities": model.probabilities(logits), **inputs}

    def postprocess(self, items: list[dict], labels: dict[str, str] | None = None, top_k: int | None = None) -> list:
        model = self.model if labels is None else self._model_of(labels)
        faces = []
        for item in items:
            if item["face"] is None:
                continue
            named, start = {}, 0
            for label_set in model.config.label_sets:
                stop = start + len(label_set["labels"])
                values = item["probabilities"][0, start:stop].tolist() if item["cropped"] else []
                named[label_set["name"]] = self._named(label_set, values, labels)[:top_k]
                start = stop
            faces.append(item["face"] | named)
        return faces

    def _item(self, pixel_values: torch.Tensor | None, face: dict | None, is_last: bool) -> dict:
        cropped = pixel_values is not None
        if not cropped:
            size = self.image_processor.size
            pixel_values = torch.zeros(1, 3, size["height"], size["width"])
        return {"pixel_values": pixel_values, "face": face, "cropped": cropped, "is_last": is_last}

    def _crop(self, picture: Any, face: Any) -> tuple[Any, torch.Tensor | None]:
        self.image_processor.check_recipe()
        try:
            crop = self.image_processor.align(picture, face.points)
        except ValueError:  # eyes at one place or in mirrored order, as in profiles: `quality` says "no crop"
            return None, None
        return crop, self.image_processor(crop, return_tensors="pt")["pixel_values"]

    def _detector(self, detector: Any, path: str | Path | None) -> Any:
        if not isinstance(detector, str):
            if path is not None:
                raise ValueError(f"got `detector_path` for a {type(detector).__name__}, which has its file already.")
            return detector
        key = (detector, None if path is None else str(path))
        if key not in self._detectors:
            self._detectors[key] = self.image_processor.find_detector(detector, path)
        return self._detectors[key]

    def _texts(self, labels: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
        """Label → prompt, the label template included."""
        if self.processor is None:
            raise ValueError("labels of one's own need the checkpoint's whole processor; give `processor=`.")
        if isinstance(labels, str):
            labels = [labels]
        if not isinstance(labels, Mapping):
            labels = {label: label for label in _each_once(map(self._as_known, labels))}
            prompts = [self._prompt(label) for label in labels]
        else:
            prompts = self.processor.label_prompts(labels)
        return dict(zip(labels, prompts, strict=True))

    def _as_known(self, label: Any) -> Any:
        """ "AU1" for "au 1" and for OpenFace's "AU01"; other labels as they are."""
        return (isinstance(label, str) and self.processor.action_unit_label(label)) or label

    def _prompt(self, label: str) -> str:
        try:
            return self.processor.label_prompts([label])[0]  # its name, if it is a known label
        except ValueError:
            if self.processor.action_unit_label(label):
                raise
            return self.processor.label_prompts({label: label})[0]

    def _model_of(self, texts: dict[str, str]) -> Any:
        """The model with these labels. The last one is kept; it shares the towers with the pipeline's own, and the text
        tower of a text-free one, which joins once, with those before. Where weights change or move, all is made anew.
        """
        key, weights = tuple(texts.items()), fingerprint(weights_of(self.model))
        if weights != self._weights:
            self._joined = self._labelled = None
            self._weights = weights
        if self._labelled is None or self._labelled[0] != key:
            if self._joined is None:
                joined = _copy_beside_towers(self.model)
                joined.join_text_tower()
                self._joined = joined
            model = _copy_beside_towers(self._joined)
            tokens = self.processor(text=list(texts.values()))
            model.set_labels(list(texts), tokens["input_ids"], tokens["attention_mask"], name="labels")
            self._labelled = key, model.eval()
        return self._labelled[1]

    def _named(self, label_set: dict, values: list[float], texts: dict[str, str] | None) -> list[dict]:
        rows = []
        exclusive = label_set["problem_type"].startswith("single")
        # Without values (no crop) there are no rows either.
        for value, label, name, threshold in zip(
            values, label_set["labels"], label_set["names"], label_set["thresholds"], strict=False
        ):
            text = texts[label] if texts else name
            row = {"label": label, "name": self._without_template(text), "score": value}
            rows.append(row if exclusive else row | {"present": value >= threshold})
        return sorted(rows, key=lambda row: -row["score"])

    def _without_template(self, text: str) -> str:
        before, _, after = getattr(self.processor, "label_template", "{}").partition("{}")
        if text.startswith(before) and text.endswith(after) and len(text) > len(before) + len(after):
            return text[len(before) : len(text) - len(after)]
        return text


def _copy_beside_towers(model: Any) -> Any:
    base = model.base_model
    towers = [tower for tower in (base.vision_model, base.text_model) if tower is not None]
    return copy.deepcopy(model, {id(tower): tower for tower in towers})


def _described(face: Any, quality: Any) -> dict:
    if face is None:
        return {"box": None, "score": None, "landmarks": None, "quality": None}
    named = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(quality).items()
    }
    return {
        "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), map(float, face.box), strict=True)),
        "score": float(face.score),
        "landmarks": {name: [float(x), float(y)] for name, (x, y) in zip(LANDMARKS, face.points, strict=True)},
        "quality": named,
    }


def _unknown_options(names: Iterable[str]) -> str:
    known = [*inspect.signature(FacialBehaviorPipeline._sanitize_parameters).parameters][1:-1] + ["batch_size"]
    close = [match for name in names for match in difflib.get_close_matches(name, known, n=1)]
    hint = f" Did you mean {', '.join(f'`{name}`' for name in close)}?" if close else ""
    return f"got the unknown option {', '.join(f'`{name}`' for name in names)}; known are {', '.join(known)}.{hint}"


def _given(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}


def _each_once(labels: Iterable[str]) -> list[str]:
    labels = list(labels)
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"got the labels {labels}, expected at least one, and each once.")
    return labels


__all__ = ["FacialBehaviorPipeline"]
