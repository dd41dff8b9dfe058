//go:build !race

package api

// mostWaiting is how many bytes a waiting request may hold.
const mostWaiting = 20 << 10
