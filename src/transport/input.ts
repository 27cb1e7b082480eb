import type { TSchema } from '@sinclair/typebox'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import { parseJson } from '../codecs/json.ts'
import { invalidBody, invalidParameter } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { PathParams } from './route-table.ts'

/** The members of a raw query string. Throws Refusal `INVALID_PARAMETER`. */
export function parseQuery(raw: string): Map<string, string> {
  const members = new Map<string, string>()
  if (raw === '') return members
  for (const part of raw.split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = decode(equals === -1 ? part : part.slice(0, equals), '')
    if (members.has(name)) throw invalidParameter(shownName(name), 'to be given once')
    members.set(name, equals === -1 ? '' : decode(part.slice(equals + 1), name))
  }
  return members
}

/**
 * The query by its schema: numbers and booleans are read from their text, everything else stays
 * text. Throws Refusal `INVALID_PARAMETER` for what is wrong or unknown.
 */
export function readQuery(
  members: ReadonlyMap<string, string>,
  schema: TSchema | undefined,
  check: TypeCheck<TSchema> | null,
): Record<string, unknown> {
  const properties: Readonly<Record<string, TSchema>> = schema?.properties ?? {}
  const query: Record<string, unknown> = {}
  for (const [name, text] of members) {
    if (!Object.hasOwn(properties, name)) {
      const known = Object.keys(properties)
      throw invalidParameter(
        shownName(name),
        known.length === 0 ? 'no parameters' : `one of: ${known.join(', ')}`,
      )
    }
    query[name] = convert(name, text, properties[name] as TSchema)
  }
  const error = check?.Errors(query).First()
  if (error !== undefined) throw invalidParameter(fieldName(error.path), describe(error.schema))
  return query
}

/** Throws Refusal `INVALID_PARAMETER`. */
export function readParams(params: PathParams, check: TypeCheck<TSchema> | null): PathParams {
  const error = check?.Errors(params).First()
  if (error !== undefined) throw invalidParameter(fieldName(error.path), describe(error.schema))
  return params
}

/**
 * A JSON body by its schema. An optional one may be empty and is then `{}`. Throws the Refusals of
 * parseJson, and `INVALID_BODY` with the path of what is wrong.
 */
export function readJsonBody(
  bytes: Uint8Array,
  check: TypeCheck<TSchema>,
  isOptional: boolean,
): unknown {
  const value = bytes.byteLength === 0 && isOptional ? {} : parseJson(bytes)
  if (check.Check(value)) return value
  return requireValid(value, check)
}

/** Throws Refusal `INVALID_BODY` unless the value is what the schema says. */
export function requireValid(value: unknown, check: TypeCheck<TSchema>): unknown {
  const error = check.Errors(value).First()
  if (error === undefined) return value
  const isUnknown = error.message === 'Unexpected property'
  throw invalidBody(
    error.path === '' ? 'body' : fieldName(error.path),
    isUnknown ? 'no member of this name' : describe(error.schema),
  )
}

/** What a schema asks for, in words. */
export function describe(schema: TSchema): string {
  const { minimum, exclusiveMinimum, maximum, minLength, maxLength, minItems, maxItems, pattern } =
    schema
  if (schema.anyOf !== undefined) return (schema.anyOf as TSchema[]).map(describe).join(' or ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  const words = [schema.description ?? schema.type ?? 'another value']
  if (exclusiveMinimum !== undefined) words.push(`above ${exclusiveMinimum}`)
  if (minimum !== undefined && maximum !== undefined) words.push(`from ${minimum} to ${maximum}`)
  else if (minimum !== undefined) words.push(`of at least ${minimum}`)
  else if (maximum !== undefined) words.push(`of at most ${maximum}`)
  if (maxLength !== undefined) words.push(`of ${minLength ?? 0} to ${maxLength} characters`)
  else if (minLength !== undefined) words.push(`of at least ${minLength} characters`)
  if (maxItems !== undefined) words.push(`of ${minItems ?? 0} to ${maxItems} items`)
  if (pattern !== undefined) words.push(`matching ${pattern}`)
  return words.join(' ')
}

function convert(name: string, text: string, schema: TSchema): unknown {
  switch (schema.type) {
    case 'integer':
      if (!/^-?\d{1,15}$/.test(text)) throw invalidParameter(name, describe(schema))
      return Number(text)
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw invalidParameter(name, 'true or false')
      return text === 'true'
    default:
      return text
  }
}

function decode(text: string, name: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw invalidParameter(shownName(name), 'percent-encoded UTF-8')
  }
}

/**
 * The name of a parameter as a refusal tells it. What is no name, or longer than any of ours, may be
 * a key or a ticket in the wrong place, and those are never shown.
 */
function shownName(name: string): string {
  return /^[\w.[\]-]{1,32}$/.test(name) ? name : 'query'
}

/**
 * A JSON pointer as a dotted path: `/retry/maxRetries` is `retry.maxRetries`. Cut, because a member's
 * name may be as long as a body.
 */
function fieldName(pointer: string): string {
  const path = pointer.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~')
  return path.slice(0, limits.shownValueCharsMax)
}
