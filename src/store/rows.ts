import assert from 'node:assert/strict'
import { Packr } from 'msgpackr'
import type { TableName } from './database.ts'

/**
 * How rows are stored: a msgpack array whose first item is the version of its layout. What clients
 * named themselves (metadata) stands in it as JSON text, because msgpackr renames a `__proto__` and
 * replaces halves of surrogate pairs, and what was sent must come back.
 */
const packr = new Packr({ useRecords: false })

/** A row that is there, with what it takes: the bytes of its key and its value. */
export interface StoredRow {
  readonly table: TableName
  readonly key: Uint8Array
  readonly bytes: number
}

/** A layout version, then the items, in a buffer of their own. */
export function encodeRow(version: number, items: readonly unknown[]): Uint8Array {
  const packed = packr.pack([version, ...items])
  // msgpackr hands out a slice of a buffer that it fills on; LMDB's thread reads this one later.
  return new Uint8Array(packed)
}

/** The items after the version. */
export function decodeRow(version: number, bytes: Uint8Array): unknown[] {
  const row: unknown = packr.unpack(bytes)
  assert(Array.isArray(row) && row[0] === version, `a row must have layout ${version}`)
  return row.slice(1)
}

/** Bytes out of a decoded row, without the row's buffer. */
export function ownBytes(bytes: unknown): Uint8Array {
  assert(bytes instanceof Uint8Array, 'the row holds bytes here')
  return new Uint8Array(bytes)
}

export function parseObject(text: unknown): Record<string, unknown> {
  assert(typeof text === 'string', 'the row holds JSON text here')
  return JSON.parse(text) as Record<string, unknown>
}

/** A row whose items are these fields of an object, in order. */
export function encodeFields<R extends object>(
  version: number,
  fields: readonly (keyof R)[],
  row: R,
): Uint8Array {
  return encodeRow(
    version,
    fields.map((field) => row[field]),
  )
}

export function decodeFields<F extends string>(
  version: number,
  fields: readonly F[],
  bytes: Uint8Array,
): Record<F, unknown> {
  const items = decodeRow(version, bytes)
  const members = fields.map((field, index) => [field, items[index]] as const)
  return Object.fromEntries(members) as Record<F, unknown>
}
