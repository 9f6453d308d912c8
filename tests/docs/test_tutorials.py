"""Every block of the tutorials in docs/ is run, in the order in which it stands there, in a folder of its own.

Only sizes are made smaller, by the tables here, of which every entry has to be found. Blocks of YAML begin with the
name of the file that they are, and a block of text is the head of the table that the test lays out.
"""

import csv
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TUTORIALS = ("use", "train", "evaluate", "own_data", "push", "demo")
SMALL_CORPUS = {
    "{subjects: 36, frames: 12, image_size: 48}": "{subjects: 9, frames: 2, image_size: 32}",
}


class Tutorial:
    """Runs the blocks of docs/NAME.md in `folder`; `outputs` holds what each printed."""

    shared = {}  # the process that commands are forked off, for as many tutorials as can have one

    def __init__(self, name, folder, smaller=None, **environment):
        self.folder, self.outputs, self.workers = folder, [], {}
        # The Hub's variables are read once, when its library is imported.
        self.forking = self.workers if "HF_ENDPOINT" in environment else self.shared
        text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
        for given, used in (smaller or {}).items():
            assert given in text, f"docs/{name}.md no longer says {given!r}"
            text = text.replace(given, used)
        self.blocks = BLOCK.findall(text)
        assert text.count("```") == 2 * len(self.blocks) and self.blocks
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        self.environment |= {
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(folder.parent / "hf"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONUTF8": "1",
            **environment,
        }
        for part in ("train_scripts", "checkpoints"):
            (folder / part).symlink_to(ROOT / part)

    def run(self):
        try:
            for language, code in self.blocks:
                getattr(self, f"run_{language}")(code)
        finally:
            end(self.workers)
        return "\n".join(self.outputs)

    def run_bash(self, code):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            request = {"command": words, "folder": str(self.folder), "environment": self.environment}
            if words[:2] == ["clef", "demo"]:
                request["port"] = int(words[words.index("--port") + 1])
            self.ask(self.forking, "commands", request, line)

    def run_python(self, code):
        self.ask(self.workers, "python", {"python": code}, code)

    def run_yaml(self, code):
        name = re.match(r"# (\S+\.yaml)\n", code)[1]
        assert (self.folder / name).parent.is_dir()
        (self.folder / name).write_text(code, encoding="utf-8")

    def run_text(self, code):
        head, *rows = code.splitlines()
        assert (self.folder / "pictures" / "labels.csv").read_text().splitlines()[0] == head
        assert all(len(row.split(",")) == len(head.split(",")) for row in rows)

    def ask(self, workers, kind, request, shown):
        if kind not in workers:
            workers[kind] = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("tutorial_worker.py")), f"{kind}.log", kind],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        worker = workers[kind]
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline() or '{"code": "worker died", "output": ""}')
        assert answer["code"] == 0, f"{shown}\n→ {answer['code']}\n{answer['output'][-4000:]}"
        self.outputs.append(answer["output"])


def end(workers):
    while workers:
        _, worker = workers.popitem()
        worker.stdin.close()
        worker.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`place(name)`: a new folder; all share a cache of corpora."""
    base = tmp_path_factory.mktemp("tutorials")

    def make(name):
        (base / name).mkdir()
        return base / name

    yield make
    end(Tutorial.shared)


@pytest.fixture
def photographs(test_data):
    """Photographs of neutral and smiling people, and YuNet's file."""
    pytest.importorskip("cv2", reason="needs opencv-python-headless")
    found, yunet = sorted((test_data / "london").glob("*.jpg")), test_data / "weights" / "face_detection_yunet.onnx"
    if not (found and yunet.is_file()):
        pytest.skip("needs london and YuNet's file in CLEF_TEST_DATA")
    return found, yunet


@pytest.fixture
def sentence_encoder():
    from modeling_clef.sentence_encoder_clef import find_sentence_encoder

    try:
        return find_sentence_encoder()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_every_tutorial_has_a_test():
    tested = re.findall(r'Tutorial\(\s*"(\w+)"', Path(__file__).read_text(encoding="utf-8"))
    assert sorted(tested) == sorted(TUTORIALS)


def test_use(place, photographs, sentence_encoder):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    photos, yunet = photographs
    folder = place("use")
    shutil.copy(photos[1], folder / "photo.jpg")
    write_video(folder / "interview.mp4", photos[:2])
    save_as_published(folder / "org" / "clef")
    said = Tutorial("use", folder, CLEF_YUNET=str(yunet)).run()
    assert re.search(r"^AU\d+ [a-z ]+: [01]\.\d\d", said, re.MULTILINE) and "a big smile:" in said
    assert re.search(r"^AU\d+: [01]\.\d\d, present from 0\.\d\d$", said, re.MULTILINE)
    assert re.search(r"^expression [a-z]+$", said, re.MULTILINE)
    size = json.loads((ROOT / "checkpoints" / "clef-small" / "preprocessor_config.json").read_text())["size"]
    assert Image.open(folder / "crop.png").size == (size["width"], size["height"])


