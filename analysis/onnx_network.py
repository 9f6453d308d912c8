"""A classifier's network in ONNX Runtime: the same logits as in torch, on a processor in a fraction of the time."""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import torch

LARGEST_DIFFERENCE = 1e-3  # of outputs, between the exported network and the one it was made from
MISSING = "{} needs onnxruntime and onnxscript: `pip install 'clef-faces[onnx]'`."


class OnnxDifferenceError(RuntimeError):
    """An exported network gives other numbers than torch."""


class OnnxNetwork:
    """Called with pixels (N, 3, height, width) float32, gives logits (N, K) float32.

    It is exported when it is made, which takes seconds, and checked against the model. Several threads may call it
    at a time.

    Args:
        model: CLEFForImageClassification in eval mode, on the processor, whose labels are frozen.
        height, width: of its input.
        threads: that share the work of one call. One where several threads call at a time, as `analysis` does.

    Raises:
        ImportError: ONNX Runtime or the exporter is not installed (the message says how to get them).
        ValueError: the model is not on the processor, or of a kind that torch cannot export.
        OnnxDifferenceError: the exported network gives other logits.
    """

    def __init__(self, model: torch.nn.Module, height: int, width: int, threads: int = 1):
        check_packages("the ONNX backend")
        if (device := next(model.parameters()).device).type != "cpu":
            raise ValueError(f"the ONNX backend runs on the processor, got a model on {device}; leave the device out.")
        model = model.float()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.onnx")
            export_onnx(model, height, width, path)
            self.session = open_session(path, threads)
        self._check(model, height, width)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"pixel_values": pixels.float().contiguous().numpy()})[0])

    @torch.inference_mode()
    def _check(self, model: torch.nn.Module, height: int, width: int) -> None:
        pixels = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(0))
        expected = model(pixel_values=pixels).logits
        check_agreement("logits", self(pixels), expected, "leave out the ONNX backend")


class _Logits(torch.nn.Module):
    """A classifier as the exporter wants it: pixels in, one tensor out."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def check_packages(what: str) -> None:
    """Raises ImportError, which says that `what` needs them, where ONNX Runtime or the exporter is not installed."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401  what torch exports through
    except ImportError as error:
        raise ImportError(MISSING.format(what)) from error


def check_agreement(name: str, found: torch.Tensor, expected: torch.Tensor, advice: str) -> None:
    """Raises OnnxDifferenceError where the exported network's output `name` is not torch's."""
    difference = (found - expected).abs().max().item()
    if not difference <= LARGEST_DIFFERENCE:  # NaN fails too
        raise OnnxDifferenceError(
            f"the network exported to ONNX gives {name} that differ by {difference:.2g} from torch's, expected at "
            f"most {LARGEST_DIFFERENCE}; {advice}."
        )


def open_session(path: Path, threads: int):
    """An `onnxruntime.InferenceSession` on the processor, which prints nothing but errors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def export_onnx(model: torch.nn.Module, height: int, width: int, path: Path) -> None:
    """Writes the network, pixels in and logits out, of any batch size, to `path`. Arguments as of `OnnxNetwork`."""
    export_module(_Logits(model), height, width, ["logits"]).save(path, external_data=False)


def export_module(module: torch.nn.Module, height: int, width: int, outputs: Sequence[str]) -> torch.onnx.ONNXProgram:
    """A module that takes `pixel_values` (N, 3, height, width), N any, and returns a tensor for each of `outputs`.

    Raises:
        ValueError: torch cannot export it.
    """
    with _quiet(), torch.no_grad():
        try:
            return torch.onnx.export(
                module.eval(),
                (torch.zeros(2, 3, height, width),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["pixel_values"],
                output_names=outputs,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ValueError(f"torch cannot export a network of this kind to ONNX: {reason}") from error


@contextmanager
def _quiet():
    """Without the exporter's remarks about itself; errors are raised, not printed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


__all__ = [
    "OnnxDifferenceError",
    "OnnxNetwork",
    "check_agreement",
    "check_packages",
    "export_module",
    "export_onnx",
    "open_session",
]
