"""From the world to tensors: face images, activity texts and label prompts as a model takes them."""

from .augmentation_clef import FaceAugmentation
from .image_processing_clef import CLEFImageProcessor
from .processing_clef import CLEFProcessor

__all__ = ["CLEFImageProcessor", "CLEFProcessor", "FaceAugmentation"]
