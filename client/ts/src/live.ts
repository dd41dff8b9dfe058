import type { Api } from './api.gen.js'
import { type Call, sleep } from './call.js'
import { Refused } from './errors.js'

export interface FollowOptions {
  /** "device:ID", "org:ID", "user:ID"; none is everything of your own devices. */
  channels?: string[]
  /** Continues after an event of an earlier run, by its id. */
  lastID?: string
  /** Ends the iteration. */
  signal?: AbortSignal
  /** How long a connection may bring nothing before it counts as lost, in milliseconds (60,000). The server sends a comment every 15 s. */
  silence?: number
  /** Is called whenever the stream is open. */
  onOpen?: () => void
  /** Is called whenever an open stream has ended. */
  onClose?: () => void
  /** Is called with each position, what lastID takes: the first one comes before any event. */
  onPosition?: (id: string) => void
}

/** One thing that happened. */
export interface LiveEvent<T = any> {
  /** The position after it: what lastID takes. */
  id: string
  type: string
  at: string
  data: T
}

const shortestWait = 500
const longestWait = 30_000
const longestRetryAfter = 300_000
const longestBlock = 4 << 20

export async function* follow(api: Api, open: (call: Call) => Promise<Response>, options: FollowOptions): AsyncGenerator<LiveEvent> {
  const { channels = [], signal, silence = 60_000, onOpen, onClose, onPosition } = options
  let lastID = options.lastID ?? ''
  let failures = 0
  let refusals = 0
  let shortest = shortestWait
  while (!signal?.aborted) {
    let after = 0
    let isOpen = false
    const connection = new AbortController()
    const abort = () => connection.abort()
    signal?.addEventListener('abort', abort, { once: true })
    let quiet: ReturnType<typeof setTimeout> | undefined
    const alive = () => {
      clearTimeout(quiet)
      quiet = setTimeout(abort, silence)
    }
    try {
      // A page cannot send headers with its streams everywhere, and an address is written to logs: a ticket is good for one use.
      const { ticket } = await api.createStreamTicket({ signal: connection.signal })
      alive()
      const response = await open({
        method: 'GET',
        path: '/api/v1/realtime/sse',
        query: { ticket, channels: channels.join(','), last_event_id: lastID },
        options: { signal: connection.signal, headers: { Accept: 'text/event-stream' } },
      })
      refusals = 0
      isOpen = true
      onOpen?.()
      for await (const block of blocks(response, alive)) {
        failures = 0
        if (block.retry) shortest = Math.min(Math.max(block.retry, shortestWait), longestWait)
        if (block.id !== undefined) {
          lastID = block.id
          onPosition?.(lastID)
        }
        if (block.data) {
          clearTimeout(quiet) // the reader may be slow
          yield { id: lastID, ...(JSON.parse(block.data) as Omit<LiveEvent, 'id'>) }
          alive()
        }
      }
    } catch (error) {
      if (signal?.aborted) return
      if (error instanceof Refused) {
        if (error.status === 401) refusals++ // one may be a ticket that ran out on its way
        if (error.permanent && (error.status !== 401 || refusals > 1)) throw error
        after = Math.min(error.retryAfter, longestRetryAfter)
      } else if (error instanceof SyntaxError) throw error
    } finally {
      clearTimeout(quiet)
      signal?.removeEventListener('abort', abort)
      connection.abort()
      if (isOpen) onClose?.()
    }
    const longest = Math.min(longestWait, shortest * 2 ** Math.min(failures++, 16))
    const wait = shortest / 2 + Math.random() * (longest - shortest / 2)
    await sleep(Math.max(after, wait), signal).catch(() => undefined)
  }
}

interface Block {
  id?: string
  data: string
  retry: number
}

/** Reads a stream as the HTML standard says; a block that is cut off does not count. */
async function* blocks(response: Response, alive: () => void): AsyncGenerator<Block> {
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  let block: Block = { data: '', retry: 0 }
  let lines: string[] = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    alive()
    rest += decoder.decode(value, { stream: true })
    const parts = rest.split(/\r?\n/)
    rest = parts.pop() ?? ''
    if (size + rest.length > longestBlock) throw new Error('an event is larger than 4 MiB')
    for (const line of parts) {
      size += line.length
      if (line === '') {
        yield { ...block, data: lines.join('\n') }
        block = { data: '', retry: 0 }
        lines = []
        size = 0
        continue
      }
      const [, name, text = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
      if (name === 'id' && !text.includes('\0')) block.id = text
      else if (name === 'data') lines.push(text)
      else if (name === 'retry' && /^\d+$/.test(text)) block.retry = Number(text)
    }
  }
}
