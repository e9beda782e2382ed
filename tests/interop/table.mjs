// The tables in README.md: written by a run, compared under CI=true. Cells that a run leaves out, since a program is not on
// its machine, stay as they were.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const README = join(dirname(fileURLToPath(import.meta.url)), 'README.md');

/// Cells by "row>column".
function read(table) {
	const rows = table.trim().split('\n').map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()));
	const [[, ...columns] = [], , ...body] = rows;
	return new Map(body.flatMap(([row, ...cells]) => cells.map((cell, at) => [`${row}>${columns[at]}`, cell])));
}

/// Writes the table between the marks of that name. Cells that are never run say so by `never`.
export function writeTable(name, corner, rows, columns, results, never = () => false) {
	const [begin, end] = [`<!-- made by the run: ${name}: begin -->`, `<!-- made by the run: ${name}: end -->`];
	const text = readFileSync(README, 'utf8');
	const [before, rest] = text.split(begin);
	const [table, after] = rest.split(end);
	const known = read(table);
	const cell = (row, column) => {
		const key = `${row}>${column}`;
		return never(row, column) ? 'does not' : results.get(key) ?? known.get(key) ?? 'not run';
	};
	const lines = [
		`| ${corner} | ${columns.join(' | ')} |`,
		`|---|${columns.map(() => '---|').join('')}`,
		...rows.map((row) => `| ${row} | ${columns.map((column) => cell(row, column)).join(' | ')} |`),
	];
	const made = `${before}${begin}\n${lines.join('\n')}\n${end}${after}`;
	if (process.env.CI === 'true') assert.equal(made, text, `the table of ${name} in tests/interop/README.md is of another run`);
	else if (made !== text) writeFileSync(README, made);
}
