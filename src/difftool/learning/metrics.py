"""Quality of drawn pictures, measured against held-out ones. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.noise import keys, normal
from ..errors import DifftoolError, Exit, install_extra

if TYPE_CHECKING:
    pass


Array: TypeAlias = "np.ndarray[Any, Any]"

SIDE = 8
"""Side in pixels to which larger pictures are averaged before they are compared as vectors."""
WIDTHS = (32, 64, 64)
"""Channels of the fixed random network."""


class Quality(NamedTuple):
    """Figures of drawn pictures against held-out real ones."""

    c2st: float
    """Accuracy of a classifier of drawn and real pictures: 0.5 is chance, 1 perfect."""
    fd: float
    """Frechet distance of the pixels, in grey levels squared."""
    fd_features: float
    """The same of the features of a fixed random network."""
    kid: float
    """Kernel distance (MMD squared) of these features, times 1,000; unbiased, so it may be below 0."""
    nearest: float
    """Median distance to the nearest training picture over the same for held-out ones: far below 1 is memorised."""
    exploded: int
    """Number of drawn pictures brighter than any real one, a sign of diverged values."""


def quality_of(drawn: Array, held_out: Array, trained: Array, tones: int = 256) -> Quality:
    """Compares uint8 pictures (N, H, W, C). All are first rounded to the `tones` grey levels of the data, 0 .. tones -
    1: otherwise a classifier recognises drawn pictures by values in between."""
    a, b = (_toned(p, tones) for p in (drawn, held_out))
    # pictures brighter than any real one
    brightest = float(b.sum((1, 2, 3)).max())
    for k in range(0, len(trained), 4096):
        part = _toned(trained[k : k + 4096], tones).reshape(-1, a[0].size)
        brightest = max(brightest, float(part.sum(1).max()))
    exploded = int((a.sum((1, 2, 3)) > brightest).sum())
    # distributions of pixels and features
    small, seen = _vectors(a, b, tones)
    vectors = small
    if drawn[0].size > SIDE * SIDE:
        vectors = [np.concatenate(pair, 1) for pair in zip(small, seen, strict=True)]
    # distances to the training pictures
    of_drawn = np.median(nearest(drawn, trained, tones)[0])
    of_held_out = float(np.median(nearest(held_out, trained, tones)[0]))
    far = of_drawn / max(of_held_out, 1e-9)
    return Quality(c2st(*vectors), *_distances(small, seen), float(far), exploded)


def distances(a: Array, b: Array, tones: int = 256) -> tuple[float, float, float]:
    """(fd, fd_features, kid) of `Quality` for two sets of uint8 pictures (N, H, W, C)."""
    return _distances(*_vectors(_toned(a, tones), _toned(b, tones), tones))


def _vectors(a: Array, b: Array, tones: int) -> tuple[list[Array], list[Array]]:
    """The pixels and the features of two sets of pictures, as vectors."""
    small = [_shrunk(p) for p in (a, b)]
    seen = [features(p * ((256 - 1) / (tones - 1))) for p in (a, b)]
    return small, seen


def _distances(small: list[Array], seen: list[Array]) -> tuple[float, float, float]:
    return frechet(*small), frechet(*seen), 1000 * kernel_distance(*seen)


def scattered(n: int, count: int) -> Array:
    """A fixed random choice of `count` of `n` pictures, in order: the first ones may be of one class."""
    if count >= n:
        return np.arange(n)
    order = np.random.RandomState(0).permutation(n)
    return np.sort(order[:count])


def legible(drawn: Array, meant: Array, trained: Array, labels: Array) -> float:
    """Share of drawn pictures (N, H, W, C) that a support vector machine, trained on up to 5,000 real ones, classifies
    as the label they were `meant` to have (N,)."""
    from sklearn.svm import SVC

    rows = np.random.RandomState(0).permutation(len(trained))[:5000] if len(trained) > 5000 else slice(None)
    a, b = ((p if p[0].size <= SIDE * SIDE else _shrunk(p)).reshape(len(p), -1) for p in (trained[rows], drawn))
    return float((SVC(C=10).fit(a, labels[rows]).predict(b) == meant).mean())


def c2st(a: Array, b: Array) -> float:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv:1610.06545): 5-fold accuracy of gradient-boosted
    trees on equally many of each. Of the longer one, `a` is cut off, and `b` is sampled."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    n = min(len(a), len(b))
    x, y = np.concatenate([a[:n], b[scattered(len(b), n)]]), np.repeat([1, 0], [n, n])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(HistGradientBoostingClassifier(random_state=0), x, y, cv=folds).mean())


def frechet(a: Array, b: Array, *, covariance: Callable[[Array], Array] = lambda x: np.cov(x, rowvar=False)) -> float:
    """Frechet distance of the Gaussians fitted to two sets of vectors (N, D) (Heusel et al. 2017, arXiv:1706.08500)."""
    one, two = covariance(a), covariance(b)
    # the trace of (one @ two)^(1/2) from its eigenvalues, which are real and not negative
    root = np.sqrt(np.maximum(np.linalg.eigvals(one @ two).real, 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * root)


def kernel_distance(a: Array, b: Array) -> float:
    """The unbiased estimate of MMD squared with the kernel (x.y / D + 1)^3 of vectors (N, D) (Binkowski et al. 2018,
    arXiv:1801.01401)."""

    def kernel(x: Array, y: Array) -> Array:
        return (x @ y.T / x.shape[1] + 1) ** 3

    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(a, a), kernel(b, b))]
    return float(sum(within) - 2 * kernel(a, b).mean())


def features(pixels: Array) -> Array:
    """Features of pictures (N, H, W, C) with values 0 to 255, from a fixed random network: float64 (N, 2 * WIDTHS[-1]),
    means and deviations of its last channels over the picture. Its weights come from `core.noise`, the same on every
    machine."""
    channels, parts = pixels.shape[3], []
    weights = []
    for k, width in enumerate(WIDTHS):
        shape = (width, channels if not k else WIDTHS[k - 1], 3, 3)
        weights.append(normal(keys([k]), 0, 0, shape)[0] * (2 / np.prod(shape[1:])) ** 0.5)
    for start in range(0, len(pixels), 256):
        x = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 256], dtype=np.float32)).permute(0, 3, 1, 2)
        x = x / 127.5 - 1
        for k, weight in enumerate(weights):
            x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight))
            if k < len(weights) - 1 and min(x.shape[2:]) > 1:
                x = F.avg_pool2d(x, 2, ceil_mode=True)
        spread = x.flatten(2).std(2, unbiased=False)
        parts.append(torch.cat([x.mean((2, 3)), spread], 1).double().numpy())
    return np.concatenate(parts)


def nearest(a: Array, b: Array, tones: int = 256) -> tuple[Array, Array]:
    """(distance, index) of the nearest of pictures `b` to each of `a`, uint8 (N, H, W, C), in grey levels."""
    one = torch.from_numpy(_toned(a, tones).reshape(len(a), -1))
    best, which = torch.full((len(a),), torch.inf, dtype=torch.float64), torch.zeros(len(a), dtype=torch.int64)
    for start in range(0, len(b), 2048):
        two = torch.from_numpy(_toned(b[start : start + 2048], tones).reshape(-1, one.shape[1]))
        square = (one.square().sum(1)[:, None] + two.square().sum(1)[None] - 2 * one @ two.T).clamp_(min=0)
        distance, index = square.min(1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        which = torch.where(closer, index + start, which)
    return best.sqrt().numpy(), which.numpy()


def _toned(pixels: Array, tones: int) -> Array:
    return np.round(pixels * ((tones - 1) / 255))


def _shrunk(pixels: Array) -> Array:
    """Pictures as vectors (N, D), averaged to at most SIDE pixels a side."""
    _, height, width, _ = pixels.shape
    x = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float64)).permute(0, 3, 1, 2)
    if max(height, width) > SIDE:
        x = F.adaptive_avg_pool2d(x, (min(height, SIDE), min(width, SIDE)))
    return x.flatten(1).numpy()


def fid(drawn: Array, real: Array, inception: Path) -> float:
    """The Frechet inception distance of uint8 pictures (N, H, W, C), with the weights of pytorch-fid
    (pt_inception-2015-12-05-6726825d.pth) in the file `inception`. Raises DifftoolError 4 for another file, 2 where
    pytorch-fid is not installed."""
    from ..files import unpickled

    hint = "pass pytorch-fid's pt_inception-2015-12-05-6726825d.pth"
    weights = unpickled(inception, "Inception weights", hint)
    try:
        from pytorch_fid import inception as theirs  # pyright: ignore[reportMissingImports]
        from torchvision.models.inception import Inception3  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DifftoolError(Exit.USAGE, "computing FID needs pytorch-fid", install_extra("fid")) from error
    net = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    for name, block in (
        ("Mixed_5b", theirs.FIDInceptionA(192, pool_features=32)),
        ("Mixed_5c", theirs.FIDInceptionA(256, pool_features=64)),
        ("Mixed_5d", theirs.FIDInceptionA(288, pool_features=64)),
        ("Mixed_6b", theirs.FIDInceptionC(768, channels_7x7=128)),
        ("Mixed_6c", theirs.FIDInceptionC(768, channels_7x7=160)),
        ("Mixed_6d", theirs.FIDInceptionC(768, channels_7x7=160)),
        ("Mixed_6e", theirs.FIDInceptionC(768, channels_7x7=192)),
        ("Mixed_7b", theirs.FIDInceptionE_1(1280)),
        ("Mixed_7c", theirs.FIDInceptionE_2(2048)),
    ):
        setattr(net, name, block)
    try:
        net.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DifftoolError(Exit.FILE, f"{inception} does not contain the Inception weights", hint) from error
    net.fc = torch.nn.Identity()  # type: ignore[assignment]
    net.eval()
    return frechet(*(_inception(net, pixels) for pixels in (drawn, real)))


@torch.no_grad()
def _inception(net: torch.nn.Module, pixels: Array) -> Array:
    features: list[Tensor] = []
    for start in range(0, len(pixels), 32):
        x = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 32])).permute(0, 3, 1, 2).float()
        x = x[:, :3] if x.shape[1] > 2 else x[:, :1].expand(-1, 3, -1, -1)
        x = F.interpolate(x, (299, 299), mode="bilinear", align_corners=False)
        features.append(net(x / 127.5 - 1))
    return torch.cat(features).double().numpy()
