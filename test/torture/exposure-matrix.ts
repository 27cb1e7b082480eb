import { Agent } from 'node:http'
import type { Route } from '../../src/transport/route.ts'
import {
  brokenRequest,
  malformed,
  plainRequest,
  references,
  type Target,
  targetsOf,
  twistedRequests,
} from './exposure-cases.ts'
import { type Answer, type Asked, ask, decoded, masked } from './exposure-wire.ts'
import { type KeyName, type Tenant, unknownThings, type World } from './exposure-world.ts'

type Verdict = 'open' | 'unauthorized' | 'forbidden' | 'allowed'

/** Who asks, with which key, and whose things are not to be found. */
interface Asker {
  readonly name: string
  readonly key: string | null
  readonly holds: KeyName
  readonly tenant: Tenant
  readonly other: Tenant
}

/**
 * Every route with every key for every kind of id. What does not hold is gathered, each with the
 * request that showed it.
 */
export class Matrix {
  readonly failures: string[] = []
  requests = 0
  compared = 0
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 })
  readonly #routes: readonly Route[]

  constructor(
    private readonly world: World,
    routes: readonly Route[],
  ) {
    // Reads first, while the own things are all still there.
    this.#routes = [...routes].sort((one, other) => rank(one) - rank(other))
  }

  /** Breaks off where `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { attacker, victim, keys } = this.world
    const askers: Asker[] = [...keys].map(([name, key]) => ({
      name,
      key,
      holds: name,
      tenant: attacker,
      other: victim,
    }))
    askers.push({
      name: "the other tenant's admin",
      key: victim.key,
      holds: 'admin',
      tenant: victim,
      other: attacker,
    })
    const before = await this.fingerprint(victim)
    for (const route of this.#routes) {
      for (const asker of askers) {
        if (signal.aborted) return
        await this.#askAll(route, asker)
        if (asker.holds !== 'admin') continue
        await this.#askTwisted(route, asker)
        await this.#askReferences(route, asker)
      }
    }
    const after = await this.fingerprint(victim)
    for (const [what, text] of before) {
      if (after.get(what) !== text) {
        this.failures.push(`${what} has changed from ${text} to ${after.get(what)}`)
      }
    }
  }

  close(): void {
    this.#agent.destroy()
  }

  /** Everything that a tenant can read of its own, by the request that reads it. */
  async fingerprint(tenant: Tenant): Promise<Map<string, string>> {
    // What is told live is never the same twice.
    const asked = this.#routes
      .filter(({ method, scope, refusesByEvent }) => {
        return method === 'GET' && scope !== null && refusesByEvent !== true
      })
      .flatMap((route) => targetsOf(route, tenant, tenant).filter(({ kind }) => kind === 'own'))
    const answers = await Promise.all(
      asked.map(({ path }) => this.#ask({ method: 'GET', path }, tenant.key)),
    )
    return new Map(
      answers.map((answer, index) => {
        const text = masked(answer, []).replace(/"sessionDurationMs":\d+/g, '')
        return [`GET ${asked[index]?.path}`, text]
      }),
    )
  }

  /** One route with one key, for every target. */
  async #askAll(route: Route, asker: Asker): Promise<void> {
    const verdict = verdictOf(route, asker.holds)
    const targets = targetsOf(route, asker.tenant, asker.other).filter(
      // The victim itself changes nothing: what it has at the end must be what it had.
      ({ kind }) => kind !== 'own' || asker.tenant === this.world.attacker,
    )
    const answers = await Promise.all(
      targets.map(async (target) => {
        const asked = plainRequest(route, target.path)
        const answer = await this.#ask(asked, asker.key)
        const line = `${asked.method} ${target.path} with ${asker.name}`
        this.#judge(line, route, verdict, target, answer)
        this.#searchLeak(line, asker, target.ids, answer)
        const text = masked(answer, target.ids)
        if (verdict === 'unauthorized' || verdict === 'forbidden') {
          const broken = await this.#ask(brokenRequest(route, target.path), asker.key)
          this.#compare(`${line} and a broken request`, masked(broken, target.ids), text)
        }
        return { line, target, text }
      }),
    )
    const unknown = answers.find(({ target }) => target.kind === 'unknown')
    if (unknown === undefined) return
    for (const { line, target, text } of answers) {
      // Who may not ask learns nothing, of things of his own tenant either.
      if (verdict === 'allowed' && target.kind === 'own') continue
      this.#compare(line, text, unknown.text)
    }
  }

  async #askTwisted(route: Route, asker: Asker): Promise<void> {
    const targets = targetsOf(route, asker.tenant, asker.other)
    const unknown = targets.find(({ kind }) => kind === 'unknown')
    if (unknown === undefined) return
    const hidden = targets.filter(({ kind }) => kind === 'foreign' || kind === 'malformed')
    const expected = await this.#twistedTexts(route, asker, unknown)
    for (const target of [...hidden.slice(0, 3), ...hidden.slice(-2)]) {
      const texts = await this.#twistedTexts(route, asker, target)
      for (const [at, { line, text }] of texts.entries()) {
        this.#compare(line, text, expected[at]?.text ?? '')
      }
    }
  }

  #twistedTexts(route: Route, asker: Asker, target: Target) {
    const requests = twistedRequests(route, target.path)
    return Promise.all(
      requests.map(async (asked, at) => {
        const answer = await this.#ask(asked, asker.key)
        const line = `${asked.method} ${asked.path}, twist ${at} with ${asker.name}`
        this.#searchLeak(line, asker, target.ids, answer)
        if (answer.status >= 500) this.failures.push(`${line}: ${answer.status} ${answer.body}`)
        return { line, text: masked(answer, target.ids) }
      }),
    )
  }

  async #askReferences(route: Route, asker: Asker): Promise<void> {
    for (const [thing, unknown] of unknownThings) {
      const expected = references(route, unknown, thing)
      if (expected.length === 0) continue
      const foreign = asker.other.things.get(thing) ?? []
      // A reference has a bound of its own length, which is told before it is looked at.
      const shapes = foreign.slice(0, 1).flatMap(malformed)
      const hidden = [...foreign, ...shapes.filter((ids) => ids.join('').length <= 100)]
      for (const [at, request] of expected.entries()) {
        const wanted = masked(await this.#ask(request, asker.key), unknown.map(decoded))
        await Promise.all(
          hidden.map(async (segments) => {
            const asked = references(route, segments, thing)[at] ?? request
            const answer = await this.#ask(asked, asker.key)
            const line = `${asked.method} ${asked.path} ${asked.body ?? ''} with ${asker.name}`
            this.#searchLeak(line, asker, segments.map(decoded), answer)
            this.#compare(line, masked(answer, segments.map(decoded)), wanted)
          }),
        )
      }
    }
  }

  #ask(asked: Asked, key: string | null): Promise<Answer> {
    this.requests += 1
    const headers: Record<string, string | string[]> = { ...asked.headers }
    if (key !== null) headers.Authorization = `Bearer ${key}`
    return ask(this.#agent, this.world.server.url, { ...asked, headers })
  }

  #compare(line: string, text: string, unknown: string): void {
    this.compared += 1
    if (text === unknown) return
    this.failures.push(`${line} tells itself from an unknown one:\n${text}\nagainst\n${unknown}`)
  }

  #judge(line: string, route: Route, verdict: Verdict, target: Target, answer: Answer): void {
    const { status, body } = answer
    const code = /"code":"(\w+)"/.exec(body)?.[1] ?? ''
    const fail = (why: string) => this.failures.push(`${line}: ${why}, got ${status} ${body}`)
    switch (verdict) {
      case 'open':
        if (status !== 200) fail('needs no key')
        break
      case 'unauthorized': {
        const expected = route.refusesByEvent === true ? 'AUTH_ERROR' : 'UNAUTHORIZED'
        if (status !== 401 || code !== expected) fail('needs a key')
        if (!answer.headers.some(([name]) => name === 'www-authenticate')) fail('names no scheme')
        break
      }
      case 'forbidden':
        if (status !== 403 || code !== 'SCOPE_MISSING') fail(`needs ${route.scope}`)
        break
      case 'allowed': {
        if (status >= 500) fail('must not fail')
        const isRefused = status === 401 || status === 403
        const isHidden = target.kind !== 'own'
        if (isHidden && (status !== 404 || !code.endsWith('_NOT_FOUND'))) fail('must be unknown')
        else if (isRefused) fail('is allowed')
        else if (!isHidden && status === 404 && rank(route) === 0 && target.ids.length > 0) {
          fail('is there')
        }
        break
      }
    }
  }

  /** What the asker wrote itself may come back; nothing else of the other tenant may. */
  #searchLeak(line: string, asker: Asker, ids: readonly string[], answer: Answer): void {
    let text = JSON.stringify(answer.headers) + answer.body
    for (const id of ids) text = text.replaceAll(id, '').replaceAll(JSON.stringify(id), '')
    for (const secret of asker.other.secrets) {
      if (text.includes(secret)) this.failures.push(`${line}: the reply tells ${secret}`)
    }
  }
}

function rank(route: Route): number {
  return route.method === 'GET' ? 0 : 1
}

function verdictOf({ scope }: Route, holds: KeyName): Verdict {
  if (scope === null) return 'open'
  if (holds === 'none' || holds === 'wrong' || holds === 'revoked') return 'unauthorized'
  if (holds === 'admin') return 'allowed'
  const needed: readonly string[] = typeof scope === 'string' ? [scope] : scope
  return needed.includes(holds) ? 'allowed' : 'forbidden'
}
