// Package judge decides when rules raise and clear alarms. It is a machine without input or output: what was known of a device, its
// readings in the order in which they came in, and the time go in; what is known then and the changes of alarms come out, the same each
// time. docs/guides/alarms.md has the rules with a timeline for each case.
package judge
