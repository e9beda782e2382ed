// The panel of live statistics with a small graph of each bitrate.

import { el, icon, setText } from './dom';
import type { Session } from './session';
import { bits, Statistics, type Section } from './statistics';

const INTERVAL_MS = 1000;
const GRAPH_POINTS = 60;
const GRAPH_WIDTH = 240;
const GRAPH_HEIGHT = 36;

interface Card {
	element: HTMLElement;
	rate: HTMLElement;
	detail: HTMLElement;
	path: SVGPathElement;
	area: SVGPathElement;
	tables: HTMLElement;
	points: number[];
}

export class StatsPanel {
	readonly element: HTMLElement;
	readonly #session: Session;
	readonly #statistics = new Statistics();
	readonly #cards = new Map<string, Card>();
	readonly #list = el('div', { class: 'stats-list' });
	#timer: number | undefined;
	#looking = false;
	#onClose: () => void;

	constructor(session: Session, onClose: () => void) {
		this.#session = session;
		this.#onClose = onClose;
		const close = el('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close statistics' }, icon('close'));
		close.addEventListener('click', () => this.#onClose());
		this.element = el(
			'aside',
			{ class: 'stats', 'aria-label': 'Statistics', hidden: true, tabindex: -1 },
			el('header', { class: 'stats-head' }, el('h2', {}, 'Statistics'), close),
			this.#list,
		);
	}

	get open(): boolean {
		return !this.element.hidden;
	}

	setOpen(open: boolean): void {
		if (open === this.open) return;
		this.element.hidden = !open;
		if (open) {
			this.element.focus();
			void this.#look();
			this.#timer = window.setInterval(() => void this.#look(), INTERVAL_MS);
		} else if (this.#timer !== undefined) {
			clearInterval(this.#timer);
			this.#timer = undefined;
		}
	}

	async #look(): Promise<void> {
		// A slow answer must not be overtaken by the next question.
		if (this.#looking) return;
		this.#looking = true;
		try {
			this.#render(await this.#statistics.sections(this.#session));
		} finally {
			this.#looking = false;
		}
	}

	#render(sections: Section[]): void {
		const present = new Set(sections.map((section) => section.id));
		for (const [id, card] of this.#cards) {
			if (present.has(id)) continue;
			card.element.remove();
			this.#cards.delete(id);
		}
		for (const section of sections) {
			const card = this.#cards.get(section.id) ?? this.#addCard(section);
			setText(card.detail, section.detail);
			setText(card.rate, bits(section.bitrate));
			card.tables.replaceChildren(table('This browser', section.local), table('Server', section.server));
			if (section.bitrate !== undefined) {
				card.points.push(section.bitrate);
				if (card.points.length > GRAPH_POINTS) card.points.shift();
			}
			draw(card);
		}
	}

	#addCard(section: Section): Card {
		const space = 'http://www.w3.org/2000/svg';
		const graph = document.createElementNS(space, 'svg');
		graph.setAttribute('viewBox', `0 0 ${GRAPH_WIDTH} ${GRAPH_HEIGHT}`);
		graph.setAttribute('preserveAspectRatio', 'none');
		graph.setAttribute('class', 'graph');
		graph.setAttribute('aria-hidden', 'true');
		const area = document.createElementNS(space, 'path');
		area.setAttribute('class', 'graph-area');
		const path = document.createElementNS(space, 'path');
		path.setAttribute('class', 'graph-line');
		graph.append(area, path);
		const card: Card = {
			element: el('section', { class: 'stats-card' }),
			rate: el('span', { class: 'stats-rate' }),
			detail: el('p', { class: 'stats-detail' }),
			tables: el('div', { class: 'stats-tables' }),
			path,
			area,
			points: [],
		};
		card.element.append(
			el('header', {}, el('h3', {}, section.title), card.rate),
			card.detail,
			graph,
			card.tables,
		);
		this.#cards.set(section.id, card);
		this.#list.append(card.element);
		return card;
	}
}

function table(caption: string, rows: [string, string][]): HTMLElement {
	const list = el('dl', { class: 'stats-rows' });
	for (const [name, value] of rows) list.append(el('div', {}, el('dt', {}, name), el('dd', {}, value)));
	return el('div', { class: 'stats-half' }, el('h4', {}, caption), rows.length > 0 ? list : el('p', { class: 'stats-none' }, 'no answer yet'));
}

function draw(card: Card): void {
	if (card.points.length < 2) return;
	const top = Math.max(...card.points, 1);
	const step = GRAPH_WIDTH / (GRAPH_POINTS - 1);
	const left = GRAPH_WIDTH - (card.points.length - 1) * step;
	const line = card.points
		.map((value, index) => `${index === 0 ? 'M' : 'L'}${(left + index * step).toFixed(1)} ${(GRAPH_HEIGHT - 2 - (value / top) * (GRAPH_HEIGHT - 6)).toFixed(1)}`)
		.join('');
	card.path.setAttribute('d', line);
	card.area.setAttribute('d', `${line}L${GRAPH_WIDTH} ${GRAPH_HEIGHT}L${left.toFixed(1)} ${GRAPH_HEIGHT}Z`);
}
