import type { ColumnBuilder } from '../column-builder.ts'
import { tags } from '../page-format.ts'
import type { PlainField, RecordSchema } from '../schema.ts'

/** Whether every value of a column is as the schema wants it; which one is not, the checks of records tell. */
export function fitsSchema(column: ColumnBuilder, schema: RecordSchema): boolean {
  const check = schema.fields.get(column.name)
  if (check === undefined) return schema.additionalFields
  const plain = schema.plainFields.get(column.name)
  return plain === undefined
    ? everyValue(column, (value) => check(value) === null)
    : numbersFit(column, plain) && othersFit(column, plain)
}

function numbersFit({ numbers, numberCount }: ColumnBuilder, { type, min, max }: PlainField) {
  if (numberCount === 0) return true
  if (type !== 'float' && type !== 'integer') return false
  const isWhole = type === 'integer'
  for (let index = 0; index < numberCount; index += 1) {
    const value = numbers[index] as number
    if (value < min || value > max || (isWhole && value !== Math.floor(value))) return false
  }
  return true
}

function othersFit({ tags: entryTags, entries }: ColumnBuilder, plain: PlainField): boolean {
  if (entryTags === null) return true
  for (let entry = 0; entry < entries; entry += 1) {
    const tag = entryTags[entry] as number
    if (tag === tags.null) {
      if (plain.isRequired) return false
    } else if (tag === tags.string) {
      if (plain.type !== 'string') return false
    } else if (tag !== tags.number && plain.type !== 'boolean') {
      return false
    }
  }
  return true
}

function everyValue(
  column: ColumnBuilder,
  isFit: (value: number | string | boolean | null) => boolean,
): boolean {
  const text = Buffer.from(column.text.buffer, column.text.byteOffset, column.textBytes)
  let number = 0
  let string = 0
  let textAt = 0
  for (let entry = 0; entry < column.entries; entry += 1) {
    const tag = column.tags === null ? tags.number : column.tags[entry]
    let value: number | string | boolean | null = null
    if (tag === tags.number) {
      value = column.numbers[number] as number
      number += 1
    } else if (tag === tags.string) {
      const start = textAt
      textAt += column.lengths[string] as number
      string += 1
      value = text.toString('utf8', start, textAt)
    } else if (tag !== tags.null) {
      value = tag === tags.true
    }
    if (!isFit(value)) return false
  }
  return true
}
