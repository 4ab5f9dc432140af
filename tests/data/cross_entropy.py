"""Writes cross_entropy.csv: losses and gradients of torch.nn.functional.cross_entropy in float64.

    pip install torch && python cross_entropy.py > cross_entropy.csv

Logits, targets, weights and smoothing are f32 numbers, written with 9 digits. A record is a line of
`kind,values…`; a case begins with `case` and has

    case     classes | soft, rows, columns, smoothing, the ignored target or -1
    logits, targets, weights (none: no class weights)
    none, sum, mean                  the losses by reduction
    gradient                         of the mean by the logits
    gradient_none                    of the losses, with the upstream gradients 1, -2, 3, …
"""

import itertools
import struct
import sys

import torch
import torch.nn.functional as functional

torch.manual_seed(1)


def f32(tensor):
    """Rounded to f32, kept as float64."""
    return tensor.to(torch.float32).to(torch.float64)


def write(kind, values, digits=12):
    values = values.detach().flatten().tolist()
    print(",".join([kind, *(f"{value:.{digits}g}" for value in values)]))


def case(rows, columns, is_soft, has_weights, smoothing, is_ignored, spread):
    logits = f32(torch.randn(rows, columns, dtype=torch.float64) * spread)
    weights = f32(torch.rand(columns, dtype=torch.float64) * 2) if has_weights else None
    ignored = 1 % columns if is_ignored else -1
    if is_soft:
        targets = f32(torch.softmax(torch.randn(rows, columns, dtype=torch.float64) * 2, 1))
    else:
        targets = torch.randint(columns, (rows,))
        # At least one row counts.
        targets[0] = 0
        # This one is confident and right.
        logits[0, 0] = f32(logits[0].max() + 12)
    smoothing = struct.unpack("f", struct.pack("f", smoothing))[0]
    logits.requires_grad_(True)

    def loss(reduction):
        options = {"weight": weights, "reduction": reduction, "label_smoothing": smoothing}
        if not is_soft:
            options["ignore_index"] = ignored
        return functional.cross_entropy(logits, targets, **options)

    def gradient(of, upstream=None):
        (result,) = torch.autograd.grad(of, logits, upstream)
        return result

    name = "soft" if is_soft else "classes"
    print(f"case,{name},{rows},{columns},{smoothing:.9g},{ignored}")
    write("logits", logits, digits=9)
    write("targets", targets, digits=9)
    write("weights", weights if has_weights else torch.empty(0), digits=9)
    write("none", loss("none"))
    write("sum", loss("sum"))
    write("mean", loss("mean"))
    write("gradient", gradient(loss("mean")))
    upstream = torch.tensor([(row + 1.0) * (-1) ** row for row in range(rows)], dtype=torch.float64)
    write("gradient_none", gradient(loss("none"), upstream))


print(f"# torch {torch.__version__}, {torch.get_default_dtype()}", file=sys.stderr)
shapes = [(1, 1, 1.0), (3, 2, 3.0), (5, 7, 1.0), (3, 33, 8.0)]
for (rows, columns, spread), is_soft, has_weights, smoothing, is_ignored in itertools.product(
    shapes, [False, True], [False, True], [0.0, 0.1, 1.0], [False, True]
):
    # Columns of 1 would leave no row; distributions ignore none.
    if is_ignored and (is_soft or columns == 1):
        continue
    case(rows, columns, is_soft, has_weights, smoothing, is_ignored, spread)
