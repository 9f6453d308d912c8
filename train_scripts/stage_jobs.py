"""Jobs for `jobs.run_jobs` that run a stage of training, from the options that a recipe gives."""

from pathlib import Path

from train_scripts.jobs import Job
from train_scripts.recipe_base import recipe_flags

LOCAL_PATHS = ("root", "init_from", "vision_tower", "text_tower", "label_texts")


def stage_job(name: str, script: str, folder: Path, settings: dict, needs: list[str] | None = None) -> Job:
    """A run of "pretrain" or "finetune" into `folder`. With `checkpoint_steps`, a killed run goes on where it was.

    Args:
        settings: options of the script. Paths may be relative to the working folder, which is not the job's.
    """
    local = {key: resolved(settings[key]) for key in LOCAL_PATHS if key in settings}
    resume = {"resume": True} if settings.get("checkpoint_steps") else {}
    flags = recipe_flags(settings | local | resume | {"output": str(folder.resolve())})
    return Job(name, [f"train_scripts/{script}.py", *flags], folder, needs or [])


def resolved(path: str | None) -> str | None:
    """A path that exists here in full; all else (a Hub id, the name of a tower) as it is."""
    return str(Path(path).resolve()) if path and Path(path).exists() else path
