import json
import sys
from pathlib import Path

import pytest
from transformers import BertConfig, CLIPTextConfig, CLIPVisionConfig, ResNetConfig

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # benchmarks are scripts, not part of the installed package

SIZE = 32


@pytest.fixture(scope="session")
def tiny_towers():
    """`{name: (vision, text)}`: a ResNet with a BERT, and a CLIP, as the benchmarks' real ones in small."""
    from train_scripts.towers import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    special = {"eos_token_id": tokenizer.sep_token_id, "bos_token_id": tokenizer.cls_token_id, "pad_token_id": 0}
    return {
        "small tower": (
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
            BertConfig(vocab_size=len(tokenizer), **shape),
        ),
        "ViT-B/16": (
            CLIPVisionConfig(image_size=SIZE, patch_size=16, **shape),
            CLIPTextConfig(vocab_size=len(tokenizer), **special, **shape),
        ),
    }


@pytest.fixture
def written(tmp_path):
    """`written(main, *arguments)` runs a benchmark with `--output` and gives what it wrote, which is what it returned
    and names the machine."""

    def run(main, *arguments):
        path = tmp_path / "results" / "result.json"
        returned = main([*map(str, arguments), "--output", str(path)])
        found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
        assert found == json.loads(json.dumps(returned))
        assert list(path.parent.iterdir()) == [path]
        assert found["machine"].keys() >= {"processor", "cores", "torch_threads", "load_average", "python", "torch"}
        return found

    return run


def check_ratio(found: dict) -> None:
    assert 0 < found["lower_quartile"] <= found["median"] <= found["upper_quartile"]


@pytest.fixture(name="check_ratio")
def check_ratio_fixture():
    return check_ratio
