"""The quickstart's report: one self-contained HTML file that shows what was trained and what the figures mean."""

import base64
import inspect
import io
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from processing.corpora import corpus_metadata, load_corpus, sheets
from processing.corpora.synthetic import load_synthetic
from train_scripts import report_figures as figures
from train_scripts.labels import label_matrix
from train_scripts.predict import predict
from train_scripts.report_data import (
    Examples,
    NoSkill,
    best_and_worst,
    embedding_panels,
    full_name,
    label_positions,
    load_classifier,
    loss_of_rates,
    loss_panels,
    no_skill,
    read_metrics,
    read_recipe,
)
from train_scripts.results_table import ARM_NAMES, result_rows
from train_scripts.summaries import flat

TEMPLATE = Path(__file__).with_name("templates") / "report.html"


def write_report(output: Path, run: Path, corpus_options: dict, metrics: dict, fractions: list[str]) -> Path:
    """Writes `output/report.html`: one file with all styles and pictures in it, no scripts, nothing from elsewhere.

    Args:
        output: folder of the report.
        run: folder of one seed's runs, `<arm>/pretrained` and `<arm>/finetuned_<fraction>`.
        corpus_options: options of the synthetic corpus that the runs were trained on.
        metrics: what the quickstart writes as metrics.json.
        fractions: label fractions, as they stand in the folders' names.
    """
    output, run = Path(output), Path(run)
    smallest, largest = min(fractions, key=float), max(fractions, key=float)
    training, test = (load_corpus("synthetic", split=split, **corpus_options) for split in ("train", "test"))
    subjects, activities = len(test.unique("subject_id")), len(test.unique("activity"))

    model, processor = load_classifier(run / "clef" / f"finetuned_{largest}")
    label_sets = model.config.label_sets
    truth = _by_set(label_matrix(test, label_sets), label_sets)
    training_truth = _by_set(label_matrix(training, label_sets), label_sets)
    probabilities = _by_set(predict(model, test, processor, progress=False), label_sets)
    base = no_skill(truth, subjects)
    units = next(label_set for label_set in label_sets if label_set["name"] == "action_units")
    expressions = next((s["labels"] for s in label_sets if s["name"] == "expression"), [])
    unit_scores = read_metrics(run / "clef" / f"finetuned_{largest}")["evaluation"]["action_units"]["labels"]
    examples = best_and_worst(test, units, probabilities["action_units"], truth["action_units"], unit_scores)
    positions = label_positions(model)
    bars = {}
    for arm in ARM_NAMES:
        scores = read_metrics(run / arm / f"finetuned_{smallest}")["evaluation"]["action_units"]["labels"]
        bars[arm] = [scores[label]["f1"] for label in units["labels"]]

    page = {
        "trained": _trained_text(run, test, fractions, len(units["labels"]), len(expressions)),
        "tiles": _tiles(metrics, smallest, base),
        "certainty": _certainty_text(metrics),
        "table": _results_table(result_rows(metrics, fractions), base),
        "corpus_text": escape(
            f"Faces drawn by rule, {corpus_options.get('image_size', 48)} px wide in training and larger here. A "
            f"person keeps face, hair, background and light through all {activities} activities; each activity draws "
            "out some of the action units, now and then others, and at times none."
        ),
        "sheets": "".join(_sheets(corpus_options)),
        "losses": _plot(
            figures.loss_curves(loss_panels(run, fractions, activities, loss_of_rates(training_truth))),
            "Losses of both training stages over the optimizer steps",
            "In fine-tuning, chance is the loss of answering every face with the labels' rates. These are losses on "
            "training frames: with few labels they fall further than the test figures rise.",
        ),
        "embeddings": _plot(
            figures.embedding_maps(embedding_panels(run, test)),
            "Two-dimensional maps of the embeddings of CLEF and of instance discrimination",
            "CLEF should gather activities and mix subjects, instance discrimination the reverse; the figures below "
            "the maps say how far each has come. Frames at rest look alike in every activity.",
        ),
        "label_text": _label_text(positions, largest),
        "labels": _plot(
            figures.label_map(positions.points, positions.labels, positions.kinds),
            "Map of the embeddings of label names and descriptions",
            f"The plane keeps {100 * positions.variance:.0f} % of the variance, so some neighbours here are none in "
            "the full space.",
        ),
        "units_text": escape(
            f"F1 of each action unit after fine-tuning with {_percent(smallest)} of the labels, thresholds fitted on "
            "validation people. Rare and faint units (few positive frames, small creases) are hard for every arm, and "
            "their bars are uncertain: one person more or less moves them by several points."
        ),
        "bars": _plot(
            figures.f1_bars(bars, [full_name(label) for label in units["labels"]], base.f1_by_label),
            f"F1 of each action unit and arm with {_percent(smallest)} of the labels",
            "",
        ),
        "examples": "".join(
            _examples(rank, example, largest) for rank, example in zip(("Best", "Worst"), examples, strict=False)
        ),
        "expressions": str(len(expressions)),
        "majority": f"{100 * base.accuracy:.1f}",
        "subjects": str(subjects),
        "identity_chance": f"{100 * base.identity:.1f}",
        "purity": f"{100 * corpus_options.get('purity', 0.9):g} %",
        "command": _command_text(corpus_options, metrics),
        "setup": _pairs_table("setting", "value", _setup(run, corpus_options, smallest)),
        "seconds": _pairs_table("phase", "seconds", _seconds(metrics.get("seconds", {}))),
    }
    output.mkdir(parents=True, exist_ok=True)
    report = output / "report.html"
    report.write_text(Template(TEMPLATE.read_text(encoding="utf-8")).substitute(page), encoding="utf-8")
    return report


