"""`unia weights`, from a local server that answers as timm's hub does."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BACKBONE = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    content: bytes

    def do_HEAD(self) -> None:
        found = self.path.startswith(f"/timm/{BACKBONE}/resolve/") and self.path.endswith(
            "/model.safetensors"
        )
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        if not found:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        if found and self.command == "GET":
            self.wfile.write(self.content)

    do_GET = do_HEAD

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    drawn: dict[str, torch.Tensor] = timm.create_model(BACKBONE, pretrained=False).state_dict()
    return drawn


@pytest.fixture
def hub(tensors: dict[str, torch.Tensor]) -> Iterator[str]:
    _Hub.content = save(tensors)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def unia(folder: Path, **hub: str) -> "subprocess.CompletedProcess[str]":
    command = ["weights", "voc", "--out", "vit.safetensors", "--params", str(ROOT / "params.yaml")]
    settings = f"recipe.model.backbone={BACKBONE}"
    environment = {"PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "cache"), **hub}
    return subprocess.run(
        [sys.executable, "-m", "unia", *command, "--set", settings], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment,
    )  # fmt: skip


def test_weights_become_a_file(tmp_path: Path, hub: str, tensors: dict[str, torch.Tensor]) -> None:
    done = unia(tmp_path, HF_ENDPOINT=hub)
    assert done.returncode == 0, done.stdout
    assert "name the file in model.weights" in done.stdout
    found = load_file(tmp_path / "vit.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_no_network_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    done = unia(tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    said = done.stdout.splitlines()[-1]
    assert said.startswith("unia: model.backbone: cannot get the pretrained weights of")
    assert "`unia weights` makes a file of them" in said
    assert not (tmp_path / "vit.safetensors").exists()
