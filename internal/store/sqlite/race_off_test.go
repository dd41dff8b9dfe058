//go:build !race

package sqlite_test

// modelChecks is how many random histories the logs are held against.
const modelChecks = "100"

// dataSets are the sets of real data that are imported.
var dataSets = []string{"opensmarthome", "tracebase"}
