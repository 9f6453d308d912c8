"""The network. Importing this package makes transformers' Auto classes know CLEF."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForPreTraining,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
)
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY

from processing import CLEFImageProcessor, CLEFProcessor

from .configuration_clef import CLEFConfig
from .label_sets_clef import build_label_set
from .modeling_clef import CLEFForImageClassification, CLEFForPreTraining, CLEFModel, CLEFPreTrainedModel
from .pipeline_clef import FacialBehaviorPipeline

AutoConfig.register("clef", CLEFConfig, exist_ok=True)
AutoModel.register(CLEFConfig, CLEFModel, exist_ok=True)
AutoModelForZeroShotImageClassification.register(CLEFConfig, CLEFModel, exist_ok=True)
AutoModelForPreTraining.register(CLEFConfig, CLEFForPreTraining, exist_ok=True)
AutoModelForImageClassification.register(CLEFConfig, CLEFForImageClassification, exist_ok=True)
AutoImageProcessor.register(CLEFConfig, image_processor_classes={"pil": CLEFImageProcessor}, exist_ok=True)
# There is none. Unless told so, transformers' own pipelines guess one from the image processor's name, and ask whether
# to run its code. `AutoVideoProcessor.register` needs torchvision.
VIDEO_PROCESSOR_MAPPING.register(CLEFConfig, {}, exist_ok=True)
AutoProcessor.register(CLEFConfig, CLEFProcessor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "facial-behavior", FacialBehaviorPipeline, pt_model=AutoModelForImageClassification, type="image"
)

__all__ = [
    "CLEFConfig",
    "CLEFForImageClassification",
    "CLEFForPreTraining",
    "CLEFModel",
    "CLEFPreTrainedModel",
    "FacialBehaviorPipeline",
    "build_label_set",
]
