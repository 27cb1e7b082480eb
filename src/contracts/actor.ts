/** Who does something: the tenant and user of an API key. */
export interface Actor {
  readonly tenant: number
  readonly user: string
}
