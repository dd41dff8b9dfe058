//go:build race

package api

// mostWaiting is how many bytes a waiting request may hold: the race detector makes frames larger, and with them some stacks twice as large.
const mostWaiting = 40 << 10
