// The table in README.md: written by a run, compared under CI=true. Cells that a run leaves out, since a program is not on
// its machine, stay as they were.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const README = join(dirname(fileURLToPath(import.meta.url)), 'README.md');
const [BEGIN, END] = ['<!-- made by the run: begin -->', '<!-- made by the run: end -->'];

/// Cells by "publisher>watcher".
function read(table) {
	const rows = table.trim().split('\n').map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()));
	const [[, ...watchers] = [], , ...body] = rows;
	return new Map(body.flatMap(([publisher, ...cells]) => cells.map((cell, at) => [`${publisher}>${watchers[at]}`, cell])));
}

export function writeTable(peers, watchers, results) {
	const text = readFileSync(README, 'utf8');
	const [before, rest] = text.split(BEGIN);
	const [table, after] = rest.split(END);
	const known = read(table);
	const cell = (publisher, watcher) => {
		const key = `${publisher.name}>${watcher.name}`;
		return results.get(key) ?? known.get(key) ?? 'not run';
	};
	const lines = [
		`| publishes (WHIP) \\ watches (WHEP) | ${watchers.map((one) => one.name).join(' | ')} |`,
		`|---|${watchers.map(() => '---|').join('')}`,
		...peers.filter((one) => one.publishes).map((one) => `| ${one.name} | ${watchers.map((other) => cell(one, other)).join(' | ')} |`),
	];
	const made = `${before}${BEGIN}\n${lines.join('\n')}\n${END}${after}`;
	if (process.env.CI === 'true') assert.equal(made, text, 'the table in tests/interop/README.md is of another run');
	else if (made !== text) writeFileSync(README, made);
}
