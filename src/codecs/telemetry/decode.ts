import { invalidBody } from '../../contracts/errors.ts'
import type {
  DecodedContent,
  DecodeSettings,
  DecodeUpload,
  RejectedRecords,
} from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { isDocument } from '../document.ts'
import { cannotParse, type FieldFault, rejection, requireList, shownValue } from '../rejection.ts'
import { Rejections } from '../rejections.ts'
import { PageBuilder } from './page-builder.ts'
import type { PageValue } from './page-format.ts'
import {
  type ScannedMessage,
  type ScannedRun,
  scanMessage,
  scanMsgpack,
  scanSeveral,
  scanTelemetry,
} from './scan.ts'
import { compileSchema, fieldNameFault, misfit, missing, type RecordSchema } from './schema.ts'
import { TimestampReader } from './timestamp.ts'

export interface DecodedTelemetry {
  readonly received: number
  readonly rejected: RejectedRecords
  readonly content: DecodedContent
}

/**
 * Validates the records of an upload and encodes them into a column page. Throws a Refusal: INVALID_BODY
 * where `records` is no list or has too many different fields, BATCH_SIZE_EXCEEDED, INVALID_RECORDS where nothing is kept.
 */
export function decodeTelemetry(
  document: Readonly<Record<string, unknown>>,
  settings: DecodeSettings,
): DecodedTelemetry {
  const records = requireList(document.records, 'records')
  const schema = settings.schema === null ? null : compileSchema(settings.schema)
  const builder = new PageBuilder(records.length)
  const timestamps = new TimestampReader()
  const rejections = new Rejections()
  for (let index = 0; index < records.length; index += 1) {
    const record: unknown = records[index]
    const fault = checkRecord(record, schema, timestamps)
    if (fault !== null) {
      rejections.add(rejection(index, record, fault, null))
      continue
    }
    builder.beginRecord(timestamps.ms, timestamps.us)
    addFields(builder, (record as { values: Record<string, PageValue> }).values)
    if (builder.columnCount > limits.uploadFieldsMax) {
      throw invalidBody('records', `at most ${limits.uploadFieldsMax} different fields an upload`)
    }
  }
  return {
    received: records.length,
    rejected: rejections.finish(records.length, settings),
    content: { kind: 'page', page: builder.encode() },
  }
}

/**
 * The same of a whole upload or message, straight from its bytes; null where anything in it is wrong or out
 * of the ordinary, and `decodeTelemetry` is to be asked.
 */
export function scanRecords(
  bytes: Uint8Array,
  { format, envelope, settings }: Pick<DecodeUpload, 'format' | 'envelope' | 'settings'>,
): (DecodedTelemetry & Pick<ScannedMessage, 'id'>) | null {
  const schema = settings.schema === null ? null : compileSchema(settings.schema)
  const scanned = scanBody(bytes, format, envelope, schema)
  if (scanned === null) return null
  const { id, builder } = scanned
  return { id, ...decodedOf(builder, settings) }
}

/** The same of several, as if their records had come in one. */
export function scanRun(
  bodies: readonly Uint8Array[],
  envelope: DecodeUpload['envelope'],
  settings: DecodeSettings,
): (DecodedTelemetry & Pick<ScannedRun, 'ids' | 'records'>) | null {
  const schema = settings.schema === null ? null : compileSchema(settings.schema)
  const scanned = scanSeveral(bodies, envelope, schema)
  if (scanned === null) return null
  const { ids, records, builder } = scanned
  return { ids, records, ...decodedOf(builder, settings) }
}

/** Nothing of what was scanned is rejected. */
function decodedOf(builder: PageBuilder, settings: DecodeSettings): DecodedTelemetry {
  return {
    received: builder.rows,
    rejected: new Rejections().finish(builder.rows, settings),
    content: { kind: 'page', page: builder.encode() },
  }
}

function scanBody(
  bytes: Uint8Array,
  format: DecodeUpload['format'],
  envelope: DecodeUpload['envelope'],
  schema: RecordSchema | null,
): ScannedMessage | null {
  if (envelope === 'message') return format === 'json' ? scanMessage(bytes, schema) : null
  const scan = format === 'json' ? scanTelemetry : scanMsgpack
  const builder = scan(bytes, schema)
  return builder === null ? null : { id: null, builder }
}

function addFields(builder: PageBuilder, values: Record<string, PageValue>): void {
  for (const name in values) builder.addField(name, values[name] as PageValue)
}

/** The first fault of a record, null where it is valid; then its time stands in `timestamps`. */
function checkRecord(
  record: unknown,
  schema: RecordSchema | null,
  timestamps: TimestampReader,
): FieldFault | null {
  if (!isDocument(record)) return misfit('record', record, 'object')
  for (const member in record) {
    if (member !== 'timestamp' && member !== 'values') {
      const message = `A record has no member '${shownValue(member)}'`
      return { field: member, value: record[member], expectedType: 'none', message }
    }
  }
  const { timestamp, values } = record
  if (timestamp === undefined || timestamp === null) return missing('timestamp', 'datetime')
  const fault = timestamps.read(timestamp)
  if (fault !== null) {
    const message = `${cannotParse(timestamp, 'datetime')}: it ${fault}`
    return { field: 'timestamp', value: timestamp, expectedType: 'datetime', message }
  }
  if (values === undefined) return missing('values', 'object')
  if (!isDocument(values)) return misfit('values', values, 'object')
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
    if (count > limits.recordFieldsMax) {
      const message = `A record has at most ${limits.recordFieldsMax} fields`
      return { field: 'values', value: values, expectedType: 'object', message }
    }
    if (!checkedNames.has(name)) {
      const fault = checkName(name, value)
      if (fault !== null) return fault
    }
    const fault = checkAgainst(schema, name, value) ?? checkValue(name, value)
    if (fault !== null) return fault
  }
  for (const { name, type } of schema?.required ?? []) {
    if (!Object.hasOwn(values, name)) return missing(name, type)
  }
  return null
}

/** Names that have been found good: records repeat the same few. Bounded, then begun anew. */
const checkedNames = new Set<string>()

function checkName(field: string, value: unknown): FieldFault | null {
  const fault = fieldNameFault(field)
  if (fault !== null) {
    const message = `'${shownValue(field)}' is no name for a field: ${fault}`
    return { field, value, expectedType: 'field name', message }
  }
  if (checkedNames.size >= limits.uploadFieldsMax) checkedNames.clear()
  checkedNames.add(field)
  return null
}

/** Comes before what holds for every value, because a schema knows better which type was expected. */
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

/** What holds for every value, with a schema or without. */
function checkValue(field: string, value: unknown): FieldFault | null {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? null : misfit(field, value, 'float')
    case 'boolean':
      return null
    case 'string':
      return checkText(field, value)
    default:
      return value === null ? null : misfit(field, value, 'float, string, boolean or null')
  }
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
