"""Version of the code that a checkpoint carries, and the transformers that it needs.

Imported before anything that older versions of transformers lack, so that they are told what is needed.
"""

import warnings

import transformers
from packaging.version import InvalidVersion, Version

VERSION = "0.1.0"  # of the package, too: see pyproject.toml
NEEDED_TRANSFORMERS = "5.20"


def check_transformers(found: str = transformers.__version__) -> None:
    """Raises ImportError where transformers is older than what this code is written for."""
    if Version(found) < Version(NEEDED_TRANSFORMERS):
        raise ImportError(
            f"CLEF {VERSION} needs transformers {NEEDED_TRANSFORMERS} or later, and {found} is installed: "
            f"pip install -U 'transformers>={NEEDED_TRANSFORMERS},<6'."
        )


def warn_if_newer(written: str | None) -> None:
    """Warns where a checkpoint was written by a later version than this code is, which may read it wrongly.

    Args:
        written: version in its config.json; None: it has none, as before 0.1.0.
    """
    if written is None:
        return
    try:
        newer = Version(written) > Version(VERSION)
    except InvalidVersion:
        newer = True
    if newer:
        warnings.warn(
            f"this checkpoint was written by CLEF {written}, and this is CLEF {VERSION}, which may read it wrongly: "
            f"pip install -U 'clef-faces>={written}', or load it with trust_remote_code=True in a process that has "
            "not imported modeling_clef, to use the code that it carries.",
            stacklevel=3,
        )


check_transformers()

__all__ = ["NEEDED_TRANSFORMERS", "VERSION", "check_transformers", "warn_if_newer"]
