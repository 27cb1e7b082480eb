import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/**
 * A port that nobody listens on. A server that is to come back on its port has to be given one from
 * the start: connections to one that the system picked keep the port from being bound again.
 */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
