import importlib.util
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "space_demo"
WORKER = Path(__file__).with_name("space_worker.py")
CHECKPOINT = ROOT / "checkpoints" / "clef-small"
KEPT_SECONDS = 8
STREAM_SECONDS = 6
READY_WITHIN = 180  # generous: starting Python with torch on a busy machine

pytest.importorskip("gradio", reason="needs Gradio: pip install 'clef-faces[demo]'")
pytest.importorskip("cv2", reason="needs OpenCV: pip install 'clef-faces[demo]'")
pytest.importorskip("av", reason="needs PyAV: pip install 'clef-faces[demo]'")
for folder in (SPACE, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()
PATIENCE = 60_000  # milliseconds; a limit, not an expectation


@pytest.fixture(scope="session")
def space_model(tmp_path_factory):
    """The checkpoint that ships, with today's code beside it."""
    from transformers import AutoModelForImageClassification, AutoProcessor

    import modeling_clef  # noqa: F401

    folder = tmp_path_factory.mktemp("space") / "model"
    AutoModelForImageClassification.from_pretrained(CHECKPOINT).save_pretrained(folder)
    AutoProcessor.from_pretrained(CHECKPOINT).save_pretrained(folder)
    for name in ("metrics.json", "recipe.yaml"):
        shutil.copy(CHECKPOINT / name, folder)
    return folder


@pytest.fixture(scope="session")
def space(space_model, yunet_file, tmp_path_factory):
    """The demonstration, served from a copy of its folder. `url`, and `temporary`, where Gradio puts uploads."""
    home = tmp_path_factory.mktemp("served")
    folder = shutil.copytree(SPACE, home / "space", ignore=shutil.ignore_patterns("__pycache__"))
    port = unused_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO", "PYTHON"))}
    environment |= {
        "CLEF_MODEL": str(space_model),
        "CLEF_YUNET": str(yunet_file),
        "CLEF_DEMO_KEPT_SECONDS": str(KEPT_SECONDS),
        "GRADIO_TEMP_DIR": str(home / "temporary"),
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(home / "modules"),
        "OMP_NUM_THREADS": "1",
    }
    log = home / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", str(WORKER), str(folder), str(STREAM_SECONDS)],
            cwd=home,
            env=environment,
            stdout=output,
            stderr=output,
        )
    served = Served(f"http://127.0.0.1:{port}", home / "temporary", log, process)
    try:
        served.wait()
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    assert not list(served.temporary.rglob("*")), "what was sent outlives the demonstration"


class Served:
    def __init__(self, url, temporary, log, process):
        self.url, self.temporary, self.log, self.process = url, temporary, log, process

    def alive(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/config", timeout=30) as answer:
                return answer.status == 200
        except OSError:
            return False

    def wait(self) -> None:
        end = time.monotonic() + READY_WITHIN
        while not self.alive():
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"the demonstration did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.3)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def free_port():
    return unused_port()


@pytest.fixture(scope="session")
def smile():
    return SPACE / "examples" / "1_smile.jpg"


@pytest.fixture(scope="session")
def two_people():
    return SPACE / "examples" / "2_two_people.jpg"


@pytest.fixture(scope="session")
def portraits(test_data, smile, two_people):
    """Photographs of real people where they are at hand, else the rendered ones."""
    return sorted((test_data / "photos").glob("*.jpg")) or [smile, two_people]


@pytest.fixture(scope="session")
def clip(smile, tmp_path_factory):
    """2 seconds, 10 frames a second: a smiling face that moves to the right."""
    import av

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 480, 400, "yuv420p"
        for picture in moving(smile):
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def moving(picture: Path, frames: int = 20):
    face = Image.open(picture).convert("RGB").resize((360, 380))
    for number in range(frames):
        frame = Image.fromarray(np.full((400, 480, 3), 196, np.uint8))
        frame.paste(face, (4 * number, 10))
        yield frame


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Name → path of files that nobody should be able to do harm with."""
    spec = importlib.util.spec_from_file_location("hostile_files", Path(__file__).with_name("hostile_files.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_all(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def kept_seconds():
    return KEPT_SECONDS


@pytest.fixture(scope="session")
def browser(smile, tmp_path_factory):
    """Its camera sees the smiling face of the example."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    camera = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    face = Image.open(smile).convert("RGB").resize((460, 480))
    with camera.open("wb") as file:
        for shift in (60, 64, 68, 72, 76, 80, 76, 72, 68, 64) * 3:
            frame = Image.fromarray(np.full((480, 640, 3), 190, np.uint8))
            frame.paste(face, (shift, 0))
            buffer = io.BytesIO()
            frame.save(buffer, "JPEG", quality=90)
            file.write(buffer.getvalue())
    with playwright.sync_playwright() as started:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        browser = started.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, space):
    """`open_page(width, mode, url)`: a page of its own, watched until the end of the test. No page may log an error or
    ask anything of another machine."""
    contexts, errors, elsewhere = [], [], []

    def note(message):
        address = message.location.get("url", "")
        # Gradio refuses a frame of the camera that was on its way when the camera's time ended; the page goes on.
        frame = re.fullmatch("/gradio_api/stream/[0-9a-f]{32}", urlsplit(address).path)
        late_frame = frame and "status of 404" in message.text
        if message.type == "error" and not late_frame:
            errors.append(f"{message.text} ({address})")

    def request(request):
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            elsewhere.append(request.url)

    def make(width=1280, mode="light", url=space.url):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=mode,
            permissions=["camera", "microphone", "clipboard-read", "clipboard-write"],
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", request)
        page.goto(url)
        page.wait_for_selector("#clef-picture-result .clef-result, #clef-picture-result .clef-message")
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []
    assert elsewhere == []


@pytest.fixture
def page(open_page):
    return open_page()
