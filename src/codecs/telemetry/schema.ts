import { invalidBody } from '../../contracts/errors.ts'
import type { InlineSchema, SchemaField } from '../../contracts/schema.ts'
import { limits } from '../../limits.ts'
import { TimestampReader } from './timestamp.ts'

/** What is wrong with one value. */
export interface FieldFault {
  readonly field: string
  readonly value: unknown
  readonly expectedType: string
  readonly message: string
}

type FieldCheck = (value: unknown) => FieldFault | null

/** A schema made ready to check records with. */
export interface RecordSchema {
  /** Checks for each named field, `timestamp` left out: the record's own answers that. */
  readonly fields: ReadonlyMap<string, FieldCheck>
  readonly required: readonly { readonly name: string; readonly type: string }[]
  readonly additionalFields: boolean
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
  const required: { name: string; type: string }[] = []
  for (const field of definition.fields) {
    if (field.name === 'timestamp') continue
    fields.set(field.name, fieldCheck(field))
    if (field.required === true) required.push({ name: field.name, type: field.type })
  }
  return { fields, required, additionalFields: definition.additionalFields ?? true }
}

/** A value that is null passes where the field is not required, as an absent one does. */
function fieldCheck(field: SchemaField): FieldCheck {
  const { name, type } = field
  const hasType = typeChecks[type]
  const constraint = constraintCheck(field)
  return (value) => {
    if (value === null) return field.required === true ? missing(name, type) : null
    if (!hasType(value)) return cannotParse(name, value, type)
    const message = constraint(value)
    return message === null ? null : { field: name, value, expectedType: type, message }
  }
}

export function missing(field: string, type: string): FieldFault {
  return { field, value: null, expectedType: type, message: `Field '${field}' is required` }
}

/** The documented message of a value of another type. */
export function cannotParse(field: string, value: unknown, type: string): FieldFault {
  return { field, value, expectedType: type, message: `Cannot parse '${String(value)}' as ${type}` }
}

const timestamps = new TimestampReader()
const typeChecks: Record<SchemaField['type'], (value: unknown) => boolean> = {
  datetime: (value) => timestamps.read(value) === null,
  float: (value) => typeof value === 'number' && Number.isFinite(value),
  integer: (value) => Number.isInteger(value),
  string: (value) => typeof value === 'string',
  boolean: (value) => typeof value === 'boolean',
}

/** Gives what a value of the right type breaks of the field's validation, or null. */
function constraintCheck(field: SchemaField): (value: unknown) => string | null {
  const { min, max, minLength, maxLength, pattern } = field.validation ?? {}
  const allowed =
    field.validation?.enum === undefined ? null : new Set<unknown>(field.validation.enum)
  const expression = pattern === undefined ? null : new RegExp(pattern, 'u')
  return (value) => {
    if (typeof value === 'number') {
      if (min !== undefined && value < min) return `${value} is below the minimum ${min}`
      if (max !== undefined && value > max) return `${value} is above the maximum ${max}`
    } else if (typeof value === 'string') {
      const length = minLength === undefined && maxLength === undefined ? 0 : charCount(value)
      if (minLength !== undefined && length < minLength)
        return `shorter than ${minLength} characters`
      if (maxLength !== undefined && length > maxLength)
        return `longer than ${maxLength} characters`
      if (expression !== null) {
        if (value.length > limits.schemaPatternInputCharsMax) {
          return `too long for a pattern: at most ${limits.schemaPatternInputCharsMax} characters`
        }
        if (!expression.test(value)) return `does not match ${pattern}`
      }
    }
    return allowed === null || allowed.has(value) ? null : 'is not one of the allowed values'
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

/** Throws INVALID_BODY for what the shape of a definition alone does not rule out. */
export function checkDefinition(definition: InlineSchema): void {
  const seen = new Set<string>()
  for (const [index, field] of definition.fields.entries()) {
    const at = `fields/${index}`
    if (seen.has(field.name))
      throw invalidBody(`${at}/name`, `a name once; '${field.name}' is there`)
    seen.add(field.name)
    if (field.name === '__proto__' || !field.name.isWellFormed()) {
      throw invalidBody(`${at}/name`, 'a name that records may bear')
    }
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
    if (!typeChecks[field.type](value))
      throw invalidBody(`${at}/enum`, `values of type ${field.type}`)
  }
  if (pattern !== undefined) checkPattern(pattern, `${at}/pattern`)
}

/**
 * JavaScript's RegExp backtracks, and a pattern of a tenant must not hold a worker: at most
 * `limits.schemaPatternRepeatsMax` unbounded repeats, none inside a repeated group, no back references.
 */
function checkPattern(pattern: string, at: string): void {
  try {
    new RegExp(pattern, 'u')
  } catch (error) {
    throw invalidBody(at, `a regular expression (${error instanceof Error ? error.message : ''})`)
  }
  const bare = pattern.replace(/\\[^kK1-9]/gu, 'x').replace(/\[[^\]]*\]/gu, 'x')
  const repeats = bare.match(/[*+]|\{\d+,?\d*\}/gu)?.length ?? 0
  const isNested =
    /[*+}][^(]*\)(?:[*+]|\{)/u.test(bare) || /\([^)]*\([^)]*[*+}].*\).*\)(?:[*+]|\{)/u.test(bare)
  if (/\\[k1-9]/u.test(bare) || isNested || repeats > limits.schemaPatternRepeatsMax) {
    throw invalidBody(
      at,
      `at most ${limits.schemaPatternRepeatsMax} repeats, none inside a repeated group, no back references`,
    )
  }
}
