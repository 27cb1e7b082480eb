import { hash } from 'node:crypto'
import type { SearchDocument, SearchFilter } from '../../contracts/search.ts'
import { limits } from '../../limits.ts'
import { type QueryTerm, queryTerms } from './text.ts'
import type { Spelling, Vocabulary } from './vocabulary.ts'

/**
 * Full-text expressions from the strictest to the widest: words as they stand, what begins with
 * them, what one slip makes of them, what two do. Each finds all that those before it find.
 */
export interface Ladder {
  readonly rungs: readonly Rung[]
}

export interface Rung {
  readonly expression: string
  /** It looks for other spellings. */
  readonly isSpelled: boolean
}

/** No word begins with it, and SQLite's ascii tokenizer takes it for a letter. */
const facetMark = '§'
const facetDigits = 16

/** The tokens of what a memory can be filtered by. */
export function facetsOf({ type, tags, metadata }: SearchDocument | SearchFilter): string[] {
  const facets: string[] = []
  if (type !== undefined && type !== null) facets.push(facet('type', type))
  for (const tag of tags ?? []) facets.push(facet('tag', tag))
  for (const [name, value] of Object.entries(metadata ?? {})) {
    if (!['string', 'number', 'boolean'].includes(typeof value)) continue
    facets.push(facet('metadata', name, String(value)))
  }
  return facets
}

function facet(...names: readonly string[]): string {
  return facetMark + hash('sha256', JSON.stringify(names)).slice(0, facetDigits)
}

/** What a query looks for: memories that match all of its words, and those that match any. */
export function compileQuery(
  query: string,
  filter: SearchFilter,
  vocabulary: Vocabulary,
): { readonly all: Ladder; readonly any: Ladder } | null {
  const terms = queryTerms(query)
  if (terms.length === 0) return null
  const spelled = withSpellings(terms, vocabulary)
  const filters = facetsOf(filter).map((token) => `"${token}" AND `)
  const ladder = (operator: ' AND ' | ' OR '): Ladder => {
    const rungs = new Map<string, Rung>()
    for (const rung of [0, 1, 2, 3]) {
      const parts = spelled.map(({ term, spellings }) => termExpression(term, spellings, rung))
      const expression = `${filters.join('')}(${parts.join(operator)})`
      if (!rungs.has(expression)) rungs.set(expression, { expression, isSpelled: rung > 1 })
    }
    return { rungs: [...rungs.values()] }
  }
  return { all: ladder(' AND '), any: ladder(' OR ') }
}

/** What one word leaves of its share of the work goes to those after it. */
function withSpellings(
  terms: readonly QueryTerm[],
  vocabulary: Vocabulary,
): { readonly term: QueryTerm; readonly spellings: readonly Spelling[] }[] {
  const most = Math.min(
    limits.memorySpellingsMax,
    Math.floor(limits.memoryQuerySpellingsMax / terms.length),
  )
  let leftChars: number = limits.memoryQueryComparedCharsMax
  return terms.map((term, index) => {
    if (term.kind === 'run') return { term, spellings: [] }
    const shareChars = Math.floor(leftChars / (terms.length - index))
    const budget = { chars: shareChars }
    const spellings = vocabulary.spellings(term.text, most, budget)
    leftChars -= shareChars - Math.max(0, budget.chars)
    return { term, spellings }
  })
}

/**
 * Everything between the quotes is letters, digits, marks and spaces, so no quote needs escaping.
 */
function termExpression(term: QueryTerm, spellings: readonly Spelling[], rung: number): string {
  if (term.kind === 'run') return `"${term.tokens.join(' ')}"${term.isPrefix ? ' *' : ''}`
  const own = rung > 0 && term.isPrefix ? `"${term.text}" *` : `"${term.text}"`
  const others = spellings
    .filter(({ distance }) => distance < rung)
    .map(({ word }) => ` OR "${word}"`)
  return others.length === 0 ? own : `(${own}${others.join('')})`
}
