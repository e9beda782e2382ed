// All browser tests, one after the other in one process: they share a browser, and the machine's cores.
// Told by the environment: SFU_BIN (the service), PYTHON (an interpreter with aiortc), CHROMIUM, SFU_LOG, ONLY (a
// part of the names of the files to run).

import { after } from 'node:test';
import { quit } from './chromium.mjs';

const files = ['start', 'signalling', 'broadcasters', 'taps', 'page', 'call', 'tcp', 'codecs', 'layers', 'switch', 'aiortc', 'load'];
for (const file of files) {
	if (!process.env.ONLY || file.includes(process.env.ONLY)) await import(`./${file}.test.mjs`);
}
after(quit);
