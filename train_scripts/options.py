"""Options of the scripts: a YAML recipe first, command-line flags after it, one dataclass at the end."""

import dataclasses
import difflib
import json
import math
import sys
import traceback
from argparse import ArgumentDefaultsHelpFormatter, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from train_scripts.failures import LastingLog
from train_scripts.recipe_base import read_recipe

OptionsT = TypeVar("OptionsT")
ROOT = Path(__file__).resolve().parents[1]
# YAML's values that an option of a type takes, and what it is called.
TYPES = {
    bool: ((bool, str), "true or false"),
    int: ((int, str), "a whole number"),
    float: ((float, int, str), "a number"),
    str: ((str, int, float), "a text"),
    dict: ((dict,), "a mapping"),
}
# What a resumed run may change: where files lie, how the same sums are done, what is said and kept beside the weights.
FREE_ON_RESUME = (
    "output",
    "root",
    "resume",
    "workers",
    "num_processes",
    "augment_on",
    "activation_checkpointing",
    "cache_chunk",
    "compile",
    "max_skipped_steps",
    "checkpoint_steps",
    "tracker",
    "log_steps",
    "eval_steps",
    "chance_steps",
    "predictions",
    "identity_probe",
)


def option(default, help: str):
    return field(default=default, metadata={"help": help})