def _by_set(matrix: np.ndarray, label_sets: list[dict]) -> dict[str, np.ndarray]:
    ends = np.cumsum([len(label_set["labels"]) for label_set in label_sets])[:-1]
    return {s["name"]: part for s, part in zip(label_sets, np.split(matrix, ends, axis=1), strict=True)}


def _percent(fraction: str) -> str:
    return f"{100 * float(fraction):g}\u00a0%"


# Texts that depend on the run


def _trained_text(run: Path, test, fractions: list[str], units: int, expressions: int) -> str:
    subjects = len(test.unique("subject_id"))
    splits = corpus_metadata(test).get("splits", {})
    people = f" of {len(splits['train'])} people" if "train" in splits else ""
    epochs = read_recipe(run / "clef" / "pretrained").get("epochs")
    long = f" for {epochs:g} epochs" if epochs else ""
    shares = " and ".join(_percent(fraction) for fraction in fractions)
    return escape(
        f"Two networks of one shape were pre-trained{long} on drawn faces{people}: CLEF, which learns from what people "
        "were doing, described in words, and instance discrimination (SimCLR), which learns to tell images apart. Both "
        f"and a third, which started from scratch, were then fine-tuned on {shares} of the labels to recognise {units} "
        f"facial action units and {expressions} expressions, and tested on {subjects} other people."
    )


def _certainty_text(metrics: dict) -> str:
    seeds = metrics.get("seeds", [metrics.get("seed", 0)])
    if len(seeds) > 1:
        return (
            f"Mean ± standard deviation over {len(seeds)} seeds, each with its own corpus, weights and labelled "
            f"frames; the pictures below show seed {escape(str(seeds[0]))}."
        )
    return (
        f"They come from one seed ({escape(str(seeds[0]))}): another seed moves most of them by up to a few points. "
        "<code>SEEDS=3 make quickstart</code> gives mean and spread."
    )


def _label_text(positions, largest: str) -> str:
    text = (
        "A label is recognised by its text. The map shows where the texts of CLEF, fine-tuned with "
        f"{_percent(largest)} of the labels, lie by their cosine distances: names (dots) and descriptions (diamonds, "
        "the mean over their templates). Texts lie together when the model expects them of similar faces or when "
        "their words are similar; the map does not tell which."
    )
    if len(positions.points) > len(positions.labels):
        text += (
            f" In the full space {positions.own_name_nearest} of {len(positions.labels)} descriptions are nearest "
            "to their own name."
        )
    return escape(text)


