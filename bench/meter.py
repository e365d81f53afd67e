"""How much memory a computation needs, counted without a GPU, without weights, and without computing: on the meta
device, where tensors have shapes and no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Within it, the bytes of all tensors that are made and still live are counted; what was there before is not."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peak = 0, 0
        self._seen: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(one.untyped_storage()) for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, Tensor) and id(one.untyped_storage()) not in before:
                self._count(one.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        if storage in self._seen:
            return
        size = storage.nbytes()
        self._seen[storage] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.live -= size


def peak_of(work: Callable[[], Any]) -> int:
    """Bytes that `work` has live at once, at most, besides what was there before."""
    with fused_attention(), Meter() as meter:
        work()
    return meter.peak


@contextmanager
def fused_attention() -> Iterator[None]:
    """Within it attention on the meta device makes its result and nothing else, as the kernels of GPUs do; PyTorch
    would write its table of weights out there."""
    usual = F.scaled_dot_product_attention

    def fused(query: Tensor, key: Tensor, value: Tensor, *args: Any, **more: Any) -> Tensor:
        if query.device.type != "meta":
            return usual(query, key, value, *args, **more)
        return _Fused.apply(query, key, value)

    F.scaled_dot_product_attention = fused  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual


class _Fused(torch.autograd.Function):
    """An attention that keeps for its gradient what the fused kernels keep: its inputs, its result, and a number a
    query."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *_ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
