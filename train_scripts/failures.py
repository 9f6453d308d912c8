"""What may go wrong in the middle of a run, and what happens then: NaN, SIGTERM, no memory, corrupt images."""

import atexit
import errno
import json
import multiprocessing.util
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from torch.distributed.tensor import DTensor

# What writing a file may raise: safetensors wraps the system's error in its own.
WRITE_ERRORS = (OSError, SafetensorError)

STEADIER = (
    "A lower learning_rate, a longer warmup or mixed_precision bf16 instead of fp16 usually helps, in a run that "
    "starts anew"
)


class StopRequest:
    """`with StopRequest() as stop:` SIGTERM no longer ends the process: `stop.asked` becomes True.

    Schedulers send SIGTERM some time before they kill, often to every process and more than once. Outside the main
    thread, where Python takes no signals, `asked` stays False.
    """

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "StopRequest":
        self._catches = threading.current_thread() is threading.main_thread()
        if self._catches:
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_) -> None:
        if self._catches:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number, frame) -> None:
        self.asked = True


def ignore_sigterm(worker: int) -> None:
    """For loader workers, to which a scheduler sends SIGTERM, too: they have to live until the checkpoint is saved."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def end_workers() -> None:
    """At exit. After an error its traceback keeps the loaders, whose workers then wait for more to do; a process that
    has been told to ignore SIGTERM would be joined for ever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


# What is registered last runs first: before `multiprocessing.util` joins its processes.
atexit.register(end_workers)


