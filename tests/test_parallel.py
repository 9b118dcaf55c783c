"""Blocks side by side on several threads: the same numbers, in the same order, as on one."""

import multiprocessing
import threading

import numpy as np
import pytest
import torch

from lowerbound.models import Gaussian, GaussianMixture, Mixture, Product, StudentT, seed
from lowerbound.models.parallel import side_by_side


@pytest.fixture
def on():
    """Sets the number of torch's threads, put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(on, threads):
    on(threads)
    assert side_by_side(lambda i: i * i, range(100)) == [i * i for i in range(100)]
    assert torch.get_num_threads() == threads


def test_items_are_done_on_one_thread_of_torchs_each_and_without_gradients(on):
    on(2)
    meet = threading.Barrier(2)  # so that both threads take part

    def look(_):
        meet.wait(timeout=30)
        return torch.get_num_threads(), torch.is_grad_enabled(), threading.get_ident()

    seen = side_by_side(look, range(2))
    assert {(count, grad) for count, grad, _ in seen} == {(1, False)}
    assert len({ident for *_, ident in seen} | {threading.get_ident()}) == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_is_raised_here(on, threads):
    on(threads)

    def fail(i):
        if i == 3:
            raise ArithmeticError("of item 3")
        return i

    with pytest.raises(ArithmeticError, match="of item 3"):
        side_by_side(fail, range(5))
    assert side_by_side(abs, [-1, -2]) == [1, 2]


def _in_child(queue):
    torch.set_num_threads(2)
    queue.put(side_by_side(abs, [-1, -2, -3]))


def test_a_forked_process_has_threads_of_its_own(on):
    on(2)
    side_by_side(abs, [-1, -2])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == [1, 2, 3]
    child.join()


@pytest.mark.parametrize("covariance", ["full", "tied", "diag"])
def test_statistics_do_not_depend_on_the_number_of_threads(on, covariance):
    x = np.random.default_rng(0).standard_normal((50_000, 3))
    on(1)
    model = seed(GaussianMixture(4, 3, covariance), x)
    one = model.expect(x)
    on(3)
    three = model.expect(x)
    for name in ("weight", "total", "bound"):
        assert torch.equal(getattr(one, name), getattr(three, name))


def test_two_families_of_one_row_keep_their_memory_apart(on):
    """A product visits a block with two passes before it sums either; threads have buffers of their own."""
    x = np.random.default_rng(0).standard_normal((50_000, 5)) * [1, 10, 100, 1, 1]
    on(1)
    model = seed(Mixture(Product(Gaussian(3, 3), StudentT(3, 2))), x)
    one = model.expect(x)
    on(4)
    assert all(torch.equal(model.expect(x).total, one.total) for _ in range(5))
