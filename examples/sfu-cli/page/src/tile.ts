// One picture of the grid: a person, or a screen that a person shares.

import { el, hue, icon, initials, setIcon, setText } from './dom';
import { LayerPanel, type LayerActions, type LayerChoice } from './layerpanel';

export interface TileState {
	label: string;
	/// Whose tile it is, for the colour and the initials.
	name: string;
	video: MediaStreamTrack | undefined;
	audio: MediaStreamTrack | undefined;
	/// Undefined where a microphone makes no sense (screens).
	microphoneOn: boolean | undefined;
	videoPaused: boolean;
	mirrored: boolean;
	silent: boolean;
	isScreen: boolean;
	/// Shown large. Undefined where it always is, or never.
	pinned: boolean | undefined;
	info: string;
	/// Undefined where there are no layers to pick.
	layers: LayerChoice | undefined;
	/// How well it comes, from 0 to 10; undefined is not known.
	score: number | undefined;
}

export interface TileActions extends LayerActions {
	/// Absent for one's own picture.
	onPause?: () => void;
	onKeyFrame?: () => void;
	onPin?: () => void;
}

/// How many bars a score of ten lights.
const BARS = 5;

export class Tile {
	readonly element: HTMLElement;
	readonly video = el('video', { playsinline: true, autoplay: true });
	readonly #audio = el('audio', { autoplay: true });
	readonly #avatar = el('div', { class: 'avatar', 'aria-hidden': 'true' });
	readonly #name = el('span', { class: 'tile-name' });
	readonly #muted = el('span', { class: 'tile-muted' });
	readonly #info = el('pre', { class: 'tile-info', hidden: true });
	readonly #pause = el('button', { type: 'button', class: 'tile-button' });
	readonly #keyFrame = el(
		'button',
		{ type: 'button', class: 'tile-button', 'aria-label': 'Ask for a fresh picture', title: 'Ask for a key frame' },
		icon('refresh'),
	);
	readonly #state = el('span', { class: 'tile-state' });
	readonly #bars = el('span', { class: 'tile-bars', role: 'img' });
	readonly #layersButton = el(
		'button',
		{ type: 'button', class: 'tile-button', 'data-layers': true, 'aria-expanded': 'false', 'aria-label': 'Layers', title: 'Layers and quality' },
		icon('layers'),
	);
	readonly #pin = el('button', { type: 'button', class: 'tile-button', 'data-pin': true, 'aria-pressed': 'false' }, icon('pin'));
	readonly #panel: LayerPanel;
	speaking = false;
	active = false;

	constructor(readonly id: string, actions: TileActions) {
		this.video.muted = true;
		this.#muted.append(icon('micOff'));
		const controls = el('div', { class: 'tile-controls' });
		controls.append(this.#layersButton);
		if (actions.onPin) {
			this.#pin.addEventListener('click', actions.onPin);
			controls.append(this.#pin);
		}
		this.#layersButton.addEventListener('click', () => this.#openPanel(!this.#panel.open));
		this.#panel = new LayerPanel(id, actions);
		this.#panel.element.addEventListener('keydown', (event) => {
			if (event.key !== 'Escape') return;
			this.#openPanel(false);
			this.#layersButton.focus();
			event.stopPropagation();
		});
		for (let bar = 0; bar < BARS; bar++) this.#bars.append(el('span', {}));
		if (actions.onKeyFrame && actions.onPause) {
			this.#keyFrame.addEventListener('click', actions.onKeyFrame);
			this.#pause.addEventListener('click', actions.onPause);
			controls.append(this.#keyFrame, this.#pause);
		}
		this.element = el(
			'li',
			{ class: 'tile', 'data-tile': id },
			this.#avatar,
			this.video,
			this.#audio,
			this.#info,
			controls,
			this.#panel.element,
			el('div', { class: 'tile-foot' }, this.#muted, this.#name, this.#bars, this.#state),
		);
	}

	render(state: TileState): void {
		setText(this.#name, state.label);
		setText(this.#avatar, initials(state.name));
		this.element.style.setProperty('--hue', String(hue(state.name)));
		this.element.classList.toggle('tile-screen', state.isScreen);
		this.element.classList.toggle('tile-mirrored', state.mirrored);
		const showVideo = state.video !== undefined && !state.videoPaused;
		this.element.classList.toggle('tile-no-video', !showVideo);
		this.#muted.hidden = state.microphoneOn !== false;
		setText(this.#state, state.videoPaused && state.video ? 'paused' : '');
		this.#info.hidden = state.info === '';
		setText(this.#info, state.info);
		this.#attach(this.video, state.video);
		this.#attach(this.#audio, state.audio);
		this.#audio.muted = state.silent;
		this.#renderPause(state);
		this.#renderPin(state);
		this.#renderLayers(state);
		const parts = [state.label];
		if (state.microphoneOn !== undefined) parts.push(state.microphoneOn ? 'microphone on' : 'microphone off');
		parts.push(showVideo ? 'picture on' : 'no picture');
		this.element.setAttribute('aria-label', parts.join(', '));
	}

	setSpeaking(on: boolean): void {
		if (this.speaking === on) return;
		this.speaking = on;
		this.element.classList.toggle('tile-speaking', on);
	}

	/// The service hears this one speak.
	setActive(on: boolean): void {
		if (this.active === on) return;
		this.active = on;
		this.element.classList.toggle('tile-active', on);
	}

	/// Goes to another part of the page. A picture that is taken out of it stops, so it is started again.
	moveTo(parent: HTMLElement): void {
		if (this.element.parentElement === parent) return;
		const focused = this.element.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
		parent.append(this.element);
		for (const element of [this.video, this.#audio]) if (element.srcObject) void element.play().catch(() => undefined);
		focused?.focus();
	}

	close(): void {
		this.video.srcObject = null;
		this.#audio.srcObject = null;
		this.element.remove();
	}

	#openPanel(open: boolean): void {
		this.#panel.setOpen(open);
		this.#layersButton.setAttribute('aria-expanded', String(open));
		this.element.classList.toggle('tile-open', open);
	}

	#renderLayers(state: TileState): void {
		this.#layersButton.hidden = state.layers === undefined;
		if (state.layers) this.#panel.render(state.layers);
		else if (this.#panel.open) this.#openPanel(false);
		this.#bars.hidden = state.score === undefined;
		const score = state.score ?? 0;
		const lit = Math.ceil((score * BARS) / 10);
		this.#bars.dataset['look'] = score >= 7 ? 'good' : score >= 4 ? 'fair' : 'bad';
		this.#bars.setAttribute('aria-label', `quality ${score} of 10`);
		[...this.#bars.children].forEach((bar, index) => bar.classList.toggle('lit', index < lit));
	}

	#renderPin(state: TileState): void {
		const label = state.pinned ? 'Show as small as the others' : 'Show large';
		this.#pin.hidden = state.pinned === undefined;
		this.#pin.title = label;
		this.#pin.setAttribute('aria-label', label);
		this.#pin.setAttribute('aria-pressed', String(state.pinned === true));
	}

	#renderPause(state: TileState): void {
		const label = state.videoPaused ? 'Resume the picture' : 'Pause the picture';
		this.#pause.hidden = state.video === undefined;
		this.#keyFrame.hidden = this.#pause.hidden || state.videoPaused;
		this.#pause.title = label;
		this.#pause.setAttribute('aria-label', label);
		setIcon(this.#pause, state.videoPaused ? 'play' : 'pause');
	}

	#attach(element: HTMLMediaElement, track: MediaStreamTrack | undefined): void {
		const current = element.srcObject instanceof MediaStream ? element.srcObject.getTracks()[0] : undefined;
		if (current === track) return;
		element.srcObject = track ? new MediaStream([track]) : null;
		// Browsers refuse to play sound before a gesture; the join button was one.
		if (track) void element.play().catch(() => undefined);
	}
}

export interface Layout {
	columns: number;
	tileWidth: number;
	ratio: number;
}

/// How `count` tiles fill a box of the given size best. Tiles may be cropped to any ratio between the two bounds.
export function layout(count: number, width: number, height: number, gap: number, narrowest: number, widest: number): Layout {
	let best: Layout = { columns: 1, tileWidth: 0, ratio: widest };
	let bestArea = 0;
	for (let columns = 1; columns <= Math.max(1, count); columns++) {
		const rows = Math.ceil(count / columns);
		const cellWidth = (width - gap * (columns - 1)) / columns;
		const cellHeight = (height - gap * (rows - 1)) / rows;
		const ratio = Math.min(widest, Math.max(narrowest, cellWidth / cellHeight));
		const tileWidth = Math.floor(Math.min(cellWidth, cellHeight * ratio));
		const area = (tileWidth * tileWidth) / ratio;
		if (area > bestArea) {
			bestArea = area;
			best = { columns, tileWidth, ratio };
		}
	}
	return best;
}
