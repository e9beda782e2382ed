// The table in README.md: written by a run, compared under CI=true.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const README = join(import.meta.dirname, 'README.md');
const [BEGIN, END] = ['<!-- made by the run: begin -->', '<!-- made by the run: end -->'];

export function writeTable(peers, watchers, present, results) {
	const cell = (publisher, watcher) => {
		if (!publisher.publishes) return '';
		if (!present(publisher) || !present(watcher)) return 'not run';
		return results.get(`${publisher.name}>${watcher.name}`) ?? 'no';
	};
	const publishers = peers.filter((peer) => peer.publishes);
	const lines = [
		`| publishes (WHIP) \\ watches (WHEP) | ${watchers.map((one) => one.name).join(' | ')} |`,
		`|---|${watchers.map(() => '---|').join('')}`,
		...publishers.map((one) => `| ${one.name} | ${watchers.map((other) => cell(one, other)).join(' | ')} |`),
	];
	const text = readFileSync(README, 'utf8');
	const [before, rest] = text.split(BEGIN);
	const after = rest.split(END)[1];
	const made = `${before}${BEGIN}\n${lines.join('\n')}\n${END}${after}`;
	if (process.env.CI === 'true') assert.equal(made, text, 'the table in tests/interop/README.md is of another run');
	else if (made !== text) writeFileSync(README, made);
}
