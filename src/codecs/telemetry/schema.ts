import { invalidBody } from '../../contracts/errors.ts'
import type { InlineSchema, SchemaField } from '../../contracts/schema.ts'
import { limits } from '../../limits.ts'
import { cannotParse, type FieldFault, shownValue } from '../rejection.ts'
import { patternInputCharsMax } from './pattern.ts'
import { TimestampReader } from './timestamp.ts'

type FieldCheck = (value: unknown) => FieldFault | null

/** A schema made ready to check records with. */
export interface RecordSchema {
  /** Checks for each named field, `timestamp` left out: the record's own answers that. */
  readonly fields: ReadonlyMap<string, FieldCheck>
  readonly required: readonly { readonly name: string; readonly type: string }[]
  readonly additionalFields: boolean
  /** Of `fields`, those whose checks need only the types of values and the range of numbers. */
  readonly plainFields: ReadonlyMap<string, PlainField>
}

/** Without a bound of its own, a range is open. */
export interface PlainField {
  readonly type: SchemaField['type']
  readonly min: number
  readonly max: number
  readonly isRequired: boolean
}

const compiled = new Map<string, RecordSchema>()

/** The schema of a definition's JSON text; compiled once a thread, the oldest forgotten first. */
export function compileSchema(text: string): RecordSchema {
  const known = compiled.get(text)
  if (known !== undefined) return known
  const schema = compile(JSON.parse(text) as InlineSchema)
  if (compiled.size >= limits.schemaCacheMax) {
    for (const oldest of compiled.keys()) {
      compiled.delete(oldest)
      break
    }
  }
  compiled.set(text, schema)
  return schema
}

function compile(definition: InlineSchema): RecordSchema {
  const fields = new Map<string, FieldCheck>()
  const plainFields = new Map<string, PlainField>()
  const required: { name: string; type: string }[] = []
  for (const field of definition.fields) {
    if (field.name === 'timestamp') continue
    fields.set(field.name, fieldCheck(field))
    const plain = plainField(field)
    if (plain !== null) plainFields.set(field.name, plain)
    if (field.required === true) required.push({ name: field.name, type: field.type })
  }
  return { fields, required, additionalFields: definition.additionalFields ?? true, plainFields }
}

function plainField({ type, required, validation }: SchemaField): PlainField | null {
  const { min, max, ...others } = validation ?? {}
  if (type === 'datetime' || Object.keys(others).length > 0) return null
  return {
    type,
    min: min ?? Number.NEGATIVE_INFINITY,
    max: max ?? Number.POSITIVE_INFINITY,
    isRequired: required === true,
  }
}

/** A value that is null passes where the field is not required, as an absent one does. */
function fieldCheck(field: SchemaField): FieldCheck {
  const { name, type } = field
  const hasType = typeChecks[type]
  const constraint = constraintCheck(field)
  return (value) => {
    if (value === null) return field.required === true ? missing(name, type) : null
    if (!hasType(value)) return misfit(name, value, type)
    const message = constraint(value)
    return message === null ? null : { field: name, value, expectedType: type, message }
  }
}

export function missing(field: string, type: string): FieldFault {
  return { field, value: null, expectedType: type, message: `Field '${field}' is required` }
}

export function misfit(field: string, value: unknown, type: string): FieldFault {
  return { field, value, expectedType: type, message: cannotParse(value, type) }
}

const timestamps = new TimestampReader()
const typeChecks: Record<SchemaField['type'], (value: unknown) => boolean> = {
  datetime: (value) => timestamps.read(value) === null,
  float: (value) => typeof value === 'number' && Number.isFinite(value),
  integer: (value) => Number.isInteger(value),
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
}

type Constraint = (value: unknown) => string | null

/** Gives what a value of the right type breaks of the field's validation, or null. */
function constraintCheck(field: SchemaField): Constraint {
  const { validation } = field
  if (validation === undefined) return () => null
  const { min, max, minLength, maxLength, pattern } = validation
  const allowed = validation.enum === undefined ? null : new Set<unknown>(validation.enum)
  const breaksPattern = pattern === undefined ? null : patternCheck(pattern)
  return (value) => {
    if (typeof value === 'number') {
      if (min !== undefined && value < min) return `${value} is below the minimum ${min}`
      if (max !== undefined && value > max) return `${value} is above the maximum ${max}`
    } else if (typeof value === 'string') {
      const length = minLength === undefined && maxLength === undefined ? 0 : charCount(value)
      if (minLength !== undefined && length < minLength) {
        return `'${shownValue(value)}' is shorter than ${minLength} characters`
      }
      if (maxLength !== undefined && length > maxLength) {
        return `'${shownValue(value)}' is longer than ${maxLength} characters`
      }
      const message = breaksPattern?.(value) ?? null
      if (message !== null) return message
    }
    if (allowed === null || allowed.has(value)) return null
    return `'${shownValue(value)}' is not one of the allowed values`
  }
}

