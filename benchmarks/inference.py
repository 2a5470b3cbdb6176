"""Images a second of three-scale mirrored inference: `python -m benchmarks.inference`.

With operations, their share of the machine's peak, and peak memory of a GPU. `benchmarks.storage` measures
what the step of inference writes.
"""

from pathlib import Path

import torch

from benchmarks.report import arguments, operations, publish, share, timed
from benchmarks.train_step import generated_batch
from unia.config import load
from unia.model.network import build
from unia.model.segment import multi_scale_logits


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dataset", default="voc")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--classes", type=int, default=20, help="without the background")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    recipe = load(Path("params.yaml"), options.settings).recipe(options.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(recipe.model, options.classes).to(device).to(memory_format=torch.channels_last).eval()
    images = list(generated_batch(recipe.infer.batch, 500, options.classes)[0].to(device))
    base = (recipe.infer.size, recipe.infer.size)
    on_gpu = device.type == "cuda"

    @torch.inference_mode()
    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            for logits in multi_scale_logits(model, images, base, recipe.infer.scales):
                logits.argmax(0)

    count = operations(run)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        run()
    seconds = timed(run, device, options.repeats)
    found = {
        "backbone": recipe.model.backbone,
        "batch": len(images),
        "size": recipe.infer.size,
        "classes": options.classes + 1,
        "device": device.type,
        "images a second": round(len(images) / seconds, 2),
        "tflop an image": round(count / len(images) / 1e12, 3),
        "share of peak": share(count, seconds, device),
    }
    if on_gpu:
        found["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    publish("inference", [found], options.save)


if __name__ == "__main__":
    main()
