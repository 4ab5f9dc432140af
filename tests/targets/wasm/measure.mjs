// Prints the digest of a module, and nanoseconds an element at some lengths: of the softmax, of the textbook's
// loops, and of plain JavaScript. Times are the least of several.
import { readFile } from "node:fs/promises";

const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]));
const { address, digest, memory, softmax, textbook } = instance.exports;
console.log(`digest ${BigInt.asUintN(64, digest()).toString(16).padStart(16, "0")}`);

function plain(row) {
    let max = -Infinity;
    for (const logit of row) max = Math.max(max, logit);
    let sum = 0;
    for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - max);
    for (let i = 0; i < row.length; i++) row[i] /= sum;
}

for (const len of [10, 100, 1000, 32768]) {
    const row = new Float32Array(memory.buffer, address(), len);
    const logits = Float32Array.from({ length: len }, (_, i) => 8 * Math.sin(12.9898 * (i + 1)));
    const results = [];
    for (const run of [() => softmax(len), () => textbook(len), () => plain(row)]) {
        const times = Math.ceil(200000 / len);
        const timed = (work) => {
            let least = Infinity;
            for (let round = 0; round < 25; round++) {
                const begin = performance.now();
                for (let i = 0; i < times; i++) work();
                least = Math.min(least, performance.now() - begin);
            }
            return least;
        };
        const copy = () => row.set(logits);
        const copying = timed(copy);
        const all = timed(() => {
            copy();
            run();
        });
        const least = all - copying;
        results.push(((least * 1e6) / times / len).toFixed(2));
    }
    console.log(`${len} ${results.join(" ")}`);
}
