"""LoRA (Hu et al. 2022, by peft): towers learn through low-rank adapters that become plain weights again at the end."""

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

# Query and value projections, as in the paper of LoRA, by the names that towers of transformers have for them; the last
# two hold queries, keys and values in one layer.
ATTENTION_PROJECTIONS = ("q_proj", "v_proj", "query", "value", "q_lin", "v_lin", "q", "v", "Wqkv", "qkv")


def add_adapters(model: nn.Module, rank: int, alpha: float | None = None, dropout: float = 0.0) -> list[str]:
    """Puts an adapter beside every query and value projection of the towers that would train, and freezes all else in
    these towers. A tower without attention gets them beside its convolutions (all but depthwise ones) and linear
    layers. Projections, scales, biases and a linear head go on training whole; a frozen tower stays as it is. Batch
    norm goes on following the data.

    The model's outputs are the same to the last bit, as adapters start at 0.

    Args:
        model: a CLEF model with a head, its `requires_grad` final.
        rank: of the adapters, at least 1.
        alpha: adapters are scaled by alpha / rank; default: twice the rank.
        dropout: of the adapters' input, in training.

    Returns:
        names of the adapted layers.

    Raises:
        ValueError: no tower would train.
    """
    adapted = []
    for tower_name in ("vision_model", "text_model"):
        tower = getattr(model.clef, tower_name)
        if tower is None or not any(p.requires_grad for p in tower.parameters()):
            continue
        targets = layers_to_adapt(tower)
        config = LoraConfig(
            r=rank, lora_alpha=2 * rank if alpha is None else alpha, lora_dropout=dropout, target_modules=targets
        )
        inject_adapter_in_model(config, tower)
        adapted += [f"clef.{tower_name}.{name}" for name in targets]
    if not adapted:
        raise ValueError("lora_rank: both towers are frozen, so there is nothing to adapt. Set it to 0.")
    return adapted


def layers_to_adapt(tower: nn.Module) -> list[str]:
    """Names of a tower's layers that get an adapter: see `add_adapters`."""
    dense = {
        name: layer
        for name, layer in tower.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.requires_grad
    }
    attention = [
        name
        for name, layer in dense.items()
        if name.rsplit(".", 1)[-1] in ATTENTION_PROJECTIONS and isinstance(layer, nn.Linear)
    ]
    return attention or [name for name, layer in dense.items() if getattr(layer, "groups", 1) == 1]


def merge_adapters(model: nn.Module) -> None:
    """Adds the adapters to the weights beside which they stand and takes them out, after which the model is built and
    named as if it never had any; does nothing to a model without adapters."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    for module in model.modules():
        if hasattr(module, "peft_config"):
            del module.peft_config
