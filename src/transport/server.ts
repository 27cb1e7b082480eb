import { readFileSync } from 'node:fs'
import { memoryBudgets } from '../memory.ts'
import { Authenticator } from './auth.ts'
import { BodyBudget } from './body.ts'
import { EventStreams, type StreamTimes } from './event-streams.ts'
import { allRoutes } from './http/routes.ts'
import { Readers } from './readers.ts'
import type { Route } from './route.ts'
import { Router } from './router.ts'
import type { Services } from './services.ts'
import { UwsServer } from './uws.ts'
import { SessionSockets } from './ws.ts'

export interface Transport {
  /** Resolves with the port that was bound and the URL there; rejects where it cannot be. */
  listen(host: string, port: number): Promise<{ port: number; url: string }>
  /**
   * New connections and requests are refused, open requests finish, subscribers get what is stored
   * and are told; what is still open at the deadline is cut. Idempotent.
   */
  close(deadlineMs: number): Promise<void>
}

/** The front door. `routes` are all of the program's unless a test brings its own, and `times` too. */
export function createTransport(
  services: Services,
  routes: readonly Route[] = allRoutes(readVersion()),
  times: Partial<StreamTimes> = {},
): Transport {
  const { log, metrics, store, config, hub, memory, monitor } = services
  const fault = (error: unknown) => log.error({ err: error }, 'a callback of the transport threw')
  const authenticator = new Authenticator(store.apiKeys, config.apiKey, fault)
  const budget = new BodyBudget({
    bytesMax: memoryBudgets(config.memoryMaxMiB).bodiesBytesMax,
    onChange: (bytes) => metrics.bodiesInFlightBytes.set(bytes),
    isShort: () => memory.isShort,
  })
  const readers = new Readers((bytes) => metrics.heldBytes.set(bytes))
  const streams = new EventStreams(
    {
      hub,
      authenticator,
      readers,
      metrics,
      monitor,
      connectionsMax: config.streamConnectionsMax,
      eventsPerWindow: config.streamEventsPerMinute,
    },
    times,
  )
  const sockets = new SessionSockets({ services, authenticator, budget, readers })
  let ownUrl = ''
  const router = new Router({
    services,
    routes,
    authenticator,
    streams,
    sockets,
    budget,
    ownUrl: () => ownUrl,
  })
  const server = new UwsServer({
    request: (exchange) => router.take(exchange, null),
    upgrade: (exchange) => router.take(exchange, exchange),
    fault,
  })
  let closing: Promise<void> | null = null

  async function close(deadlineMs: number): Promise<void> {
    server.stopListening()
    // Who waits for a job's change has an open request.
    services.jobWatch.close()
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs)
    })
    try {
      await Promise.race([Promise.all([router.drain(), sockets.drain()]), deadline])
      // What the open requests have stored is published by now: subscribers get it, then their end.
      hub.close()
      streams.close()
      await Promise.race([sockets.close(), deadline])
    } finally {
      clearTimeout(timer)
      readers.close()
      authenticator.close()
      router.close()
      server.close()
    }
  }

  return {
    listen: async (host, port) => {
      const bound = await server.listen(host, port)
      ownUrl = `http://${host.includes(':') ? `[${host}]` : host}:${bound.port}`
      return { ...bound, url: ownUrl }
    },
    close: (deadlineMs) => {
      closing ??= close(deadlineMs)
      return closing
    },
  }
}

function readVersion(): string {
  // This file runs as dist/src/transport/server.js.
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
