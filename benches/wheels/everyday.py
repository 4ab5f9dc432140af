"""Masks, axes, losses, gradients, top-k and sampling by this crate beside PyTorch's wheel: the speed and the
accuracy of both, in one process, as a Markdown table.

    cargo build --release --manifest-path benches/wheels/Cargo.toml
    python3 benches/wheels/everyday.py [--seconds SECONDS_AN_OPERATION]

Needs what compare.py needs. Each has one thread. PyTorch runs what its users write; where it can write
to given memory, it does. A round runs both, in random order; the figure is the median of the ratios.
Errors are in ULP of the f32 result against float64; those of gradients in ULP of the larger of the two
terms whose difference an element is, the sum over a row being that of magnitudes. A draw has no error.
"""

import argparse
import ctypes
import importlib.metadata

import numpy as np
import torch
import torch.nn.functional as functional
from compare import LIBRARY, aligned, compiler, copy, processor, times_in_turns

FLOATS, SIZES = ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_size_t)
SIZE = ctypes.c_size_t
LIBRARY.everyday.argtypes = [
    *[ctypes.c_char_p, FLOATS, SIZE, FLOATS, SIZE, SIZES, SIZE, SIZES, ctypes.c_float, FLOATS, SIZE]
]
LIBRARY.everyday.restype = ctypes.c_int32
RANDOM = np.random.default_rng(0)
# What a draw is made by.
UNIFORM = 0.5


def crate(name, logits, results, other=None, targets=None):
    """A function that computes `results`. `logits` has three axes."""
    other = np.zeros(1, np.float32) if other is None else other
    targets = np.zeros(1, np.uintp) if targets is None else targets.astype(np.uintp)
    shape = np.array(logits.shape, np.uintp)
    arguments = [name.encode()]
    for array, kind in [(logits, FLOATS), (other, FLOATS), (targets, SIZES)]:
        arguments += [array.ctypes.data_as(kind), array.size]
    destination = results.ctypes.data_as(FLOATS), results.size
    arguments += [shape.ctypes.data_as(SIZES), UNIFORM, *destination]

    def run():
        if LIBRARY.everyday(*arguments) != 0:
            raise ValueError(f"{name}: wrong arguments")

    # The arguments have only the addresses of some arrays.
    run.memory = logits, other, targets, shape, results
    return run


def normal(*shape):
    return copy(4 * RANDOM.standard_normal(shape, np.float32))


def ulps(results, exact, size=None):
    """The worst error in ULP of `size`, or of the exact result, of those that are 2^-126 or more."""
    size = np.abs(exact) if size is None else size
    counts = size >= 2.0**-126
    ulp = np.ldexp(1.0, np.frexp(size[counts])[1] - 24)
    return float((np.abs(results.astype(np.float64) - exact)[counts] / ulp).max())


def exact_softmax(logits, axis=-1):
    numerators = np.exp(logits.astype(np.float64) - logits.max(axis, keepdims=True))
    return numerators / numerators.sum(axis, keepdims=True)


class Case:
    """One row of the table: two functions that compute, and the errors of their results."""

    def __init__(self, name, shape, run, peer, errors):
        self.name, self.shape, self.run, self.peer, self.errors = name, shape, run, peer, errors


def masked(name, logits, keep, targets=None):
    """Results of logits of which a mask, [.., rows, columns], keeps some."""
    results, peer_results = aligned(logits.shape), torch.empty(logits.shape)
    hidden, tensor = torch.from_numpy(~keep), torch.from_numpy(logits)

    def peer():
        torch.softmax(tensor.masked_fill(hidden, -torch.inf), -1, out=peer_results)

    exact = exact_softmax(np.where(keep, logits, -np.inf))
    errors = lambda: (ulps(results, exact), ulps(peer_results.numpy(), exact))
    run = crate(name, logits, results, targets=targets)
    return Case(name, logits.shape, run, peer, errors)


def causal(rows):
    return masked("causal", normal(32, rows, rows), np.tril(np.ones((rows, rows), bool)))


def lengths():
    heads, columns = 12, 128
    given = np.array([128, 5, 77, 42, 100, 64, 31, 118])
    keep = np.arange(columns) < given.repeat(heads)[:, None, None]
    return masked("lengths", normal(len(given) * heads, columns, columns), keep, given)


