// Package tsdb is the log engine: it stores the readings of devices and answers questions about them.
//
// A batch of logs is acknowledged when it is a row of the tail. Folding moves rows of the tail into chunks, which hold the logs of
// a scope in order of time, and adds them to the rollups: sums by hour, day and month. A question adds up the largest sums
// that lie within its range, the logs of what is left, and the tail.
//
// The engine does not know where the tail and the documents are: that is a Backend, of which each store has one.
package tsdb
