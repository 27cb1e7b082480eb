import type { TSchema } from '@sinclair/typebox'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import type { ValueError } from '@sinclair/typebox/errors'
import { parseJson } from '../codecs/json.ts'
import { invalidBody, invalidParameter, Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { PathParams } from './route-table.ts'

/** The values of each name in a query, decoded, in the order in which they came. */
export type QueryMembers = Map<string, string[]>

/** The members of a raw query string. Throws Refusal `INVALID_PARAMETER`. */
export function parseQuery(raw: string): QueryMembers {
  const members: QueryMembers = new Map()
  if (raw === '') return members
  const parts = raw.split('&', limits.queryMembersMax + 1)
  if (parts.length > limits.queryMembersMax) {
    throw invalidParameter('query', `at most ${limits.queryMembersMax} members`)
  }
  for (const part of parts) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = decode(equals === -1 ? part : part.slice(0, equals), '')
    const value = equals === -1 ? '' : decode(part.slice(equals + 1), name)
    const values = members.get(name)
    if (values === undefined) members.set(name, [value])
    else values.push(value)
  }
  return members
}

/** Takes out what has been read already. Throws Refusal `INVALID_PARAMETER` where it stands twice. */
export function dropMember(members: QueryMembers, name: string): void {
  onlyValue(name, members.get(name) ?? [''])
  members.delete(name)
}

/**
 * The query by its schema. Numbers and booleans are read from their text. An array is given by its
 * name repeated, or with commas between its items, as text: who has a comma in one sends JSON where
 * the route takes a body. An object is given as `name[member]=text`, or whole as `name={json}`. Everything
 * else stays text and is given once. Throws Refusal `INVALID_PARAMETER` for what is wrong or unknown.
 */
export function readQuery(
  members: ReadonlyMap<string, readonly string[]>,
  schema: TSchema | undefined,
  check: TypeCheck<TSchema> | null,
): Record<string, unknown> {
  const properties: Readonly<Record<string, TSchema>> = schema?.properties ?? {}
  const query: Record<string, unknown> = {}
  const objects = new Map<string, [string, unknown][]>()
  for (const [name, values] of members) {
    const [property, member] = placeOf(name, properties)
    const schema = properties[property] as TSchema
    if (schema.type === 'object') {
      const found = objects.get(property) ?? []
      objects.set(property, found)
      if (member === null) found.push(...parseMembers(name, onlyValue(name, values)))
      else found.push([member, onlyValue(name, values)])
    } else if (schema.type === 'array') {
      const items = values.flatMap((value) => value.split(','))
      query[name] = items.map((item) => convert(name, item, schema.items as TSchema))
    } else {
      query[name] = convert(name, onlyValue(name, values), schema)
    }
  }
  for (const [name, found] of objects) query[name] = objectOf(name, found)
  const error = check === null ? undefined : firstError(query, check)
  if (error !== undefined) {
    const field = fieldName(error.path)
    const [property = ''] = field.split('.')
    throw invalidParameter(isName(field) ? field : property, describe(error.schema))
  }
  return query
}

/**
 * The property that a member's name leads to, and what stands in brackets behind it where that is an
 * object's: who has a bracket in a member's name sends JSON. Throws Refusal `INVALID_PARAMETER` for an
 * unknown one.
 */
function placeOf(
  name: string,
  properties: Readonly<Record<string, TSchema>>,
): [property: string, member: string | null] {
  if (Object.hasOwn(properties, name)) return [name, null]
  const [, property = '', member = ''] = /^([^[\]]+)\[([^[\]]+)\]$/.exec(name) ?? []
  if (Object.hasOwn(properties, property) && properties[property]?.type === 'object') {
    return [property, member]
  }
  const [before = ''] = name.split('[', 1)
  if (Object.hasOwn(properties, before) && properties[before]?.type === 'object') {
    throw invalidParameter(shownName(name), `${before}[member]=value, or ${before} as JSON`)
  }
  const known = Object.keys(properties)
  throw invalidParameter(
    shownName(name),
    known.length === 0 ? 'no parameters' : `one of: ${known.join(', ')}`,
  )
}

/** Throws Refusal `INVALID_PARAMETER`. */
function onlyValue(name: string, [value = '', ...others]: readonly string[]): string {
  if (others.length > 0) throw invalidParameter(shownName(name), 'to be given once')
  return value
}

/** The members of an object as JSON. Throws Refusal `INVALID_PARAMETER`. */
function parseMembers(name: string, text: string): [string, unknown][] {
  let value: unknown = null
  try {
    value = parseJson(Buffer.from(text))
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidParameter(name, 'an object as JSON, or name[member]=value')
  }
  return Object.entries(value)
}

/** A plain object whatever its members are named. Throws Refusal `INVALID_PARAMETER`. */
function objectOf(name: string, members: readonly [string, unknown][]): Record<string, unknown> {
  const object = Object.fromEntries(members)
  if (Object.keys(object).length < members.length) {
    throw invalidParameter(name, 'each of its members to be given once')
  }
  return object
}

/** Throws Refusal `INVALID_PARAMETER`. */
export function readParams(params: PathParams, check: TypeCheck<TSchema> | null): PathParams {
  const error = check === null ? undefined : firstError(params, check)
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
  return requireValid(value, check)
}

/** Throws Refusal `INVALID_BODY` unless the value is what the schema says. */
export function requireValid(value: unknown, check: TypeCheck<TSchema>): unknown {
  const error = firstError(value, check)
  if (error === undefined) return value
  // Where any name will do that fits a pattern, the schema says so.
  const isUnknown =
    error.message === 'Unexpected property' && error.schema.patternProperties === undefined
  throw invalidBody(
    error.path === '' ? 'body' : fieldName(error.path),
    isUnknown ? 'no member of this name' : describe(error.schema),
  )
}

/** Checked first: to look for errors where there are none took 1 % of the main thread. */
function firstError(value: unknown, check: TypeCheck<TSchema>): ValueError | undefined {
  return check.Check(value) ? undefined : check.Errors(value).First()
}

/** What a schema asks for, in words. */
export function describe(schema: TSchema): string {
  const { minimum, exclusiveMinimum, maximum, minLength, maxLength, minItems, maxItems, pattern } =
    schema
  const { minProperties, maxProperties } = schema
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
  if (minProperties !== undefined) words.push(`of at least ${minProperties} members`)
  if (maxProperties !== undefined) words.push(`of at most ${maxProperties} members`)
  if (schema.uniqueItems === true) words.push('each once')
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
  return isName(name) ? name : 'query'
}

function isName(name: string): boolean {
  return /^[\w.[\]-]{1,32}$/.test(name)
}

/**
 * A JSON pointer as a dotted path: `/retry/maxRetries` is `retry.maxRetries`. Cut, because a member's
 * name may be as long as a body.
 */
function fieldName(pointer: string): string {
  const path = pointer.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~')
  return path.slice(0, limits.shownValueCharsMax)
}
