// Starts and stops the service under test.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const START_MS = 20_000;
const STOP_MS = 10_000;

/// Waits until `look` gives something that is neither undefined nor false; looks again after a moment until then. `what`
/// is a text, or makes one when the time is over.
export async function until(what, look, timeout = 30_000) {
	const deadline = Date.now() + timeout;
	let last;
	for (;;) {
		try {
			last = await look();
			if (last !== undefined && last !== false) return last;
		} catch (error) {
			last = error;
		}
		if (Date.now() > deadline) {
			const seen = last instanceof Error ? `; last: ${last.message}` : '';
			throw new Error(`not within ${timeout / 1000} s: ${typeof what === 'function' ? what() : what}${seen}`);
		}
		await new Promise((resolve) => setTimeout(resolve, 100));
	}
}

export class Service {
	/// Starts `sfu serve`, or another program with the same command line, on free ports. `args` are added to it; with `diskBlocks` no file gets longer than so many
	/// blocks of 512 bytes, as on a disk that is full then.
	static async start({ host = '127.0.0.1', rtcIp = host, port = 0, rtcPort = 0, args = [], diskBlocks, binary = process.env.SFU_BIN } = {}) {
		if (!binary) throw new Error('SFU_BIN: give the path of the sfu binary');
		const shown = host.includes(':') ? `[${host}]` : host;
		const shell = diskBlocks === undefined ? [] : ['sh', '-c', `trap '' XFSZ; ulimit -f ${diskBlocks}; exec "$0" "$@"`];
		const [program, ...before] = [...shell, binary];
		const process_ = spawn(
			program,
			[...before, 'serve', '--listen', `${shown}:${port}`, '--rtc-ip', rtcIp, '--rtc-port', String(rtcPort), '--unpinned', '--log', process.env.SFU_LOG ?? 'info', ...args],
			{ stdio: ['ignore', 'pipe', 'pipe'] },
		);
		const service = new Service();
		service.process = process_;
		service.log = [];
		service.exited = once(process_, 'exit');
		createInterface({ input: process_.stderr }).on('line', (line) => service.log.push(line));
		const lines = createInterface({ input: process_.stdout });
		const url = new Promise((resolve) => {
			lines.on('line', (line) => {
				service.log.push(line);
				const found = /^\s*open\s+(\S+)/.exec(line);
				if (found) resolve(found[1]);
			});
		});
		const failed = service.exited.then(([code]) => {
			throw new Error(`sfu ended with ${code} before it served:\n${service.log.join('\n')}`);
		});
		failed.catch(() => undefined);
		const late = new Promise((_, reject) => {
			service.startTimer = setTimeout(() => reject(new Error(`sfu does not start:\n${service.log.join('\n')}`)), START_MS);
		});
		try {
			service.url = await Promise.race([url, failed, late]);
		} finally {
			clearTimeout(service.startTimer);
		}
		return service;
	}

	get webSocketUrl() {
		return this.url.replace(/^http/, 'ws');
	}

	async health() {
		const response = await fetch(new URL('health', this.url));
		return response.json();
	}

	/// Ends it as a crash would.
	async kill() {
		this.process.kill('SIGKILL');
		await this.exited;
	}

	/// Ends it as an operator would; a service that does not end cleanly fails the test.
	async stop() {
		if (this.process.exitCode !== null || this.process.signalCode !== null) {
			throw new Error(`sfu ended by itself with ${this.process.exitCode ?? this.process.signalCode}:\n${this.log.join('\n')}`);
		}
		this.process.kill('SIGTERM');
		const timer = setTimeout(() => this.process.kill('SIGKILL'), STOP_MS);
		const [code, signal] = await this.exited;
		clearTimeout(timer);
		if (code !== 0) throw new Error(`sfu ended with ${code ?? signal}:\n${this.log.slice(-40).join('\n')}`);
	}
}

/// Runs a test's body with a service; shows the service's log when the body fails.
export async function withService(options, body) {
	const service = await Service.start(options);
	let failure;
	try {
		await body(service);
	} catch (error) {
		failure = error;
		console.error(service.log.slice(-60).join('\n'));
	}
	try {
		await service.stop();
	} catch (error) {
		failure ??= error;
	}
	if (failure) throw failure;
}
