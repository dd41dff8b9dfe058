// Package storetest is the conformance suite of the store contracts: one function an aggregate, run by each adapter's own
// tests, so that every adapter means the same.
package storetest
