"""The smallest network, as settings: its steps take seconds on a CPU."""

NETWORK = (
    "size=small",
    "small.model.vit={img_size: 32, patch_size: 8, embed_dim: 32, depth: 3, num_heads: 2}",
    "small.model.uncertainty.hidden=32",
    "small.model.uncertainty.heads=2",
    "small.train.crop=32",
    "small.infer.size=32",
)
