"""Rules that hold of any input, tried on drawn ones: against plain loops and numpy.

A few drawn inputs in CI, many with `make faults` (`--hypothesis-profile many`); always the same ones.
"""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_lattice import dict_lattice

from unia.data.acdc import slice_of, volume_of
from unia.data.tiles import tags, tiles
from unia.layers import overlay, parsed, settings_between
from unia.losses.exact import exact_filter
from unia.losses.lattice import lattice_filter
from unia.model.segment import logits_at
from unia.recipe import Tile
from unia.refine.affinity import propagated, radius_mask
from unia.refine.pseudo_label import cam_label, cam_label_background, mutual, to_tokens
from unia.resize import resize, resize_by_matrix
from unia.scoring.scores import confusion, scores, union
from unia.training.learning_rate import learning_rate

Array = NDArray[Any]
seeds = st.integers(0, 2**32)
sides = st.integers(1, 9)


def bilinear(maps: Array, size: tuple[int, int]) -> Array:
    """... h w -> ... H W, centres of pixels on centres, edges repeated."""
    for axis, new in ((-2, size[0]), (-1, size[1])):
        old = maps.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = (place - low).reshape((-1, 1) if axis == -2 else -1)
        high = np.minimum(low + 1, old - 1)
        maps = maps.take(low, axis) * (1 - share) + maps.take(high, axis) * share
    return maps


