// Package logsums sums logs up: by hour, day and month, by event, by device, and into the groups that a question asks for.
// It is what the stores share of their rollups, and pure: no I/O, no time, no state between calls.
package logsums
