"""Names and terms of the data sets that a card may speak of, apart from those of code and weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSet:
    """What a card says of a corpus that `load_corpus` knows.

    title: its name. terms: one line, None where only whoever publishes can know them. drawn: no person in it exists.
    """

    title: str
    terms: str | None
    drawn: bool = False


# Terms: as the data sets' own pages and agreements have them.
DATA_SETS = {
    "synthetic": DataSet("drawn synthetic faces", "drawn by this project's code, Apache-2.0", drawn=True),
    "ict_facekit": DataSet(
        "rendered ICT-FaceKit faces",
        "rendered from the ICT-FaceKit face model (USC Institute for Creative Technologies), MIT",
        drawn=True,
    ),
    "bp4d": DataSet("BP4D", "research licence of Binghamton University, by agreement; not to be passed on"),
    "bp4d_plus": DataSet("BP4D+", "research licence of Binghamton University, by agreement; not to be passed on"),
    "disfa": DataSet("DISFA", "research licence of the University of Denver, by agreement; not to be passed on"),
    "raf_db": DataSet("RAF-DB", "non-commercial research and education, by its authors, who do not own the pictures"),
    "affectnet": DataSet("AffectNet", "research, under an agreement with its authors"),
    "ferplus": DataSet("FERPlus", "labels MIT; the pictures are FER2013's, under its distributor's terms"),
}


def data_set(name: str) -> DataSet:
    """The data set of that corpus name; one's own pictures have no terms that are known here."""
    return DATA_SETS.get(name, DataSet("pictures of its publisher", None))
