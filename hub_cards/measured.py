"""What a run folder or checkpoint says about itself: the only source of a card's facts."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

# What the person who publishes may add in card.yaml, beside what was measured.
FACTS = {
    "license": "SPDX name of the weights' licence, or 'other'",
    "license_name": "its name, if it is 'other'",
    "license_link": "where it can be read",
    "data": "what the training data are called",
    "data_terms": "one line on the terms of the training data",
    "base_model": "Hub id of the model that training started from",
    "known_failures": "list of sentences",
    "photographs": "what the photographs that it is scored on had to do with how it was made",
}
SAME = 1e-6  # two ways of counting the same frames


@dataclass(frozen=True)
class Measured:
    """A folder's files as they are.

    config, metrics: of config.json and metrics.json. recipe: of recipe.yaml. results: of results.json, None without.
    image_processor: of preprocessor_config.json, {} without. facts: of card.yaml, {} without.
    """

    folder: Path
    config: dict
    metrics: dict
    recipe: dict
    results: dict | None
    image_processor: dict
    facts: dict

    @property
    def label_sets(self) -> list[dict]:
        """Of a fine-tuned model; empty for one that was only pre-trained."""
        return self.config.get("label_sets") or []

    @property
    def has_pipeline(self) -> bool:
        """Whether the folder carries the code that reads photographs."""
        return bool(self.label_sets) and (self.folder / "pipeline_clef.py").is_file()

    @property
    def evaluation(self) -> dict:
        return self.metrics.get("evaluation") or {}

    @property
    def on_validation(self) -> bool:
        """Whether the scores are of the subjects that thresholds would be fitted on: there was no test split."""
        return "evaluation" in self.metrics and self.evaluation == self.metrics.get("validation")

    @property
    def corpus(self) -> str:
        """Name of the corpus that it was trained on."""
        return self.recipe["corpus"]

    @property
    def further_rounds(self) -> bool:
        """Whether stage 2 was gone on with: what metrics.json says of training is then of the last round alone."""
        return bool(self.recipe.get("further"))

    @property
    def scored_corpus(self) -> str:
        """Name of the corpus that it was scored on."""
        return self.evaluation.get("data", {}).get("corpus") or self.corpus

    @property
    def split(self) -> str:
        return self.evaluation.get("data", {}).get("split") or ("validation" if self.on_validation else "test")

    @property
    def fold(self) -> int | None:
        """Number of the fold whose test subjects this model was not trained on."""
        return (self.recipe.get("corpus_options") or {}).get("fold")

    def scores(self, name: str) -> dict:
        """What evaluation says of a label set, {} where it was not scored."""
        return self.evaluation.get(name) or {}

    def results_of(self, name: str) -> dict | None:
        """What results.json says of a label set."""
        return (self.results or {}).get("scores", {}).get(name)


def read_measured(folder: Path) -> Measured:
    """Reads a run folder or checkpoint.

    Raises:
        FileNotFoundError: no config.json, metrics.json or recipe.yaml. ValueError: one of the files cannot be read, the
            recipe names no corpus, a label set was not scored, results.json is of another run, or card.yaml says
            something that no card has.
    """
    folder = Path(folder)
    measured = Measured(
        folder=folder,
        config=_json(folder, "config.json", "the model's configuration"),
        metrics=_json(folder, "metrics.json", "what training and evaluation measured"),
        recipe=_yaml(folder / "recipe.yaml"),
        results=_json(folder, "results.json") if (folder / "results.json").is_file() else None,
        image_processor=_json(folder, "preprocessor_config.json")
        if (folder / "preprocessor_config.json").is_file()
        else {},
        facts=_yaml(folder / "card.yaml") if (folder / "card.yaml").is_file() else {},
    )
    if unknown := sorted(set(measured.facts) - set(FACTS)):
        known = "; ".join(f"{key}: {meaning}" for key, meaning in FACTS.items())
        raise ValueError(f"{folder / 'card.yaml'}: got {unknown}, expected some of: {known}.")
    if not measured.recipe.get("corpus"):
        raise ValueError(f"{folder / 'recipe.yaml'} names no corpus; the card needs to say what it was trained on.")
    if missing := [s["name"] for s in measured.label_sets if not measured.scores(s["name"])]:
        raise ValueError(
            f"{folder / 'metrics.json'} has no scores of {missing}; the card needs them measured first: "
            f"python train_scripts/evaluate.py {folder}"
        )
    if measured.results is not None:
        _check_results(measured)
    return measured


def _check_results(measured: Measured) -> None:
    """Raises ValueError unless results.json and metrics.json count the same frames and find the same."""
    data = measured.evaluation.get("data", {}).get("scored", {})
    for label_set in measured.label_sets:
        results = measured.results_of(label_set["name"])
        if results is None:
            raise ValueError(f"results.json has no scores of {label_set['name']!r}: it is of another model.")
        folds = results["folds"]
        mine = folds if len(folds) == 1 else [fold for fold in folds if fold["fold"] == measured.fold]
        if not mine:
            raise ValueError(
                f"results.json is of folds {[fold['fold'] for fold in folds]}, this model of fold {measured.fold}: "
                "put the results of its own cross-validation beside it."
            )
        scores = measured.scores(label_set["name"])
        pairs = {"frames": (mine[0]["frames"], data.get("frames"))}
        for key, found in mine[0]["scores"].items():
            if key in scores:
                pairs[key] = (found["value"], scores[key])
        for key, (found, expected) in pairs.items():
            if found is None or expected is None:
                same = found is expected
            else:
                same = abs(found - expected) <= SAME
            if not same:
                raise ValueError(
                    f"results.json and metrics.json are of different runs: {label_set['name']} {key} is {found} there "
                    f"and {expected} here. Write both from the same predictions."
                )


def _json(folder: Path, name: str, what: str = "") -> dict:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {name} ({what}); expected a run folder or checkpoint.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def _yaml(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} holds no {path.name}; the card needs to say how the model was trained.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: got a {type(content).__name__}, expected lines of the form 'option: value'.")
    return content