function patternCheck(pattern: string): (value: string) => string | null {
  const expression = new RegExp(pattern, 'u')
  const charsMax = patternInputCharsMax(pattern)
  return (value) => {
    if (value.length > charsMax) {
      return `'${shownValue(value)}' is too long for its pattern: at most ${charsMax} characters`
    }
    return expression.test(value) ? null : `'${shownValue(value)}' does not match ${pattern}`
  }
}

/** Characters as Unicode code points. */
function charCount(text: string): number {
  let count = 0
  for (const _character of text) count += 1
  return count
}

const numberRules = ['min', 'max'] as const
const stringRules = ['pattern', 'minLength', 'maxLength'] as const
const rulesOf: Record<SchemaField['type'], readonly string[]> = {
  float: [...numberRules, 'enum'],
  integer: [...numberRules, 'enum'],
  string: [...stringRules, 'enum'],
  boolean: ['enum'],
  datetime: [],
}

/** What keeps a record from having a field of this name, or null. */
export function fieldNameFault(name: string): string | null {
  if (name === '__proto__') return "no field may be named '__proto__'"
  if (name === '') return 'a field needs a name'
  if (!name.isWellFormed()) return 'it has an unpaired surrogate'
  if (Buffer.byteLength(name) <= limits.fieldNameBytesMax) return null
  return `it has more than ${limits.fieldNameBytesMax} bytes`
}

/** Throws INVALID_BODY for what the shape of a definition alone does not rule out. */
export function checkDefinition(definition: InlineSchema): void {
  if (Buffer.byteLength(JSON.stringify(definition)) > limits.schemaBytesMax) {
    throw invalidBody('schema', `at most ${limits.schemaBytesMax} bytes of JSON`)
  }
  const seen = new Set<string>()
  for (const [index, field] of definition.fields.entries()) {
    const at = `fields/${index}`
    if (seen.has(field.name)) {
      throw invalidBody(`${at}/name`, `a name once; '${field.name}' is there`)
    }
    seen.add(field.name)
    const nameFault = fieldNameFault(field.name)
    if (nameFault !== null)
      throw invalidBody(`${at}/name`, `a name that records may bear: ${nameFault}`)
    if (field.name === 'timestamp' && field.type !== 'datetime') {
      throw invalidBody(`${at}/type`, "'datetime' for the record's own timestamp")
    }
    checkValidation(field, `${at}/validation`)
  }
}

function checkValidation(field: SchemaField, at: string): void {
  const { validation } = field
  if (validation === undefined) return
  for (const rule of Object.keys(validation)) {
    if (!rulesOf[field.type].includes(rule)) {
      throw invalidBody(`${at}/${rule}`, `no such rule for type ${field.type}`)
    }
  }
  const { min, max, minLength, maxLength, pattern } = validation
  if (min !== undefined && max !== undefined && min > max) {
    throw invalidBody(`${at}/min`, `at most max (${max})`)
  }
  if (minLength !== undefined && maxLength !== undefined && minLength > maxLength) {
    throw invalidBody(`${at}/minLength`, `at most maxLength (${maxLength})`)
  }
  for (const value of validation.enum ?? []) {
    if (!typeChecks[field.type](value)) {
      throw invalidBody(`${at}/enum`, `values of type ${field.type}`)
    }
  }
  if (pattern !== undefined) checkPattern(pattern, `${at}/pattern`)
}

function checkPattern(pattern: string, at: string): void {
  const charsMin = limits.schemaPatternInputCharsMin
  try {
    if (patternInputCharsMax(pattern) >= charsMin) {
      // Some patterns turn out to be too large only when they are used.
      new RegExp(pattern, 'u').test('')
      return
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw invalidBody(at, `a regular expression that cannot run away (${why})`)
  }
  throw invalidBody(at, `fewer repeats and choices: ${charsMin} characters could take too long`)
}
