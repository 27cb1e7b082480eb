/** What crosses between the main thread and the thread that holds the search index of memories. */

export interface SearchDocument {
  readonly tenant: number
  /** The memory's number within its tenant. */
  readonly number: number
  readonly content: string
  readonly title: string | null
  readonly type: string | null
  readonly tags: readonly string[]
  readonly metadata: Readonly<Record<string, unknown>>
}

/**
 * All that is given must hold. Metadata is compared at the first level, with scalars, and as text: a URL
 * cannot tell 1 from "1".
 */
export interface SearchFilter {
  readonly type?: string | undefined
  readonly tags?: readonly string[] | undefined
  readonly metadata?: Readonly<Record<string, string | number | boolean>> | undefined
}

export interface SearchRequest {
  readonly tenant: number
  readonly query: string
  readonly limit: number
  readonly filter: SearchFilter
}

/** Best first; of equals the newest first. */
export interface SearchHits {
  readonly hits: readonly { readonly number: number; readonly score: number }[]
  /** How many match in all. */
  readonly total: number
}

/** What the thread is started with. */
export interface SearchThreadData {
  /** Of its files: emptied at its start, removed when it closes. */
  readonly folder: string
}

/** Commands are carried out in the order in which they come, so a search sees every put before it. */
export type SearchCommand =
  /** Adds documents, or replaces those with the same tenant and number. Answered by `stored`. */
  | { readonly kind: 'put'; readonly documents: readonly SearchDocument[] }
  /** Removes those of them that are there. Answered by `stored`. */
  | {
      readonly kind: 'remove'
      readonly memories: readonly { readonly tenant: number; readonly number: number }[]
    }
  | ({ readonly kind: 'search'; readonly id: number } & SearchRequest)
  | { readonly kind: 'close' }

export type SearchMessage =
  | { readonly kind: 'stored' }
  | ({ readonly kind: 'found'; readonly id: number } & SearchHits)
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
