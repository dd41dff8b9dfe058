//go:build !race

package app_test

// mostOfBody is how many times its size a body may cost. Of so many hostile bodies one is sent.
const (
	mostOfBody = 4
	someBodies = 29
)
