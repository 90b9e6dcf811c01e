// Runs core-bench, compiled for wasm32-wasip1, in the V8 of Node: node benches/core/run-wasi.mjs core-bench.wasm ARGUMENT…
//
// The filter's adapter to Envoy is part of the program and asks for Envoy's functions; the benchmark never calls them.

import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const [program, ...args] = process.argv.slice(2);
if (program === undefined) {
  console.error('usage: node run-wasi.mjs core-bench.wasm ARGUMENT…');
  process.exit(2);
}

const wasi = new WASI({ version: 'preview1', args: ['core-bench', ...args], env: {}, returnOnExit: true });
const module = await WebAssembly.compile(await readFile(program));
const imports = wasi.getImportObject();
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  if (from !== 'wasi_snapshot_preview1') {
    imports[from] ??= {};
    imports[from][name] = () => {
      throw new Error(`the benchmark calls ${from}.${name}, which only Envoy has`);
    };
  }
}
// The same keys for every hash map, so that every run does the same.
let random = 0;
imports.wasi_snapshot_preview1.random_get = (pointer, length) => {
  const memory = new Uint8Array(instance.exports.memory.buffer, pointer, length);
  for (let index = 0; index < length; index += 1) {
    random = (random + 1) % 251;
    memory[index] = random;
  }
  return 0;
};

const instance = await WebAssembly.instantiate(module, imports);
// A proxy-wasm module is a reactor and a program a command; this one has the exports of both, and WASI runs it as a command.
const { memory, _start } = instance.exports;
process.exitCode = wasi.start({ exports: { memory, _start } });
