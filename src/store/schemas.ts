import type { SchemaDefinition } from '../contracts/schema.ts'
import type { Database, Table, Write } from './database.ts'
import type { Schemas } from './interfaces.ts'
import { fitsKey, numberKey, schemaKey } from './keys.ts'
import { decodeRow, encodeRow, parseObject } from './rows.ts'

/** The definition as JSON text. */
const layoutVersion = 1

export class SchemaRepository implements Schemas {
  readonly #table: Table

  constructor(database: Database) {
    this.#table = database.table('schemas')
  }

  get(tenant: number, name: string, version: string): SchemaDefinition | null {
    // The key's tenant and separator take 9 bytes of what fits.
    if (!fitsKey(`${name}${version}${' '.repeat(9)}`)) return null
    const value = this.#table.get(schemaKey(tenant, name, version))
    return value === null ? null : decodeSchema(value)
  }

  list(tenant: number): SchemaDefinition[] {
    const range = { from: numberKey(tenant), to: numberKey(tenant + 1) }
    return Array.from(this.#table.entries(range), ({ value }) => decodeSchema(value))
  }

  write(tenant: number, definition: SchemaDefinition): Write {
    return {
      table: this.#table,
      key: schemaKey(tenant, definition.schemaName, definition.schemaVersion),
      value: encodeRow(layoutVersion, [JSON.stringify(definition)]),
    }
  }
}

function decodeSchema(bytes: Uint8Array): SchemaDefinition {
  const [text] = decodeRow(layoutVersion, bytes)
  return parseObject(text) as unknown as SchemaDefinition
}
