"""YuNet in ONNX Runtime: the same faces as through OpenCV, on a processor in a third of the time."""

from pathlib import Path

import numpy as np

from processing.face_detection_clef import LONGEST_LONG_SIDE, YuNetDetector
from processing.face_tilt_clef import FAINT
from processing.opencv_clef import opencv

MISSING = "finding faces with the ONNX backend needs onnxruntime and onnx: `pip install 'clef-faces[onnx]'`."

STRIDES = (8, 16, 32)
OUTPUTS = [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
# What `cv2.FaceDetectorYN` takes unless told otherwise.
OVERLAP, MOST_CANDIDATES = 0.3, 5000


class OnnxYuNetDetector(YuNetDetector):
    """As `YuNetDetector`, with the arithmetic around the network that `cv2.FaceDetectorYN` does within OpenCV
    (`face_detect.cpp`): boxes and points agree to a fraction of a pixel. Not to be shared between threads.

    Raises:
        ImportError: ONNX Runtime is not installed. ValueError: the file is no YuNet. Others as `YuNetDetector`.
    """

    def __init__(
        self, path: str | Path | None = None, score_threshold: float = 0.6, longest_side: int = LONGEST_LONG_SIDE
    ):
        super().__init__(path, score_threshold, longest_side)
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise ImportError(MISSING) from error
        model = onnx.load(self.path)
        names = {output.name for output in model.graph.output}
        if not names.issuperset(OUTPUTS) or len(model.graph.input) != 1:
            raise ValueError(f"{self.path.name} has the outputs {', '.join(sorted(names))}; expected those of YuNet.")
        # The file says 640 x 640; the network takes any size, and so does OpenCV.
        shape = model.graph.input[0].type.tensor_type.shape
        shape.dim[2].dim_param, shape.dim[3].dim_param = "height", "width"
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # several pictures go side by side
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = model.graph.input[0].name

    def _rows(self, picture: np.ndarray) -> np.ndarray:
        return self._rows_from(min(FAINT, self.score_threshold), picture)

    def _rows_of_part(self, part: np.ndarray) -> np.ndarray:
        return self._rows_from(self.score_threshold, part)

    def _rows_from(self, threshold: float, picture: np.ndarray) -> np.ndarray:
        cv2 = opencv()
        height, width = picture.shape[:2]
        below, right = -height % STRIDES[-1], -width % STRIDES[-1]
        padded = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT)
        outputs = self._session.run(OUTPUTS, {self._input: cv2.dnn.blobFromImage(padded)})
        columns = padded.shape[1]
        found = [
            self._candidates(
                threshold, stride, columns // stride, *(output[0] for output in outputs[i :: len(STRIDES)])
            )
            for i, stride in enumerate(STRIDES)
        ]
        rows = np.concatenate(found)
        if len(rows) > 1:
            boxes, scores = rows[:, :4].astype(int).tolist(), rows[:, 14].tolist()
            rows = rows[cv2.dnn.NMSBoxes(boxes, scores, threshold, OVERLAP, top_k=MOST_CANDIDATES)]
        return rows.astype(np.float64)

    @staticmethod
    def _candidates(threshold: float, stride: int, columns: int, classes, objects, boxes, points) -> np.ndarray:
        """(M, 15): left, top, width, height, five points and score of the cells of one grid that may be faces."""
        scores = np.sqrt(classes[:, 0].clip(0, 1) * objects[:, 0].clip(0, 1))
        cells = np.flatnonzero(scores >= threshold)
        place = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
        centres, extents = (place + boxes[cells, :2]) * stride, np.exp(boxes[cells, 2:]) * stride
        marks = (points[cells] + np.tile(place, 5)) * stride
        return np.concatenate([centres - extents / 2, extents, marks, scores[cells, None]], axis=1)


__all__ = ["OnnxYuNetDetector"]
