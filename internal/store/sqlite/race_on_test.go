//go:build race

package sqlite_test

// modelChecks is how many random histories the logs are held against: the race detector makes each ten times as slow.
const modelChecks = "8"

// dataSets are the sets of real data that are imported; the one of two million rows takes minutes with the race detector.
var dataSets = []string{"opensmarthome"}
