"""Strips against the whole matrix, written with a mask and torch's own log_softmax, and what they must not hold."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from modeling_clef import tiled_losses_clef
from modeling_clef.losses_clef import supervised_contrastive_loss
from modeling_clef.tiled_losses_clef import number_ids, tiled_contrast


def plain_contrast(rows, row_ids, columns, column_ids, scale, own=None):
    """All similarities at once, gradients by autograd."""
    logits = scale * rows @ columns.T
    hidden = (column_ids < 0).repeat(len(rows), 1)
    if own is not None:
        hidden[torch.arange(len(rows)), own + torch.arange(len(rows))] = True
    log_shares = logits.masked_fill(hidden, -torch.inf).log_softmax(dim=1)
    positive = (row_ids[:, None] == column_ids) & ~hidden & (row_ids >= 0)[:, None]
    losses = [-shares[mine].mean() for shares, mine in zip(log_shares, positive, strict=True) if mine.any()]
    return torch.stack(losses).sum(), torch.tensor(len(losses))


def unit_rows(count, width=16, dtype=torch.float64):
    return F.normalize(torch.randn(count, width, dtype=dtype), dim=-1).requires_grad_()


def ids_of(count, groups):
    """Some without an id, one alone."""
    ids = torch.randint(0, groups, (count,))
    ids[::7] = -1
    ids[3] = groups + 5
    return ids


def differentiated(function, *arguments):
    loss, anchors = function(*arguments)
    inputs = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
    return loss, anchors, torch.autograd.grad(loss, inputs)


def assert_equal_results(found, expected, relative):
    assert found[1] == expected[1]
    torch.testing.assert_close(found[0], expected[0], rtol=relative, atol=0)
    for gradient, reference in zip(found[2], expected[2], strict=True):
        assert (gradient - reference).norm() <= relative * reference.norm()


@pytest.fixture(params=[2**24, 500, 1], ids=["one strip", "uneven strips", "strips of a row"])
def tiles(request, monkeypatch):
    monkeypatch.setattr(tiled_losses_clef, "TILE_ELEMENTS", request.param)


def test_rows_that_are_columns_too(tiles):
    """As a process sees it whose rows are some of all columns."""
    columns, ids = unit_rows(61), ids_of(61, 4)
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)

    def of_a_process(function):
        # Own rows reach the loss twice: as anchors and as columns.
        return differentiated(lambda c, s: function(c[20:50], ids[20:50], c, ids, s, 20), columns, scale)

    assert_equal_results(of_a_process(tiled_contrast), of_a_process(plain_contrast), 1e-13)


def test_rows_apart_from_columns(tiles):
    rows, columns = unit_rows(30), unit_rows(45)
    arguments = (rows, ids_of(30, 5), columns, ids_of(45, 3), torch.tensor(7.0, dtype=torch.float64).requires_grad_())
    assert_equal_results(differentiated(tiled_contrast, *arguments), differentiated(plain_contrast, *arguments), 1e-13)


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
@pytest.mark.parametrize("groups", [4, 256], ids=["activities", "two views"])
def test_float32_is_as_good_as_the_plain_loss(scale, groups, monkeypatch):
    """To 1e-5 of the plain loss in float64, also where the loss is small beside its logits."""
    monkeypatch.setattr(tiled_losses_clef, "TILE_ELEMENTS", 512 * 100)
    ids = torch.arange(512) % groups
    centres = torch.randn(groups, 64)
    rows = F.normalize(centres[ids] + 1.5 * torch.randn(512, 64), dim=-1).requires_grad_()
    scale = torch.tensor(scale, requires_grad=True)
    exact_rows, exact_scale = (t.detach().double().requires_grad_() for t in (rows, scale))
    found = differentiated(lambda r, s: tiled_contrast(r, ids, r, ids, s, 0), rows, scale)
    exact = differentiated(lambda r, s: plain_contrast(r, ids, r, ids, s, 0), exact_rows, exact_scale)
    exact = (exact[0].float(), exact[1], [gradient.float() for gradient in exact[2]])
    assert_equal_results(found, exact, 1e-5)


def test_only_what_learns_gets_a_gradient():
    rows, columns = unit_rows(6), unit_rows(5).detach()
    ids = torch.arange(6) % 3, torch.arange(5) % 3
    loss, _ = tiled_contrast(rows, ids[0], columns, ids[1], 4.0)
    loss.backward()
    assert rows.grad.any() and columns.grad is None
    with torch.no_grad():
        assert not tiled_contrast(rows, ids[0], columns, ids[1], 4.0)[0].requires_grad


def test_the_gradient_of_the_sum_is_a_factor():
    rows, ids = unit_rows(12), torch.arange(12) % 3
    gradients = []
    for factor in (1, 3):
        loss = factor * tiled_contrast(rows, ids, rows, ids, 4.0, 0)[0]
        gradients += torch.autograd.grad(loss, rows, retain_graph=True)
        assert torch.equal(torch.autograd.grad(loss, rows)[0], gradients[-1])  # a second look changes nothing
    torch.testing.assert_close(3 * gradients[0], gradients[1])


@pytest.mark.parametrize("rows, columns", [(0, 4), (4, 0), (0, 0)])
def test_nothing_on_one_side_is_zero_with_a_graph(rows, columns):
    left, right = unit_rows(rows), unit_rows(columns)
    loss, anchors = tiled_contrast(left, torch.zeros(rows).long(), right, torch.zeros(columns).long(), 4.0)
    assert loss == 0 and anchors == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, (left, right)))


def test_similarities_of_any_size_stay_finite(tiles):
    """Rows that are not normalised, at a scale whose exponentials overflow and underflow."""
    rows = (300 * unit_rows(20, dtype=torch.float32)).detach().requires_grad_()
    ids = torch.arange(20) % 2
    loss, _, gradients = differentiated(lambda r: tiled_contrast(r, ids, r, ids, 100.0, 0), rows)
    assert torch.isfinite(loss) and torch.isfinite(gradients[0]).all()


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """The most elements that any operation's result holds of its own."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def test_no_tensor_grows_with_the_square_of_the_batch(monkeypatch):
    monkeypatch.setattr(tiled_losses_clef, "TILE_ELEMENTS", 4096)
    largest = []
    for count in (256, 512):
        rows = unit_rows(count, 4)
        with LargestTensor() as seen:
            supervised_contrastive_loss(rows, torch.arange(count) % 5, 0.1).backward()
        largest.append(seen.elements)
    assert largest == [4096, 4096]


