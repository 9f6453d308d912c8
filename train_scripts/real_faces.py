"""Trains a checkpoint that reads photographs from rendered faces alone, and the rows it is compared with.

export CLEF_ICT_FACEKIT=…/FaceXModel                 # the face model (MIT): see processing.corpora.ict_model
python train_scripts/real_faces.py train_scripts/recipes/real_faces_small.yaml
python train_scripts/real_faces.py train_scripts/recipes/real_faces_base.yaml --parallel 1     # one GPU

Renders the corpus; trains stage 1 and stage 2, and stage 2 alone, with all labels and with fractions of them; of the
two with all labels it takes the one that is better on the rendered validation people, trains it a last round if the
recipe says so, leaves out the text tower and writes the result to `checkpoint` in the output. Photographs, if their
folder is given, are read once at the end and choose nothing. What is done already is skipped when the command is run
again.
"""

import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    # The repository root instead of this folder, whose evaluate.py would hide the `evaluate` library.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import yaml

from processing.corpora import load_corpus
from train_scripts.freeze_checkpoint import write_text_free
from train_scripts.jobs import Job, run_jobs
from train_scripts.options import CorpusOptions, option, refuse_less_than_one, run_script, save_recipe
from train_scripts.results_table import as_markdown
from train_scripts.stage_jobs import stage_job

ARMS = {"clef": "stage 1 + stage 2", "stage2": "stage 2 alone"}


@dataclass
class RealFacesOptions(CorpusOptions):
    corpus: str = option("ict_facekit", "corpus name that load_corpus knows")
    output: str = option("outputs/real_faces", "folder of all runs")
    half: bool = option(False, "store the resulting checkpoint in half precision, see freeze_checkpoint.py")
    seed: int = option(0, "seed of weights, order, augmentation and label choice")
    towers: dict | str | None = option(None, "options of both stages where they start from nothing, as a mapping")
    pretraining: dict | str | None = option(None, "further options of stage 1, as a mapping")
    finetuning: dict | str | None = option(None, "further options of stage 2, as a mapping")
    further: dict | str | None = option(
        None,
        "options of stage 2 that differ in a last round, which goes on from the arm that is chosen; none: no round",
    )
    fractions: list[str] = field(
        default_factory=lambda: ["0.05", "0.01"],
        metadata={"help": "fractions of the training frames' labels that both are compared with; none: no rows"},
    )
    fraction_steps: int = option(1000, "optimizer steps of stage 2 with a fraction of the labels")
    compare: bool = option(True, "also train stage 2 alone, with all labels")
    photos: str | None = option(None, "folder of photographs with metadata.csv, to be read at the end")
    parallel: int = option(2, "jobs at a time")
    threads: int = option(1, "threads of each job, whatever the machine has: sums depend on them in their last bits")

    def __post_init__(self):
        super().__post_init__()
        for name in ("towers", "pretraining", "finetuning", "further"):
            value = getattr(self, name)
            value = (yaml.safe_load(value) if isinstance(value, str) else value) or {}
            if not isinstance(value, dict):
                raise ValueError(f"{name}: got {value!r}, expected a mapping of options.")
            setattr(self, name, value)
        refuse_less_than_one(self, "parallel", "threads")


