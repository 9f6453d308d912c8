"""OpenCV, which only finding and aligning faces needs."""


def opencv():
    """The module cv2. Raises ImportError that says what to install."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "finding and aligning faces needs OpenCV: pip install opencv-python-headless (4.11 or later)."
        ) from error
    return cv2
