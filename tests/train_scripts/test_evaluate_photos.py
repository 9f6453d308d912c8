import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score

from modeling_clef import CLEFForImageClassification, CLEFForPreTraining
from processing.corpora import load_corpus
from processing.face_alignment_clef import Face
from train_scripts import evaluate_photos as script
from train_scripts import photo_metrics as metrics
from train_scripts.labels import make_label_sets
from train_scripts.options import TrainingOptions, parse_options
from train_scripts.photo_report import contact_sheet
from train_scripts.photo_scores import SmileScores, label_scores, prompt_scores, run_model
from train_scripts.photo_set import Photo, find_crops, read_photos
from train_scripts.towers import make_model, make_processor

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CLEF_TEST_DATA", ROOT / "../shared/data"))
CORPUS = {"subjects": 9, "frames": 2, "image_size": 32}
POINTS = np.array([[33.0, 37], [67, 37], [50, 58], [38, 75], [62, 75]])


# ---- metrics against plain loops


def some_scores(seed, people=9, ties=True):
    """Photographs of several people, some with several of a kind, some without one of them."""
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(people), np.arange(people), rng.integers(0, people, 5)])
    positive = np.concatenate([np.zeros(people, bool), np.ones(people, bool), rng.random(5) < 0.5])
    kept = rng.random(len(owner)) < 0.9
    scores = rng.normal(positive * 1.0, 1.0).round(1 if ties else 6)
    return scores[kept], positive[kept], owner[kept]


def looped_auroc(scores, positive):
    won = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    return sum(won) / len(won)


def looped_paired(scores, positive, people):
    shares = []
    for person in set(people):
        own, up = scores[people == person], positive[people == person]
        if up.any() and not up.all():
            shares.append(looped_auroc(own, up))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_plain_loops(seed):
    scores, positive, people = some_scores(seed)
    assert metrics.auroc(scores, positive) == pytest.approx(looped_auroc(scores, positive))
    assert metrics.auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert metrics.paired_accuracy(scores, positive, people) == pytest.approx(looped_paired(scores, positive, people))


def test_scores_without_both_kinds_are_none():
    scores, positive, people = np.array([0.1, 0.2]), np.array([True, True]), np.array([0, 1])
    assert metrics.auroc(scores, positive) is None
    assert metrics.paired_accuracy(scores, positive, people) is None
    assert metrics.paired_accuracy(scores, np.array([True, False]), people) is None  # of different people


@pytest.mark.parametrize("seed", range(3))
def test_bootstrap_values_equal_those_of_copied_photographs(seed):
    scores, positive, people = some_scores(seed)
    drawn = metrics.draw_people(9, 12, seed)
    assert (drawn.sum(axis=1) == 9).all() and np.array_equal(drawn, metrics.draw_people(9, 12, seed))
    assert not np.array_equal(drawn, metrics.draw_people(9, 12, seed + 1))
    aurocs = metrics.bootstrap_auroc(scores, positive, people, drawn)
    paired = metrics.bootstrap_paired(scores, positive, people, drawn)
    for times, value, share in zip(drawn, aurocs, paired, strict=True):
        rows, copies = [], []
        for person in range(9):
            for copy in range(times[person]):
                own = np.flatnonzero(people == person)
                rows += own.tolist()
                copies += [person * 100 + copy] * len(own)
        assert value == pytest.approx(looped_auroc(scores[rows], positive[rows]))
        assert share == pytest.approx(looped_paired(scores[rows], positive[rows], np.array(copies)))


def test_draws_without_both_kinds_are_left_out_of_the_interval():
    scores, positive, people = np.array([1.0, 0.0]), np.array([True, False]), np.array([0, 1])
    drawn = np.array([[2, 0], [1, 1]])
    values = metrics.bootstrap_auroc(scores, positive, people, drawn)
    assert np.isnan(values[0]) and values[1] == 1
    assert metrics.interval(values) == [1, 1]
    assert metrics.interval(metrics.bootstrap_paired(scores, positive, people, drawn)) is None


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # Unit normals one apart: AUROC = Phi(1 / sqrt 2). Within people scores are correlated, which leaves it as it is.
    rng, truth, covered = np.random.default_rng(0), 0.7602, 0
    people, positive = np.tile(np.arange(40), 2), np.repeat([False, True], 40)
    for trial in range(150):
        own = rng.normal(size=40) * np.sqrt(0.5)
        scores = positive + np.tile(own, 2) + rng.normal(size=80) * np.sqrt(0.5)
        drawn = metrics.draw_people(40, 300, trial)
        low, high = metrics.interval(metrics.bootstrap_auroc(scores, positive, people, drawn))
        covered += low <= truth <= high
    assert 0.88 <= covered / 150 <= 0.99


