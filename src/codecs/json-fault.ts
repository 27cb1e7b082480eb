const whitespace = /[ \t\n\r]*/y
const literal = /true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const escaped = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y
const excerptCharsMax = 12

type Expected = 'value' | 'value or ]' | 'name' | 'name or }' | ':' | ', or closing' | 'end'

/**
 * Says where and why a text is not JSON: "at character 17 expected ':', found 'x'". Only for texts
 * that JSON.parse has refused: its own messages give no position and quote the client's data.
 */
export function jsonFault(text: string): string {
  if (text.startsWith('\ufeff')) return 'a byte order mark stands before it'
  /** The closing brackets that are due. */
  const due: string[] = []
  let expected: Expected = 'value'
  let at = skip(whitespace, text, 0)
  while (at < text.length) {
    const sign = text[at] as string
    const closes = sign === due.at(-1) && mayClose(expected)
    if (closes) {
      due.pop()
      at++
      expected = due.length === 0 ? 'end' : ', or closing'
    } else if (expected === ':' || expected === ', or closing') {
      if (sign !== (expected === ':' ? ':' : ',')) return fault(text, at, expected, due)
      expected = expected === ':' || due.at(-1) === ']' ? 'value' : 'name'
      at++
    } else if (expected === 'name' || expected === 'name or }') {
      if (sign !== '"') return fault(text, at, expected, due)
      const end = endOfString(text, at + 1)
      if (end < 0) return stringFault(text, -end)
      at = end
      expected = ':'
    } else if (expected === 'end') {
      return fault(text, at, expected, due)
    } else if (sign === '{' || sign === '[') {
      due.push(sign === '{' ? '}' : ']')
      expected = sign === '{' ? 'name or }' : 'value or ]'
      at++
    } else {
      const end = sign === '"' ? endOfString(text, at + 1) : skip(literal, text, at)
      if (end < 0) return stringFault(text, -end)
      if (end === at) return fault(text, at, expected, due)
      at = end
      expected = due.length === 0 ? 'end' : ', or closing'
    }
    at = skip(whitespace, text, at)
  }
  return fault(text, at, expected, due)
}

function mayClose(expected: Expected): boolean {
  return expected === ', or closing' || expected === 'value or ]' || expected === 'name or }'
}

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : at
}

/** Position after the closing quote; negated, the position of what a string may not hold. */
function endOfString(text: string, start: number): number {
  let at = start
  while (at < text.length) {
    const code = text.charCodeAt(at)
    if (code === 0x22) return at + 1
    if (code < 0x20) return -at
    if (code === 0x5c) {
      const end = skip(escaped, text, at + 1)
      if (end === at + 1) return -at
      at = end
    } else {
      at++
    }
  }
  return -text.length
}

function stringFault(text: string, at: number): string {
  if (at === text.length) return `at character ${at} a string lacks its closing quote`
  const what = text[at] === '\\' ? 'an escape that JSON lacks' : 'an unescaped control character'
  return `at character ${at} a string holds ${what}`
}

function fault(text: string, at: number, expected: Expected, due: readonly string[]): string {
  const wanted = expected === ', or closing' ? `',' or '${due.at(-1)}'` : `'${expected}'`
  const named = /^[a-z]/.test(expected) ? expected : wanted
  const excerpt = text.slice(at, at + excerptCharsMax)
  const found = at >= text.length ? 'the end' : JSON.stringify(excerpt)
  return `at character ${at} expected ${named === 'end' ? 'the end' : named}, found ${found}`
}