class StepGuard:
    """Decides, on all processes alike, whether the optimizer may step: only if losses and gradients are finite.

    A step that may not is undone (running statistics of batch norm are put back), counted and written, with the rows of
    all processes' batches, to `skipped_steps.jsonl` of the run's folder. That file is also what a resumed run goes on
    counting from.

    Args:
        model: in its state after `start_step` optimizer steps.
        limit: steps skipped in a row that end the run.
    """

    def __init__(self, accelerator: Accelerator, model: torch.nn.Module, folder: Path, start_step: int, limit: int):
        self.accelerator, self.limit = accelerator, limit
        self.path = Path(folder, "skipped_steps.jsonl")
        self.buffers = [buffer for buffer in model.buffers() if buffer is not None]
        self.kept_buffers = [buffer.detach().clone() for buffer in self.buffers]
        earlier = [line["step"] for line in json_lines(self.path)] if start_step else []
        earlier = [step for step in earlier if step <= start_step]
        self.skipped, self.in_a_row = len(earlier), 0
        while earlier and earlier[-1] == start_step - self.in_a_row:
            earlier.pop()
            self.in_a_row += 1
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            keep_lines(self.path, start_step)
        self.batches: list[tuple[list[int], torch.Tensor]] = []

    def saw(self, rows: torch.Tensor, loss: torch.Tensor) -> None:
        """Takes note of a batch that the coming optimizer step learns from."""
        self.batches.append((rows, loss.detach()))

    def agree(self, gradient_norm: torch.Tensor | float | None, stop: bool) -> tuple[bool, bool]:
        """After the last backward pass of a step: whether it is finite on all processes, and whether any was asked to
        stop. Called by every process."""
        loss = torch.stack([loss for _, loss in self.batches]).float().sum()
        norm = torch.zeros(()) if gradient_norm is None else torch.as_tensor(gradient_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        finite = torch.isfinite(loss) & torch.isfinite(norm.to(loss.device))
        if self.accelerator.num_processes == 1:
            return bool(finite), stop
        flags = torch.stack([~finite, torch.as_tensor(stop, device=finite.device)]).float()
        not_finite, stop = self.accelerator.reduce(flags, reduction="sum").tolist()
        return not not_finite, bool(stop)

    @torch.no_grad()
    def stepped(self) -> None:
        """The optimizer has stepped."""
        for kept, buffer in zip(self.kept_buffers, self.buffers, strict=True):
            kept.copy_(buffer)
        self.batches, self.in_a_row = [], 0

    @torch.no_grad()
    def skip(self, step: int, gradient_norm: torch.Tensor | float | None, tolerated: bool = False) -> None:
        """Undoes, counts and reports optimizer step `step`, counted from 1. Called by every process.

        Args:
            tolerated: it counts, but not towards the limit: a loss scale that is still being searched overflows.

        Raises:
            FloatingPointError: it was the last of `limit` skipped steps in a row.
        """
        for kept, buffer in zip(self.kept_buffers, self.buffers, strict=True):
            buffer.copy_(kept)
        own = [(int(row), float(loss)) for rows, loss in self.batches for row in rows]
        rows_and_losses = gather_object(own)
        rows = [row for row, _ in rows_and_losses]
        self.batches = []
        self.skipped += 1
        self.in_a_row += not tolerated
        norm = None if gradient_norm is None else float(gradient_norm)
        losses = list(dict.fromkeys(str(loss) for _, loss in rows_and_losses))
        if self.accelerator.is_main_process:
            # As texts: JSON has no NaN.
            line = {"step": step, "losses": losses, "gradient_norm": str(norm), "rows": rows}
            append_line(self.path, line)
            tell(
                f"\nstep {step} is skipped, the {self.skipped}. of this run: loss {', '.join(losses)}, gradient norm "
                f"{norm}. Rows of the batch: {shortened(rows)} (all in {self.path})"
            )
        if self.in_a_row >= self.limit:
            raise FloatingPointError(
                f"the loss or its gradient was not finite in {self.in_a_row} steps in a row, the last of them step "
                f"{step} with loss {', '.join(losses)} and gradient norm {norm} on the rows {shortened(rows)}. "
                f"{STEADIER}; max_skipped_steps says how many are borne. Earlier checkpoints are kept."
            )

    @torch.no_grad()
    def refuse_broken(self, step: int, weights: dict[str, torch.Tensor]) -> None:
        """Before weights are saved: a step that was itself finite may have left them so that no later one is. Called
        by every process.

        Raises:
            FloatingPointError: some are not finite, on any process.
        """
        own = {name: t.to_local() if isinstance(t, DTensor) else t for name, t in weights.items()}
        broken = [name for name, tensor in own.items() if not tensor.isfinite().all()]
        if broken := list(dict.fromkeys(gather_object(broken))):
            kept = sorted(self.path.parent.glob("checkpoints/step_????????"))
            last = f"the newest checkpoint of before, {kept[-1]}, stays" if kept else "there is no earlier checkpoint"
            raise FloatingPointError(
                f"{len(broken)} of the model's tensors are not finite after step {step}, {broken[0]} among them: they "
                f"are not saved, and {last}. {STEADIER} in another output folder."
            )


class CorruptImages:
    """Counts the draws of images that could not be decoded, on this process; each row is reported when first seen."""

    def __init__(self, draws: dict[int, int] | None = None):
        self.draws = Counter(draws or {})

    def saw(self, corrupt: list[tuple[int, str]]) -> None:
        """`corrupt`: row and reason of each draw of a batch that another row stands for."""
        for row, reason in corrupt:
            if row not in self.draws:
                tell(f"\nrow {row} cannot be decoded ({reason}): another draw takes its place")
            self.draws[row] += 1

    def of_all_processes(self) -> dict[int, int]:
        """Draws by row. Called by every process."""
        total = Counter()
        for row, count in gather_object(list(self.draws.items())):
            total[row] += count
        return dict(sorted(total.items()))


@contextmanager
def explained_out_of_memory(options) -> Iterator[None]:
    """Turns an error of too little memory into a MemoryError that names the options that help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"{_first_line(error)}\n{memory_advice(options)}") from error


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    known = ("out of memory", "can't allocate memory", "cannot allocate memory", "status_alloc_failed")
    return isinstance(error, RuntimeError) and any(part in text for part in known)


def memory_advice(options) -> str:
    """The options that lower memory, those first that change least about what is learned; none that is on already."""
    ways = []
    if not options.activation_checkpointing:
        ways.append("--activation_checkpointing true (the same gradients, about a third slower)")
    if getattr(options, "cache_chunk", None) == 0:
        ways.append("--cache_chunk 64 (64 views at a time; the same gradients, unless a tower has batch norms)")
    if options.mixed_precision == "no":
        ways.append("--mixed_precision bf16 (on hardware that has it)")
    if options.batch_size > 1:
        smaller, times = options.batch_size // 2, options.gradient_accumulation * 2
        ways.append(
            f"--batch_size {smaller} --gradient_accumulation {times} (instead of {options.batch_size} and "
            f"{options.gradient_accumulation}; in stage 1 a face then meets half as many others)"
        )
    if not options.lora_rank:
        ways.append("--lora_rank 8 (adapters train in place of the towers)")
    ways.append("--freeze_text true, --freeze_vision true, a smaller --image_size or tower")
    ways.append("more processes with a smaller batch_size each (docs/launching.md)")
    helps = "What helps (--resume takes activation_checkpointing and cache_chunk; with others a run starts anew):"
    return f"There was not enough memory for a step. {helps}\n" + "\n".join(f"  {way}" for way in ways)


@contextmanager
def explained_write_errors(what: str) -> Iterator[None]:
    """Raises an OSError, with the system's own number, that says what could not be written and what to do."""
    try:
        yield
    except WRITE_ERRORS as error:
        number = error_number(error)
        raise OSError(
            number,
            f"{what} could not be written: {_first_line(error)}. Make room (the folder `checkpoints` can go once a run "
            "is finished), then start the same command with --resume true",
        ) from error


def error_number(error: Exception) -> int:
    """The system's number of a failed write, `errno.EIO` where it says none."""
    found = re.search(r"os error (\d+)", str(error))
    return getattr(error, "errno", None) or (int(found.group(1)) if found else errno.EIO)


def json_lines(path: Path) -> list[dict]:
    """The lines of a JSON-lines file, none if it is missing. A last line that was being written when the process was
    killed is left out."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def keep_lines(path: Path, last_step: int) -> None:
    """Keeps the lines up to step `last_step`, atomically; a file without any becomes empty, or stays missing."""
    if not path.exists():
        return
    kept = [line for line in json_lines(path) if line["step"] <= last_step]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
    os.replace(partial, path)


def tell(text: str) -> None:
    """Prints, unless even that fails: the log may lie on the disk that is full."""
    with suppress(OSError):
        print(text, flush=True)


class LastingLog:
    """A text stream that goes on when it cannot be written to: the log may lie on the disk that is full."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def append_line(path: Path, line: dict) -> None:
    """Appends a line; on a full disk it is printed instead, and the file keeps whole lines only."""
    text = json.dumps(line) + "\n"
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        if path.exists():
            os.truncate(path, size)
        tell(f"\n{path} could not be written ({error}); its line: {text}")


def shortened(rows: list[int], most: int = 20) -> str:
    return ", ".join(map(str, rows[:most])) + (f", … ({len(rows)})" if len(rows) > most else "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
