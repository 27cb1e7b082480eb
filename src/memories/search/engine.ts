import type { SearchDocument, SearchHits, SearchRequest } from '../../contracts/search.ts'
import { limits } from '../../limits.ts'
import { compileQuery, facetsOf, type Ladder, type Rung } from './query.ts'
import { type Place, Shelf, type TenantIndex } from './shelf.ts'
import { indexTokens } from './text.ts'

const scoreDigits = 6

/** A search's own statements failed; what is indexed is as it was. */
export class QueryFailed extends Error {}

/**
 * The full-text index of all tenants' memories. A memory matches where it has all words of the
 * query, or words that begin with them, or misspell them; where none does, those match that have
 * any. Words as they stand come before beginnings, beginnings before slips; within these bm25
 * decides (FTS5's, k1 1.2, b 0.75, a tenant's own statistics), and of equals the newest comes
 * first. Any error but `QueryFailed` leaves the files unfit for use.
 */
export class SearchEngine {
  readonly #shelf: Shelf

  /** Empties `folder`, which is a cache and nothing more. */
  constructor(folder: string) {
    this.#shelf = new Shelf(folder)
  }

  put(document: SearchDocument): void {
    const index = this.#shelf.open(document.tenant)
    this.#shelf.begin()
    const { place, vocabulary } = index
    erase(index, document.number)
    const words = new Set<string>()
    const tokens = (text: string) => indexTokens(text, (word) => words.add(word))
    place.insert.run(
      document.number,
      tokens(document.title ?? ''),
      tokens(document.content),
      document.tags.map(tokens).join(' '),
      facetsOf(document).join(' '),
    )
    place.insertWords.run(document.number, Buffer.from(vocabulary.add(words).buffer))
  }

  remove(tenant: number, number: number): void {
    const index = this.#shelf.find(tenant)
    if (index === null) return
    this.#shelf.begin()
    erase(index, number)
  }

  /** Throws `QueryFailed`. */
  search(request: SearchRequest): SearchHits {
    const index = this.#shelf.find(request.tenant)
    if (index === null) return { hits: [], total: 0 }
    try {
      return ranked(index, request)
    } catch (error) {
      throw new QueryFailed((error as Error).message, { cause: error })
    }
  }

  /** Closes and removes the files. */
  close(): void {
    this.#shelf.close()
  }
}

function ranked({ place, vocabulary }: TenantIndex, request: SearchRequest): SearchHits {
  const { query, filter, limit } = request
  const compiled = compileQuery(query, filter, vocabulary)
  if (compiled === null) return { hits: [], total: 0 }
  const all = climb(place, compiled.all, limit, compiled.any.rungs.length)
  return all.total > 0 ? all : climb(place, compiled.any, limit, 0)
}

function erase({ place, vocabulary }: TenantIndex, number: number): void {
  const [known] = place.words.all(number) as { ids: Uint8Array }[]
  if (known === undefined) return
  vocabulary.release(new Uint32Array(new Uint8Array(known.ids).buffer))
  place.eraseWords.run(number)
  place.erase.run(number)
}

/** From the strictest expression to the widest, until there are as many as are asked for. */
function climb(place: Place, { rungs }: Ladder, limit: number, above: number): SearchHits {
  const widest = rungs.at(-1) as Rung
  const [{ total } = { total: 0 }] = place.count.all(widest.expression) as { total: number }[]
  const scores = new Map<number, number>()
  if (total === 0) return { hits: [], total }
  for (const [position, { expression, isSpelled }] of rungs.entries()) {
    if (scores.size >= Math.min(limit, total)) break
    const base = above + rungs.length - 1 - position
    const most = isSpelled ? limits.memoriesSpelledRankedMax : limits.memoriesRankedMax
    const ranked =
      total > most
        ? place.rankNewest.all(expression, most, limit)
        : place.rank.all(expression, limit)
    for (const { number, score } of ranked as { number: number; score: number }[]) {
      if (!scores.has(number)) scores.set(number, rounded(base + within(score)))
    }
  }
  const hits = [...scores]
    .map(([number, score]) => ({ number, score }))
    .sort((one, other) => other.score - one.score || other.number - one.number)
    .slice(0, limit)
  return { hits, total }
}

/**
 * bm25 spans many powers of ten (a word that half of all have weighs 0.000001): it goes to 0 … 1.
 */
function within(bm25: number): number {
  const power = Math.log10(Math.min(Math.max(-bm25, 1e-8), 1e3))
  return (power + 9) / 13
}

function rounded(score: number): number {
  return Number(score.toFixed(scoreDigits))
}
