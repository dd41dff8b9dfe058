//go:build !race

package api

// mostWaiting is how many bytes a waiting request may hold.
const mostWaiting = 20 << 10

// mostOfBody is how many times its size a body may cost to refuse.
const mostOfBody = 4