def test_a_compiled_model_can_hold_it():
    rows, ids = unit_rows(12, dtype=torch.float32), torch.arange(12) % 3
    compiled = torch.compile(lambda r: supervised_contrastive_loss(2 * r, ids, 0.5), backend="eager")
    loss, expected = compiled(rows), supervised_contrastive_loss(2 * rows, ids, 0.5)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, rows), torch.autograd.grad(expected, rows))


@pytest.mark.parametrize("count", [0, 1, 50])
def test_ids_are_numbered_as_unique_does_it(count):
    ids = torch.randint(-3, 9, (count,), generator=torch.Generator().manual_seed(0))
    numbers, first = number_ids(ids)
    distinct, expected = ids.unique(return_inverse=True)
    assert torch.equal(numbers, expected) and numbers.shape == first.shape == (count,)
    seen = [i not in ids[:place].tolist() for place, i in enumerate(ids.tolist())]
    assert first.tolist() == seen and first.sum() == len(distinct)


def test_more_groups_than_there_are_change_nothing(monkeypatch):
    """As on a GPU, which is not asked how many there are."""
    generator = torch.Generator().manual_seed(1)
    embeds = torch.nn.functional.normalize(torch.randn(40, 8, generator=generator), dim=-1)
    ids = torch.randint(-1, 5, (40,), generator=generator)

    def differentiate():
        leaf = embeds.clone().requires_grad_()
        total, anchors = tiled_contrast(leaf, ids, leaf, ids, 3.0, own=0)
        return total, anchors, torch.autograd.grad(total, leaf)[0]

    expected = differentiate()
    found = tiled_losses_clef._find_groups

    def more(*arguments, **options):
        return dataclasses.replace(found(*arguments, **options), number=40)

    monkeypatch.setattr(tiled_losses_clef, "_find_groups", more)
    assert all(torch.equal(a, b) for a, b in zip(differentiate(), expected, strict=True))
