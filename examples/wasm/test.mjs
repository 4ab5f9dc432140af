import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { load } from "./softmax.mjs";

const { softmax, logSoftmax, logSumExp } = await load(readFile(new URL("softmax.wasm", import.meta.url)));
const near = (a, b) => assert.ok(Math.abs(a - b) <= 1e-6 * Math.abs(b), `${a} is not ${b}`);

const probabilities = softmax(Float32Array.of(1, 2, 3));
near(probabilities[0], 0.0900305732);
near(probabilities[2], 0.6652409558);
near(logSoftmax(Float32Array.of(1, 2, 3))[2], -0.4076059644);
near(logSumExp(Float32Array.of(1000, 1000)), 1000 + Math.LN2);
assert.equal(softmax(new Float32Array(0)).length, 0);
assert.deepEqual(softmax(Float32Array.of(-Infinity, 0)), Float32Array.of(0, 1));
// Memory grows; earlier results are copies.
const long = softmax(new Float32Array(1 << 20));
assert.ok(long.every((probability) => probability === 2 ** -20));
near(probabilities[2], 0.6652409558);
console.log("the wrapper is right");
