import type { Static, TObject, TSchema } from '@sinclair/typebox'
import type { ErrorCode } from '../contracts/errors.ts'
import type { Selection } from '../events/selection.ts'
import type { SpooledFile } from '../ingest/spool.ts'
import type { Scope, SessionRow } from '../store/interfaces.ts'
import type { FileFormat } from './content-type.ts'
import type { Services } from './services.ts'

/** Who asks. `scopes` holds every scope where the key has `admin`. */
export interface Principal {
  readonly keyId: string
  readonly tenant: number
  readonly user: string
  readonly scopes: ReadonlySet<Scope>
}

/** What a handler knows of its request. Header names are lower case. */
export interface RequestContext extends Services {
  readonly requestId: string
  readonly tenant: number
  readonly user: string
  readonly keyId: string
  readonly headers: ReadonlyMap<string, string>
  /** Base of the URLs in replies, without a slash at the end: `http://host:port`. */
  readonly baseUrl: string
  /** Fires when the client goes away. */
  readonly signal: AbortSignal
  /** HEAD: the reply loses its body, and nothing is to be stored for it. */
  readonly isHead: boolean
  /**
   * Counts bytes of a reply that is being made among those that wait for slow readers. Throws Refusal
   * `SATURATED` where these are too many.
   */
  readonly hold: (bytes: number) => void
  readonly principal: Principal
  readonly tickets: TicketDesk
  /** The body of a route with `body: 'upload'`. */
  readonly upload: UploadBody | FileBody | null
}

/** What is known of a request before its body: enough to refuse a file of which nothing was read. */
export interface FileContext extends Services {
  readonly tenant: number
  readonly headers: ReadonlyMap<string, string>
  readonly file: FileFormat
}

/** Makes tickets for the reading of one resource. */
export interface TicketDesk {
  /** Throws Refusal where `path` takes no tickets, is unknown, or the key may not read it. */
  issue(principal: Principal, path: string): { ticket: string; expiresAt: string }
}

/** A body in memory. A shared buffer is the handler's until it settles, any other for good. */
export interface UploadBody {
  readonly kind: 'bytes'
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  readonly byteLength: number
  readonly format: 'json' | 'msgpack'
  readonly gzip: boolean
  /** From the head of the request to the last byte of its body. */
  readonly receivingMs: number
}

/** A body on disk. The handler removes it from the spool where nobody takes it over. */
export interface FileBody extends FileFormat {
  readonly kind: 'file'
  readonly spooled: SpooledFile
  /** When the head of the request came, milliseconds since the epoch. */
  readonly arrivedAtMs: number
  readonly receivingMs: number
}

/** A reply that is not simply a 200 with JSON. */
export class Reply {
  constructor(
    readonly status: number,
    /** A value is sent as JSON, bytes or text as they are, null as no body. */
    readonly body: unknown,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {}
}

/** The events of a session as an SSE stream; transport/event-streams.ts serves it. */
export class SessionEventStream {
  constructor(
    readonly session: number,
    /** Send what comes after this event number; 0 is everything. */
    readonly after: number,
  ) {}
}

/** What a selection takes of all that happens to the caller's tenant, as an SSE stream. */
export class TenantEventStream {
  constructor(
    readonly selection: Selection,
    /** Send what comes after this event number; the last one's is what comes from now on. */
    readonly after: number,
    readonly heartbeatS: number,
  ) {}
}

/** A session's WebSocket; transport/ws.ts serves it. `after` as in SessionEventStream. */
export class SessionSocket {
  constructor(
    readonly session: SessionRow,
    readonly after: number,
  ) {}
}

type Shape<T extends TSchema | undefined> = T extends TSchema ? Static<T> : Record<string, never>

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** `/api/streaming/sessions/:sessionId/status` */
  readonly path: string
  readonly summary: string
  /** null: needs no key, and is not counted against the rate limit. Of several, one is enough. */
  readonly scope: Scope | readonly Scope[] | null
  /** A `?ticket=` for this very path opens it too. */
  readonly ticket?: boolean
  /**
   * Throws Refusal where what the path names does not exist; asked before a ticket is made for it.
   */
  readonly exists?: (
    params: Readonly<Record<string, string>>,
    tenant: number,
    services: Services,
  ) => void
  /** Refuses pages of origins that are not allowed, before anything is done. */
  readonly ownOrigin?: boolean
  /** A refusal of the key or of a limit is told as an `error` event, with the same status. */
  readonly refusesByEvent?: boolean
  /** Answers a WebSocket upgrade with a SessionSocket. */
  readonly upgrade?: boolean
  readonly params?: TObject
  readonly query?: TObject
  /** Request headers that the handler reads, for OpenAPI; the handler itself checks them. */
  readonly headers?: TObject
  /** A schema: JSON, validated. 'upload': handed on unread. */
  readonly body?: TSchema | 'upload'
  /** Content types of the files that a route with `body: 'upload'` takes too, for OpenAPI. */
  readonly fileTypes?: readonly string[]
  /** Makes it take them: throws Refusal where this one would not be taken, before any of it is read. */
  // biome-ignore lint/suspicious/noExplicitAny: as with `handle`
  readonly requireFile?: (input: any, context: FileContext) => void
  readonly bodyOptional?: boolean
  /** Status to schema, or to a media type for what is not JSON. */
  readonly replies: Readonly<Record<number, TSchema | string>>
  readonly errors: readonly ErrorCode[]
  // biome-ignore lint/suspicious/noExplicitAny: the typed face is `route`, this is its erased form
  readonly handle: (input: any, context: RequestContext) => unknown
}

/** Types a route's handler by its schemas: `input` is params, query and body in one object. */
export function route<
  P extends TObject | undefined = undefined,
  Q extends TObject | undefined = undefined,
  B extends TSchema | 'upload' | undefined = undefined,
>(
  definition: Omit<Route, 'handle' | 'requireFile' | 'params' | 'query' | 'body'> & {
    readonly params?: P
    readonly query?: Q
    readonly body?: B
    readonly requireFile?: (
      input: { readonly params: Shape<P>; readonly query: Shape<Q> },
      context: FileContext,
    ) => void
    readonly handle: (
      input: {
        readonly params: Shape<P>
        readonly query: Shape<Q>
        readonly body: B extends TSchema ? Static<B> : undefined
      },
      context: RequestContext,
    ) => unknown
  },
): Route {
  return definition as Route
}
