// Package tsdbtest is the suite for tsdb: what a Backend promises, and what the engine answers over it, each compared with a
// model that is too simple to be wrong, with random calls and with injected crashes.
package tsdbtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"hearth"
	"hearth/internal/tsdb"
)

// Database is a database of logs as one process has it open.
type Database struct {
	Backend tsdb.Backend
	// AddDevice makes a device of a scope and returns its key; DeleteDevice leaves a grave of it.
	AddDevice    func(ctx context.Context, scope hearth.Scope) (int64, error)
	DeleteDevice func(ctx context.Context, key int64) error
	// MoveDevice gives a device to another scope with its logs; an engine over the database is given to copy them with.
	MoveDevice func(ctx context.Context, e *tsdb.Engine, key int64, scope hearth.Scope) error
	// Checkpoint returns a stored checkpoint; CodeNotFound.
	Checkpoint func(ctx context.Context, id string) (hearth.Checkpoint, error)
	Close      func() error
}

// Harness says how databases are opened.
type Harness struct {
	// Open opens the database of that name, which is of one test's alone, making it if it is not there. It may be opened again
	// after Close.
	Open func(t testing.TB, name string) Database
	// Fleet says that many processes may have a database open at once: then Open may be called again before Close.
	Fleet bool
	// Done, if not nil, is told of a name that is not opened again.
	Done func(name string)
}

func (h Harness) done(name string) {
	if h.Done != nil {
		h.Done(name)
	}
}

// processes are those that have one database open: two in a fleet, else one.
type processes struct {
	t    testing.TB
	h    Harness
	name string
	all  []Database
}

var runs atomic.Int64 // numbers the databases of all tests of this process

func (h Harness) start(t testing.TB) *processes {
	p := &processes{t: t, h: h, name: fmt.Sprintf("%s/%d", t.Name(), runs.Add(1))}
	p.open()
	return p
}

func (p *processes) open() {
	p.all = append(p.all, p.h.Open(p.t, p.name))
	if p.h.Fleet {
		p.all = append(p.all, p.h.Open(p.t, p.name))
	}
}

func (p *processes) close() {
	for _, db := range p.all {
		if err := db.Close(); err != nil {
			p.t.Error(err)
		}
	}
	p.all = nil
}

func (p *processes) end() {
	p.close()
	p.h.done(p.name)
}