def write_video(path, photos):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 240, 240, "yuv420p"
        for photo in photos:
            picture = Image.open(photo).convert("RGB").resize((240, 240))
            for _ in range(6):
                for packet in stream.encode(av.VideoFrame.from_image(picture)):
                    container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def save_as_published(folder):
    """The checkpoint that ships with the code of today."""
    from transformers import AutoModelForImageClassification, AutoProcessor

    import modeling_clef  # noqa: F401

    for part in (AutoModelForImageClassification, AutoProcessor):
        part.from_pretrained(ROOT / "checkpoints" / "clef-small").save_pretrained(folder)


def test_train(place, sentence_encoder):
    smaller = SMALL_CORPUS | {
        "epochs: 6": "max_steps: 2\nbatch_size: 16",
        "subjects=36, frames=12, image_size=48": "subjects=9, frames=2, image_size=32",
    }
    said = Tutorial("train", place("train"), smaller).run()
    assert "96 frames of 6 people" in said and "fine-tuned 2 steps" in said and "more than noise" in said.lower()


def test_evaluate(place, sentence_encoder):
    smaller = SMALL_CORPUS | {
        "{epochs: 4}": "{max_steps: 2, batch_size: 16}",
        "epochs: 4": "max_steps: 2\nbatch_size: 16",
        "--parallel 2": "--folds 1",
    }
    folder = place("evaluate")
    said = Tutorial("evaluate", folder, smaller).run()
    assert "lip corner puller" in said and "AU12 is there in" in said
    assert (folder / "outputs" / "folds" / "report.html").exists()


def test_own_data(place, photographs, sentence_encoder):
    photos, yunet = photographs
    folder = place("own_data")
    write_pictures(folder / "pictures", photos[:24])
    smaller = {
        "clef finetune pictures --output outputs/mine": "clef finetune pictures --output outputs/mine --epochs 1",
        "clef finetune pictures --output outputs/words": "clef finetune pictures --output outputs/words --epochs 1",
    }
    said = Tutorial("own_data", folder, smaller, CLEF_YUNET=str(yunet)).run()
    assert "24 faces (detected 24)" in said and "WARNING" not in said
    with (folder / "mine.csv").open() as file:
        assert {"AU12_probability", "smirk_probability"} <= set(next(csv.DictReader(file)))
    config = json.loads((folder / "outputs" / "words" / "config.json").read_text())
    sets = {label_set["name"]: label_set["labels"] for label_set in config["label_sets"]}
    assert sets == {
        "signals": ["smirk", "gaze_away"],
        "engagement": ["interested", "bored"],
        "action_units": ["AU12"],
    }


def write_pictures(folder, photos):
    """The folder of the tutorial, of photographs; their labels are made up, but for AU12."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "subject", "AU12", "smirk", "gaze_away", "engagement"])
        for photo in photos:
            shutil.copy(photo, folder / photo.name)
            smiles = int(photo.stem.endswith("_08"))
            others = random.integers(0, 2, 2).tolist()
            writer.writerow([photo.name, photo.stem[:3], smiles, *others, "interested" if smiles else "bored"])


@pytest.fixture
def hub_server():
    path = ROOT / "tests" / "hub_cards" / "hub_server.py"
    spec = importlib.util.spec_from_file_location("hub_server", path)
    module = sys.modules["hub_server"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.HubServer({"hf_ada": module.User("ada", writes=("org",))}) as server:
        yield server


def test_push(place, hub_server, sentence_encoder):
    folder = place("push")
    write_drawn_pictures(folder / "pictures")
    smaller = {'"subjects": 36, "frames": 12': '"subjects": 9, "frames": 1, "image_size": 32'}
    server = {"HF_ENDPOINT": hub_server.url, "HF_TOKEN": "hf_ada", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    tutorial = Tutorial("push", folder, smaller, **server)
    command = "clef finetune pictures --output outputs/mine --aligned --train probe"
    tutorial.blocks.insert(0, ("bash", command))  # the tutorial before this one
    said = tutorial.run()
    assert "dry run: nothing was sent" in said and "smirk" in said
    assert "the same through every Auto class" in said


def write_drawn_pictures(folder):
    folder.mkdir()
    lines, random = ["file,subject,smirk"], np.random.default_rng(0)
    for number in range(24):
        name = f"{number}.png"
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / name)
        lines.append(f"{name},p{number // 4},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def test_demo(place, photographs, sentence_encoder):
    pytest.importorskip("gradio")
    photos, yunet = photographs
    folder = place("demo")
    shutil.copy(photos[1], folder / "photo.jpg")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    said = Tutorial("demo", folder, {"7860": port}, CLEF_YUNET=str(yunet)).run()
    assert "AU12" in said and "a big smile" in said and "dry run: nothing was sent" in said
