// The panel of a tile in which layers are picked: of one's own picture the highest that is sent, of somebody else's
// the ones to receive, and how important it is.

import { el, setText } from './dom';

export interface LayerChoice {
	/// How many sizes and frame rates there are.
	spatial: number;
	temporal: number;
	/// What is asked for.
	chosen: { spatial: number; temporal: number };
	/// What comes right now; null is nothing, undefined unknown.
	current: { spatial: number; temporal: number } | null | undefined;
	/// Absent for one's own picture.
	priority: number | undefined;
	/// Of each encoding, and in total; from 0 to 10.
	scores: { name: string; score: number }[];
	/// One line about who wants what.
	note: string;
}

export interface LayerActions {
	onLayers: (spatial: number, temporal: number) => void;
	onPriority: (priority: number) => void;
}

const PRIORITIES: readonly [value: number, label: string][] = [
	[1, 'usual'],
	[10, 'more important'],
	[100, 'most important'],
];

const SIZES: Readonly<Record<number, readonly string[]>> = {
	1: ['full'],
	2: ['half', 'full'],
	3: ['quarter', 'half', 'full'],
};

export class LayerPanel {
	readonly element = el('div', { class: 'layers', role: 'group', 'aria-label': 'Layers', hidden: true });
	readonly #sizes = el('fieldset', { class: 'layers-row' });
	readonly #rates = el('fieldset', { class: 'layers-row' });
	readonly #priority = el('select', { class: 'layers-priority', 'aria-label': 'Importance' });
	readonly #priorityRow = el('label', { class: 'layers-row' }, el('span', { class: 'layers-name' }, 'Importance'), this.#priority);
	readonly #now = el('p', { class: 'layers-now' });
	readonly #scores = el('ul', { class: 'layers-scores', 'aria-label': 'Scores' });
	readonly #id: string;
	readonly #actions: LayerActions;
	#shown = '';

	constructor(id: string, actions: LayerActions) {
		this.#id = id.replace(/\W/g, '-');
		this.#actions = actions;
		for (const [value, label] of PRIORITIES) this.#priority.append(el('option', { value }, label));
		this.#priority.addEventListener('change', () => actions.onPriority(Number(this.#priority.value)));
		this.element.append(this.#sizes, this.#rates, this.#priorityRow, this.#now, this.#scores);
	}

	get open(): boolean {
		return !this.element.hidden;
	}

	setOpen(open: boolean): void {
		this.element.hidden = !open;
		if (open) this.element.querySelector<HTMLInputElement>('input:checked')?.focus();
	}

	render(choice: LayerChoice): void {
		this.#pick(this.#sizes, 'Size', 'size', choice.spatial, choice.chosen.spatial, (index) => SIZES[choice.spatial]?.[index] ?? String(index + 1));
		this.#pick(this.#rates, 'Rate', 'rate', choice.temporal, choice.chosen.temporal, (index) => (index === choice.temporal - 1 ? 'full' : `1/${2 ** (choice.temporal - 1 - index)}`));
		this.#priorityRow.hidden = choice.priority === undefined;
		if (choice.priority !== undefined && document.activeElement !== this.#priority) this.#priority.value = String(choice.priority);
		setText(this.#now, choice.note);
		// The rest is rebuilt only when it differs, so that what is read or clicked stays where it is.
		const shown = JSON.stringify(choice.scores);
		if (shown === this.#shown) return;
		this.#shown = shown;
		this.#scores.replaceChildren(...choice.scores.map(({ name, score }) => bar(name, score)));
	}

	#pick(row: HTMLElement, title: string, name: string, count: number, chosen: number, label: (index: number) => string): void {
		row.hidden = count < 2;
		if (row.childElementCount !== count + 1) {
			row.replaceChildren(el('legend', { class: 'layers-name' }, title));
			for (let index = 0; index < count; index++) {
				const input = el('input', { type: 'radio', name: `${this.#id}-${name}`, value: index, 'data-layer': `${name}-${index}` });
				input.addEventListener('change', () => this.#actions.onLayers(picked(this.#sizes), picked(this.#rates)));
				row.append(el('label', { class: 'layers-pick' }, input, el('span', {}, label(index))));
			}
		}
		const input = row.querySelectorAll<HTMLInputElement>('input')[Math.min(chosen, count - 1)];
		if (input && !input.checked) input.checked = true;
	}
}

function picked(row: HTMLElement): number {
	return Number(row.querySelector<HTMLInputElement>('input:checked')?.value ?? 0);
}

/// A named bar from 0 to 10.
function bar(name: string, score: number): HTMLElement {
	const look = score >= 7 ? 'good' : score >= 4 ? 'fair' : 'bad';
	const fill = el('span', { class: 'score-fill', 'data-look': look });
	fill.style.width = `${Math.min(10, Math.max(0, score)) * 10}%`;
	const meter = el('span', { class: 'score-bar', role: 'meter', 'aria-label': name, 'aria-valuemin': 0, 'aria-valuemax': 10, 'aria-valuenow': score }, fill);
	return el('li', { class: 'score' }, el('span', { class: 'score-name' }, name), meter, el('span', { class: 'score-value' }, String(score)));
}
