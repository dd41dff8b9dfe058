// Package logcodec turns logs and their rollups into few bytes and back. It is pure: no I/O, no time, no state between
// calls. Every decoder takes hostile bytes: it returns ErrCorrupt, never a panic, and allocates no more than a small
// multiple of what the bytes can hold (a chunk: at most MaxChunk entries).
package logcodec
