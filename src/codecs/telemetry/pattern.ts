import { limits } from '../../limits.ts'

/**
 * How far a match may backtrack. A pattern's search is a tree: `choices` ways that do not depend on the
 * input, `repeats` loops whose ends can lie anywhere in it, and `width` characters looked at on each way.
 */
interface Cost {
  readonly choices: number
  readonly repeats: number
  readonly width: number
}

/** A repeat of more counts than these is reckoned as one whose end can lie anywhere. */
const countsListedMax = 16

/**
 * The most characters (UTF-16 units) that the pattern may be tried on within
 * `limits.schemaPatternStepsMax` steps. JavaScript's RegExp backtracks, and a tenant's pattern must not
 * hold a worker, so every way it could take is reckoned: `choices * width` for each placing of the ends
 * of `repeats` loops in n characters, of which there are (n + repeats)! / (n! repeats!). Where the pattern
 * is not tied to the beginning by ^, the beginning is one more end. Throws SyntaxError where it is no
 * regular expression or one that we do not take: a back reference, or a choice inside an unbounded repeat.
 */
export function patternInputCharsMax(pattern: string): number {
  new RegExp(pattern, 'u')
  const parser = new PatternParser(pattern)
  const { choices, repeats, width } = parser.parse()
  const ends = repeats + (parser.isTied ? 0 : 1)
  const stepsMax = limits.schemaPatternStepsMax / (choices * Math.max(1, width))
  let chars = limits.schemaPatternInputCharsMax
  while (chars > 0 && placings(chars, ends, stepsMax) > stepsMax) chars -= 1
  return chars
}

/** Ways to place so many ends among the characters, reckoned no further than `enough`. */
function placings(chars: number, ends: number, enough: number): number {
  let count = 1
  for (let end = 1; end <= ends && count <= enough; end += 1) count *= (chars + end) / end
  return count
}

/** Reckons the cost of a pattern that RegExp has found well-formed with the flag u. */
class PatternParser {
  /** Begins with ^, whichever way is taken. */
  isTied: boolean
  readonly #pattern: string
  #at = 0
  #depth = 0

  constructor(pattern: string) {
    this.#pattern = pattern
    this.isTied = pattern.startsWith('^')
  }

  /** Alternatives up to the end of the pattern or of the group. */
  parse(): Cost {
    let total = this.#sequence()
    while (this.#pattern[this.#at] === '|') {
      if (this.#depth === 0) this.isTied = false
      this.#at += 1
      total = either(total, this.#sequence())
    }
    return total
  }

  #sequence(): Cost {
    let total: Cost = { choices: 1, repeats: 0, width: 0 }
    while (this.#at < this.#pattern.length && !'|)'.includes(this.#pattern[this.#at] as string)) {
      total = both(total, this.#quantified(this.#atom()))
    }
    return total
  }

  #atom(): Cost {
    const one = { choices: 1, repeats: 0, width: 1 }
    const [, group, reference] = this.#take(
      /(\((?:\?(?:<?[=!]|:|<[^>]*>))?)|(\\(?:[1-9]|k))|\[(?:\\.|[^\]\\])*\]|\\[pPu]\{[^}]*\}|\\?./suy,
    )
    if (reference !== undefined) throw new SyntaxError('a back reference')
    if (group === undefined) return one
    this.#depth += 1
    const inner = this.parse()
    this.#depth -= 1
    this.#at += 1
    return inner
  }

  #quantified(body: Cost): Cost {
    const quantifier = /(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/uy
    quantifier.lastIndex = this.#at
    if (!quantifier.test(this.#pattern)) return body
    const [, sign, least, comma, most] = this.#take(quantifier)
    const from = sign === undefined ? Number(least) : sign === '+' ? 1 : 0
    if (sign === '?') return repeated(body, 0, 1)
    if (sign !== undefined || (comma === ',' && most === '')) return endless(body, from)
    return repeated(body, from, comma === '' ? from : Number(most))
  }

  #take(expression: RegExp): RegExpExecArray {
    expression.lastIndex = this.#at
    const match = expression.exec(this.#pattern)
    if (match === null) throw new SyntaxError(`an unknown construct at character ${this.#at}`)
    this.#at = expression.lastIndex
    return match
  }
}

function either(one: Cost, other: Cost): Cost {
  return {
    choices: one.choices + other.choices,
    repeats: Math.max(one.repeats, other.repeats),
    width: Math.max(one.width, other.width),
  }
}

function both(one: Cost, other: Cost): Cost {
  return {
    choices: one.choices * other.choices,
    repeats: one.repeats + other.repeats,
    width: one.width + other.width,
  }
}

function endless(body: Cost, from: number): Cost {
  if (body.choices > 1 || body.repeats > 0) {
    throw new SyntaxError('a choice or repeat inside an unbounded repeat')
  }
  return { choices: 1, repeats: 1, width: body.width * Math.max(1, from) }
}

function repeated(body: Cost, from: number, to: number): Cost {
  const width = body.width * to
  const isChoice = body.choices > 1 || body.repeats > 0
  if (!isChoice && to - from > countsListedMax) return endless(body, from)
  const counts = to - from + 1
  return { choices: counts * body.choices ** to, repeats: body.repeats * to, width }
}
