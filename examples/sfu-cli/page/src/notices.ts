// Short messages that come and go; a screen reader hears them.

import { el, icon } from './dom';
import type { NoticeKind } from './session';

const SHOWN_MS: Readonly<Record<NoticeKind, number>> = { info: 4000, warning: 8000, error: 12000 };
const MAX_SHOWN = 4;

export class Notices {
	readonly element = el('div', { class: 'notices', role: 'log', 'aria-live': 'polite', 'aria-label': 'Notifications' });
	readonly history: { kind: NoticeKind; text: string }[] = [];

	show(kind: NoticeKind, text: string): void {
		this.history.push({ kind, text });
		if (this.history.length > 100) this.history.shift();
		const close = el('button', { class: 'notice-close', type: 'button', 'aria-label': 'Dismiss' }, icon('close'));
		const notice = el('div', { class: `notice notice-${kind}` }, el('span', {}, text), close);
		const remove = (): void => notice.remove();
		close.addEventListener('click', remove);
		this.element.append(notice);
		while (this.element.childElementCount > MAX_SHOWN) this.element.firstElementChild?.remove();
		setTimeout(remove, SHOWN_MS[kind]);
	}
}
