// The aiortc client as a child process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { until } from './service.mjs';

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), 'aiortc_client.py');

export class Aiortc {
	constructor(service, peer, { room = 'atrium', args = [] } = {}) {
		this.peer = peer;
		this.report = { profiles: [], streams: [] };
		this.errors = [];
		this.process = spawn(
			process.env.PYTHON ?? 'python3',
			[SCRIPT, '--url', service.webSocketUrl, '--room', room, '--peer', peer, ...args],
			{ stdio: ['pipe', 'pipe', 'pipe'] },
		);
		this.exited = once(this.process, 'exit');
		createInterface({ input: this.process.stdout }).on('line', (line) => {
			this.report = JSON.parse(line);
		});
		createInterface({ input: this.process.stderr }).on('line', (line) => this.errors.push(line));
	}

	async #stream(what, find) {
		try {
			return await until(`${this.peer} ${what}`, () => {
				if (this.process.exitCode !== null) throw new Error(`ended with ${this.process.exitCode}`);
				return this.report.streams.find(find) ?? false;
			});
		} catch (error) {
			error.message += `\n${JSON.stringify(this.report)}\n${this.errors.slice(-20).join('\n')}`;
			throw error;
		}
	}

	sees(peerId, frames = 20) {
		return this.#stream(`sees ${peerId}`, (one) => one.peerId === peerId && one.kind === 'video' && one.frames > frames && one.width > 0);
	}

	hears(peerId) {
		return this.#stream(`hears ${peerId}`, (one) => one.peerId === peerId && one.kind === 'audio' && one.frames > 20 && one.level > 0.02);
	}

	async leave() {
		this.process.stdin.end();
		const timer = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
		const [code, signal] = await this.exited;
		clearTimeout(timer);
		if (code !== 0) throw new Error(`aiortc ended with ${code ?? signal}:\n${this.errors.slice(-20).join('\n')}`);
	}
}
