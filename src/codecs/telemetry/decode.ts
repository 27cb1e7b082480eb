import { invalidBody, Refusal } from '../../contracts/errors.ts'
import type { DecodedContent, DecodeSettings, RejectedRecord } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { recordText, shownValue } from '../media-record.ts'
import { PageBuilder, type PageValue } from './page.ts'
import {
  cannotParse,
  compileSchema,
  type FieldFault,
  missing,
  type RecordSchema,
} from './schema.ts'
import { TimestampReader } from './timestamp.ts'

export interface DecodedTelemetry {
  readonly received: number
  readonly rejected: readonly RejectedRecord[]
  readonly content: DecodedContent
}

/**
 * Validates the records of an upload and encodes them into a column page. Throws a Refusal: INVALID_BODY
 * where `records` is no list of records, BATCH_SIZE_EXCEEDED, INVALID_RECORDS where nothing is kept.
 */
export function decodeTelemetry(
  document: Readonly<Record<string, unknown>>,
  settings: DecodeSettings,
): DecodedTelemetry {
  const records = requireList(document.records, 'records')
  const schema = settings.schema === null ? null : compileSchema(settings.schema)
  const builder = new PageBuilder(records.length)
  const timestamps = new TimestampReader()
  const rejected: RejectedRecord[] = []
  for (let index = 0; index < records.length; index += 1) {
    const record: unknown = records[index]
    const fault = checkRecord(record, schema, timestamps)
    if (fault !== null) {
      rejected.push(rejection(index, record, fault))
      continue
    }
    builder.beginRecord(timestamps.ms, timestamps.us)
    addFields(builder, (record as { values: Record<string, PageValue> }).values)
  }
  if (rejected.length > 0) requireKept(rejected, records.length, settings)
  if (builder.columnCount > limits.uploadFieldsMax) {
    throw invalidBody('records', `at most ${limits.uploadFieldsMax} different fields an upload`)
  }
  return {
    received: records.length,
    rejected,
    content: { kind: 'page', page: builder.encode() },
  }
}

/** Throws where a body's list is missing, empty or too long. */
export function requireList(list: unknown, member: string): readonly unknown[] {
  if (!Array.isArray(list)) throw invalidBody(member, 'an array')
  if (list.length === 0) throw invalidBody(member, 'at least one member')
  if (list.length > limits.uploadRecordsMax) {
    throw new Refusal('BATCH_SIZE_EXCEEDED', {
      fields: { maxBatchSize: limits.uploadRecordsMax, receivedBatchSize: list.length },
    })
  }
  return list
}

/** Throws INVALID_RECORDS where nothing, or under `reject-batch` not all, of an upload is valid. */
export function requireKept(
  rejected: readonly RejectedRecord[],
  received: number,
  settings: DecodeSettings,
): void {
  if (rejected.length < received && settings.onInvalid === 'reject-records') return
  const invalidRecords = rejected
    .slice(0, limits.invalidRecordsShownMax)
    .map(({ record: _record, ...shown }) => shown)
  throw new Refusal('INVALID_RECORDS', { fields: { invalidRecords } })
}

function rejection(recordIndex: number, record: unknown, fault: FieldFault): RejectedRecord {
  return {
    recordIndex,
    field: fault.field,
    value: shownValue(fault.value),
    expectedType: fault.expectedType,
    message: fault.message.slice(0, limits.shownValueCharsMax),
    record: recordText(record, null),
  }
}

function addFields(builder: PageBuilder, values: Record<string, PageValue>): void {
  for (const name in values) {
    const value = values[name]
    if (value !== undefined) builder.addField(name, value)
  }
}

/** The first fault of a record, null where it is valid; then its time stands in `timestamps`. */
function checkRecord(
  record: unknown,
  schema: RecordSchema | null,
  timestamps: TimestampReader,
): FieldFault | null {
  if (!isObject(record)) return cannotParse('record', record, 'object')
  for (const member in record) {
    if (member !== 'timestamp' && member !== 'values') {
      const message = `A record has no member '${member}'`
      return { field: member, value: record[member], expectedType: 'none', message }
    }
  }
  const { timestamp, values } = record
  if (timestamp === undefined || timestamp === null) return missing('timestamp', 'datetime')
  // msgpack has a timestamp of its own, which arrives as a Date.
  const instant = timestamp instanceof Date ? timestamp.getTime() : timestamp
  const fault = timestamps.read(instant)
  if (fault !== null) {
    const message = `Cannot parse '${String(timestamp)}' as datetime: it ${fault}`
    return { field: 'timestamp', value: timestamp, expectedType: 'datetime', message }
  }
  if (!isObject(values)) {
    return values === undefined
      ? missing('values', 'object')
      : cannotParse('values', values, 'object')
  }
  return checkValues(values, schema)
}

function checkValues(
  values: Readonly<Record<string, unknown>>,
  schema: RecordSchema | null,
): FieldFault | null {
  let count = 0
  for (const name in values) {
    const value = values[name]
    count += 1
    const fault = checkValue(name, value) ?? checkAgainst(schema, name, value)
    if (fault !== null) return fault
  }
  if (count > limits.recordFieldsMax) {
    const message = `A record has at most ${limits.recordFieldsMax} fields`
    return { field: 'values', value: count, expectedType: 'object', message }
  }
  for (const { name, type } of schema?.required ?? []) {
    if (values[name] === undefined || !Object.hasOwn(values, name)) return missing(name, type)
  }
  return null
}

function checkAgainst(
  schema: RecordSchema | null,
  name: string,
  value: unknown,
): FieldFault | null {
  if (schema === null) return null
  const check = schema.fields.get(name)
  if (check !== undefined) return check(value)
  if (schema.additionalFields) return null
  const message = `The schema has no field '${name}' and takes no others`
  return { field: name, value, expectedType: 'none', message }
}

const valueTypes = 'float, string, boolean or null'

/** What holds for every value, with a schema or without. */
function checkValue(name: string, value: unknown): FieldFault | null {
  if (!checkedNames.has(name)) {
    const message = checkName(name)
    if (message !== null) return { field: name, value, expectedType: 'field name', message }
  }
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? null : cannotParse(name, value, 'float')
    case 'boolean':
      return null
    case 'string':
      return checkText(name, value)
    default:
      return value === null ? null : cannotParse(name, value, valueTypes)
  }
}

/** Names that have been found good: records repeat the same few. Bounded, then begun anew. */
const checkedNames = new Set<string>()

function checkName(name: string): string | null {
  if (name === '__proto__') return "No field may be named '__proto__'"
  if (name === '') return 'A field needs a name'
  if (!name.isWellFormed()) return 'A field name has an unpaired surrogate'
  if (Buffer.byteLength(name) > limits.fieldNameBytesMax) {
    return `A field name has at most ${limits.fieldNameBytesMax} bytes`
  }
  if (checkedNames.size >= limits.uploadFieldsMax) checkedNames.clear()
  checkedNames.add(name)
  return null
}

function checkText(field: string, value: string): FieldFault | null {
  const expectedType = 'string'
  if (!value.isWellFormed()) {
    return { field, value, expectedType, message: 'A string has an unpaired surrogate' }
  }
  const bytesMax = limits.stringValueBytesMax
  if (value.length * 3 > bytesMax && Buffer.byteLength(value) > bytesMax) {
    return { field, value, expectedType, message: `A string has at most ${bytesMax} bytes` }
  }
  return null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    !(value instanceof Date)
  )
}
