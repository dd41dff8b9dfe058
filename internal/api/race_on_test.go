//go:build race

package api

// mostWaiting is how many bytes a waiting request may hold: the race detector makes frames of stacks larger.
const mostWaiting = 24 << 10
