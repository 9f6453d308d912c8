"""Refuses a transformers that lacks what the processor is built on, and says which is needed."""

import transformers
from packaging.version import Version

NEEDED_TRANSFORMERS = "5.20"


def check_transformers(found: str = transformers.__version__) -> None:
    """Raises ImportError where transformers is older than what this code is written for."""
    if Version(found) < Version(NEEDED_TRANSFORMERS):
        raise ImportError(
            f"CLEF's processor needs transformers {NEEDED_TRANSFORMERS} or later, and {found} is installed: "
            f"pip install -U 'transformers>={NEEDED_TRANSFORMERS},<6'."
        )


check_transformers()

__all__ = ["NEEDED_TRANSFORMERS", "check_transformers"]
