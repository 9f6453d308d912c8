"""The metadata at the head of a model card: what the Hub indexes."""

from huggingface_hub import EvalResult, ModelCardData

from hub_cards.data_sets import DATA_SETS, data_set
from hub_cards.formatting import points
from hub_cards.licences import weights_licence
from hub_cards.lineage import lineage_of
from hub_cards.measured import Measured
from hub_cards.sections_photographs import photograph_set

# Tag → the label set that earns it. Sets of one's own are tags themselves.
TAGS = {
    "facial-action-units": "action_units",
    "facial-expression": "expression",
    "facs": "action_units",
    "affective-computing": "expression",
}
# Labels that photographs of smiles verify best; the first that the model has stands in the index.
SMILES = ("AU12", "happiness")
# Score → (the Hub's metric, what it is called).
METRICS = {
    "multi_label_classification": {
        "mean_f1": ("f1", "mean F1"),
        "mean_f1_at_half": ("f1", "mean F1 at .5"),
        "mean_auroc": ("roc_auc", "mean AUROC"),
        "mean_ap": ("average_precision", "mean average precision"),
    },
    "single_label_classification": {
        "accuracy": ("accuracy", "accuracy"),
        "macro_f1": ("f1", "macro F1"),
        "uar": ("recall", "unweighted average recall"),
    },
}


def pipeline_tag(measured: Measured) -> str:
    """The task under which the Hub lists the model."""
    return "image-classification" if measured.label_sets else "zero-shot-image-classification"


def tags_of(measured: Measured) -> list[str]:
    names = [label_set["name"] for label_set in measured.label_sets]
    own = [name.replace("_", "-") for name in names if name not in TAGS.values()]
    return ["clef", *(tag for tag, name in TAGS.items() if name in names), *own]


def model_metadata(measured: Measured, name: str) -> ModelCardData:
    """Front matter with a model index; scores in percent.

    Raises:
        ValueError: the index is not what the Hub takes.
    """
    base = list(lineage_of(measured).base_models)
    return ModelCardData(
        model_name=name,
        eval_results=evaluation_results(measured) or None,
        library_name="transformers",
        pipeline_tag=pipeline_tag(measured),
        base_model=(base[0] if len(base) == 1 else base) or None,
        language="en",
        tags=tags_of(measured),
        **weights_licence(measured).metadata(),
    )


def evaluation_results(measured: Measured) -> list[EvalResult]:
    """One result a headline score, of all folds together where there are several; AUROC of a smile on photographs."""
    name = measured.scored_corpus
    title = data_set(name).title if name in DATA_SETS else measured.facts.get("data") or data_set(name).title
    where = {
        "task_type": pipeline_tag(measured),
        "dataset_type": name,
        "dataset_name": f"{title}, people not trained on",
        "dataset_split": measured.split,
        "dataset_config": (measured.recipe.get("corpus_options") or {}).get("protocol"),
    }
    results = []
    for label_set in measured.label_sets:
        scores = measured.scores(label_set["name"])
        found = measured.results_of(label_set["name"])
        for key, (metric, title) in METRICS[label_set["problem_type"]].items():
            value = scores.get(key) if found is None else found["pooled"]["scores"][key]["value"]
            if value is not None:
                score = f"{label_set['name'].replace('_', ' ')}: {title}"
                results.append(EvalResult(metric_type=metric, metric_name=score, metric_value=points(value), **where))
    photographs = measured.metrics.get("photographs") or {}
    labels = {label for label_set in measured.label_sets for label in label_set["labels"]}
    smile = next((label for label in SMILES if label in labels and label in photographs.get("labels", {})), None)
    if smile is not None:
        results.append(
            EvalResult(
                task_type=pipeline_tag(measured),
                dataset_type=f"photographs-{photographs['data']['set']}",
                dataset_name=f"{photograph_set(photographs)}: smiling against neutral",
                dataset_split="test",
                metric_type="roc_auc",
                metric_name=f"{smile} AUROC",
                metric_value=points(photographs["labels"][smile]["auroc"]),
            )
        )
    return results
