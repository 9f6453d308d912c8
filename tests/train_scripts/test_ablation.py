"""The ablation: its rows are the paper's, rows share what they should, and agreement is counted as it says."""

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau

from train_scripts import ablation, jobs
from train_scripts.ablation import AblationOptions, Row, make_jobs, make_row, refuse_other_frames, score_draws_of
from train_scripts.ablation_agreement import CLAIMS, agreement, difference, summarise
from train_scripts.finetune import FinetuningOptions
from train_scripts.options import parse_options
from train_scripts.predictions import Predictions
from train_scripts.pretrain import PretrainingOptions

# The poster's table: PA, PI, head, BP4D F1, RAF-DB accuracy.
POSTER = [
    (0, 0, "linear", 63.4, 87.88),
    (0, 0, "names", 64.0, 88.72),
    (0, 0, "names_and_descriptions", 64.4, 89.70),
    (0, 1, "linear", 65.0, 89.67),
    (1, 1, "linear", 64.2, 89.34),
    (0, 1, "names", 64.7, 88.57),
    (1, 1, "names", 64.9, 89.57),
    (0, 1, "names_and_descriptions", 64.8, 89.44),
    (1, 1, "descriptions", 65.7, 89.73),
    (1, 1, "names_and_descriptions", 65.9, 90.09),
]


def test_rows_are_the_posters():
    rows = [make_row(name, AblationOptions()) for name in ablation.PAPER_ROWS]
    stages = {(0, 0): None, (0, 1): "pi", (1, 1): "pa_pi"}
    assert [
        (row.stage_1, row.finetuning["head"], row.paper["action_units/mean_f1"], row.paper["expression/accuracy"])
        for row in rows
    ] == [(stages[pa, pi], head, f1, accuracy) for pa, pi, head, f1, accuracy in POSTER]
    lora, frozen = (make_row(name, AblationOptions(lora_rank=4)) for name in ablation.OUR_ROWS)
    assert lora.finetuning == {"head": "names_and_descriptions", "lora_rank": 4} and not lora.paper
    assert frozen.finetuning["freeze_vision"] and frozen.stage_1 == "pa_pi"


def test_rows_of_a_seed_share_stage_1_people_and_labels():
    options = AblationOptions(output="x")
    rows = [make_row(name, options) for name in options.rows]
    jobs = make_jobs(options, rows, range(5, 7))
    parsed = {}
    for job in jobs:
        script = job.command[0]
        options_class = PretrainingOptions if script.endswith("pretrain.py") else FinetuningOptions
        parsed[job.name] = parse_options(options_class, job.command[1:])
    assert len(jobs) == len(parsed) == 2 * (2 + 12) and len({job.folder for job in jobs}) == len(jobs)
    of_seed = [stage for name, stage in parsed.items() if name.startswith("seed 6")]
    assert {stage.seed for stage in of_seed} == {stage.corpus_options["seed"] for stage in of_seed} == {6}
    for job in jobs[4:]:
        assert parsed[job.name].label_fraction == 0.05 and parsed[job.name].predictions
        if "clip" in job.name:
            assert not job.needs and parsed[job.name].init_from is None
        else:
            (need,) = job.needs
            assert parsed[job.name].init_from == parsed[need].output
            assert parsed[need].activity_text == ("pa_pi" in need) == ("clef_pi" not in job.name)
    assert [job.name for job in jobs if job.needs and "lora" in job.name] == ["seed 5: clef_lora", "seed 6: clef_lora"]


def draws(*seeds):
    """Bootstrap draws of one score around each seed's value, the people's part shared by all rows."""
    noise = np.random.default_rng(0).normal(size=400)
    return [{"s": np.append(value, value + spread * noise)} for value, spread in seeds]


def test_means_spreads_and_intervals_are_over_seeds():
    seeds = draws((0.4, 0.01), (0.6, 0.01))
    found = summarise(seeds)["s"]
    assert found["mean"] == pytest.approx(0.5) and found["sd"] == pytest.approx(np.sqrt(0.02))
    both = (seeds[0]["s"][1:] + seeds[1]["s"][1:]) / 2
    assert found["interval"] == pytest.approx(np.percentile(both, [2.5, 97.5]).tolist())
    assert summarise(seeds[:1])["s"]["sd"] is None


def test_a_difference_is_clear_when_people_and_seeds_say_so():
    low = draws((0.50, 0.1), (0.52, 0.1))
    # The people drawn are the same for both rows, so that what they share cancels.
    assert difference(low, draws((0.53, 0.1), (0.56, 0.1)), "s")["clear"]
    assert not difference(low, draws((0.49, 0.1), (0.60, 0.1)), "s")["clear"]
    assert not difference(low, draws((0.51, 0.2), (0.53, 0.2)), "s")["clear"]
    assert difference(low, draws((0.53, 0.1), (0.56, 0.1)), "s")["mean"] == pytest.approx(0.035)


