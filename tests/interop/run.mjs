// All interoperability tests in one process: they share a browser, and the machine's cores.
// Told by the environment: SFU_BIN (the service), SFU_GO_BIN (the Go service), PYTHON (an interpreter with aiortc), CHROMIUM,
// FFMPEG (one with a whip muxer), GST_PYTHON, PION, STR0M, PEER_MEDIA (see peers.mjs), ONLY (a part of the names of the files
// to run).

import { after } from 'node:test';
import { quit } from '../browser/chromium.mjs';

for (const file of ['rules', 'taps', 'plain', 'matrix']) {
	if (!process.env.ONLY || file.includes(process.env.ONLY)) await import(`./${file}.test.mjs`);
}
after(quit);
