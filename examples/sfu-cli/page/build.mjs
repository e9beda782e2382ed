// Bundles the page into dist/. Under CI=true it writes nothing and only compares, so that a stale bundle is found.
import { readFile, writeFile, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, 'dist');
const compareOnly = process.env.CI === 'true' || process.argv.includes('--check');

const bundle = await build({
	absWorkingDir: here,
	entryPoints: ['src/main.ts'],
	bundle: true,
	format: 'iife',
	platform: 'browser',
	target: ['chrome111', 'firefox120', 'safari16'],
	minify: true,
	legalComments: 'none',
	charset: 'utf8',
	write: false,
	outfile: 'dist/app.js',
	// Node's `global` is what some of the dependencies name.
	define: { global: 'globalThis', 'process.env.NODE_ENV': '"production"' },
	logLevel: 'warning',
});
const style = await build({
	absWorkingDir: here,
	entryPoints: ['src/style.css'],
	bundle: true,
	minify: true,
	target: ['chrome111', 'firefox120', 'safari16'],
	write: false,
	outfile: 'dist/style.css',
	logLevel: 'warning',
});

const files = new Map([
	['app.js', Buffer.from(bundle.outputFiles[0].contents)],
	['style.css', Buffer.from(style.outputFiles[0].contents)],
	['index.html', await readFile(join(here, 'src/index.html'))],
	['icon.svg', await readFile(join(here, 'src/icon.svg'))],
]);

let stale = [];
await mkdir(dist, { recursive: true });
for (const name of await readdir(dist)) {
	if (!files.has(name)) stale.push(`${name} (not part of the bundle)`);
}
for (const [name, bytes] of files) {
	const path = join(dist, name);
	const old = await readFile(path).catch(() => undefined);
	if (old?.equals(bytes)) continue;
	if (compareOnly) stale.push(name);
	else await writeFile(path, bytes);
}
if (stale.length > 0) {
	console.error(`page/dist is stale: ${stale.join(', ')}. Run "make page" and commit the result.`);
	process.exit(1);
}
console.log(compareOnly ? 'page/dist is fresh' : `page/dist: ${[...files].map(([n, b]) => `${n} ${b.length} B`).join(', ')}`);
