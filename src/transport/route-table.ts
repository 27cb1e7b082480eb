import type { TSchema } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import type { Route } from './route.ts'

type Method = Route['method']

/** A route with its validators, compiled once. */
export interface CompiledRoute {
  readonly route: Route
  readonly segments: readonly string[]
  readonly checkParams: TypeCheck<TSchema> | null
  readonly checkQuery: TypeCheck<TSchema> | null
  readonly checkBody: TypeCheck<TSchema> | null
}

export type Match =
  | { readonly kind: 'route'; readonly compiled: CompiledRoute; readonly params: PathParams }
  | { readonly kind: 'method'; readonly allowed: readonly string[] }
  | { readonly kind: 'none' }

export type PathParams = Readonly<Record<string, string>>

interface Place {
  readonly segments: readonly string[]
  readonly byMethod: Map<Method, CompiledRoute>
}

/**
 * Finds the route of a request: literal paths first, then patterns in the order they were given.
 */
export class RouteTable {
  readonly #literal = new Map<string, Place>()
  readonly #patterns = new Map<number, Place[]>()

  constructor(readonly routes: readonly Route[]) {
    for (const route of routes) this.#add(route)
  }

  match(method: string, path: string): Match {
    const segments = path.split('/')
    const place =
      this.#literal.get(path) ??
      this.#patterns.get(segments.length)?.find((candidate) => fits(candidate, segments))
    if (place === undefined) return { kind: 'none' }
    const compiled = place.byMethod.get((method === 'HEAD' ? 'GET' : method) as Method)
    if (compiled === undefined) return { kind: 'method', allowed: allowed(place) }
    return { kind: 'route', compiled, params: paramsOf(compiled, segments) }
  }

  /** The methods of a path, none where it is unknown. */
  methods(path: string): readonly string[] {
    const match = this.match('OPTIONS', path)
    return match.kind === 'method' ? match.allowed : []
  }

  #add(route: Route): void {
    const segments = route.path.split('/')
    const isPattern = segments.some((segment) => segment.startsWith(':'))
    const places = isPattern ? (this.#patterns.get(segments.length) ?? []) : []
    let place = isPattern
      ? places.find((candidate) => samePattern(candidate.segments, segments))
      : this.#literal.get(route.path)
    if (place === undefined) {
      place = { segments, byMethod: new Map() }
      if (isPattern) this.#patterns.set(segments.length, [...places, place])
      else this.#literal.set(route.path, place)
    }
    place.byMethod.set(route.method, compile(route, segments))
  }
}

function compile(route: Route, segments: readonly string[]): CompiledRoute {
  const check = (schema: TSchema | undefined) =>
    schema === undefined ? null : TypeCompiler.Compile(schema)
  return {
    route,
    segments,
    checkParams: check(route.params),
    checkQuery: check(route.query),
    checkBody: route.body === 'upload' ? null : check(route.body),
  }
}

function fits(place: Place, segments: readonly string[]): boolean {
  return place.segments.every((segment, index) => {
    const given = segments[index] ?? ''
    return segment.startsWith(':') ? given !== '' : segment === given
  })
}

function samePattern(first: readonly string[], second: readonly string[]): boolean {
  return first.every((segment, index) => {
    const other = second[index] ?? ''
    return segment.startsWith(':') ? other.startsWith(':') : segment === other
  })
}

function allowed(place: Place): string[] {
  const methods: string[] = [...place.byMethod.keys()]
  if (place.byMethod.has('GET')) methods.push('HEAD')
  return [...methods, 'OPTIONS']
}

function paramsOf(compiled: CompiledRoute, segments: readonly string[]): PathParams {
  const params: Record<string, string> = {}
  compiled.segments.forEach((segment, index) => {
    if (segment.startsWith(':')) params[segment.slice(1)] = decodeSegment(segments[index] ?? '')
  })
  return params
}

/** An id with malformed percent-encoding is simply an id that does not exist. */
function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