def scale_and_bias():
    logits = normal(32, 128, 128)
    bias = normal(*logits.shape)
    results, peer_results = aligned(logits.shape), torch.empty(logits.shape)
    tensor, added = torch.from_numpy(logits), torch.from_numpy(bias)

    def peer():
        torch.softmax(torch.add(added, tensor, alpha=0.125), -1, out=peer_results)

    # The preprocessed logits are rounded: errors are those of the softmax of the rounded ones.
    exact = exact_softmax(np.float32(0.125) * logits + bias)
    errors = lambda: (ulps(results, exact), ulps(peer_results.numpy(), exact))
    run = crate("scale and bias", logits, results, other=bias)
    return Case("scale and bias", logits.shape, run, peer, errors)


def softmax_of_axis():
    logits = normal(16, 256, 64)
    results, peer_results = aligned(logits.shape), torch.empty(logits.shape)
    tensor = torch.from_numpy(logits)
    exact = exact_softmax(logits, 1)
    name = "softmax of axis 1"
    errors = lambda: (ulps(results, exact), ulps(peer_results.numpy(), exact))
    peer = lambda: torch.softmax(tensor, 1, out=peer_results)
    return Case(name, logits.shape, crate(name, logits, results), peer, errors)


def log_sum_exp_of_axis():
    logits = normal(16, 256, 64)
    results, peer_results = aligned((16, 64)), torch.empty(16, 64)
    tensor = torch.from_numpy(logits)
    exact = np.log(np.exp(logits.astype(np.float64)).sum(1))
    size = np.maximum(np.abs(exact), 1)
    name = "log-sum-exp of axis 1"
    errors = lambda: (ulps(results, exact, size), ulps(peer_results.numpy(), exact, size))
    peer = lambda: torch.logsumexp(tensor, 1, out=peer_results)
    return Case(name, logits.shape, crate(name, logits, results), peer, errors)


def cross_entropy(name, rows, columns, **options):
    """The mean of classes, or of distributions where `name` begins with "soft"."""
    logits, results = normal(1, rows, columns), aligned((1,))
    classes = RANDOM.integers(columns, size=rows)
    soft = copy(exact_softmax(normal(rows, columns)).astype(np.float32))
    is_soft = name.startswith("soft")
    targets = torch.from_numpy(soft if is_soft else classes)
    tensor, peer_result = torch.from_numpy(logits[0]), []

    def peer():
        with torch.inference_mode():
            peer_result[:] = [functional.cross_entropy(tensor, targets, **options)]

    def errors():
        wide = targets.double() if is_soft else targets
        exact = functional.cross_entropy(tensor.double(), wide, **options).numpy()
        return ulps(results[0], exact), ulps(peer_result[0].numpy(), exact)

    run = crate(name, logits, results, other=soft, targets=classes)
    return Case(name, logits.shape[1:], run, peer, errors)


def cross_entropy_gradient(rows, columns):
    logits, results = normal(1, rows, columns), aligned((rows, columns))
    classes = RANDOM.integers(columns, size=rows)
    tensor = torch.from_numpy(logits[0]).requires_grad_()
    targets = torch.from_numpy(classes)

    def peer():
        tensor.grad = None
        functional.cross_entropy(tensor, targets).backward()

    exact = exact_softmax(logits[0])
    size = exact.copy()
    exact[np.arange(rows), classes] -= 1
    size[np.arange(rows), classes] = 1
    exact, size = exact / rows, size / rows
    errors = lambda: (ulps(results, exact, size), ulps(tensor.grad.numpy(), exact, size))
    name = "cross-entropy, gradient"
    run = crate(name, logits, results, targets=classes)
    return Case(name, logits.shape[1:], run, peer, errors)