def refuse_less_than_one(options, *names: str) -> None:
    """Raises ValueError for the first of these options that is less than 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise ValueError(f"{name}: got {getattr(options, name)}, expected at least 1.")


@dataclass
class CorpusOptions:
    corpus: str = option("synthetic", "corpus name that load_corpus knows")
    root: str | None = option(None, "folder of the corpus's official files; not needed by the synthetic corpus")
    corpus_options: dict | str | None = option(
        None, 'further options of the corpus as a mapping, e.g. \'{"subjects": 72, "image_size": 48}\''
    )

    def __post_init__(self):
        if isinstance(self.corpus_options, str):
            self.corpus_options = yaml.safe_load(self.corpus_options)
        self.corpus_options = self.corpus_options or {}
        if not isinstance(self.corpus_options, dict):
            raise ValueError(
                f"corpus_options: got {self.corpus_options!r}, expected a mapping such as "
                '\'{"subjects": 72, "image_size": 48}\'.'
            )


@dataclass
class TrainingOptions(CorpusOptions):
    """What both stages share."""

    output: str = option("outputs/run", "folder that the run is written to")
    seed: int = option(0, "seed of weights, order, augmentation and label choice")

    init_from: str | None = option(None, "start from this checkpoint: a CLIP or CLEF model, a local folder or a Hub id")
    vision_tower: str = option(
        "small-resnet",
        "without init_from: 'small-resnet' (for 48 px), 'face-resnet' (96 px), 'face-resnet-large' (128 px, on a GPU), "
        "or a folder or Hub id of a tower",
    )
    text_tower: str = option(
        "minilm",
        "without init_from: 'minilm' (pretrained sentence encoder), 'tiny' (a small untrained one, needs nothing), "
        "or a folder or Hub id",
    )
    image_size: int | None = option(None, "side of the network's square input in pixels; default: the tower's own")
    projection_dim: int = option(128, "without init_from: width of the shared embedding space")
    freeze_vision: bool = option(False, "keep the vision tower as it is")
    freeze_text: bool | None = option(None, "keep the text tower as it is; default: frozen if it is 'minilm'")

    lora_rank: int = option(0, "train the towers through low-rank adapters of this rank, merged at the end; 0: whole")
    lora_alpha: float | None = option(None, "adapters are scaled by lora_alpha / lora_rank; default: twice the rank")
    lora_dropout: float = option(0.0, "dropout of the adapters' input")

    epochs: float = option(8.0, "passes over the training frames")
    max_steps: int = option(0, "stop after this many optimizer steps; 0: epochs decide")
    batch_size: int = option(128, "images a step and process")
    gradient_accumulation: int = option(1, "batches summed into one optimizer step")
    learning_rate: float = option(2e-3, "peak learning rate")
    weight_decay: float = option(0.05, "AdamW's decay of weight matrices (not of biases, norms and scales)")
    warmup: float = option(0.05, "fraction of the steps over which the learning rate rises")
    schedule: Literal["cosine", "linear", "constant"] = option("cosine", "learning rate after the warm-up")
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm; 0: not clipped")
    max_skipped_steps: int = option(
        5, "stop after this many steps in a row that were skipped as their loss or gradient was NaN or infinite"
    )
    augmentation: float = option(1.0, "strength of the augmentation, at most 1; 0: none")
    augmentation_preset: Literal["mild", "photographs"] = option(
        "mild", "kinds and ranges of the augmentation; 'photographs': strong, to read photographs after renders"
    )
    augmentation_ramp: float = option(0.0, "fraction of the steps over which the augmentation gains its strength")
    augmentation_start: float = option(0.2, "strength that the ramp starts from")
    augment_on: Literal["workers", "device"] = option(
        "workers",
        "who makes the views: the processes that decode, or the training device, for GPUs that those cannot keep busy; "
        "the views are the same but for rounding",
    )
    ema_decay: float = option(0.0, "average the weights over the steps with this decay, e.g. 0.999; 0: the last ones")
    mixed_precision: Literal["no", "bf16", "fp16", "auto"] = option(
        "no",
        "autocast of the towers, losses stay in fp32; auto: bf16 where the hardware multiplies in it, otherwise no",
    )
    activation_checkpointing: bool = option(False, "recompute activations in the backward pass to save memory")
    compile: bool = option(False, "torch.compile the towers")

    workers: int = option(0, "processes that decode and augment; any number gives the same run")
    num_processes: int | None = option(None, "refuse to run unless this many processes were started")
    tracker: str = option("none", "'none', 'tensorboard', or another tracker that Accelerate knows")
    log_steps: int = option(10, "steps between two lines of history.jsonl and the tracker")
    eval_steps: int = option(0, "steps between two evaluations on the validation subjects; 0: at the end only")
    checkpoint_steps: int = option(0, "steps between two resumable checkpoints; 0: none")
    resume: bool = option(False, "go on from the newest checkpoint in the output folder")

    def __post_init__(self):
        super().__post_init__()
        counts = ("batch_size", "gradient_accumulation", "log_steps", "max_skipped_steps", "projection_dim")
        refuse_less_than_one(self, *counts, *(("image_size",) if self.image_size is not None else ()))
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: got {self.seed}, expected from 0 to {2**32 - 1}.")
        at_least_zero = ("workers", "max_steps", "eval_steps", "checkpoint_steps", "lora_rank")
        for name in (*at_least_zero, "learning_rate", "weight_decay", "max_grad_norm"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more.")
        if not 0 < self.epochs < math.inf and not self.max_steps:
            raise ValueError(f"epochs: got {self.epochs}, expected more than 0 (or set max_steps).")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup: got {self.warmup}, expected a fraction from 0 to below 1.")
        if not 0 <= self.lora_dropout < 1:
            raise ValueError(f"lora_dropout: got {self.lora_dropout}, expected 0 or more and below 1.")
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_dropout):
            raise ValueError("lora_alpha and lora_dropout say how to train adapters: set lora_rank, too.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: got {self.ema_decay}, expected 0 or more and below 1.")
        for name in ("augmentation", "augmentation_ramp", "augmentation_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected from 0 to 1.")
        if self.augmentation_ramp and self.augmentation_start > self.augmentation:
            raise ValueError(
                f"augmentation_start: got {self.augmentation_start}, expected at most the full strength, "
                f"augmentation {self.augmentation}."
            )


class OptionsHelp(RawDescriptionHelpFormatter, ArgumentDefaultsHelpFormatter):
    """Names a default where there is one and the option's text does not tell it."""

    def _get_help_string(self, action):
        if action.option_strings[0].startswith("--no_"):  # made of a switch that is on, with the text of that switch
            return f"the same as --{action.dest} false"
        told = action.default in (None, "", [], {}) or "default:" in action.help
        return action.help if told else super()._get_help_string(action)