def drawn_cams(seed: int, classes: int, h: int, w: int) -> tuple[Array, Array]:
    """CAMs 2 C h w with few different values, so that many are equal, and labels 2 C."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 11, (2, classes, h, w)) / 10, rng.integers(0, 2, (2, classes))


@given(seeds, st.integers(1, 5), sides, sides, st.integers(0, 10), st.integers(0, 10))
def test_the_label_of_a_cam(seed: int, classes: int, h: int, w: int, one: int, other: int) -> None:
    cams, labels = drawn_cams(seed, classes, h, w)
    low, high = min(one, other) / 10, max(one, other) / 10
    present = cams * labels[:, :, None, None]
    strongest = present.max(1)
    given_cams = torch.from_numpy(cams), torch.from_numpy(labels)
    strict = cam_label(*given_cams, high, low).numpy()
    loose = cam_label_background(*given_cams, low).numpy()
    for place in np.ndindex(strict.shape):
        image, y, x = place
        value = strongest[place]
        for found, above in ((strict[place], high), (loose[place], low)):
            if found not in (0, 255):  # of several equally strong classes, any
                assert value > above
                assert present[image, found - 1, y, x] == value
        assert (strict[place] == 0) == (value <= low)
        assert (strict[place] == 255) == (low < value <= high)
        assert (loose[place] == 0) == (value <= low)


@given(seeds, sides, sides, st.booleans())
def test_mutual_complement(seed: int, h: int, w: int, late: bool) -> None:
    rng = np.random.default_rng(seed)
    pseudo, refined, affinity = rng.choice([0, 1, 2, 255], (3, 1, h, w))
    maps = torch.from_numpy(pseudo), torch.from_numpy(refined), torch.from_numpy(affinity)
    found = mutual(*maps, late=late).numpy()
    for place in np.ndindex(found.shape):
        p, r, a = pseudo[place], refined[place], affinity[place]
        named = {1, 2}
        complement = r in named and a not in named
        agreed = late and p in named and p == r
        assert found[place] == (r if complement or agreed else a)


@given(seeds, sides, sides, sides, sides)
def test_tokens_take_the_label_at_their_centre(seed: int, rows: int, columns: int, h: int, w: int) -> None:
    label = np.random.default_rng(seed).choice([0, 1, 2, 255], (1, rows * h, columns * w))
    found = to_tokens(torch.from_numpy(label), h, w, "nearest").numpy()[0]
    for y, x in np.ndindex(h, w):
        assert found[y, x] == label[0, int((y + 0.5) * rows), int((x + 0.5) * columns)]


@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))
def test_propagation_along_the_affinity(seed: int, classes: int, h: int, w: int, radius: int) -> None:
    cams, labels = drawn_cams(seed, classes, h, w)
    n = h * w
    affinity = np.random.default_rng(seed + 1).random((2, n, n))
    given_tensors = torch.from_numpy(cams), torch.from_numpy(labels), torch.from_numpy(affinity)
    found = propagated(*given_tensors, background=0.4, radius=radius).numpy()
    near = radius_mask(h, w, radius, torch.device("cpu")).numpy()
    places = [(i // w, i % w) for i in range(n)]
    for i, j in np.ndindex(n, n):
        (a, b), (c, d) = places[i], places[j]
        assert near[i, j] == (max(abs(a - c), abs(b - d)) <= radius)
    for image in range(2):
        shown = [k for k in range(classes) if labels[image, k]]
        weight = np.exp(np.stack([np.full((h, w), 0.4), *(cams[image, k] for k in shown)]))
        masks = (weight / weight.sum(0)).reshape(-1, n)
        squared = (affinity[image] * near) ** 2
        expected = masks @ (squared / (squared.sum(0) + 0.1))
        rows = [0, *(k + 1 for k in shown)]
        np.testing.assert_allclose(found[image, rows].reshape(-1, n), expected, rtol=1e-9, atol=1e-12)
        absent = sorted(set(range(classes + 1)) - set(rows))
        assert not found[image, absent].any()


@given(seeds, st.integers(1, 6), sides, sides)
def test_scores_are_those_of_sets_of_pixels(seed: int, classes: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.choice([*range(classes + 1), 255], (h, w)).astype(np.uint8)
    prediction = rng.integers(0, classes + 1, (h, w)).astype(np.uint8)
    matrix = confusion(label, prediction, classes)
    assert matrix.sum() == (label != 255).sum()
    found = scores(matrix)
    pixels = [place for place in np.ndindex(h, w) if label[place] != 255]
    for k in range(classes + 1):
        true = {place for place in pixels if label[place] == k}
        predicted = {place for place in pixels if prediction[place] == k}
        if not true:
            assert np.isnan([found.iou[k], found.dice[k], found.recall[k], found.precision[k]]).all()
            continue
        both = len(true & predicted)
        assert found.iou[k] == both / len(true | predicted)
        assert found.dice[k] == 2 * both / (len(true) + len(predicted))
        assert found.recall[k] == both / len(true)
        assert found.precision[k] == (both / len(predicted) if predicted else 0)
    if classes > 1:
        merged = np.where(label == 255, 255, np.isin(label, (1, 2))).astype(np.uint8)
        expected = confusion(merged, np.isin(prediction, (1, 2)).astype(np.uint8), 1)
        assert union(matrix, (1, 2)).tolist() == expected.tolist()


@given(seeds, st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.sampled_from([0.1, 1.0, 20.0]))
def test_the_filters(seed: int, count: int, d: int, channels: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    features, values = rng.normal(0, spread, (count, d)), rng.random((count, channels))
    given_tensors = torch.from_numpy(features)[None], torch.from_numpy(values)[None]
    found = lattice_filter(*given_tensors)[0].numpy()
    np.testing.assert_allclose(found, dict_lattice(features, values), rtol=1e-7, atol=1e-9)
    kernel = np.exp(-((features[:, None] - features[None]) ** 2).sum(-1) / 2)
    np.testing.assert_allclose(exact_filter(*given_tensors)[0].numpy(), kernel @ values, rtol=1e-6, atol=1e-9)


@given(
    st.floats(1e-8, 1),
    st.integers(0, 300),
    st.floats(1e-8, 1),
    st.integers(1, 2000),
    st.floats(0.1, 5),
)
def test_the_learning_rate(base: float, warmup: int, ratio: float, iterations: int, power: float) -> None:
    steps = range(iterations)
    rates = np.array([learning_rate(base, step, warmup, ratio, iterations, power) for step in steps])
    assert (rates > 0).all()
    assert (rates <= base * (1 + 1e-12)).all()
    rising = np.arange(min(warmup, iterations))
    if warmup:
        line = np.interp(rising, [0, warmup], [base * ratio, base])
        np.testing.assert_allclose(rates[rising], line, rtol=1e-9, atol=1e-14 * base)
    falling = np.arange(len(rising), iterations)
    np.testing.assert_allclose(rates[falling], base * (1 - falling / iterations) ** power, rtol=1e-9)
    assert (np.diff(rates[falling]) < 0).all()


@given(seeds, sides, sides, st.integers(1, 25), st.integers(1, 25))
def test_resizing(seed: int, h: int, w: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, 3, h, w))
    coarse = rng.normal(size=(3, max(1, h // 2), w + 1))
    size = (height, width)
    expected = bilinear(one, size)
    tensor = torch.from_numpy(one)
    np.testing.assert_allclose(resize(tensor[None], size)[0].numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(resize_by_matrix(tensor[None], size)[0].numpy(), expected, atol=1e-12)
    scales = [torch.from_numpy(maps) for maps in (one + other, coarse)]
    expected = np.maximum(expected + bilinear(other, size), bilinear(coarse, size))
    np.testing.assert_allclose(logits_at(scales, size).numpy(), expected, atol=1e-12)


@given(seeds, st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.data())
def test_tiles_and_their_tags(seed: int, height: int, width: int, side: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, side))
    presence = data.draw(st.integers(1, side**2))
    label = np.random.default_rng(seed).choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
    covered = np.zeros((height, width), bool)
    for top, left in tiles(height, width, Tile(side=side, stride=stride, presence=presence)):
        part = label[top : top + side, left : left + side]
        assert part.shape == (min(side, height), min(side, width))
        covered[top : top + side, left : left + side] = True
        assert tags(part, presence) == tuple(k for k in (1, 2) if (part == k).sum() >= presence)
    assert covered.all()


@given(seeds, sides, sides, sides)
def test_slices_make_the_volume(seed: int, x: int, y: int, z: int) -> None:
    volume = np.random.default_rng(seed).integers(0, 4, (x, y, z))
    assert (volume_of([slice_of(volume, index) for index in range(z)]) == volume).all()


keys = st.sampled_from(["a", "b", "c", "d"])
letters = st.text("aZ 0:#-{}[]'\"&*!,.|é", max_size=8)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False))
values = st.one_of(st.none(), st.booleans(), numbers, letters, st.lists(st.integers(), max_size=3))
trees = st.recursive(values, lambda below: st.dictionaries(keys, below, max_size=3), max_leaves=8)


@given(st.dictionaries(keys, trees, max_size=4), st.dictionaries(keys, trees, max_size=4))
def test_settings_lead_from_one_recipe_to_another(base: dict[str, Any], change: dict[str, Any]) -> None:

    changed = overlay(base, change)
    again: dict[str, Any] = base
    for setting in settings_between(base, changed):
        assert "\n" not in setting
        again = overlay(again, parsed(setting))
    assert again == changed
