"""Softmax by this crate beside XNNPACK, ONNX Runtime and PyTorch as their Python wheels run it:
the speed and the accuracy of each, in one process, as a Markdown table.

    cargo build --release --manifest-path benches/wheels/Cargo.toml
    python3 benches/wheels/compare.py

Needs Python 3.11 and, from pip, numpy, flatbuffers, ai-edge-litert (which has XNNPACK), onnx,
onnxruntime and torch. An argument gives the seconds each shape takes, which are 2 otherwise.

Each has one thread, and memory of its own for logits and probabilities, allocated beforehand. A
round runs each once, in random order; a figure is the median, over the rounds, of the time it took
divided by the time the crate took in the same round. Errors are in units in the last place (ULP) of
the f32 result, against float64, over the results that are at least 2^−126.
"""

import ctypes
import importlib.metadata
import os
import pathlib
import platform
import random
import re
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

SHAPES = [(65536, 10), (4096, 100), (1024, 1000), (32, 32768), (1, 1048576)]
HERE = pathlib.Path(__file__).resolve().parent


def load_library():
    names = {"darwin": "libwheels.dylib", "win32": "wheels.dll"}
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE / "target"))
    library = ctypes.CDLL(str(target / "release" / names.get(sys.platform, "libwheels.so")))
    pointer, size = ctypes.POINTER(ctypes.c_float), ctypes.c_size_t
    library.softmax_rows.argtypes = [pointer, size, size, pointer]
    library.softmax_rows.restype = ctypes.c_int32
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


# Each contender takes the logits and returns two functions: one computes, the other gives the result
# as an array.


def crate(logits):
    logits, probabilities = copy(logits), aligned(logits.shape)
    floats = ctypes.c_float * logits.size
    source, destination = floats.from_buffer(logits), floats.from_buffer(probabilities)
    arguments = source, logits.size, logits.shape[1], destination

    def run():
        if LIBRARY.softmax_rows(*arguments) != 0:
            raise ValueError("not a whole number of rows")

    return run, lambda: probabilities


def xnnpack(logits):
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


def onnx_runtime(logits):
    shape, kind = list(logits.shape), onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1)],
        "softmax",
        [onnx.helper.make_tensor_value_info("logits", kind, shape)],
        [onnx.helper.make_tensor_value_info("probabilities", kind, shape)],
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    logits, probabilities = copy(logits), aligned(logits.shape)
    binding = session.io_binding()
    binding.bind_input("logits", "cpu", 0, np.float32, shape, logits.ctypes.data)
    binding.bind_output("probabilities", "cpu", 0, np.float32, shape, probabilities.ctypes.data)
    binding.memory = logits, probabilities  # Of these it has only the addresses.
    return lambda: session.run_with_iobinding(binding), lambda: probabilities


def pytorch(logits):
    logits = torch.from_numpy(copy(logits))
    probabilities = torch.from_numpy(aligned(logits.shape))

    def run():
        with torch.inference_mode():
            torch.softmax(logits, 1, out=probabilities)

    return run, probabilities.numpy


CONTENDERS = [crate, xnnpack, onnx_runtime, pytorch]
NAMES = ["crate", "XNNPACK", "ONNX Runtime", "PyTorch"]


def worst_ulp(logits, results):
    """Of each array in `results`."""
    worst = [0.0] * len(results)
    for row, *given in zip(logits, *results, strict=True):
        row = row.astype(np.float64)
        exact = np.exp(row - row.max())
        exact /= exact.sum()
        normal = exact >= 2.0**-126
        exact = exact[normal]
        ulp = np.ldexp(1.0, np.frexp(exact)[1] - 24)
        for i, values in enumerate(given):
            error = np.abs(values[normal] - exact) / ulp
            worst[i] = max(worst[i], float(error.max()))
    return worst


def measure(shape, seconds):
    """For each contender the time as a multiple of the crate's, and the worst error; then the seconds
    that the crate takes for an element."""
    logits = 4 * np.random.default_rng(0).standard_normal(shape, np.float32)
    runs, results = zip(*(contender(logits) for contender in CONTENDERS))
    for run in runs:
        run()
    errors = worst_ulp(logits, [result() for result in results])

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
    rounds = np.array(rounds)
    return np.median(rounds / rounds[:, :1], axis=0), errors, np.median(rounds[:, 0]) / logits.size


def processor():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        fields = dict(re.findall(r"^(.*?)\s*: (.*)$", text, re.MULTILINE))
        numbers = f"family {fields['cpu family']}, model {fields['model']}"
        return f"{fields['model name']} ({numbers})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    torch.set_num_threads(1)
    version = tomllib.loads((HERE / "../../Cargo.toml").read_text())["package"]["version"]
    versions = [f"online-softmax {version} ({LIBRARY.backend().decode()})"]
    for wheel in ["ai-edge-litert", "onnxruntime", "torch"]:
        versions.append(f"{wheel} {importlib.metadata.version(wheel)}")
    lines = [
        f"{processor()}, one thread; {', '.join(versions)}.",
        "Time as a multiple of the crate's: above 1× the crate is faster. Error in ULP, the worst.",
        "",
        f"| rows × columns | time: {' | '.join(NAMES[1:])} | error: {' | '.join(NAMES)} |",
        "|---|" + "---:|" * 7,
    ]
    for shape in SHAPES:
        ratios, errors, each = measure(shape, seconds)
        print(f"{shape}: the crate takes {each * 1e9:.3f} ns an element", file=sys.stderr)
        cells = [f"{shape[0]} × {shape[1]}"]
        cells += [f"{ratio:.2f}×" for ratio in ratios[1:]]
        cells += [f"{error:.1f}" if error < 100 else f"{error:.0f}" for error in errors]
        lines.append("| " + " | ".join(cells) + " |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
