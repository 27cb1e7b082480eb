import type {
  AtomRow,
  JobCancelled,
  JobStatusReply,
  SessionEnded,
  SessionStatus,
} from '../src/contracts/http.ts'

export interface StartedSession {
  readonly sessionId: string
  readonly uploadUrl: string
  readonly websocketUrl: string
}

export interface ReadRecord {
  readonly timestamp: string
  readonly values: Readonly<Record<string, unknown>>
}

/**
 * The calls around the uploads, none of which is measured. Each throws where the status is not
 * 200.
 */
export class Api {
  constructor(
    readonly baseUrl: string,
    readonly apiKey: string,
    readonly signal: AbortSignal | null = null,
  ) {}

  start(settings: Readonly<Record<string, unknown>>): Promise<StartedSession> {
    return this.#json('/api/streaming/sessions/start', settings)
  }

  status(sessionId: string): Promise<SessionStatus> {
    return this.#json(`/api/streaming/sessions/${sessionId}/status`)
  }

  end(sessionId: string): Promise<SessionEnded> {
    return this.#json(`/api/streaming/sessions/${sessionId}/end`, { waitForCompletion: true })
  }

  records(
    sessionId: string,
    query: Readonly<Record<string, string>>,
  ): Promise<{ records: ReadRecord[]; nextCursor: string | null }> {
    return this.#json(`/api/streaming/sessions/${sessionId}/records?${new URLSearchParams(query)}`)
  }

  atoms(
    sessionId: string,
    query: Readonly<Record<string, string>>,
  ): Promise<{ atoms: AtomRow[]; nextCursor: string | null }> {
    return this.#json(`/api/streaming/sessions/${sessionId}/atoms?${new URLSearchParams(query)}`)
  }

  /** Its status now, or once status or phase have changed or `waitS` seconds are over. */
  job(jobId: string, waitS?: number): Promise<JobStatusReply> {
    const query = waitS === undefined ? '' : `?wait=${waitS}`
    return this.#json(`/api/streaming/jobs/${jobId}/status${query}`)
  }

  cancelJob(jobId: string): Promise<JobCancelled> {
    return this.#json(`/api/streaming/jobs/${jobId}/cancel`, {})
  }

  async blob(hash: string): Promise<Buffer> {
    const reply = await this.#fetch(`/api/atoms/${hash}`)
    return Buffer.from(await reply.arrayBuffer())
  }

  async #json<T>(path: string, body?: unknown): Promise<T> {
    const reply = await this.#fetch(path, body)
    return (await reply.json()) as T
  }

  async #fetch(path: string, body?: unknown): Promise<Response> {
    const reply = await fetch(new URL(path, this.baseUrl), {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        authorization: `Bearer ${this.apiKey}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: this.signal,
    })
    if (reply.status === 200) return reply
    throw new Error(`${path}: ${reply.status} ${(await reply.text()).slice(0, 500)}`)
  }
}
