import { limits } from '../../limits.ts'

/** One thing that a query asks for. */
export type QueryTerm =
  | {
      readonly kind: 'word'
      readonly text: string
      /** Words that begin with it are meant too. */
      readonly isPrefix: boolean
    }
  /**
   * Of a script without spaces: these follow one another, and the last may be the beginning of a
   * token.
   */
  | { readonly kind: 'run'; readonly tokens: readonly string[]; readonly isPrefix: boolean }

const asciiOnly = /^[\0-\x7f]*$/
const asciiWords = /[a-z0-9]+/g
const words = /[\p{L}\p{N}\p{M}]+/gu
/** Scripts that set no space between words. Korean does, so its words are words. */
const unspaced =
  /[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}]+/gu
/** Combining diacritical marks. Marks of other scripts are vowels, which tell words apart. */
const diacritics = /[\u0300-\u036f]/g
/** Letters that Unicode does not take apart, and how people write them without. */
const plainLetters: Readonly<Record<string, string>> = {
  ß: 'ss',
  æ: 'ae',
  œ: 'oe',
  ø: 'o',
  đ: 'd',
  ð: 'd',
  ł: 'l',
  þ: 'th',
  ı: 'i',
  ς: 'σ',
}
const specialLetters = new RegExp(`[${Object.keys(plainLetters).join('')}]`, 'g')
const prefixCharsMin = 3
const lastPrefixCharsMin = 2

/**
 * The same text in small letters and without diacritics; compatibility forms become plain ones.
 */
function fold(text: string): string {
  return text
    .normalize('NFKD')
    .toLowerCase()
    .replace(diacritics, '')
    .replace(specialLetters, (letter) => plainLetters[letter] ?? letter)
    .normalize('NFC')
}

/** Words and runs in their order, folded. */
function* pieces(text: string): Iterable<{ readonly kind: 'word' | 'run'; readonly text: string }> {
  if (asciiOnly.test(text)) {
    for (const word of text.toLowerCase().match(asciiWords) ?? [])
      yield { kind: 'word', text: word }
    return
  }
  for (const [word] of fold(text).matchAll(words)) {
    let end = 0
    for (const { 0: run, index } of word.matchAll(unspaced)) {
      if (index > end) yield { kind: 'word', text: word.slice(end, index) }
      yield { kind: 'run', text: run }
      end = index + run.length
    }
    if (end < word.length) yield { kind: 'word', text: word.slice(end) }
  }
}

/**
 * What a text is indexed under, in its order: its words, and of a run in a script without spaces
 * every two neighbours and the last character alone, so that each character begins a token.
 * `onWord` is told each word. Tokens are letters, digits and marks only.
 */
export function indexTokens(text: string, onWord: (word: string) => void): string {
  const tokens: string[] = []
  for (const piece of pieces(text)) {
    if (piece.kind === 'run') {
      const characters = [...piece.text]
      characters.forEach((character, index) => {
        tokens.push(character + (characters[index + 1] ?? ''))
      })
    } else {
      const word = cut(piece.text)
      tokens.push(word)
      onWord(word)
    }
  }
  return tokens.join(' ')
}

/**
 * The terms of a query, each once, `limits.memoryQueryWordsMax` at most. Words of three characters
 * or more stand for what begins with them too, the last, which may not be typed to its end, from
 * two on.
 */
export function queryTerms(query: string): QueryTerm[] {
  const terms = new Map<string, QueryTerm>()
  const all = [...pieces(query)]
  all.forEach((piece, index) => {
    const isLast = index === all.length - 1
    const text = piece.kind === 'run' ? piece.text : cut(piece.text)
    if (terms.size >= limits.memoryQueryWordsMax && !terms.has(text)) return
    if (piece.kind === 'run') {
      terms.set(text, runTerm(text))
    } else {
      const isPrefix = text.length >= (isLast ? lastPrefixCharsMin : prefixCharsMin)
      terms.set(text, { kind: 'word', text, isPrefix })
    }
  })
  return [...terms.values()]
}

function runTerm(text: string): QueryTerm {
  const [first = '', ...others] = [...text].slice(0, limits.memoryRunCharsMax)
  if (others.length === 0) return { kind: 'run', tokens: [first], isPrefix: true }
  let before = first
  const tokens = others.map((character) => {
    const token = before + character
    before = character
    return token
  })
  return { kind: 'run', tokens, isPrefix: false }
}

function cut(word: string): string {
  if (word.length <= limits.memoryWordCharsMax) return word
  return word.slice(0, limits.memoryWordCharsMax).replace(/[\ud800-\udbff]$/, '')
}