def main(options: RealFacesOptions) -> Path:
    began = time.perf_counter()
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    save_recipe(options, output)
    load_corpus(options.corpus, root=options.root, **options.corpus_options)
    seconds = {"corpus": round(time.perf_counter() - began, 1)}
    seconds |= run_jobs(make_jobs(options), options.parallel, options.threads)

    rows = collect(options)
    chosen = max((arm for arm in rows if "all" in rows[arm]), key=lambda arm: rows[arm]["all"]["validation"])
    result = {
        "rows": rows,
        "chosen": chosen,
        "chosen_by": "mean AUROC of action units on the rendered validation people",
        "seconds": seconds,
    }
    (output / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")
    print(as_markdown(table(rows, options.fractions)))
    final = run_folder(options, chosen, "all")
    if options.further:
        job = further_round(options, final)
        result["seconds"] |= run_jobs([job], 1, options.threads)
        final = job.folder
    validation = load_corpus(options.corpus, root=options.root, split="validation", **options.corpus_options)
    checkpoint, made = output / "checkpoint", output / "checkpoint.partial"
    shutil.rmtree(made, ignore_errors=True)
    write_text_free(final, made, validation, options.half, comparison=result)
    save_recipe(options, made)
    # The card and the figures of a run before are not this network's.
    shutil.rmtree(checkpoint, ignore_errors=True)
    made.rename(checkpoint)
    print(f"{ARMS[chosen]} is better on the validation people; text-free checkpoint: {checkpoint}")
    followers = [
        Job("small set", ["train_scripts/check_checkpoint.py", str(checkpoint.resolve()), "--record"], output / "small")
    ]
    if options.photos:
        command = ["train_scripts/evaluate_photos.py", str(checkpoint.resolve()), "--photos", options.photos]
        followers.append(Job("photographs", command, output / "photographs", ["small set"]))
    followers.append(Job("card", ["-m", "hub_cards", str(checkpoint.resolve())], output / "card", [followers[-1].name]))
    for job in followers:
        (job.folder / "done.json").unlink(missing_ok=True)  # what they wrote went with the folder before
    run_jobs(followers, 1, options.threads)
    return checkpoint


def run_folder(options: RealFacesOptions, arm: str, fraction: str) -> Path:
    return Path(options.output, arm, f"labels_{fraction}")


def make_jobs(options: RealFacesOptions) -> list[Job]:
    """Stage 1, then stage 2 of both arms, the longest first."""
    shared, stage1 = _shared(options), Path(options.output, "clef", "pretrained")
    jobs = [stage_job("stage 1", "pretrain", stage1, shared | options.towers | options.pretraining)]
    for fraction in ("all", *options.fractions):
        for arm in reversed(ARMS):
            if arm == "stage2" and not options.compare:
                continue
            start = options.towers if arm == "stage2" else {"init_from": str(stage1.resolve())}
            settings = shared | start | options.finetuning
            if fraction != "all":
                settings |= {"label_fraction": fraction, "max_steps": options.fraction_steps}
            name = f"{ARMS[arm]}, {'all labels' if fraction == 'all' else f'{100 * float(fraction):g} % of labels'}"
            needs = ["stage 1"] if arm == "clef" else []
            jobs.append(stage_job(name, "finetune", run_folder(options, arm, fraction), settings, needs))
    return jobs


def further_round(options: RealFacesOptions, start: Path) -> Job:
    """Stage 2 once more from where it ended, as `further` says."""
    settings = _shared(options) | {"init_from": str(start.resolve())} | options.finetuning | options.further
    return stage_job("stage 2, a last round", "finetune", Path(options.output, "further"), settings)


def _shared(options: RealFacesOptions) -> dict:
    corpus = {"corpus": options.corpus, "corpus_options": options.corpus_options, "root": options.root}
    return corpus | {"seed": options.seed}


def collect(options: RealFacesOptions) -> dict:
    """arm → label fraction → scores on the rendered test people, and "validation", what the arm is chosen by."""
    rows: dict[str, dict] = {}
    for arm in ARMS:
        for fraction in ("all", *options.fractions):
            path = run_folder(options, arm, fraction) / "metrics.json"
            if arm == "stage2" and not options.compare:
                continue
            metrics = json.loads(path.read_text())
            evaluation = metrics["evaluation"]
            rows.setdefault(arm, {})[fraction] = {
                "labelled_frames": metrics["labelled_frames"],
                "validation": metrics["validation"]["action_units"]["mean_auroc"],
                "au_f1": evaluation["action_units"]["mean_f1"],
                "au_f1_at_half": evaluation["action_units"]["mean_f1_at_half"],
                "au_auroc": evaluation["action_units"]["mean_auroc"],
                "expression_accuracy": evaluation["expression"]["accuracy"],
            }
            if "identity" in evaluation:
                found = evaluation["identity"]["projection_nearest_neighbour"]
                rows[arm][fraction]["identity_nearest_neighbour"] = found
    return rows


def table(rows: dict, fractions: list[str]) -> list[list[str]]:
    """One row a figure and label fraction, one column an arm, and by how much stage 1 helps (negative: it does not)."""
    titles = {
        "au_f1": "AU F1",
        "au_auroc": "AU AUROC",
        "expression_accuracy": "expression accuracy",
    }
    lines = [["rendered test people, percent", *(ARMS[arm] for arm in rows), "stage 1 gains"]]
    for fraction in ("all", *fractions):
        for key, title in titles.items():
            values = [100 * rows[arm][fraction][key] for arm in rows]
            share = "all labels" if fraction == "all" else f"{100 * float(fraction):g} % of labels"
            # 0.0 is added as -0.0 would say that something is lost.
            gain = f"{round(values[0] - values[1], 1) + 0.0:+.1f}" if len(values) == 2 else "–"
            lines.append([f"{share}: {title}", *(f"{value:.1f}" for value in values), gain])
    return lines


if __name__ == "__main__":
    run_script(main, RealFacesOptions)
