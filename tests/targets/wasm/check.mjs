// Compares a module with the textbook's formulas in double precision and with the table of special
// values. Throws where it is wrong. Under Node it prints the digest and the worst errors.
//
// The error is in ULP of the `f32` result, for log-sum-exp of max(1, |result|). The bounds are those
// of the documentation.

const bounds = { softmax: 3, log_softmax: 3, log_sum_exp: 2 };

function ulp(value) {
    const exponent = Math.floor(Math.log2(Math.max(Math.abs(value), 2 ** -126)));
    return 2 ** (exponent - 23);
}

function reference(row) {
    const max = Math.max(...row);
    const terms = Array.from(row, (logit) => Math.exp(logit - max));
    const others = terms.reduce((sum, term) => sum + term, 0) - 1;
    const log = Math.log1p(others);
    return {
        softmax: terms.map((term) => term / (1 + others)),
        log_softmax: Array.from(row, (logit) => logit - max - log),
        log_sum_exp: max + log,
    };
}

function same(found, expected, what) {
    for (let i = 0; i < expected.length; i++) {
        if (!Object.is(Math.fround(expected[i]), found[i])) {
            throw new Error(`${what}: ${found} is not ${expected}`);
        }
    }
}

export function check(exports) {
    const { memory, row, results, softmax, log_softmax, log_sum_exp, digest_of_results } = exports;
    const put = (logits) => new Float32Array(memory.buffer, row(), logits.length).set(logits);
    const found = (len) => new Float32Array(memory.buffer, results(), len);
    const worst = { softmax: 0, log_softmax: 0, log_sum_exp: 0 };
    const note = (name, value, truth, unit) => {
        const error = Math.abs(value - truth) / unit;
        if (!(error <= bounds[name])) throw new Error(`${name}: ${value} is ${error} ULP from ${truth}`);
        worst[name] = Math.max(worst[name], error);
    };
    let state = 1;
    const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1;
    for (const len of [1, 2, 3, 7, 10, 17, 32, 33, 100, 1000, 4096, 32768]) {
        for (const spread of [0.5, 4, 16, 40]) {
            for (let round = 0; round < Math.max(1, 300 / len); round++) {
                const logits = Float32Array.from({ length: len }, () => random() * spread);
                const truth = reference(logits);
                put(logits);
                softmax(len);
                found(len).forEach((p, i) => note("softmax", p, truth.softmax[i], ulp(truth.softmax[i])));
                log_softmax(len);
                // The oracle itself loses what is next to 0.
                found(len).forEach((p, i) => {
                    const unit = ulp(truth.log_softmax[i]);
                    note("log_softmax", p, truth.log_softmax[i], Math.max(unit, 1e-14));
                });
                const unit = ulp(Math.max(1, Math.abs(truth.log_sum_exp)));
                note("log_sum_exp", log_sum_exp(len), truth.log_sum_exp, unit);
            }
        }
    }
    // Row, softmax, log-softmax, log-sum-exp.
    const [inf, nan] = [Infinity, NaN];
    for (const [logits, probabilities, logs, sum] of [
        [[], [], [], -inf],
        [[1, nan, 2], [nan, nan, nan], [nan, nan, nan], nan],
        [[1, inf, 2], [nan, nan, nan], [nan, nan, nan], inf],
        [[-inf, -inf], [nan, nan], [nan, nan], -inf],
        [[-inf, 5], [0, 1], [-inf, 0], 5],
        [[7], [1], [0], 7],
        [[3, 3, 3, 3], [0.25, 0.25, 0.25, 0.25], [], 3 + Math.log(4)],
        [[1e38, -1e38], [1, 0], [0, -2e38], 1e38],
    ]) {
        put(logits);
        softmax(logits.length);
        same(found(logits.length), probabilities, `softmax of ${logits}`);
        log_softmax(logits.length);
        same(found(logs.length), logs, `log-softmax of ${logits}`);
        same([log_sum_exp(logits.length)], [sum], `log-sum-exp of ${logits}`);
    }
    const digest = BigInt.asUintN(64, digest_of_results()).toString(16).padStart(16, "0");
    const errors = Object.entries(worst).map(([name, error]) => `${name} ${error.toFixed(3)}`);
    return `${digest} special values are right; worst errors in ULP: ${errors.join(", ")}`;
}

if (typeof process !== "undefined" && process.argv[1] === import.meta.filename) {
    const { readFile } = await import("node:fs/promises");
    const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]));
    console.log(check(instance.exports));
}