def _command_text(corpus_options: dict, metrics: dict) -> str:
    defaults = {name: p.default for name, p in inspect.signature(load_synthetic).parameters.items()}
    changed = {k: v for k, v in corpus_options.items() if k in defaults and k != "seed" and defaults[k] != v}
    seeds = len(metrics.get("seeds", [0]))
    if not changed and not metrics.get("seed", 0):
        command = "make quickstart" if seeds == 1 else f"SEEDS={seeds} make quickstart"
    else:
        flags = [f"--{name} {value}" for name, value in changed.items() if name != "cache_dir"]
        flags += [f"--seed {metrics['seed']}"] if metrics.get("seed", 0) else []
        flags += [f"--seeds {seeds}"] if seeds > 1 else []
        command = " ".join(["python train_scripts/quickstart.py", *flags])
    return (
        f"<code>{escape(command)}</code> with the settings below. Phases run side by side, each on one thread, so that "
        "their seconds add up to more than the total; what an earlier call had finished is listed with the time it "
        "took then."
    )


# Parts of the page


def _tiles(metrics: dict, fraction: str, base: NoSkill) -> str:
    share = _percent(fraction)
    wanted = [
        (f"Linear probe, {share} of labels", "AU F1", f"linear_probe/{fraction}/action_units/mean_f1", base.f1),
        (f"Fine-tuned, {share} of labels", "AU F1", f"fine_tuned/{fraction}/action_units/mean_f1", base.f1),
        ("Identity found; lower is better", "%", "identity/projection_nearest_neighbour", base.identity),
    ]
    values = {arm: flat(scores) for arm, scores in metrics["arms"].items()}
    tiles = []
    for title, unit, key, chance in wanted:
        shown = {ARM_NAMES[arm]: values[arm][key] for arm in ARM_NAMES if key in values.get(arm, {})}
        if len(shown) < 2:
            continue
        (name, first), *others = shown.items()
        lines = "".join(
            f"<dt>{escape(other)}</dt><dd>{100 * value:.1f}</dd>" for other, value in [*others, ("no skill", chance)]
        )
        tiles.append(
            f'<div class="tile"><div class="what">{escape(title)}</div>'
            f'<div class="value">{100 * first:.1f} <small>{escape(unit)}, {escape(name)}</small></div>'
            f"<dl>{lines}</dl></div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _sheets(corpus_options: dict) -> list[str]:
    seed = corpus_options.get("seed", 0)
    people = min(24, corpus_options.get("subjects", 24))
    drawn = [
        (
            sheets.identities(seed=seed, subjects=people, columns=8),
            "People",
            "Neutral faces, each in its own light and before its own background. This is what instance discrimination "
            "may hold on to, and what CLEF should learn to look past.",
        ),
        (
            sheets.action_units(seed=seed, subjects=2),
            "Action units",
            "Each unit alone, at intensity 4.5, on two people: far stronger than most frames of the corpus show it.",
        ),
        (
            sheets.activities(seed=seed, subjects=min(4, people)),
            "Activities",
            "One person a row, one activity a column, a quarter into the clip. All that CLEF is told in pre-training "
            "is the column, as a sentence; the expression in the caption is named by rule, for testing.",
        ),
        (
            sheets.clip(seed=seed),
            "One clip",
            "One person listening to a joke, frame by frame; captions list the units of intensity 2 and more. Frames "
            "between two events show little of the activity and are trained with it all the same.",
        ),
    ]
    parts = []
    for image, title, caption in drawn:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, format="JPEG", quality=86, optimize=True)
        parts.append(
            f"<h3>{title}</h3>" + _card(_data_url(buffer.getvalue(), "jpeg"), f"Sheet: {title.lower()}", caption)
        )
    return parts


