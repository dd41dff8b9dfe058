// Package codec is what the log engine stores: chunks of logs, and the rollups that sum them up, as cells, days and sketches. It makes them
// of logs, merges and compares them, writes them as bytes and reads them. It does no input or output.
package codec