def parse_options(
    options_class: type[OptionsT], argv: list[str] | None = None, description: str | None = None
) -> OptionsT:
    """`[recipe.yaml] [--option value …]` → one instance of `options_class`; flags win over the recipe. `description`
    is what `--help` says before it lists the options.

    Raises `SystemExit` with a sentence for an unreadable recipe, a name that is no option, a value that it cannot take.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = HfArgumentParser(
        options_class,
        usage="%(prog)s [recipe.yaml] [--option value …]",
        description=description,
        epilog="recipe.yaml: a YAML file of such options; what is given as a flag wins over it.",
        formatter_class=OptionsHelp,
        allow_abbrev=False,
    )
    if argv and argv[0].endswith((".yaml", ".yml")):
        parser.set_defaults(**_read_recipe(Path(argv.pop(0)), options_class, parser))
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        names = [f.name for f in dataclasses.fields(options_class)]
        parser.error(f"got {unknown[0]!r}, which is no option{_closest(unknown[0].lstrip('-'), names)}")
    try:
        return options_class(**vars(namespace))
    except ValueError as error:
        parser.error(str(error))


def run_script(main: Callable, options_class: type[OptionsT], argv: list[str] | None = None):
    """A script: `main` of what `parse_options` gives. What this project's own checks refuse ends in a sentence and exit
    status 1; every other error keeps its traceback."""
    options = parse_options(options_class, argv, sys.modules[main.__module__].__doc__)
    sys.stdout, sys.stderr = LastingLog(sys.stdout), LastingLog(sys.stderr)  # progress bars and libraries print, too
    try:
        return main(options)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        if not _is_refused_here(error):
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def _is_refused_here(error: Exception) -> bool:
    """Whether a `raise` of this project raised it, rather than a library or an operation that went wrong."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    path, packages = Path(frame.filename).resolve(), ("modeling_clef", "processing", "train_scripts")
    return any(path.is_relative_to(ROOT / name) for name in packages) and frame.line.startswith("raise ")


def save_recipe(options, folder: Path) -> None:
    """Writes the resolved options as `recipe.yaml`, from which the same run can be started again. That of a run before
    stays until it is whole."""
    partial = Path(folder, "recipe.yaml.partial")
    partial.write_text(yaml.safe_dump(dataclasses.asdict(options), sort_keys=False))
    partial.replace(partial.with_suffix(""))


def binding_options(options: TrainingOptions) -> dict:
    """The options that a run has to be resumed with, as JSON holds them: all but `FREE_ON_RESUME` and where and by how
    many processes a corpus is rendered. Of files and folders of this machine the name counts, not where they lie."""
    binding = {name: value for name, value in dataclasses.asdict(options).items() if name not in FREE_ON_RESUME}
    for name in ("cache_dir", "num_proc"):
        binding["corpus_options"].pop(name, None)
    for name in ("init_from", "vision_tower", "text_tower", "label_texts"):
        if binding.get(name) and Path(binding[name]).exists():
            binding[name] = Path(binding[name]).resolve().name
    return json.loads(json.dumps(binding, default=str))


def _read_recipe(path: Path, options_class, parser) -> dict:
    try:
        recipe = read_recipe(path)
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"recipe {path} cannot be read: {error}")
    except ValueError as error:
        parser.error(f"recipe {path}: {error}")
    names = [f.name for f in dataclasses.fields(options_class)]
    types = get_type_hints(options_class)
    for key, value in recipe.items():
        if key not in names:
            parser.error(f"recipe {path}: {key!r} is no option{_closest(key, names)}")
        try:
            recipe[key] = _of_type(value, types[key])
        except ValueError as error:
            parser.error(f"recipe {path}: {key}: got {value!r}, {error}")
    return recipe


def _of_type(value, kind):
    """A recipe's value as its option's type has it. Raises ValueError that says what was expected."""
    if isinstance(kind, UnionType):
        if type(value) in get_args(kind):
            return value
        kind = get_args(kind)[0]
    if get_origin(kind) is list:
        if value is None:
            return []
        return [_of_type(item, *get_args(kind)) for item in (value if isinstance(value, list) else [value])]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        if isinstance(value, bool):  # what YAML makes of these words
            value = next((word for word in (("on", "yes") if value else ("off", "no")) if word in choices), value)
        if value not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}.")
        return value
    allowed, expected = TYPES[kind]
    try:
        if type(value) in allowed:
            return string_to_bool(value) if kind is bool else kind(value)
    except (ValueError, ArgumentTypeError):
        pass
    raise ValueError(f"expected {expected}.")


def _closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name.replace("-", "_"), names, n=3)
    return f"; closest: {', '.join(close)}" if close else f"; known: {', '.join(names)}"
