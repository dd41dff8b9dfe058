//go:build !race

package rest

// mostOfBody is how many times its size a body may cost to refuse.
const mostOfBody = 4
