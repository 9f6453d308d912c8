import pytest
import torch

from train_scripts.options import TrainingOptions
from train_scripts.precision import SLOW_BF16, multiplies_in_bf16, resolve_precision
from train_scripts.runtime import start_accelerator


def capabilities(monkeypatch, **there):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "num_physical_cores": 2} | there)


@pytest.mark.parametrize(
    "there, expected",
    [({"avx512_bf16": True}, "bf16"), ({"avx512_bf16": False, "amx_bf16": True}, "bf16"), ({"amx_bf16": False}, "no")],
)
def test_auto_is_bf16_where_the_processor_multiplies_in_it(monkeypatch, there, expected):
    capabilities(monkeypatch, **there)
    assert resolve_precision("auto", "cpu") == expected
    for asked in ("no", "bf16", "fp16"):  # what is asked for is what one gets
        assert resolve_precision(asked, "cpu") == asked


def test_other_devices_are_not_guessed_at():
    assert not multiplies_in_bf16("mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
def test_on_a_gpu():
    assert multiplies_in_bf16("cuda") == (torch.cuda.get_device_capability()[0] >= 8)


@pytest.mark.parametrize("asked, there", [("bf16", False), ("auto", False), ("bf16", True), ("auto", True)])
def test_a_run_says_its_precision_and_warns_of_emulation(monkeypatch, tmp_path, capsys, asked, there):
    capabilities(monkeypatch, avx512_bf16=there)
    accelerator = start_accelerator(TrainingOptions(output=str(tmp_path), mixed_precision=asked))
    said = capsys.readouterr().out
    expected = "bf16" if there or asked == "bf16" else "no"
    assert accelerator.mixed_precision == expected and f"precision {expected}," in said
    assert (SLOW_BF16 in said) == (asked == "bf16" and not there)
