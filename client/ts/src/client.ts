import { Api, type Tokens } from './api.gen.js'
import { backoff, type Call, sleep } from './call.js'
import { Refused, Unreachable } from './errors.js'
import { follow, type FollowOptions, type LiveEvent } from './live.js'
import { Writer, type WriterOptions } from './writer.js'

export interface ClientOptions {
  /**
   * An API key ("hk_…"), a device's token ("hd_…") or an access token. A program that keeps the session itself passes a function: it
   * returns a token other than the one that the server has just rejected ('' if none was), or '' to call without one.
   */
  token?: string | ((rejected: string) => string | Promise<string>)
  /** With both the client signs in at its first call, and again once the session is over. */
  email?: string
  password?: string
  /** Continues a session: what logIn or refresh answered, and an earlier client saved. */
  session?: Pick<Tokens, 'refresh_token'> & Partial<Tokens>
  /** Is called with the new session after each renewal, which spends the old refresh token. */
  onSession?: (tokens: Tokens) => void
  /** The attempts of a call (4), and the longest wait before one, in milliseconds (30,000): a Retry-After beyond it fails at once. */
  attempts?: number
  longestWait?: number
  /** How long an attempt may last, in milliseconds (60,000). */
  timeout?: number
  /** Makes the requests, in place of the global fetch. */
  fetch?: typeof fetch
}

const renewBefore = 20_000

/** Calls one server. */
export class Client extends Api {
  readonly #base: string
  readonly #options: ClientOptions
  #access = ''
  #refresh = ''
  #ends = 0
  #renewing: Promise<string> | undefined

  /** `url` is the server's address; in a page of that server it may be ''. */
  constructor(url: string, options: ClientOptions = {}) {
    super()
    this.#base = url.replace(/\/+$/, '')
    this.#options = options
    if (options.session) this.#keep(options.session)
  }

  /** Returns a writer of many logs. */
  writer(options: WriterOptions = {}): Writer {
    return new Writer(this, options)
  }

  /**
   * Iterates over events as they happen, each once and in order, across lost connections. An event of type "reset" says that events
   * were missed that the server no longer has: read anew what you keep. It throws Refused where the server refuses.
   */
  follow(options: FollowOptions = {}): AsyncGenerator<LiveEvent> {
    return follow(this, (call) => this.#open(call, '', undefined), options)
  }

  #keep(tokens: Partial<Tokens>): void {
    this.#access = tokens.access_token ?? ''
    this.#refresh = tokens.refresh_token ?? ''
    this.#ends = Date.now() + (tokens.expires_in ?? 0) * 1000
  }

  get #renews(): boolean {
    return typeof this.#options.token !== 'string'
  }

  /** Returns an access token that is not the rejected one. All calls that need a new one wait for the same renewal. */
  #bearer(rejected: string): string | Promise<string> {
    const { token, email } = this.#options
    if (typeof token === 'function') return token(rejected)
    if (token !== undefined || (!email && !this.#refresh)) return token ?? ''
    if (this.#access && this.#access !== rejected && this.#ends - Date.now() > renewBefore) return this.#access
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined))
    return this.#renewing
  }

  async #renew(): Promise<string> {
    const tokens = await this.#newTokens()
    this.#keep(tokens)
    this.#options.onSession?.(tokens)
    return tokens.access_token
  }

  async #newTokens(): Promise<Tokens> {
    // The server answers a refresh token that is sent again at once with the same tokens: a lost answer does no harm.
    const post = { method: 'POST', public: true, repeatable: true }
    const { email, password } = this.#options
    if (this.#refresh) {
      try {
        return await this.call<Tokens>({ ...post, path: '/api/v1/auth/refresh', body: { refresh_token: this.#refresh } })
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 401 || !email) throw error
      }
    }
    return this.call<Tokens>({ ...post, path: '/api/v1/auth/login', body: { email, password } })
  }

  /**
   * Makes a call until it succeeds, is refused, or its attempts are spent. A 429 was refused before it had an effect, so that it is
   * repeated always; what failed in another way only where repeating has no second effect.
   */
  protected async call<T>(call: Call): Promise<T> {
    const { attempts = 4, longestWait = 30_000, timeout = 60_000 } = this.#options
    const signal = call.options?.signal
    if (call.creates) call = { ...call, options: { idempotencyKey: newKey(), ...call.options } }
    const safe = call.method === 'GET' || call.creates || call.repeatable
    let rejected = ''
    let renewed = false
    for (let attempt = 1; ; attempt++) {
      const token = call.public ? '' : await this.#bearer(rejected)
      let repeat = safe
      let wait = backoff(attempt)
      let failure: Error
      try {
        const response = await this.#open(call, token, timeout)
        call.options?.onHeaders?.(response.headers)
        if (call.raw) return response as T
        const text = await response.text()
        return (text ? JSON.parse(text) : undefined) as T
      } catch (error) {
        signal?.throwIfAborted()
        if (error instanceof Refused) {
          // invalid_credentials is about a password in the body.
          if (error.status === 401 && error.code !== 'invalid_credentials' && !call.public && !renewed && this.#renews && token) {
            rejected = token
            renewed = true
            attempt--
            continue
          }
          repeat = error.status === 429 || (safe && [502, 503, 504].includes(error.status))
          wait = Math.max(wait, error.retryAfter)
          failure = error
        } else {
          failure = new Unreachable(`${call.method} ${call.path}: ${String(error)}`, { cause: error })
        }
      }
      if (!repeat || attempt >= attempts || wait > longestWait) throw failure
      await sleep(wait, signal)
    }
  }

  /** Makes one attempt. */
  async #open(call: Call, token: string, timeout: number | undefined): Promise<Response> {
    const { options = {} } = call
    const headers = new Headers({ Accept: 'application/json, */*;q=0.5', ...options.headers })
    if (options.idempotencyKey) headers.set('Idempotency-Key', options.idempotencyKey)
    if (options.ifMatch) headers.set('If-Match', options.ifMatch)
    if (call.body !== undefined) headers.set('Content-Type', 'application/json')
    if (token) headers.set('Authorization', `Bearer ${token}`)
    const query = new URLSearchParams()
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined && value !== null && value !== '') query.set(name, String(value))
    }
    const send = this.#options.fetch ?? fetch
    const controller = new AbortController()
    const abort = () => controller.abort(options.signal?.reason)
    options.signal?.addEventListener('abort', abort, { once: true })
    const timer = timeout && setTimeout(() => controller.abort(new Error(`no answer within ${timeout} ms`)), timeout)
    try {
      options.signal?.throwIfAborted()
      const response = await send(`${this.#base}${call.path}${query.size ? `?${query}` : ''}`, {
        method: call.method,
        headers,
        signal: controller.signal,
        redirect: 'error', // a token must not follow a redirect to another host
        credentials: 'omit',
        ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
      })
      if (!response.ok) throw await Refused.of(response)
      return response
    } finally {
      clearTimeout(timer)
    }
  }
}

/** Returns a key that no other call has; pages without TLS have no randomUUID. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