def test_agreement_counts_pairs_as_kendall_does():
    rng = np.random.default_rng(3)
    theirs, ours = rng.permutation(10) + 60.0, rng.permutation(10) / 20
    names = [str(i) for i in range(10)]
    paper = {name: {"s": value} for name, value in zip(names, theirs, strict=True)} | {"lora": {}}
    clear = {name: draws((value, 0.0), (value, 0.0)) for name, value in zip(names, ours, strict=True)}
    found = agreement(paper, clear | {"lora": draws((0.9, 0), (0.9, 0))})["s"]
    pairs = found["pairs"]
    assert pairs["all"] == 45 and pairs["undecided"] == 0 and pairs["same_sign"] == pairs["agree"]
    assert (pairs["agree"] - pairs["disagree"]) / 45 == pytest.approx(kendalltau(theirs, ours).statistic)
    expected = np.corrcoef(np.argsort(np.argsort(theirs)), np.argsort(np.argsort(ours)))[0, 1]
    assert found["rank_correlation"] == pytest.approx(expected) and found["rows"] == 10
    vague = {name: draws((value, 0.0), (1 - value, 0.0)) for name, value in zip(names, ours, strict=True)}
    found = agreement(paper, vague | {"lora": draws((0.9, 0), (0.9, 0))})["s"]
    assert found["pairs"]["undecided"] == 45


def test_claims_are_the_papers_differences():
    paper = {row: {"f1": f1} for row, (*_, f1, _) in zip(ablation.PAPER_ROWS, POSTER, strict=True)}
    ours = {row: [{"f1": np.full(3, numbers["f1"] / 100)}] * 2 for row, numbers in paper.items()}
    found = agreement(paper, ours)["f1"]
    assert [claim["claim"] for claim in found["claims"]] == [claim for *_, claim in CLAIMS]
    assert found["claims"][0]["paper"] == pytest.approx(1.6) and found["claims"][3]["paper"] == pytest.approx(-0.8)
    assert {claim["verdict"] for claim in found["claims"]} == {"agree"} and found["rank_correlation"] == pytest.approx(
        1
    )
    assert all(a in ablation.PAPER_ROWS and b in ablation.PAPER_ROWS for a, b, _ in CLAIMS)
    distinct = [pair for pair in combinations(POSTER, 2) if pair[0][3] != pair[1][3]]
    assert found["pairs"]["agree"] == len(distinct)


def predictions(frames=(0, 1, 2, 3), seed=0):
    rng = np.random.default_rng(seed)
    sets = [
        {"name": "action_units", "problem_type": "multi_label_classification", "labels": ["AU4"], "thresholds": [0.5]},
        {
            "name": "expression",
            "problem_type": "single_label_classification",
            "labels": ["fear", "anger"],
            "thresholds": [0.5, 0.5],
        },
    ]
    labels = np.array([[1, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 1]], dtype=np.float32)
    people = np.array(["a", "a", "b", "b"])
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    found = np.ones(4, dtype=bool)
    return Predictions(sets, people, logits, labels, np.full(4, "test"), found, frames=np.array(frames))


def test_scores_are_drawn_for_the_same_people_in_every_row():
    run, other = predictions(), predictions()
    run.logits[:, 1:] = [[1, 0], [0, 1], [0, 1], [1, 0]]  # right for person a, wrong for person b
    other.logits[:, 1:] = -run.logits[:, 1:]
    accuracy, others = (score_draws_of(r, 50, seed=1)["expression/accuracy"] for r in (run, other))
    assert accuracy[0] == 0.5 and set(accuracy[1:]) == {0, 0.5, 1}
    assert np.array_equal(accuracy, 1 - others)
    right = predictions()
    right.logits = np.where(right.labels == 1, 1, -1).astype(np.float32)
    assert (score_draws_of(right, 50, seed=1)["action_units/mean_f1"] == 1).all()
    refuse_other_frames({"x": run, "y": right})
    with pytest.raises(ValueError, match="rows y and x were tested on other frames"):
        refuse_other_frames({"x": run, "y": predictions(frames=(0, 1, 2, 4))})


def test_a_miniature_runs_and_is_done_once(corpus_cache, forked_jobs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jobs, "subprocess", forked_jobs)
    small = {"subjects": 12, "frames": 3, "image_size": 32, "purity": 0.9, "cache_dir": str(corpus_cache)}
    monkeypatch.setattr(ablation, "corpus_options", lambda options, seed: small | {"seed": seed})
    flags = ["--output", str(tmp_path / "runs"), "--results", str(tmp_path), "--seeds", "1", "--text_tower", "tiny"]
    flags += ["--pretraining_epochs", "0.1", "--finetuning_steps", "2", "--image_size", "32", "--resamples", "20"]
    flags += ["--label_fraction", "0.5", "--rows", "clip_i", "clef_pi_i"]
    result = ablation.main(parse_options(AblationOptions, flags))
    assert json.loads((tmp_path / "ablation.json").read_text()) == result
    page = (tmp_path / "ablation.md").read_text()
    assert page in capsys.readouterr().out
    assert "no stage 1 (paper: CLIP)" in page and "| stage 1 by image pairs | +1.6  |" in page and "63.4" in page
    assert 0 <= result["rows"]["clip_i"]["scores"]["expression/accuracy"]["mean"] <= 1
    assert result["rows"]["clef_pi_i"]["trained_weights"] == result["rows"]["clip_i"]["trained_weights"] > 100_000
    again = ablation.main(parse_options(AblationOptions, flags))
    assert again["rows"] == result["rows"] and capsys.readouterr().out.count("done before") == 3


def test_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="rows: got farl_i"):
        AblationOptions(rows=["farl_i"])
    assert isinstance(make_row("clip_i", AblationOptions()), Row)
