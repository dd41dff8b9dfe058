//go:build race

package app_test

// mostOfBody is how many times its size a body may cost: what is pooled is made anew at random under the race detector. Of so many hostile bodies one is sent.
const (
	mostOfBody = 8
	someBodies = 97
)
