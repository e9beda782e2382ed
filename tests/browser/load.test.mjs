// The load tester against the service: str0m clients publish and watch by WHIP and WHEP.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { withService } from './service.mjs';

/// Runs `sfu bench`; its report, exit code and what it said on standard error.
async function bench(service, ...args) {
	const all = ['bench', '--server', service.url, '--duration', '3', '--json', '-', ...args];
	const child = spawn(process.env.SFU_BIN, all, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
	let [out, said] = ['', ''];
	child.stdout.on('data', (data) => (out += data));
	child.stderr.on('data', (data) => (said += data));
	const code = await new Promise((resolve) => child.on('close', resolve));
	return { code, said, report: out ? JSON.parse(out) : undefined };
}

test('a load of publishers and viewers is carried and measured', async () => {
	await withService({}, async (service) => {
		const { code, said, report } = await bench(service, '--rooms', '2', '--publishers', '2', '--viewers', '3');
		assert.equal(code, 0, said);
		assert.deepEqual(report.failures, []);
		const [step] = report.steps;
		assert.equal(step.publishers, 4);
		assert.equal(step.viewers, 6);
		// Each viewer has all of its room, which is half of what comes in: three viewers, half each.
		const copies = step.packetsPerSecondOut / step.packetsPerSecondIn;
		assert.ok(copies > 2.5 && copies < 3.5, `${copies} copies of each packet`);
		assert.ok(step.latencyMs.p50 > 0 && step.latencyMs.max >= step.latencyMs.p99, JSON.stringify(step));
		const { peers } = await service.health();
		assert.equal(peers ?? 0, 0, 'every stream was ended');
	});
});

test('lost packets are sent again, simulcast layers are chosen from', async () => {
	await withService({}, async (service) => {
		const { code, said, report } = await bench(service, '--no-audio', '--layers', '3', '--loss', '5', '--viewers', '4');
		assert.equal(code, 0, said);
		const [step] = report.steps;
		assert.ok(step.packetsPerSecondOut > 0, said);
		assert.ok(step.latePercent > 1, `late ${step.latePercent} %: nothing was sent again`);
		assert.ok(step.lossPercent < 3, `lost ${step.lossPercent} % of a way that loses 5`);
		// One layer of three goes to each viewer.
		assert.ok(step.packetsPerSecondOut < 4 * step.packetsPerSecondIn, JSON.stringify(step));
	});
});

test('a ramp ends at its bound, and a server that refuses is told in one line', async () => {
	await withService({ args: ['--max-peers', '6'] }, async (service) => {
		const ramp = await bench(service, '--viewers', '2', '--ramp', '2', '--step', '2');
		// The room is full: some viewers are refused, and the program says so.
		assert.notEqual(ramp.code, 0);
		assert.ok(ramp.report.failures.some((text) => text.includes('POST') && /max|full|peers/i.test(text)), JSON.stringify(ramp.report));
		assert.ok(ramp.report.largestHeld >= 2, JSON.stringify(ramp.report));
	});
	await withService({ args: ['--whip-token', 'right'] }, async (service) => {
		const refused = await bench(service);
		assert.notEqual(refused.code, 0);
		assert.match(refused.said, /sfu bench: 0 of 1 publishers connected: .*401/);
	});
});
