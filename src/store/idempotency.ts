import type { TableReader, Tables, Write } from './database.ts'
import type { Idempotency, IdempotencyRow } from './interfaces.ts'
import { hashKey, keyNumber, numberBytes, numberKey } from './keys.ts'
import { decodeRow, encodeRow, ownBytes, parseObject } from './rows.ts'

/** fingerprint, createdAtMs, status, answer as JSON text. */
const layoutVersion = 1
type IdempotencyItems = [Uint8Array, number, number, string]

/** Answers by session and key, and again in the order of their time. */
export class IdempotencyRepository implements Idempotency {
  readonly #answers: TableReader
  readonly #times: TableReader

  constructor(tables: Tables) {
    this.#answers = tables.table('idempotency')
    this.#times = tables.table('idempotency-times')
  }

  get(session: number, keyDigest: Uint8Array): IdempotencyRow | null {
    const key = hashKey([session], keyDigest)
    const value = this.#answers.get(key)
    return value === null ? null : decodeAnswer(key, value)
  }

  /** Answers that were given before `beforeMs`, oldest first. */
  before(beforeMs: number, limit: number): IdempotencyRow[] {
    const rows: IdempotencyRow[] = []
    if (limit <= 0 || beforeMs <= 0) return rows
    const range = { from: numberKey(0), to: numberKey(Math.ceil(beforeMs)) }
    for (const key of this.#times.keys(range)) {
      const row = this.get(keyNumber(key, 1), key.subarray(2 * numberBytes))
      if (row === null || row.createdAtMs >= beforeMs) continue
      rows.push(row)
      if (rows.length === limit) break
    }
    return rows
  }

  ofSession(session: number, limit: number): IdempotencyRow[] {
    const range = { from: numberKey(session), to: numberKey(session + 1), limit }
    return Array.from(this.#answers.entries(range), ({ key, value }) => decodeAnswer(key, value))
  }

  writes(row: IdempotencyRow): Write[] {
    const items: IdempotencyItems = [
      row.fingerprint,
      row.createdAtMs,
      row.status,
      JSON.stringify(row.answer),
    ]
    const value = encodeRow(layoutVersion, items)
    return [
      { table: 'idempotency', key: hashKey([row.session], row.keyDigest), value },
      { table: 'idempotency-times', key: timeKey(row), value: new Uint8Array(0) },
    ]
  }

  removals(row: IdempotencyRow): Write[] {
    return [
      { table: 'idempotency', key: hashKey([row.session], row.keyDigest), value: null },
      { table: 'idempotency-times', key: timeKey(row), value: null },
    ]
  }
}

function timeKey({ createdAtMs, session, keyDigest }: IdempotencyRow): Uint8Array {
  return hashKey([Math.floor(createdAtMs), session], keyDigest)
}

function decodeAnswer(key: Uint8Array, value: Uint8Array): IdempotencyRow {
  const items = decodeRow(layoutVersion, value) as IdempotencyItems
  const [fingerprint, createdAtMs, status, answer] = items
  return {
    session: keyNumber(key, 0),
    keyDigest: new Uint8Array(key.subarray(numberBytes)),
    fingerprint: ownBytes(fingerprint),
    createdAtMs,
    status,
    answer: parseObject(answer),
  }
}
