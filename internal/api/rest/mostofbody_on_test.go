//go:build race

package rest

// mostOfBody is how many times its size a body may cost to refuse: what is pooled is made anew at random under the race detector.
const mostOfBody = 8
