// Prints nanoseconds an element at some lengths, and bytes of stack, of the operation of a module;
// without a module, the times of the textbook's loops in JavaScript. Times are the least of several.
import { readFile } from "node:fs/promises";

const lengths = [10, 100, 1000, 32768];

function textbook(row) {
    let max = -Infinity;
    for (const logit of row) max = Math.max(max, logit);
    let sum = 0;
    for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - max);
    for (let i = 0; i < row.length; i++) row[i] /= sum;
}

const path = process.argv[2];
let rowOf = (len) => new Float32Array(len);
let run = (row) => textbook(row);
let stack = null;
if (path) {
    const { exports } = (await WebAssembly.instantiate(await readFile(path))).instance;
    rowOf = (len) => new Float32Array(exports.memory.buffer, exports.row(), len);
    run = (row) => exports.run(row.length);
    // The stack lies below the data, from the megabyte down, and nothing else writes there.
    stack = (len) => {
        const words = new Uint32Array(exports.memory.buffer, 0, 2 ** 18);
        words.fill(0xa5a55a5a);
        run(rowOf(len));
        const untouched = words.findIndex((word) => word !== 0xa5a55a5a);
        return untouched < 0 ? 0 : 4 * (words.length - untouched);
    };
}

const columns = [];
for (const len of lengths) {
    const row = rowOf(len);
    const logits = Float32Array.from({ length: len }, (_, i) => 8 * Math.sin(12.9898 * (i + 1)));
    const times = Math.ceil(100000 / len);
    const timed = (work) => {
        let least = Infinity;
        for (let round = 0; round < 20; round++) {
            const begin = performance.now();
            for (let i = 0; i < times; i++) work();
            least = Math.min(least, performance.now() - begin);
        }
        return least;
    };
    const copying = timed(() => row.set(logits));
    const all = timed(() => {
        row.set(logits);
        run(row);
    });
    columns.push((((all - copying) * 1e6) / times / len).toFixed(2));
}
if (stack) columns.push(Math.max(...lengths.map(stack)));
else columns.push("");
console.log(columns.join(" | "));
