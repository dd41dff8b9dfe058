//go:build race

package sqlite_test

// modelChecks is how many random histories the logs are held against: the race detector makes each ten times as slow.
const modelChecks = "8"
