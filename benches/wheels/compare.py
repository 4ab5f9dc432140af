"""Softmax, log-softmax and log-sum-exp by this crate beside XNNPACK, ONNX Runtime and PyTorch as their
Python wheels run them: the speed and the accuracy of each, in one process, as Markdown tables.

    cargo build --release --manifest-path benches/wheels/Cargo.toml
    python3 benches/wheels/compare.py [--seconds SECONDS_A_SHAPE] [OPERATION | ROWSxCOLUMNS ...]

Needs Python 3.11 and, from pip, numpy, flatbuffers, ai-edge-litert (which has XNNPACK), onnx,
onnxruntime and torch. The operations are softmax, log_softmax and log_sum_exp, by default all of them.
XNNPACK has only the first.

Each has one thread, and memory of its own for logits and results, allocated beforehand. A round runs
each once, in random order; a figure is the median, over the rounds, of the time it took divided by the
time the crate took in the same round. Errors are in units in the last place (ULP) of the f32 result,
against float64: of the softmax over the results that are at least 2^−126, of the log-sum-exp in ULP of
max(1, |result|).
"""

import argparse
import ctypes
import importlib.metadata
import os
import pathlib
import platform
import random
import re
import subprocess
import sys
import time
import tomllib

import flatbuffers
import numpy as np
import onnx
import onnxruntime
import torch
from ai_edge_litert import schema_py_generated as tflite
from ai_edge_litert.interpreter import Interpreter

SHAPES = [
    (65536, 10),
    (16384, 17),
    (8192, 32),
    (4096, 64),
    (4096, 100),
    (2048, 197),
    (1024, 256),
    (1024, 1000),
    (256, 4096),
    (32, 32768),
    (16, 128256),
    (16, 151936),
    (1, 1048576),
    (16384, 1024),
]
OPERATIONS = ["softmax", "log_softmax", "log_sum_exp"]
HERE = pathlib.Path(__file__).resolve().parent


def load_library():
    names = {"darwin": "libwheels.dylib", "win32": "wheels.dll"}
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
    library = ctypes.CDLL(str(target / "release" / names.get(sys.platform, "libwheels.so")))
    pointer, size = ctypes.POINTER(ctypes.c_float), ctypes.c_size_t
    for operation in OPERATIONS:
        function = getattr(library, f"{operation}_rows")
        function.argtypes = [pointer, size, size, pointer]
        function.restype = ctypes.c_int32
    library.backend.restype = ctypes.c_char_p
    return library


LIBRARY = load_library()


def aligned(shape):
    """Zeros that begin a cache line, as the others allocate them."""
    count = int(np.prod(shape))
    memory = np.zeros(count + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + count].reshape(shape)


def copy(logits):
    memory = aligned(logits.shape)
    memory[:] = logits
    return memory


def place(operation, logits):
    """Where the results go."""
    return aligned(logits.shape[:1] if operation == "log_sum_exp" else logits.shape)


# Each contender takes an operation and the logits and returns two functions: one computes, the other
# gives the results as an array.


def crate(operation, logits):
    logits, results = copy(logits), place(operation, logits)
    source = (ctypes.c_float * logits.size).from_buffer(logits)
    destination = (ctypes.c_float * results.size).from_buffer(results)
    function = getattr(LIBRARY, f"{operation}_rows")

    def run():
        if function(source, logits.size, logits.shape[1], destination) != 0:
            raise ValueError("not a whole number of rows")

    return run, lambda: results


def xnnpack(_, logits):
    """A TensorFlow Lite model of one operator, which its interpreter gives to XNNPACK."""

    def tensor(name, buffer):
        tensor = tflite.TensorT()
        tensor.name, tensor.buffer, tensor.shape = name, buffer, list(logits.shape)
        tensor.type = tflite.TensorType.FLOAT32
        return tensor

    softmax, code = tflite.OperatorT(), tflite.OperatorCodeT()
    code.deprecatedBuiltinCode = code.builtinCode = tflite.BuiltinOperator.SOFTMAX
    code.version = 1
    softmax.opcodeIndex, softmax.inputs, softmax.outputs = 0, [0], [1]
    softmax.builtinOptionsType = tflite.BuiltinOptions.SoftmaxOptions
    softmax.builtinOptions = tflite.SoftmaxOptionsT()
    softmax.builtinOptions.beta = 1.0
    graph, model = tflite.SubGraphT(), tflite.ModelT()
    graph.tensors = [tensor("logits", 1), tensor("probabilities", 2)]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [softmax]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [tflite.BufferT() for _ in range(3)]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")

    interpreter = Interpreter(model_content=bytes(builder.Output()), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], logits)
    output = interpreter.get_output_details()[0]["index"]
    if not any(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details()):
        raise RuntimeError("this wheel does not give the operator to XNNPACK")
    return interpreter.invoke, lambda: interpreter.get_tensor(output)


