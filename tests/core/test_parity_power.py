"""What the budgets catch: small errors in the results of single convolutions, over the whole table.

The backend is the float64 reference itself with one convolution disturbed: each number of its
results is off by 100 eps of the dtype, up or down at random. Every convolution call of every case
has its turn, and every kernel at all steps at once. Results that are all zero (frames past the
lengths, the input of a forecaster without feedback) cannot be off and do not count.
"""

import numpy as np
import pytest

from convgru.parity import cases
from convgru.parity import table as case_table
from convgru.parity.budget import eps_of, error, evaluate
from convgru.parity.oracle import solve
from convgru.reference.tape import Tensor
from convgru.reference.taped_ops import TapedOps

SIZE = 100


class Calls(TapedOps):
    """For each call of a convolution, the kernel that it reads; None if its result is all zero."""

    def __init__(self):
        super().__init__()
        self.kernels = []

    def conv(self, x, p, name):
        result = super().conv(x, p, name)
        if result.value.any():
            kernel = p[name].matrix.value
            self.kernels.append((kernel.tobytes(), kernel.shape))
        else:
            self.kernels.append(None)
        return result


class Planted(TapedOps):
    """The results of copy i of the batch are off in the calls ``calls[i]``."""

    def __init__(self, calls, size):
        super().__init__()
        self.calls, self.size = calls, size
        self.count, self.rng = 0, np.random.default_rng(0)

    def conv(self, x, p, name):
        result = super().conv(x, p, name)
        chosen = np.array([self.count in disturbed for disturbed in self.calls]).reshape(-1, *(1,) * (result.ndim - 1))
        self.count += 1
        errors = chosen * self.size * self.rng.choice([-1.0, 1.0], result.shape)
        return Tensor(result.value * (1 + errors), [(result, lambda adjoint: adjoint)])


def blind(solution):
    """Arrays whose budget is not far below their largest number; those of zeros alone may be."""
    allowed = {**dict.fromkeys(solution.results, solution.budget.forward), **solution.budget.gradients}
    largest = {n: np.abs(a).max(initial=0) for n, a in {**solution.results, **solution.gradients}.items()}
    return [name for name, size in largest.items() if size and allowed[name] * max(1, size) > 0.01 * size]


def ratios(case, dtype):
    """Worst ratio of error to the case's budget, for each call and each kernel at all its calls."""
    problem = cases.problem(case, dtype)
    solution = solve(case.name, problem, case.steps)
    assert not blind(solution), case.name
    noted = Calls()
    evaluate(problem, case.steps, ops=noted)
    calls = [{index} for index, kernel in enumerate(noted.kernels) if kernel is not None]
    kernels = {}
    for index, kernel in enumerate(noted.kernels):
        if kernel is not None:
            kernels.setdefault(kernel, set()).add(index)
    disturbed = [*calls, *kernels.values()]
    ops = Planted(disturbed, SIZE * eps_of(dtype))
    results, gradients = evaluate(problem, case.steps, ops=ops, copies=len(disturbed))
    worst = []
    for copy in range(len(disturbed)):
        shares = [error(results[n][copy], want) / solution.budget.forward for n, want in solution.results.items()]
        for name, want in solution.gradients.items():
            shares.append(error(gradients[name][copy], want) / solution.budget.gradients[name])
        worst.append(max(shares))
    return worst[: len(calls)], worst[len(calls) :]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_errors_of_100_eps_in_one_convolution_are_caught(dtype):
    calls, kernels = [], []
    for case in case_table.table():
        by_call, by_kernel = ratios(case, dtype)
        calls += by_call
        kernels += by_kernel
    print(
        dtype,
        len(calls),
        len(kernels),
        np.mean(np.array(calls) > 1),
        np.mean(np.array(kernels) > 1),
        np.percentile(calls, [1, 10, 50]),
        np.percentile(kernels, [1, 10, 50]),
    )
    assert len(calls) > 2000
    assert len(kernels) > 500
    assert np.mean(np.array(calls) > 1) >= 0.9
    assert np.mean(np.array(kernels) > 1) >= 0.95
