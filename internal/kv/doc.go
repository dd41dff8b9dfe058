// Package kv holds the ports for state that is quick to reach and cheap to lose: a Cache, a Limiter and Leases. What must
// not be lost is the store's. memkv keeps them in the process, for one instance; kvtest is the suite that every adapter
// passes.
package kv