def onnx_runtime(operation, logits):
    logits, results, kind = copy(logits), place(operation, logits), onnx.TensorProto.FLOAT
    operator, attributes = {
        "softmax": ("Softmax", {"axis": -1}),
        "log_softmax": ("LogSoftmax", {"axis": -1}),
        "log_sum_exp": ("ReduceLogSumExp", {"axes": [-1], "keepdims": 0}),
    }[operation]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["logits"], ["results"], **attributes)],
        operation,
        [onnx.helper.make_tensor_value_info("logits", kind, logits.shape)],
        [onnx.helper.make_tensor_value_info("results", kind, results.shape)],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_input("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
    binding.bind_output("results", "cpu", 0, np.float32, results.shape, results.ctypes.data)
    binding.memory = logits, results  # Of these it has only the addresses.
    return lambda: session.run_with_iobinding(binding), lambda: results


def pytorch(operation, logits):
    results = torch.from_numpy(place(operation, logits))
    logits = torch.from_numpy(copy(logits))
    function = {
        "softmax": torch.softmax,
        "log_softmax": torch.log_softmax,
        "log_sum_exp": torch.logsumexp,
    }[operation]

    def run():
        with torch.inference_mode():
            function(logits, 1, out=results)

    return run, results.numpy


CONTENDERS = {
    "crate": crate,
    "XNNPACK": xnnpack,
    "ONNX Runtime": onnx_runtime,
    "PyTorch": pytorch,
}


def names(operation):
    """Of the contenders that have it."""
    return [name for name in CONTENDERS if operation == "softmax" or name != "XNNPACK"]


def exact_results(operation, row):
    row = row.astype(np.float64)
    below = row - row.max()
    # The denominator less the 1 of the maximum: a log-softmax near 0 depends on its digits.
    rest = np.exp(np.delete(below, below.argmax())).sum()
    if operation == "softmax":
        return np.exp(below) / (1 + rest)
    if operation == "log_softmax":
        return below - np.log1p(rest)
    return row.max(keepdims=True) + np.log1p(rest)


def worst_ulp(operation, logits, results):
    """Of each array in `results`."""
    worst = [0.0] * len(results)
    for row, *given in zip(logits, *results, strict=True):
        exact = exact_results(operation, row)
        size = np.maximum(np.abs(exact), 1.0 if operation == "log_sum_exp" else 2.0**-126)
        ulp = np.ldexp(1.0, np.frexp(size)[1] - 24)
        counts = exact >= 2.0**-126 if operation == "softmax" else np.full(exact.shape, True)
        for i, values in enumerate(given):
            error = np.abs(values - exact)[counts] / ulp[counts]
            # Not Python's `max`, which may lose NaN.
            worst[i] = float(np.maximum(worst[i], error.max()))
    return worst


def times_in_turns(runs, seconds):
    """The time of each in each round."""
    order, rounds = list(range(len(runs))), []
    end = time.perf_counter() + seconds
    while not rounds or time.perf_counter() < end:
        random.shuffle(order)
        times = [0.0] * len(runs)
        for i in order:
            start = time.perf_counter()
            runs[i]()
            times[i] = time.perf_counter() - start
        rounds.append(times)
    return np.array(rounds)


def measure(operation, shape, seconds):
    """For each contender the time as a multiple of the crate's, and the worst error; then the seconds
    that the crate takes for an element."""
    logits = 4 * np.random.default_rng(0).standard_normal(shape, np.float32)
    contenders = [CONTENDERS[name](operation, logits) for name in names(operation)]
    runs, results = zip(*contenders)
    for run in runs:
        run()
    errors = worst_ulp(operation, logits, [result() for result in results])

    rounds = times_in_turns(runs, seconds)
    return np.median(rounds / rounds[:, :1], axis=0), errors, np.median(rounds[:, 0]) / logits.size


def table(operation, shapes, seconds):
    contenders, best = names(operation), []
    lines = [
        f"{operation}:",
        "",
        f"| rows × columns | time: {' | '.join(contenders[1:])} | error: {' | '.join(contenders)} |",
        "|---|" + "---:|" * (2 * len(contenders) - 1),
    ]
    for shape in shapes:
        ratios, errors, each = measure(operation, shape, seconds)
        print(f"{operation} of {shape}: {each * 1e9:.3f} ns an element", file=sys.stderr)
        best.append(min(ratios[1:]))
        cells = [f"{shape[0]} × {shape[1]}"]
        cells += [f"{ratio:.2f}×" for ratio in ratios[1:]]
        cells += [f"{error:.1f}" if error < 100 else f"{error:.0f}" for error in errors]
        lines.append("| " + " | ".join(cells) + " |")
    mean = np.exp(np.log(best).mean())
    return [*lines, "", f"The best peer's time, geometric mean over the shapes: {mean:.2f}×."]


def processor():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        fields = dict(re.findall(r"^(.*?)\s*: (.*)$", text, re.MULTILINE))
        numbers = f"family {fields['cpu family']}, model {fields['model']}"
        return f"{fields['model name']} ({numbers})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def compiler():
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("words", nargs="*", metavar="OPERATION | ROWSxCOLUMNS")
    arguments = parser.parse_args()
    operations = [word for word in arguments.words if word in OPERATIONS]
    shapes = [word.split("x") for word in arguments.words if word not in OPERATIONS]
    try:
        shapes = [(int(rows), int(columns)) for rows, columns in shapes]
    except ValueError:
        parser.error(f"neither an operation ({', '.join(OPERATIONS)}) nor a shape like 1024x1000")
    return operations or OPERATIONS, shapes or SHAPES, arguments.seconds


def main():
    operations, shapes, seconds = parse_arguments()
    torch.set_num_threads(1)
    version = tomllib.loads((HERE / "../../Cargo.toml").read_text())["package"]["version"]
    versions = [f"online-softmax {version} ({LIBRARY.backend().decode()})"]
    for wheel in ["ai-edge-litert", "onnxruntime", "torch"]:
        versions.append(f"{wheel} {importlib.metadata.version(wheel)}")
    lines = ["Time as a multiple of the crate's: above 1× the crate is faster. Error in ULP, the worst."]
    for operation in operations:
        lines += ["", *table(operation, shapes, seconds)]
    lines += ["", f"{processor()}, one thread; {compiler()}; {', '.join(versions)}."]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
