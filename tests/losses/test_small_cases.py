"""The losses against plain loops, formulas and other libraries, and at the edges of their inputs."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import entropy
from torch import Tensor

from unia.losses.affinity import contrastive_affinity
from unia.losses.classification import classification
from unia.losses.distribution import distribution
from unia.losses.ptc import ptc
from unia.losses.segmentation import segmentation
from unia.refine.affinity import radius_mask

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def token_labels(*shape: int) -> Tensor:
    choices = torch.tensor([0, 1, 2, 255])
    return choices[torch.randint(4, shape, generator=torch.Generator().manual_seed(1))]


def test_classification_is_binary_cross_entropy_per_class() -> None:
    logits, labels = random(3, 5), (random(3, 5, seed=1) > 0).double()
    expected = F.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(classification(logits, labels), expected)


def test_ptc_by_loops() -> None:
    features, labels = random(2, 6, 3, 3), token_labels(2, 3, 3)
    same: list[float] = []
    different: list[float] = []
    for image in range(2):
        tokens, label = features[image].flatten(1).T, labels[image].flatten().tolist()
        for i in range(9):
            for j in range(9):
                if i != j and 255 not in (label[i], label[j]):
                    cosine = abs(float(F.cosine_similarity(tokens[i], tokens[j], dim=0)))
                    (same if label[i] == label[j] else different).append(cosine)
    expected = 0.5 * (1 - sum(same) / (len(same) + 1)) + 0.5 * sum(different) / (len(different) + 1)
    assert float(ptc(features, labels)) == pytest.approx(expected)


def test_contrastive_affinity_by_loops() -> None:
    affinity, labels = random(2, 12, 12).sigmoid(), token_labels(2, 3, 4)
    total, count = 0.0, 0
    for image in range(2):
        label = labels[image].flatten().tolist()
        for i in range(12):
            line = sum(math.exp(float(a) / 0.5) for a in affinity[image, i]) + 1e-4
            for j in range(12):
                apart = max(abs(i // 4 - j // 4), abs(i % 4 - j % 4))
                if apart <= 1 and label[i] == label[j] != 255:
                    total -= math.log(math.exp(float(affinity[image, i, j]) / 0.5) / line)
                    count += 1
    found = contrastive_affinity(affinity, labels, radius_mask(3, 4, 1, CPU))
    assert float(found) == pytest.approx(total / (count + 1) / 2 / 2)


def test_losses_of_a_batch_without_known_tokens() -> None:
    unknown = torch.full((2, 3, 3), 255)
    features, affinity = random(2, 4, 3, 3).requires_grad_(), random(2, 9, 9).sigmoid().requires_grad_()
    contrast = ptc(features, unknown)
    diversity = contrastive_affinity(affinity, unknown, radius_mask(3, 3, 1, CPU))
    assert (float(contrast.detach()), float(diversity.detach())) == (0.5, 0)
    gradients = torch.autograd.grad(contrast + diversity, (features, affinity))
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_distribution_is_relative_entropy() -> None:
    sampled, confident = random(3, 4, 5), (random(3, 4, 5, seed=1) > 0).double()
    target, found = confident.flatten(1).softmax(1), sampled.flatten(1).softmax(1)
    expected = sum(entropy(target[i].numpy(), found[i].numpy()) for i in range(3)) / 3
    assert float(distribution(sampled, confident)) == pytest.approx(expected)
    assert float(distribution(confident, confident)) == pytest.approx(0, abs=1e-12)


def test_segmentation_weighs_background_and_foreground_alike() -> None:
    logits = random(2, 4, 6, 6)
    label = token_labels(2, 6, 6)
    loss = -logits.log_softmax(1)
    background = [loss[b, 0, i, j] for b, i, j in (label == 0).nonzero().tolist()]
    foreground = [
        loss[b, label[b, i, j], i, j] for b, i, j in ((label == 1) | (label == 2)).nonzero().tolist()
    ]
    expected = sum(map(float, background)) / len(background) / 2
    expected += sum(map(float, foreground)) / len(foreground) / 2
    assert float(segmentation(logits, label)) == pytest.approx(expected, rel=1e-6)


def test_segmentation_resizes_the_logits_to_the_label() -> None:
    logits, label = random(2, 4, 3, 5), token_labels(2, 48, 80)
    resized = F.interpolate(logits, (48, 80), mode="bilinear", align_corners=False)
    torch.testing.assert_close(segmentation(logits, label), segmentation(resized, label))


def test_segmentation_without_known_pixels_is_zero() -> None:
    logits = random(1, 4, 6, 6).requires_grad_()
    loss = segmentation(logits, torch.full((1, 6, 6), 255))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))
