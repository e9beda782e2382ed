// One picture of the grid: a person, or a screen that a person shares.

import { el, hue, icon, initials, setIcon, setText } from './dom';

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
	info: string;
}

export interface TileActions {
	onPause: () => void;
	onKeyFrame: () => void;
}

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
	speaking = false;

	constructor(readonly id: string, actions: TileActions | undefined) {
		this.video.muted = true;
		this.#muted.append(icon('micOff'));
		const controls = el('div', { class: 'tile-controls' });
		if (actions) {
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
			el('div', { class: 'tile-foot' }, this.#muted, this.#name, this.#state),
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

	close(): void {
		this.video.srcObject = null;
		this.#audio.srcObject = null;
		this.element.remove();
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
