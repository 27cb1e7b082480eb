/** Things that wait, by tenant, so that each tenant is served in its turn and its own in their order. */
export class TenantQueue<Key, Item> {
  /** The tenant whose turn is next stands first. */
  readonly #tenants = new Map<number, Map<Key, Item>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  sizeOf(tenant: number): number {
    return this.#tenants.get(tenant)?.size ?? 0
  }

  /** One that waits already keeps its place and what it was added with. */
  add(tenant: number, key: Key, item: Item): void {
    let items = this.#tenants.get(tenant)
    if (items === undefined) {
      items = new Map()
      this.#tenants.set(tenant, items)
    }
    if (items.has(key)) return
    items.set(key, item)
    this.#size += 1
  }

  remove(tenant: number, key: Key): void {
    const items = this.#tenants.get(tenant)
    if (!items?.delete(key)) return
    this.#size -= 1
    if (items.size === 0) this.#tenants.delete(tenant)
  }

  /** The oldest of a tenant. */
  first(tenant: number): Item | null {
    const [first = null] = this.#tenants.get(tenant)?.values() ?? []
    return first
  }

  /** Tenants whose things wait, in the order of their turns. */
  tenants(): Iterable<number> {
    return this.#tenants.keys()
  }

  keys(tenant: number): Iterable<Key> {
    return this.#tenants.get(tenant)?.keys() ?? []
  }

  /** It has had its turn: the others come first. */
  pass(tenant: number): void {
    const items = this.#tenants.get(tenant)
    if (items === undefined) return
    this.#tenants.delete(tenant)
    this.#tenants.set(tenant, items)
  }

  clear(): void {
    this.#tenants.clear()
    this.#size = 0
  }
}