def gradient_of_softmax(rows, columns):
    probabilities = copy(exact_softmax(normal(1, rows, columns)).astype(np.float32))
    upstream, results = normal(1, rows, columns), aligned((1, rows, columns))
    tensor, above = torch.from_numpy(probabilities), torch.from_numpy(upstream)
    peer_results = torch.empty(1, rows, columns)
    backward = torch.ops.aten._softmax_backward_data

    def peer():
        backward.out(above, tensor, -1, torch.float32, grad_input=peer_results)

    p, g = probabilities.astype(np.float64), upstream.astype(np.float64)
    mean, of_magnitudes = (p * g).sum(-1, keepdims=True), (p * np.abs(g)).sum(-1, keepdims=True)
    exact, size = p * (g - mean), p * np.maximum(np.abs(g), of_magnitudes)
    errors = lambda: (ulps(results, exact, size), ulps(peer_results.numpy(), exact, size))
    name = "gradient of softmax"
    run = crate(name, probabilities, results, other=upstream)
    return Case(name, probabilities.shape[1:], run, peer, errors)


def top_five(columns):
    logits, results = normal(1, 1, columns), aligned((5,))
    tensor, peer_result = torch.from_numpy(logits[0, 0]), []

    def peer():
        with torch.inference_mode():
            peer_result[:] = [torch.topk(torch.softmax(tensor, -1), 5).values]

    exact = -np.sort(-exact_softmax(logits[0, 0]))[:5]
    errors = lambda: (ulps(results, exact), ulps(peer_result[0].numpy(), exact))
    return Case("top 5", logits.shape[1:], crate("top 5", logits, results), peer, errors)


def draw(columns):
    """As the samplers of PyTorch's users: sort, running sum, and a comparison with the uniform number."""
    logits, results = normal(1, 1, columns), aligned((1,))
    tensor, drawn = torch.from_numpy(logits[0, 0]), []

    def peer():
        with torch.inference_mode():
            order = torch.softmax(tensor / 0.7, -1).sort(descending=True)
            sums = order.values.cumsum(-1)
            kept = torch.searchsorted(sums, 0.95) + 1
            place = torch.searchsorted(sums[:kept], UNIFORM * sums[kept - 1])
            drawn[:] = [order.indices[place]]

    name = "draw, top-p"
    return Case(name, logits.shape[1:], crate(name, logits, results), peer, lambda: None)


def cases():
    yield causal(16)
    yield causal(64)
    yield causal(256)
    yield causal(1024)
    yield lengths()
    yield scale_and_bias()
    yield softmax_of_axis()
    yield log_sum_exp_of_axis()
    for name, options in [
        ("cross-entropy", {}),
        ("smoothed cross-entropy", {"label_smoothing": 0.1}),
        ("soft cross-entropy", {}),
    ]:
        yield cross_entropy(name, 4096, 10, **options)
        yield cross_entropy(name, 64, 32768, **options)
    yield cross_entropy_gradient(4096, 10)
    yield cross_entropy_gradient(64, 32768)
    yield gradient_of_softmax(4096, 64)
    yield gradient_of_softmax(64, 32768)
    yield top_five(128256)
    yield draw(128256)


def measure(case, seconds):
    """The time of PyTorch as a multiple of the crate's, and the crate's in microseconds."""
    runs = [case.run, case.peer]
    for run in runs:
        run()
    rounds = times_in_turns(runs, seconds)
    return np.median(rounds[:, 1] / rounds[:, 0]), np.median(rounds[:, 0]) * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    print("Time of PyTorch as a multiple of the crate's. Error in ULP, the worst.\n")
    print("| operation | shape | crate, µs | PyTorch | error: crate | PyTorch |")
    print("|---|---|---:|---:|---:|---:|")
    ratios = []
    for case in cases():
        ratio, each = measure(case, seconds)
        ratios.append(ratio)
        errors = case.errors()
        cells = [case.name, " × ".join(map(str, case.shape)), f"{each:.1f}", f"{ratio:.2f}×"]
        cells += ["", ""] if errors is None else [f"{error:.1f}" for error in errors]
        print("| " + " | ".join(cells) + " |", flush=True)
    mean = np.exp(np.log(ratios).mean())
    print(f"\nPyTorch's time in the geometric mean: {mean:.2f}×.\n")
    versions = f"{compiler()}; {LIBRARY.backend().decode()}; torch {importlib.metadata.version('torch')}"
    print(f"{processor()}, one thread; {versions}.")


if __name__ == "__main__":
    main()
