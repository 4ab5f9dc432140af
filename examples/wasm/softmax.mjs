// const { softmax } = await load(fetch(new URL("softmax.wasm", import.meta.url)));
// const probabilities = softmax(Float32Array.of(1, 2, 3));

/** The functions of the module: `source` is a Response, a promise of one, or the bytes. */
export async function load(source) {
    source = await source;
    const isResponse = typeof Response !== "undefined" && source instanceof Response;
    const { instance } = isResponse
        ? await WebAssembly.instantiateStreaming(source)
        : await WebAssembly.instantiate(source);
    const module = instance.exports;
    const view = (logits) => {
        const address = module.reserve(logits.length);
        if (address === 0 && logits.length > 0) throw new RangeError("no memory for the row");
        return new Float32Array(module.memory.buffer, address, logits.length);
    };
    const put = (logits) => {
        const row = view(logits);
        row.set(logits);
        return row;
    };
    return {
        /** The probabilities of a row of logits, as a new Float32Array. */
        softmax(logits) {
            const row = put(logits);
            module.softmax();
            return row.slice();
        },
        /** The logarithms of the probabilities. */
        logSoftmax(logits) {
            const row = put(logits);
            module.log_softmax();
            return row.slice();
        },
        /** The logarithm of the sum of the exponentials. */
        logSumExp(logits) {
            put(logits);
            return module.log_sum_exp();
        },
    };
}
