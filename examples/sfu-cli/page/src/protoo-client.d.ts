// The part of protoo-client 4 that the page uses; the package ships no types.
declare module 'protoo-client' {
	export interface ProtooRequest {
		readonly method: string;
		readonly data: unknown;
	}
	export interface ProtooNotification {
		readonly method: string;
		readonly data: unknown;
	}
	export class WebSocketTransport {
		constructor(url: string, options?: { retry?: Record<string, number> });
		close(): void;
	}
	export class Peer {
		constructor(transport: WebSocketTransport);
		readonly closed: boolean;
		readonly connected: boolean;
		close(): void;
		request(method: string, data?: unknown): Promise<unknown>;
		notify(method: string, data?: unknown): Promise<void>;
		on(event: 'open' | 'disconnected' | 'close', listener: () => void): this;
		on(event: 'failed', listener: (attempt: number) => void): this;
		on(
			event: 'request',
			listener: (
				request: ProtooRequest,
				accept: (data?: unknown) => void,
				reject: (code: number | Error, reason?: string) => void,
			) => void,
		): this;
		on(event: 'notification', listener: (notification: ProtooNotification) => void): this;
	}
}
