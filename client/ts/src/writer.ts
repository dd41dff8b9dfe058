import type { Api, NewDeviceLog } from './api.gen.js'
import { backoff, sleep } from './call.js'
import { Refused } from './errors.js'

export interface WriterOptions {
  /** The most logs of a batch (1,000; at most 10,000). */
  size?: number
  /** How long a log waits for others, in milliseconds (1,000). */
  delay?: number
  /** How many logs may wait before write does (10 times size). */
  pending?: number
  /** Is called with every log that the server refuses, and why. */
  onRefused?: (log: NewDeviceLog, error: Error) => void
}

/**
 * Sends logs in batches. A batch is repeated, under one Idempotency-Key, until the server has stored or refused it: while the server is
 * away logs wait, and write with them. Close it, or what waits is lost.
 */
export class Writer {
  readonly #api: Api
  readonly #size: number
  readonly #delay: number
  readonly #pending: number
  readonly #onRefused: WriterOptions['onRefused']
  #queue: NewDeviceLog[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #sending: Promise<void> | undefined
  #changed: Array<() => void> = []
  #closed = false
  readonly #abandon = new AbortController()

  /** How many logs were refused, and why the first was. */
  refused = 0
  firstError: Error | undefined

  constructor(api: Api, options: WriterOptions) {
    const { size = 1000, delay = 1000, pending = 10 * size } = options
    if (!(size >= 1 && size <= 10_000)) throw new RangeError('size must be from 1 to 10,000')
    this.#api = api
    this.#size = size
    this.#delay = delay
    this.#pending = Math.max(pending, 1)
    this.#onRefused = options.onRefused
  }

  /** Queues a log; one without a timestamp is of now. It waits while the writer is full, until the signal is aborted. */
  async write(log: NewDeviceLog, signal?: AbortSignal): Promise<void> {
    log = { ...log, timestamp: log.timestamp ?? new Date().toISOString() }
    while (!this.#closed && this.#queue.length >= this.#pending) await this.#change(signal)
    if (this.#closed) throw new Error('the writer is closed')
    this.#queue.push(log)
    if (this.#queue.length >= this.#size) this.#send()
    else this.#timer ??= setTimeout(() => this.#send(), this.#delay)
  }

  /** Waits until everything that was written before is stored or refused. */
  async flush(): Promise<void> {
    while (this.#queue.length > 0 || this.#sending) {
      this.#send()
      await this.#sending
    }
  }

  /**
   * Sends what waits; what could not be sent within so many milliseconds counts as refused. Throws the error of the first log that was
   * refused since the writer began, if any.
   */
  async close(timeout?: number): Promise<void> {
    this.#closed = true
    this.#notify()
    const timer = timeout === undefined ? undefined : setTimeout(() => this.#abandon.abort(new Error('the writer was closed')), timeout)
    await this.flush()
    clearTimeout(timer)
    clearTimeout(this.#timer)
    if (this.firstError) throw this.firstError
  }

  #change(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      this.#changed.push(resolve)
    })
  }

  #notify(): void {
    for (const wake of this.#changed.splice(0)) wake()
  }

  /** Begins to send what waits, unless that is under way. */
  #send(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#sending || this.#queue.length === 0) return
    const batch = this.#queue.splice(0, this.#size)
    this.#notify()
    this.#sending = this.#store(batch).finally(() => {
      this.#sending = undefined
      if (this.#queue.length >= this.#size) this.#send()
      else if (this.#queue.length > 0) this.#timer ??= setTimeout(() => this.#send(), this.#delay)
    })
  }

  /** Stores a batch, without the logs that the server refuses. */
  async #store(batch: NewDeviceLog[]): Promise<void> {
    const signal = this.#abandon.signal
    let idempotencyKey = crypto.getRandomValues(new Uint32Array(4)).join('-')
    for (let attempt = 1; batch.length > 0; attempt++) {
      try {
        await this.#api.createLogs(batch, { idempotencyKey, signal })
        return
      } catch (error) {
        const failure = error as Error
        if (failure instanceof Refused && failure.permanent) {
          const rest = this.#withoutWrong(batch, failure)
          if (rest.length === batch.length) return this.#refuse(batch, failure) // it names none: it is about all
          batch = rest
          idempotencyKey = crypto.getRandomValues(new Uint32Array(4)).join('-') // another body needs another key
          attempt = 0
          continue
        }
        const after = failure instanceof Refused ? Math.min(failure.retryAfter, 60_000) : 0
        try {
          await sleep(Math.max(backoff(attempt), after), signal)
        } catch {
          return this.#refuse(batch, failure)
        }
      }
    }
  }

  #withoutWrong(batch: NewDeviceLog[], error: Refused): NewDeviceLog[] {
    const wrong = new Set(error.fields.map((field) => Number(/^body\[(\d+)\]/.exec(field.location)?.[1])))
    this.#refuse(batch.filter((_, index) => wrong.has(index)), error)
    return batch.filter((_, index) => !wrong.has(index))
  }

  #refuse(logs: NewDeviceLog[], error: Error): void {
    if (logs.length > 0) this.firstError ??= error
    this.refused += logs.length
    for (const log of logs) this.#onRefused?.(log, error)
  }
}