@pytest.mark.parametrize("seed", range(4))
def test_no_threshold_is_more_accurate(seed):
    scores, positive, _ = some_scores(seed)
    tried = [((scores >= t) == positive).mean() for t in np.linspace(scores.min() - 1, scores.max() + 1, 3001)]
    chosen = metrics.most_accurate_threshold(scores, positive)
    assert ((scores >= chosen) == positive).mean() == pytest.approx(max(tried))


def test_a_threshold_is_scored_on_people_it_was_not_fitted_on():
    people, positive = np.tile(np.arange(20), 2), np.repeat([False, True], 20)
    apart = np.where(positive, 1.0, -1.0) + np.random.default_rng(0).uniform(-0.4, 0.4, 40)
    assert metrics.half_split_accuracy(apart, positive, people) == 1
    # Every person at a height of her own, no sign of a smile: fitted on the same people it would exceed one half.
    noise = np.random.default_rng(1).normal(size=40)
    fitted = ((noise >= metrics.most_accurate_threshold(noise, positive)) == positive).mean()
    assert metrics.half_split_accuracy(noise, positive, people, splits=200) < 0.56 < fitted
    assert metrics.half_split_accuracy(noise[:1], positive[:1], people[:1]) is None


def test_decisions():
    decided, positive = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert metrics.decision_scores(decided, positive) == {"precision": 0.5, "recall": 0.5, "accuracy": 0.5}
    assert metrics.decision_scores(np.zeros(4, bool), positive)["precision"] is None


# ---- a set of photographs


class DrawnFaceDetector:
    """Knows where the drawn faces are; what is painted all black has none."""

    def detect(self, image):
        if not np.asarray(image).any():
            return []
        return [Face(np.array([20.0, 10, 80, 95]), POINTS, 0.9)]


def drawn_face(smiling, seed):
    colour = tuple(int(c) for c in np.random.default_rng(seed).integers(90, 230, 3))
    image = Image.new("RGB", (100, 100), colour)
    draw = ImageDraw.Draw(image)
    for x, y in POINTS[:3]:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="black")
    draw.arc((36, 60, 64, 80), *((10, 170) if smiling else (200, 340)), fill="black", width=3)
    return image


@pytest.fixture
def folder(tmp_path):
    """Six people; of "p5" the smiling photograph holds no face; "p0" has a photograph of anger too."""
    folder = tmp_path / "faces"
    folder.mkdir()
    rows = []
    for person in range(6):
        for expression in ("neutral", "happiness") + (("anger",) if person == 0 else ()):
            name = f"p{person}_{expression}.png"
            failed = person == 5 and expression == "happiness"
            image = Image.new("RGB", (100, 100)) if failed else drawn_face(expression == "happiness", person)
            image.save(folder / name)
            rows.append(
                {
                    "age": 30,
                    "gender": "female" if person % 2 else "male",
                    "file_name": name,
                    "expression": expression,
                    "subject_id": f"p{person}",
                }
            )
    write_table(folder, rows)
    return folder


