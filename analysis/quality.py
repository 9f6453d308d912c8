"""Face quality, as the tables have it. It is computed where it can travel with a checkpoint: in `processing`."""

from processing.face_quality_clef import FaceQuality, face_quality

__all__ = ["FaceQuality", "face_quality"]
