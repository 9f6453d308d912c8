"""A classifier's network in ONNX Runtime: the same logits as in torch, on a processor in a fraction of the time."""

import logging
import tempfile
import warnings
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import torch

LARGEST_DIFFERENCE = 1e-3  # of logits, between the exported network and the one it was made from
MISSING = "the ONNX backend needs onnxruntime and onnxscript: `pip install 'clef-faces[onnx]'`."


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
        ValueError: the model is not on the processor. RuntimeError: the exported network gives other logits.
    """

    def __init__(self, model: torch.nn.Module, height: int, width: int, threads: int = 1):
        try:
            import onnxruntime
            import onnxscript  # noqa: F401  what torch exports through
        except ImportError as error:
            raise ImportError(MISSING) from error
        if (device := next(model.parameters()).device).type != "cpu":
            raise ValueError(f"the ONNX backend runs on the processor, got a model on {device}; leave the device out.")
        model = model.float()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.onnx")
            export_onnx(model, height, width, path)
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._check(model, height, width)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"pixel_values": pixels.float().contiguous().numpy()})[0])

    @torch.inference_mode()
    def _check(self, model: torch.nn.Module, height: int, width: int) -> None:
        pixels = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(0))
        difference = (self(pixels) - model(pixel_values=pixels).logits).abs().max().item()
        if not difference <= LARGEST_DIFFERENCE:  # NaN fails too
            raise RuntimeError(
                f"the network exported to ONNX gives logits that differ by {difference:.2g} from torch's, expected at "
                f"most {LARGEST_DIFFERENCE}; leave out the ONNX backend."
            )


class _Logits(torch.nn.Module):
    """A classifier as the exporter wants it: pixels in, one tensor out."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


def export_onnx(model: torch.nn.Module, height: int, width: int, path: Path) -> None:
    """Writes the network, pixels in and logits out, of any batch size, to `path`. Arguments as of `OnnxNetwork`."""
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            _Logits(model).eval(),
            (torch.zeros(2, 3, height, width),),
            path,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["pixel_values"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )


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


__all__ = ["OnnxNetwork", "export_onnx"]
