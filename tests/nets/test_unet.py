from __future__ import annotations

import pytest
import torch

from difftool.nets.unet import UNet, time_embedding


def unet(channels: int = 1, **settings: object) -> UNet:
    torch.manual_seed(0)
    net = UNet(channels, 16, **{"mults": (1, 2, 2), **settings})  # type: ignore[arg-type]
    for parameter in net.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)  # past the zeros it begins with
    return net.eval()


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (20, 36), (1, 1), (7, 13), (3, 64)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_size_and_channels(size: tuple[int, int], channels: int) -> None:
    x = torch.randn(2, channels, *size)
    out = unet(channels, attention=(2,))(x, torch.tensor([3.0, 999.0]))
    assert out.shape == x.shape
    assert out.isfinite().all()


def test_it_begins_as_nothing() -> None:
    net = UNet(3, 16, classes=4)
    assert not net(torch.randn(2, 3, 8, 8), torch.rand(2), torch.tensor([0, 4])).any()


def test_time_and_label_steer_it() -> None:
    net, x, t = unet(classes=3), torch.randn(1, 1, 8, 8).expand(4, -1, -1, -1), torch.full((4,), 500.0)
    by_label = net(x, t, torch.arange(4))
    assert len({tuple(row) for row in by_label.flatten(1).tolist()}) == 4
    by_time = net(x, torch.tensor([0.0, 1.0, 500.0, 999.0]), torch.zeros(4, dtype=torch.int64))
    assert len({tuple(row) for row in by_time.flatten(1).tolist()}) == 4
    # no label is the label "any", number 3
    torch.testing.assert_close(net(x, t), by_label[3:].expand(4, -1, -1, -1))


def test_every_weight_is_trained() -> None:
    net = unet(classes=2, attention=(1,), blocks=2).train()
    net(torch.randn(4, 1, 8, 8), torch.rand(4) * 999, torch.tensor([0, 1, 2, 0])).square().mean().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_rows_have_a_meaning_where_they_are_declared() -> None:
    """Of an input that is the same in all rows, the middle ones cannot be told apart without a vector for each."""
    x, t = torch.ones(1, 1, 50, 8), torch.tensor([500.0])
    assert unet(rows=0).rows is None
    net = unet(rows=50)
    assert net.rows is not None and net.rows.shape == (16, 52, 1)  # as high as the padded picture
    torch.nn.init.zeros_(net.rows)
    plain = net(x, t)
    torch.nn.init.normal_(net.rows)
    assert net(x, t).shape == x.shape and not torch.allclose(net(x, t), plain, atol=0.1)


def test_dropout_only_in_training() -> None:
    net, x, t = unet(dropout=0.5), torch.randn(2, 1, 8, 8), torch.rand(2)
    assert torch.equal(net(x, t), net(x, t))
    net.train()
    assert not torch.equal(net(x, t), net(x, t))


def test_items_do_not_see_each_other() -> None:
    net, x, t = unet(attention=(2,)), torch.randn(5, 1, 8, 8), torch.rand(5) * 999
    torch.testing.assert_close(net(x, t)[3:4], net(x[3:4], t[3:4]), rtol=1e-4, atol=1e-5)


def test_half_precision() -> None:
    net = unet(classes=3).to(torch.bfloat16)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 999.0])
    whole = unet(classes=3)(x, t)
    assert (net(x.bfloat16(), t).float() - whole).norm() < 0.05 * whole.norm()


def test_time_embedding() -> None:
    e = time_embedding(torch.tensor([0.0, 10.0]), 8)
    assert e[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert e[1, 1].item() == pytest.approx(torch.cos(torch.tensor(10 / 10_000**0.25)).item())
    assert e[1, 5].item() == pytest.approx(torch.sin(torch.tensor(10 / 10_000**0.25)).item())


@pytest.mark.parametrize("arguments", [(0, 16), (5, 16), (1, 12), (1, 0)])
def test_wrong_sizes(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|from 1 to 4"):
        UNet(*arguments)
