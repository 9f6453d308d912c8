"""Milliseconds an image of the 3-D renderer on one core, and faces a second; baseline: the procedural renderer.

python benchmarks/render.py                                             # prints
python benchmarks/render.py --output benchmarks/results/render.json     # also writes, with the machine described

The face model is found as `load_corpus` finds it. Times are process time, medians of several rounds, so that a busy
machine disturbs them less; the ratios are of one run.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.machine import describe_machine, write_result
from processing.corpora.behaviour import clip_action_units
from processing.corpora.bilateral_behaviour import clip_sides
from processing.corpora.ict_faces import FaceRenderer
from processing.corpora.ict_identity import sample_identity
from processing.corpora.ict_model import load_face_model
from processing.corpora.ict_nuisance import Variation, sample_clip_nuisances, sample_session
from processing.corpora.splits import available_cores
from processing.corpora.synthetic_faces import render_faces
from processing.corpora.synthetic_identity import sample_identity as sample_drawn_identity
from processing.corpora.synthetic_nuisance import sample_clip_nuisances as sample_drawn_nuisances
from processing.corpora.synthetic_nuisance import sample_session as sample_drawn_session

SIZE, FRAMES, ROUNDS = 96, 40, 7


def milliseconds(function, *arguments) -> float:
    began = time.process_time()
    function(*arguments)
    return 1e3 * (time.process_time() - began)


def render_subject(renderer: FaceRenderer, number: int, variation: Variation) -> tuple[float, float]:
    """Milliseconds of a subject's identity, and of an image of it."""
    rng = np.random.default_rng(number)
    identity = sample_identity(rng)
    nuisances = sample_clip_nuisances(rng, sample_session(rng), FRAMES, variation)
    sides = clip_sides(0, number, number % 8, FRAMES)
    person = renderer.person(identity, variation)
    once = milliseconds(renderer.person, identity, variation)
    return once, milliseconds(renderer.render, person, nuisances, sides, SIZE) / FRAMES


def draw_subject(number: int) -> float:
    rng = np.random.default_rng(number)
    identity, session = sample_drawn_identity(rng), sample_drawn_session(rng)
    nuisances = sample_drawn_nuisances(rng, session, FRAMES)
    values = clip_action_units(0, number, number % 8, FRAMES)
    return milliseconds(render_faces, [identity] * FRAMES, nuisances, values, SIZE) / FRAMES


def faces_a_second(root: str | None, processes: int, subjects: int = 12) -> float:
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(root,)) as pool:
        list(pool.map(_render_number, range(processes)))
        began = time.perf_counter()
        list(pool.map(_render_number, range(subjects)))
        return subjects * FRAMES / (time.perf_counter() - began)


def _start(root: str | None) -> None:
    global _renderer
    _renderer = FaceRenderer(load_face_model(root))
    render_subject(_renderer, 0, Variation())


def _render_number(number: int) -> None:
    render_subject(_renderer, number, Variation())


def main() -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="face model; default: the environment variable CLEF_ICT_FACEKIT")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args()
    renderer = FaceRenderer(load_face_model(options.root))
    render_subject(renderer, 0, Variation())  # compiles
    draw_subject(0)
    rounds = [
        (*render_subject(renderer, n, Variation()), *render_subject(renderer, n, Variation.none()), draw_subject(n))
        for n in range(1, ROUNDS + 1)
    ]
    person, full, plain_person, plain, drawn = np.median(rounds, axis=0).tolist()
    cores = available_cores()
    result = {
        "image_size": SIZE,
        "samples_a_pixel": 4,
        "frames_a_subject": FRAMES,
        "milliseconds": {
            "identity, once a subject": person,
            "image, everything varies": full,
            "image, identity included": full + person / FRAMES,
            "image, nothing varies": plain,
            "baseline: procedural renderer": drawn,
        },
        "ratio_to_baseline": (full + person / FRAMES) / drawn,
        "faces_a_second": {"1 process": faces_a_second(options.root, 1), f"{cores} processes": None},
        "machine": describe_machine("numpy", "numba"),
    }
    result["faces_a_second"][f"{cores} processes"] = faces_a_second(options.root, cores)
    for name, value in result["milliseconds"].items():
        print(f"{name:32}{value:8.2f} ms")
    print(f"{'ratio to the baseline':32}{result['ratio_to_baseline']:8.2f}")
    for name, value in result["faces_a_second"].items():
        print(f"{name:32}{value:8.0f} faces a second")
    write_result(result, options.output)
    return result


if __name__ == "__main__":
    main()
