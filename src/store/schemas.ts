import type { SchemaDefinition } from '../contracts/schema.ts'
import type { TableReader, Tables, Write } from './database.ts'
import type { Schemas } from './interfaces.ts'
import { fitsKey, numberKey, schemaKey } from './keys.ts'
import { decodeRow, encodeRow, parseObject } from './rows.ts'

/** The definition as JSON text. */
const layoutVersion = 1

export class SchemaRepository implements Schemas {
  readonly #table: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('schemas')
  }

  get(tenant: number, name: string, version: string): SchemaDefinition | null {
    // The key's tenant and separator take 9 bytes of what fits.
    if (!fitsKey(`${name}${version}${' '.repeat(9)}`)) return null
    const value = this.#table.get(schemaKey(tenant, name, version))
    return value === null ? null : decodeSchema(value)
  }

  *list(
    tenant: number,
    after: { readonly name: string; readonly version: string } | null,
  ): Iterable<SchemaDefinition> {
    // The least key after another one is that one and a zero byte.
    const from =
      after === null
        ? numberKey(tenant)
        : Buffer.concat([schemaKey(tenant, after.name, after.version), Uint8Array.of(0)])
    const range = { from, to: numberKey(tenant + 1) }
    for (const { value } of this.#table.entries(range)) yield decodeSchema(value)
  }

  count(tenant: number): number {
    let count = 0
    const range = { from: numberKey(tenant), to: numberKey(tenant + 1) }
    for (const _key of this.#table.keys(range)) count += 1
    return count
  }

  write(tenant: number, definition: SchemaDefinition): Write {
    return {
      table: 'schemas',
      key: schemaKey(tenant, definition.schemaName, definition.schemaVersion),
      value: encodeRow(layoutVersion, [JSON.stringify(definition)]),
    }
  }
}

function decodeSchema(bytes: Uint8Array): SchemaDefinition {
  const [text] = decodeRow(layoutVersion, bytes)
  return parseObject(text) as unknown as SchemaDefinition
}