def _results_table(rows: list[list[str]], base: NoSkill) -> str:
    header, *body = rows
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in [*header, "no skill"])
    lines, group = [f"<thead><tr>{cells}</tr></thead><tbody>"], None
    for title, *values in body:
        identity = title.startswith("identity")
        section, _, name = title.partition(", " if identity else ": ")
        if section != group:
            hint = " <small>lower is better</small>" if identity else ""
            heading = escape(section[:1].upper() + section[1:])
            lines.append(f'<tr class="group"><th colspan="{len(header) + 1}">{heading}{hint}</th></tr>')
            group = section
        numbers = [_leading_number(value) for value in values]
        known = [number for number in numbers if number is not None]
        # Where all are equal none is best.
        best = (min(known) if identity else max(known)) if len(set(known)) > 1 else None
        cells = "".join(
            f'<td class="best"><span>{escape(value)}</span></td>'
            if number is not None and number == best
            else f"<td>{escape(value)}</td>"
            for value, number in zip(values, numbers, strict=True)
        )
        lines.append(
            f'<tr><td>{escape(name or title)}</td>{cells}<td class="base">{_no_skill_cell(title, base)}</td></tr>'
        )
    return f'<div class="scroll results"><table>{"".join(lines)}</tbody></table></div>'


def _leading_number(cell: str) -> float | None:
    """The number a cell starts with, as in "46.3 ± 0.5"; None for "–"."""
    try:
        return float(cell.split()[0])
    except (ValueError, IndexError):
        return None


def _no_skill_cell(title: str, base: NoSkill) -> str:
    if title.startswith("identity"):
        value = base.identity
    elif "AUROC" in title:
        value = 0.5
    else:
        value = base.accuracy if "accuracy" in title else base.f1
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _examples(rank: str, example: Examples, fraction: str) -> str:
    parts = [
        f"<h3>{rank}: {escape(full_name(example.label))}</h3>",
        f"<p>AUROC {100 * example.auroc:.1f}"
        + (f", F1 {100 * example.f1:.1f}" if example.f1 is not None else "")
        + f", {example.positives} positive test frames, threshold {example.threshold:.2f}; CLEF fine-tuned with "
        f"{escape(_percent(fraction))} of the labels. One frame a clip; below each face its score and the true "
        "intensity (0 to 5; from 2 on it counts as there).</p>",
    ]
    for title, faces in example.rows.items():
        kind, _, rest = title.partition(":")
        parts.append(f'<p class="row"><b>{escape(kind.capitalize())}</b>:{escape(rest)}</p>')
        if not faces:
            parts.append('<p class="row">There is none.</p>')
            continue
        pictures = "".join(
            f'<figure><img alt="{escape(face.alt)}" src="{_data_url(face.png, "png")}">'
            f"<figcaption>{escape(face.caption)}</figcaption></figure>"
            for face in faces
        )
        parts.append(f'<div class="faces">{pictures}</div>')
    return "".join(parts)


def _setup(run: Path, corpus_options: dict, fraction: str) -> dict[str, str]:
    values = {f"corpus: {key.replace('_', ' ')}": value for key, value in corpus_options.items() if key != "cache_dir"}
    for stage, folder in (("pre-training", "pretrained"), ("fine-tuning", f"finetuned_{fraction}")):
        recipe = read_recipe(run / "clef" / folder)
        names = ["epochs", "max_steps", "batch_size", "learning_rate", "text_tower", "vision_tower"]
        names = names if stage == "pre-training" else ["max_steps", "batch_size", "learning_rate", "head"]
        values |= {f"{stage}: {name.replace('_', ' ')}": recipe[name] for name in names if recipe.get(name)}
    return {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in values.items()}


def _seconds(seconds: dict) -> dict[str, str]:
    return {name: f"{value:.0f}" for name, value in seconds.items()}


def _pairs_table(left: str, right: str, pairs: dict[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in pairs.items())
    return (
        f"<table><thead><tr><th>{left}</th><th>{right}</th></tr></thead>"
        f"<tbody>{rows or '<tr><td>not recorded</td><td></td></tr>'}</tbody></table>"
    )


def _plot(figure, alt: str, caption: str) -> str:
    return _card(_data_url(figures.as_png(figure), "png"), alt, caption)


def _card(url: str, alt: str, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="card"><img alt="{escape(alt)}" src="{url}">{below}</figure>'


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
