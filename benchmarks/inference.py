"""Images a second of three-scale mirrored inference: `python -m benchmarks.inference`."""

import argparse
import time
from pathlib import Path

import torch

from benchmarks.train_step import generated_batch
from unia.config import load
from unia.model.network import build
from unia.model.segment import multi_scale_logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="voc")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    recipe = load(Path("params.yaml"), arguments.settings).recipe(arguments.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(recipe.model, 20).to(device).to(memory_format=torch.channels_last).eval()
    images = list(generated_batch(recipe.infer.batch, 500, 20)[0].to(device))

    base = (recipe.infer.crop, recipe.infer.crop)
    on_gpu = device.type == "cuda"

    def run() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=on_gpu),
        ):
            for logits in multi_scale_logits(model, images, base, recipe.infer.scales):
                logits.argmax(0)
        if device.type == "cuda":
            torch.cuda.synchronize()

    run()
    start = time.perf_counter()
    for _ in range(arguments.repeats):
        run()
    rate = arguments.repeats * len(images) / (time.perf_counter() - start)
    peak = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB peak" if device.type == "cuda" else ""
    print(f"{rate:.2f} images a second ({recipe.model.backbone}, batch {len(images)}, {device}){peak}")


if __name__ == "__main__":
    main()