def write_table(folder, rows):
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def table_of(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_photographs_are_read_by_column_names(folder):
    photos = read_photos(folder)
    assert photos[1] == Photo("p0_happiness.png", "p0", "happiness", {"gender": "male"})
    assert read_photos(folder, ["age"])[0].groups == {"age": "30"}
    assert read_photos(folder, [])[0].groups == {}


def test_tables_that_cannot_be_meant_are_refused(folder):
    with pytest.raises(FileNotFoundError, match="no metadata.csv"):
        read_photos(folder.parent)
    with pytest.raises(ValueError, match="no column ethnicity; its columns are age, gender"):
        read_photos(folder, ["ethnicity"])
    rows = table_of(folder)
    write_table(folder, rows + rows[:1])
    with pytest.raises(ValueError, match="p0_neutral.png listed more than once"):
        read_photos(folder)
    write_table(folder, [row | {"gender": "female"} if row["expression"] == "neutral" else row for row in rows])
    with pytest.raises(ValueError, match="several values of gender: {'p0': \\['female', 'male'\\]"):
        read_photos(folder)
    write_table(folder, [rows[0] | {"subject_id": " "}, *rows[1:]])
    with pytest.raises(ValueError, match="line 2: .* expected a file_name and a subject_id"):
        read_photos(folder)


def test_every_photograph_without_a_crop_is_named_with_the_reason(folder):
    (folder / "p1_neutral.png").unlink()
    (folder / "p2_neutral.png").write_bytes(b"no picture")
    photos = read_photos(folder)
    crops = find_crops(folder, photos, DrawnFaceDetector(), 24, script.EYES_NOSE_1)
    assert crops.pixels.shape == (10, 24, 24, 3) and crops.pixels.dtype == np.uint8
    assert [photos[row].file_name for row in crops.rows][:2] == ["p0_neutral.png", "p0_happiness.png"]
    assert set(crops.failures) == {"p1_neutral.png", "p2_neutral.png", "p5_happiness.png"}
    assert crops.failures["p1_neutral.png"] == "no such file"
    assert "cannot be read as an image" in crops.failures["p2_neutral.png"]
    assert str(folder.parent) not in crops.failures["p2_neutral.png"]
    assert crops.failures["p5_happiness.png"] == "no face found"


def test_of_several_faces_the_largest_is_taken_and_it_is_said(folder):
    class TwoFaces:
        def detect(self, image):
            small = Face(np.array([0.0, 0, 10, 10]), POINTS / 10, 0.99)
            return [small, *DrawnFaceDetector().detect(image)]

    photos = read_photos(folder)[:2]
    crops = find_crops(folder, photos, TwoFaces(), 24, script.EYES_NOSE_1)
    expected = find_crops(folder, photos, DrawnFaceDetector(), 24, script.EYES_NOSE_1)
    assert crops.several == ["p0_neutral.png", "p0_happiness.png"] and expected.several == []
    assert np.array_equal(crops.pixels, expected.pixels)


# ---- scores of a model


@pytest.fixture(scope="module")
def options():
    return TrainingOptions(text_tower="tiny", image_size=32, projection_dim=16, corpus_options=CORPUS)


@pytest.fixture(scope="module")
def processor(options):
    return make_processor(options)


@pytest.fixture(scope="module")
def label_sets(processor):
    return make_label_sets(load_corpus("synthetic", split="train", **CORPUS), ["action_units", "expression"], processor)


@pytest.fixture
def model(options, processor, label_sets):
    torch.manual_seed(0)
    return make_model(CLEFForImageClassification, options, processor, label_sets=label_sets, head="names").eval()


@pytest.fixture
def crops():
    return np.stack([np.asarray(drawn_face(i % 2 == 1, i).resize((32, 32))) for i in range(6)])


@torch.no_grad()
def test_scores_are_the_models_own_logits_and_similarities(model, processor, crops):
    own, label_set = model(**processor(images=list(crops))), model.config.label_sets[0]
    au12 = own.logits[:, label_set["labels"].index("AU12")].numpy()
    probability = 1 / (1 + np.exp(-au12))
    threshold = float(np.median(probability))
    label_set["thresholds"] = [0.1] * len(label_set["labels"])
    label_set["thresholds"][label_set["labels"].index("AU12")] = threshold
    outputs = run_model(model, processor, crops, mirror=False, batch_size=4)
    scores = {score.name: score for score in label_scores(model, outputs)[0]}
    assert list(scores) == ["AU12", "AU6", "AU25", "happiness"]

    np.testing.assert_allclose(scores["AU12"].values, au12, atol=1e-5)
    assert scores["AU12"].threshold == threshold
    assert np.array_equal(scores["AU12"].decisions["fitted_threshold"], probability >= threshold)
    assert 0 < scores["AU12"].decisions["fitted_threshold"].sum() < len(crops)
    assert np.array_equal(scores["AU12"].decisions["above_half"], probability > 0.5)

    names = model.config.label_sets[1]["labels"]
    expression = own.logits[:, -len(names) :].numpy()
    happy, neutral = names.index("happiness"), names.index("neutral")
    np.testing.assert_allclose(scores["happiness"].values, expression[:, happy] - expression[:, neutral], atol=1e-5)
    assert np.array_equal(scores["happiness"].decisions["most_likely"], expression.argmax(axis=1) == happy)
    assert scores["happiness"].named == [names[i] for i in expression.argmax(axis=1)]
    probability = torch.from_numpy(expression).softmax(dim=1)[:, happy].numpy()
    assert np.array_equal(scores["happiness"].decisions["above_half"], probability > 0.5)

    (similarity,) = prompt_scores(model, processor, outputs, ["smiling"])[0]
    text = processor(text=["a photo of a person with smiling"])
    text = model.clef.text_embeds(text["input_ids"], text["attention_mask"])[0]
    np.testing.assert_allclose(similarity.values, (own.image_embeds @ text).numpy(), atol=1e-5)


@torch.no_grad()
def test_mirrored_faces_score_the_same_when_averaged(model, processor, crops):
    crops = crops + np.arange(32, dtype=np.uint8)[None, None, :, None]  # lit from one side
    flipped = np.ascontiguousarray(crops[:, :, ::-1])

    def scored(faces, mirror):
        scores, reasons = script.score_photographs(model, processor, faces, ["smiling"], mirror=mirror)
        assert reasons == {}
        return np.stack([score.values for score in scores])

    np.testing.assert_allclose(scored(crops, True), scored(flipped, True), atol=1e-5)
    assert abs(scored(crops, False) - scored(flipped, False)).max() > 1e-3
    embeds = run_model(model, processor, crops).image_embeds
    both = [run_model(model, processor, faces, mirror=False).image_embeds for faces in (crops, flipped)]
    expected = (both[0] + both[1]) / torch.linalg.norm(both[0] + both[1], dim=1, keepdim=True)
    torch.testing.assert_close(embeds, expected)


def test_checkpoints_without_these_labels_or_texts_say_so(options, processor, label_sets, crops):
    torch.manual_seed(0)
    pretrained = make_model(CLEFForPreTraining, options, processor)
    scores, reasons = script.score_photographs(pretrained, processor, crops, ["smiling"])
    assert [score.name for score in scores] == ["smiling"]
    assert set(reasons) == {"AU12", "AU6", "AU25", "happiness"}
    assert reasons["AU12"] == "the checkpoint has no label AU12"

    linear = make_model(CLEFForImageClassification, options, processor, label_sets=label_sets, head="linear")
    scores, reasons = script.score_photographs(linear, processor, crops, ["smiling"])
    assert [score.name for score in scores] == ["AU12", "AU6", "AU25", "happiness"]
    assert "linear head" in reasons["smiling"]


def test_a_text_free_checkpoint_joins_its_text_tower_or_says_why_not(model, processor, crops, tmp_path):
    expected, _ = script.score_photographs(model, processor, crops, ["smiling"])
    model.save_pretrained(tmp_path)
    model.freeze_labels()
    scores, reasons = script.score_photographs(model, processor, crops, ["smiling"])
    assert len(scores) == 4 and reasons["smiling"].startswith("no text tower: ")
    # With the tower at hand, what was said is what the whole checkpoint says.
    join = model.join_text_tower
    model.join_text_tower = lambda: join(tmp_path)
    scores, reasons = script.score_photographs(model, processor, crops, ["smiling"])
    assert reasons == {}
    for one, other in zip(scores, expected, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)


def test_weights_that_are_not_finite_are_refused(model, processor, crops):
    with torch.no_grad():
        model.clef.visual_projection.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        run_model(model, processor, crops)
    with pytest.raises(ValueError, match="no crops"):
        run_model(model, processor, crops[:0])


# ---- the evaluation


def six_people(values, kind="prompt", name="smiling"):
    photos = [
        Photo(f"{person}{expression}", f"s{person}", expression, {"gender": "ab"[person % 2]})
        for person in range(6)
        for expression in ("neutral", "happiness")
    ]
    return photos, SmileScores(name, kind, np.array(values, dtype=float))


def test_photographs_without_scores_lose_every_comparison_in_the_second_count():
    photos, score = six_people([0, 5, 1, 4, 2, 3, 0, 1, 0, 9])  # of the first five people; the last has none
    usable = np.arange(10)
    row = script.evaluate_scores([score], photos, usable, draws=50)["prompts"]["smiling"]
    assert row["people"] == 5 and row["photos"] == 10
    assert row["paired_accuracy"] == 1
    assert row["auroc"] == pytest.approx(looped_auroc(score.values, np.arange(10) % 2 == 1))
    assert row["with_failures_as_errors"]["paired_accuracy"] == pytest.approx(5 / 6)
    assert row["with_failures_as_errors"]["auroc"] == pytest.approx(row["auroc"] * 25 / 36)


def test_groups_are_scored_apart_and_small_ones_marked():
    photos, score = six_people([0, 5, 5, 0, 1, 6, 6, 1, 2, 7, 7, 2])
    row = script.evaluate_scores([score], photos, np.arange(12), draws=50)["prompts"]["smiling"]
    groups = row["groups"]["gender"]
    assert groups["a"]["paired_accuracy"] == 1 and groups["b"]["paired_accuracy"] == 0
    assert groups["a"]["auroc"] == 1 and groups["b"]["auroc"] == 0
    assert groups["a"]["people"] == 3 and groups["a"]["too_few"] and not row["too_few"]
    assert row["paired_accuracy"] == 0.5
    low, high = row["paired_accuracy_interval"]
    assert low < 0.5 < high


def test_the_mean_of_prompts_has_an_interval_of_its_own():
    rng = np.random.default_rng(0)
    photos, first = six_people(rng.normal(size=12), name="smiling")
    second = SmileScores("a big smile", "prompt", -first.values)
    label = SmileScores("AU12", "action_unit", first.values, {"fitted_threshold": first.values > 0}, 0.4)
    result = script.evaluate_scores([label, first, second], photos, np.arange(12), draws=200, seed=3)
    assert result == script.evaluate_scores([label, first, second], photos, np.arange(12), draws=200, seed=3)
    assert list(result["labels"]) == ["AU12"] and list(result["prompts"]) == ["smiling", "a big smile"]
    # What one wins the other loses, in every draw.
    assert result["prompt_mean"]["auroc"] == pytest.approx(0.5)
    assert result["prompt_mean"]["auroc_interval"] == pytest.approx([0.5, 0.5])
    assert result["labels"]["AU12"]["auroc_interval"] == result["prompts"]["smiling"]["auroc_interval"]
    assert result["labels"]["AU12"]["decisions"]["fitted_threshold"]["threshold"] == 0.4


def test_most_likely_expressions_are_counted_apart_for_smiling_and_neutral_photographs():
    photos, score = six_people(range(12), kind="expression", name="happiness")
    score.named = [
        "neutral",
        "happiness",
        "fear",
        "happiness",
        "neutral",
        "neutral",
    ] * 2  # neutral, smiling, neutral, …
    usable = np.arange(11)  # without the last smile
    score.values, score.named = score.values[:11], score.named[:11]
    row = script.evaluate_scores([score], photos, usable, draws=20)["labels"]["happiness"]
    assert row["named"] == {"smiling": {"happiness": 4, "neutral": 1}, "neutral": {"neutral": 4, "fear": 2}}
    assert list(row["named"]["smiling"]) == ["happiness", "neutral"]


@pytest.fixture
def checkpoint(tmp_path, model, processor):
    model.save_pretrained(tmp_path / "run")
    processor.save_pretrained(tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({"training": {"steps": 3}}))
    return tmp_path / "run"


def test_the_script_scores_a_folder_of_photographs(checkpoint, folder, tmp_path, capsys):
    Image.new("RGB", (9, 9)).save(folder / "stray.jpg")
    before = {path.name for path in checkpoint.iterdir()}
    picture, sheet = tmp_path / "out" / "scores.png", tmp_path / "out" / "sheet.png"
    arguments = [str(checkpoint), "--photos", str(folder), "--draws", "40", "--picture", str(picture)]
    arguments = script.with_checkpoint_flag([*arguments, "--contact_sheet", str(sheet)])
    result = script.main(parse_options(script.PhotoOptions, arguments), DrawnFaceDetector())

    known = json.loads((checkpoint / "metrics.json").read_text())
    assert known["training"] == {"steps": 3} and known["photographs"] == result
    assert {path.name for path in checkpoint.iterdir()} == before
    assert result["data"] == {
        "photos": 12,
        "people": 6,
        "usable": 11,
        "failures": {"p5_happiness.png": "no face found"},
        "several_faces": [],
        "other_expressions": {"anger": 1},
        "unlisted_pictures": ["stray.jpg"],
        "set": "faces",
    }
    assert list(result["prompts"]) == list(script.UNSEEN_PHRASINGS["AU12"][:3])
    assert result["labels"]["AU12"]["photos"] == 11 and set(result["labels"]["AU12"]["groups"]) == {"gender"}
    told = {"AU6", "AU12", "AU25"}
    assert not told & set(result["cannot_verify"]["action_units"])
    assert {"AU1", "AU4", "AU15"} < set(result["cannot_verify"]["action_units"])
    assert "sadness" in result["cannot_verify"]["expression"]

    printed = capsys.readouterr().out
    for text in (
        "11 of 12 photographs usable, 6 people",
        "not usable: p5_happiness.png: no face found",
        "unlisted pictures: stray.jpg",
        "other expressions, not scored: 1 anger",
        "trained on 'aligned-1'",
        "AU12 lip corner puller",
        "with unusable photographs counted as errors",
        "too few people",
        "threshold fitted on half of the people",
        "cannot verify action units: AU1",
    ):
        assert text in printed
    with Image.open(picture) as image:
        assert image.width > 500
    with Image.open(sheet) as image:
        assert image.size == (8 * 118, 2 * (118 + 48))


def test_photographs_are_written_nowhere_unless_asked_for(checkpoint, folder, tmp_path):
    before = {path for path in tmp_path.rglob("*")}
    options = ["--checkpoint", str(checkpoint), "--photos", str(folder), "--draws", "10", "--prompts", "a grin"]
    result = script.main(parse_options(script.PhotoOptions, options), DrawnFaceDetector())
    assert {path for path in tmp_path.rglob("*")} == before
    assert list(result["prompts"]) == ["a grin"] and "prompt_mean" not in result


def test_other_words_for_the_expressions_and_no_groups(checkpoint, folder, tmp_path):
    rows = table_of(folder)
    for row in rows:
        row["expression"] = {"happiness": "smile", "neutral": "rest"}.get(row["expression"], row["expression"])
        del row["gender"]
    write_table(folder, rows)
    options = [
        "--checkpoint",
        str(checkpoint),
        "--photos",
        str(folder),
        "--draws",
        "10",
        "--output",
        str(tmp_path / "o"),
    ]
    with pytest.raises(ValueError, match="'smile': 6.* say with --smiling and --neutral"):
        script.main(parse_options(script.PhotoOptions, options), DrawnFaceDetector())
    options += ["--smiling", "smile", "--neutral", "rest", "--mirror", "false"]
    result = script.main(parse_options(script.PhotoOptions, options), DrawnFaceDetector())
    assert result["labels"]["AU12"]["groups"] == {} and not result["settings"]["mirror"]
    assert "photographs" in json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert "photographs" not in json.loads((checkpoint / "metrics.json").read_text())


def test_photographs_without_any_face_are_refused(checkpoint, folder):
    class Blind:
        def detect(self, image):
            return []

    options = parse_options(script.PhotoOptions, ["--checkpoint", str(checkpoint), "--photos", str(folder)])
    with pytest.raises(ValueError, match="none of 12 photographs can be used"):
        script.main(options, Blind())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no checkpoint"),
        (["--checkpoint", "x"], "no photographs"),
        (["--checkpoint", "x", "--photos", "y", "--smiling", "neutral"], "expected two expressions"),
        (["--checkpoint", "x", "--photos", "y", "--draws", "0"], "at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parse_options(script.PhotoOptions, arguments)
    assert message in capsys.readouterr().err


def test_the_contact_sheet_shows_people_side_by_side():
    photos = [Photo("", subject, expression, {}) for expression in ("neutral", "happiness") for subject in "ba"]
    crops = np.stack([np.full((112, 112, 3), shade, np.uint8) for shade in (10, 60, 110, 160)])
    sheet = np.asarray(contact_sheet(crops, photos, [SmileScores("AU12", "action_unit", np.zeros(4))], columns=4))
    # happiness, neutral of a, then of b
    assert [int(sheet[50, 50 + 118 * i, 0]) for i in range(4)] == [160, 60, 110, 10]


@pytest.mark.skipif(
    not (DATA / "london" / "metadata.csv").is_file() or not (DATA / "weights").is_dir(),
    reason="needs london/ and weights/ in CLEF_TEST_DATA (../shared/data)",
)
def test_real_photographs_are_all_found(checkpoint, tmp_path):
    pytest.importorskip("cv2", reason="needs opencv-python-headless")
    # A copy of a few, so that the test is quick and nothing can be written beside the originals.
    rows = table_of(DATA / "london")[::17]
    subjects = {row["subject_id"] for row in rows}
    rows = [row for row in table_of(DATA / "london") if row["subject_id"] in subjects]
    few = tmp_path / "few"
    few.mkdir()
    write_table(few, rows)
    for row in rows:
        shutil.copyfile(DATA / "london" / row["file_name"], few / row["file_name"])
    options = ["--checkpoint", str(checkpoint), "--photos", str(few), "--draws", "20"]
    options += ["--detector", str(DATA / "weights" / "face_detection_yunet.onnx")]
    result = script.main(parse_options(script.PhotoOptions, options))
    assert result["data"]["usable"] == len(rows) and result["data"]["failures"] == {}
    assert set(result["labels"]["AU12"]["groups"]) == {"gender", "ethnicity"}
