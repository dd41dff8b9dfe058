// Package hearth is the vocabulary of the program: its types, their validation, the error codes and the contracts that a
// store keeps. One file an aggregate. It does no I/O, starts no goroutine and imports the standard library and uuid alone,
// so that every other package can import it.
package hearth
