// Small helpers for building elements without a framework.

type Attributes = Record<string, string | number | boolean | undefined>;
type Child = Node | string | undefined | false;

export function el<Tag extends keyof HTMLElementTagNameMap>(
	tag: Tag,
	attributes: Attributes = {},
	...children: Child[]
): HTMLElementTagNameMap[Tag] {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (value === undefined || value === false) continue;
		element.setAttribute(name, value === true ? '' : String(value));
	}
	for (const child of children) {
		if (child !== undefined && child !== false) element.append(child);
	}
	return element;
}

const PATHS = {
	mic: 'M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM6 11v1a6 6 0 0 0 12 0v-1M12 18v3',
	micOff: 'M9 9v3a3 3 0 0 0 4.5 2.6M15 11V6a3 3 0 0 0-5.8-1M6 11v1a6 6 0 0 0 9.5 4.9M18 11v1c0 .7-.1 1.300-.3 1.900M12 18v3M4 4l16 16',
	camera: 'M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zM15 11l6-3.500v9L15 13',
	cameraOff: 'M9 7h4a2 2 0 0 1 2 2v2l6-3.500v9L17 14.500M14.500 16.500c-.4.300-.9.500-1.500.5H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2h1M3 3l18 18',
	screen: 'M4 5h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM8 21h8M12 14V8M9.500 10.500 12 8l2.500 2.500',
	leave: 'M3 14.500c5-5 13-5 18 0l-2.500 2.500-3.500-1.500v-2.700a13 13 0 0 0-6 0v2.700L5.500 17z',
	stats: 'M4 20V12M10 20V5M16 20v-9M21 20H3',
	link: 'M10 14a4 4 0 0 0 5.700 0l3-3A4 4 0 0 0 13 5.300l-1 1M14 10a4 4 0 0 0-5.700 0l-3 3A4 4 0 0 0 11 18.700l1-1',
	more: 'M5 12h.010M12 12h.010M19 12h.010',
	sound: 'M4 10v4h3l5 4V6L7 10zM16 9a4 4 0 0 1 0 6M18.500 6.500a8 8 0 0 1 0 11',
	soundOff: 'M4 10v4h3l5 4V6L7 10zM16 10l5 5M21 10l-5 5',
	pause: 'M8 5v14M16 5v14',
	play: 'M7 5l12 7-12 7z',
	close: 'M6 6l12 12M18 6 6 18',
	help: 'M9 9.500a3 3 0 1 1 4.500 2.600c-1 .6-1.500 1.100-1.500 2.400M12 18h.010',
	pin: 'M9 3h6l-1 6 4 4H6l4-4zM12 13v8',
	layers: 'M12 3l9 5-9 5-9-5zM3 12.500l9 5 9-5M3 16.500l9 5 9-5',
	refresh: 'M20 11a8 8 0 0 0-14.500-3.500L4 9M4 4v5h5M4 13a8 8 0 0 0 14.500 3.500L20 15M20 20v-5h-5',
} as const;

export type IconName = keyof typeof PATHS;

export function icon(name: IconName): SVGSVGElement {
	const space = 'http://www.w3.org/2000/svg';
	const svg = document.createElementNS(space, 'svg');
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.setAttribute('class', 'icon');
	svg.setAttribute('aria-hidden', 'true');
	const path = document.createElementNS(space, 'path');
	path.setAttribute('d', PATHS[name]);
	svg.append(path);
	return svg;
}

export function setIcon(button: HTMLElement, name: IconName): void {
	const old = button.querySelector('svg.icon');
	if (old?.getAttribute('data-name') === name) return;
	const fresh = icon(name);
	fresh.setAttribute('data-name', name);
	if (old) old.replaceWith(fresh);
	else button.prepend(fresh);
}

/// Writes only what differs: screen readers and selections are left in peace.
export function setText(element: Element, text: string): void {
	if (element.textContent !== text) element.textContent = text;
}

export function initials(name: string): string {
	const words = name.trim().split(/\s+/).filter(Boolean);
	const letters = words.length > 1 ? [words[0], words[words.length - 1]] : [words[0]];
	return letters.map((word) => Array.from(word ?? '?')[0] ?? '?').join('').toLocaleUpperCase();
}

/// A stable hue for a name, for the tile of somebody without a picture.
export function hue(text: string): number {
	let hash = 0;
	for (const char of text) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 360;
	return hash;
}
